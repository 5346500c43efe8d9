"""How a prediction is asked for, and how its answer is read."""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol
from urllib.parse import urlsplit

from pytest_servebench.model import Arrays
from pytest_servebench.text.redaction import hide_headers, hide_url, redact

if TYPE_CHECKING:
    from pytest_servebench.load.target import Target


_NOT_COMPARED: Final = re.compile(
    r"auth(?!ors?\b)|token(?!s|iz)|secret|passw|cookie|credential|session|signature"  # secrets
    r"|\bsig\b|\bkey\b|apikey"
    r"|\bhost\b|request-?id|correlation-?id|trace|\bb3\b|\bdate\b",  # where, and which one
    re.IGNORECASE,
)
"""Names of headers and parameters whose values may be others in each run of one workload.

Not so ``max_tokens``, which says how much work a request is.
"""


class Request(Protocol):
    """What is sent to a server, and how its transport sends it.

    Attributes:
        transport: name of what carries it; see
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
            target: where it goes.
            authorization: names and values that the server wants of every request.
            keep_alive: whether other requests may come over its connection.
        """
        ...

    def answer(self, status: int, head: bytes, body: bytes) -> Any:
        """Return the answer that its transport brought, for whoever checks it."""
        ...

    def identity(self, *, paths: bool) -> Sequence[bytes]:
        """Return what a comparison knows it by, without address, secrets and request ids.

        ``paths``: whether the path counts.
        """
        ...


@dataclass(frozen=True)
class HttpRequest:
    """One HTTP request, without the address it goes to.

    Attributes:
        method: ``"POST"``, ``"GET"``, …
        path: path on the server, beginning with ``/``; a path of the server's URL comes before it,
            and empty it is just that.
        headers: names and values beyond ``Host`` and ``Content-Length``; left out of the
            representation, as they may hold a key.
        body: the bytes to send.
    """

    transport: ClassVar[str] = "http/1.1"

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        """Learn of the keys in headers and path, so that no text shows them."""
        # Whatever it is, it is refused in words of our own when it is to be sent.
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
        """See :class:`Request`; a header of its own comes before one of ``authorization``."""
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
        """Return the answer of status line and headers, and body."""
        return HttpAnswer(status, body, Headers.of_head(head))

    def identity(self, *, paths: bool) -> Sequence[bytes]:
        """See :class:`Request`."""
        head = [self.method, _without_secrets(self.path) if paths else ""]
        head += [f"{name.lower()}: {_value(name, value)}" for name, value in self.headers]
        return [*(text.encode("utf-8", "surrogatepass") for text in head), self.body]


def _value(name: str, value: str) -> str:
    return "" if _NOT_COMPARED.search(name.replace("_", "-")) else value


def _without_secrets(path: str) -> str:
    """Return path and query without the values of secret parameters."""
    parts = urlsplit(path)
    if not parts.query:
        return path
    pairs = (pair.partition("=") for pair in parts.query.split("&"))
    return parts.path + "?" + "&".join(f"{name}={_value(name, value)}" for name, _, value in pairs)


class Headers(Mapping[str, str]):
    """The headers of an answer, by name; the case of a name does not matter.

    The values of a name that occurs several times are joined by ``", "``; ``pairs`` has them
    one by one, as they came.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Hold names and values."""
        self.pairs = tuple(pairs)
        self._found: dict[str, tuple[str, str]] = {}
        for name, value in self.pairs:
            first, before = self._found.get(name.lower(), (name, None))
            self._found[name.lower()] = (first, value if before is None else f"{before}, {value}")

    @classmethod
    def of_head(cls, head: bytes) -> Headers:
        """Read status line and headers; a line that is continued becomes one."""
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
        headers: of the answer, by their names in any case: ``answer.headers["content-type"]``.
    """

    status: int
    body: bytes
    headers: Headers = field(default_factory=lambda: Headers(()), repr=False)


class PredictionProtocol(Protocol):
    """The language in which one server's predictions are asked for."""

    @property
    def name(self) -> str:
        """Return the protocol's name, as reports show it."""
        ...

    def request(self, inputs: Arrays) -> HttpRequest:
        """Return the request for a prediction of one sample input.

        Args:
            inputs: of shape ``input_shape``; of a model whose inputs have names, each by its name.
        """
        ...

    def read(self, body: bytes) -> Arrays:
        """Return the prediction for one sample input from a status-200 body.

        It is of shape ``output_shape``; or each output by its name, where the answer has names.

        Raises:
            BadResponseError: the body is not a prediction.
        """
        ...
