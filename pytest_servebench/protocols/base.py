"""Requests, answers, and the interface of a prediction protocol."""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol
from urllib.parse import urlsplit

from pytest_servebench.arrays import Arrays
from pytest_servebench.text.redaction import hide_headers, hide_url, redact

if TYPE_CHECKING:
    from pytest_servebench.load.target import Target


_NOT_COMPARED: Final = re.compile(
    r"auth(?!ors?\b)|token(?!s|iz)|secret|passw|cookie|credential|session|signature"  # secrets
    r"|\bsig\b|\bkey\b|apikey"
    r"|\bhost\b|request-?id|correlation-?id|trace|\bb3\b|\bdate\b",  # where, and which one
    re.IGNORECASE,
)
"""Names of headers and parameters whose values may differ between runs of the same workload.

``max_tokens`` is not among them: it sets how much work a request is.
"""


class Request(Protocol):
    """What is sent to a server, and how its transport sends it.

    Attributes:
        transport: name of its transport; see
            :data:`pytest_servebench.load.transports.TRANSPORTS`.
    """

    transport: ClassVar[str]

    def prepared(
        self,
        target: Target,
        authorization: Sequence[tuple[str, str]] = (),
        *,
        keep_alive: bool = True,
    ) -> bytes:
        """Return the request as its transport sends it to the server at ``target``.

        Args:
            target: the server.
            authorization: names and values of headers that the server requires in every request.
            keep_alive: whether the connection may be reused.
        """
        ...

    def answer(self, status: int, head: bytes, body: bytes) -> Any:
        """Return an answer in the form that checks receive."""
        ...

    def identity(self, *, paths: bool) -> Sequence[bytes]:
        """Return what identifies it in a comparison, without address, secrets and request ids.

        ``paths``: whether the path counts.
        """
        ...


@dataclass(frozen=True)
class HttpRequest:
    """One HTTP request, without the server's address.

    Attributes:
        method: ``"POST"``, ``"GET"``, …
        path: path on the server, beginning with ``/``; it is appended to the path of the server's
            URL, and may be empty.
        headers: names and values besides ``Host`` and ``Content-Length``; not in the ``repr``, as
            they may hold a key.
        body: the bytes to send.
    """

    transport: ClassVar[str] = "http/1.1"

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        """Register keys in headers and path, which no text may show."""
        # Invalid headers are refused with a clear message when the request is to be sent.
        pairs = self.headers.items() if isinstance(self.headers, Mapping) else self.headers
        if isinstance(pairs, (tuple, list, ItemsView)):
            hide_headers(each for each in pairs if isinstance(each, tuple) and len(each) == 2)
        if isinstance(self.path, str):
            hide_url(self.path)

    def __repr__(self) -> str:
        """Return method and path, without keys."""
        return f"HttpRequest(method={self.method!r}, path={redact(repr(self.path))})"

    def prepared(
        self,
        target: Target,
        authorization: Sequence[tuple[str, str]] = (),
        *,
        keep_alive: bool = True,
    ) -> bytes:
        """See :class:`Request`; the request's own header wins over one of ``authorization``."""
        names = {name.lower() for name, _ in self.headers}
        lines = [
            f"{self.method} {target.full_path(self.path)} HTTP/1.1",
            *(() if "host" in names else (f"Host: {target.authority}",)),
            *(f"{name}: {value}" for name, value in self.headers),
            *(f"{name}: {value}" for name, value in authorization if name.lower() not in names),
            f"Content-Length: {len(self.body)}",
            *(() if keep_alive else ("Connection: close",)),
        ]
        return "\r\n".join((*lines, "", "")).encode("latin-1") + self.body

    def answer(self, status: int, head: bytes, body: bytes) -> HttpAnswer:
        """Return the answer from status, head and body."""
        return HttpAnswer(status, body, Headers.of_head(head))

    def identity(self, *, paths: bool) -> Sequence[bytes]:
        """See :class:`Request`."""
        head = [self.method, _without_secrets(self.path) if paths else ""]
        head += [f"{name.lower()}: {_value(name, value)}" for name, value in self.headers]
        return [*(text.encode("utf-8", "surrogatepass") for text in head), self.body]


def _value(name: str, value: str) -> str:
    return "" if _NOT_COMPARED.search(name.replace("_", "-")) else value


def _without_secrets(path: str) -> str:
    parts = urlsplit(path)
    if not parts.query:
        return path
    pairs = (pair.partition("=") for pair in parts.query.split("&"))
    return parts.path + "?" + "&".join(f"{name}={_value(name, value)}" for name, _, value in pairs)


class Headers(Mapping[str, str]):
    """The headers of an answer, by case-insensitive name.

    The values of a repeated name are joined by ``", "``; ``pairs`` has them one by one, as
    received.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.pairs = tuple(pairs)
        self._found: dict[str, tuple[str, str]] = {}
        for name, value in self.pairs:
            first, before = self._found.get(name.lower(), (name, None))
            self._found[name.lower()] = (first, value if before is None else f"{before}, {value}")

    @classmethod
    def of_head(cls, head: bytes) -> Headers:
        """Parse status line and headers; continuation lines are joined."""
        text = re.sub(r"\r?\n[ \t]+", " ", head.decode("latin-1"))
        lines = (line.partition(":") for line in text.splitlines()[1:])
        return cls((name.strip(), value.strip()) for name, colon, value in lines if colon)

    def __getitem__(self, name: str) -> str:
        return self._found[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._found.values())

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"Headers({self.pairs!r})"


@dataclass(frozen=True)
class HttpAnswer:
    """The answer to one request.

    Attributes:
        status: HTTP status.
        body: the whole body.
        headers: of the answer, by case-insensitive name: ``answer.headers["content-type"]``.
    """

    status: int
    body: bytes
    headers: Headers = field(default_factory=lambda: Headers(()), repr=False)


class PredictionProtocol(Protocol):
    """How to ask one kind of server for predictions."""

    @property
    def name(self) -> str:
        """Return the protocol's name, as shown in reports."""
        ...

    def request(self, inputs: Arrays) -> HttpRequest:
        """Return the request for a prediction of one sample input.

        Args:
            inputs: of shape ``input_shape``; for a model with named inputs, each by its name.
        """
        ...

    def read(self, answer: HttpAnswer) -> Arrays:
        """Return the prediction for one sample input from an answer with status 200.

        It is of shape ``output_shape``; or each output by its name, if the answer has names.

        Raises:
            BadResponseError: the answer is not a prediction.
        """
        ...
