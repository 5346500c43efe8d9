"""Requests, answers, and the interface of a prediction protocol."""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol
from urllib.parse import urlsplit

from pytest_servebench.errors import OptionError
from pytest_servebench.streaming.formats import Stream, Tokenizer, Way, check_way
from pytest_servebench.text.excerpt import excerpt
from pytest_servebench.text.redaction import hide_headers, hide_url, redact
from pytest_servebench.values.arrays import Arrays

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
        transport: name of its transport: ``"http/1.1"``, ``"http/2"`` or ``"grpc"``.
        scheme: of the addresses that it can be sent to, with TLS or without: ``"http"`` or
            ``"grpc"``.
    """

    transport: ClassVar[str]
    scheme: ClassVar[str]

    @property
    def asked(self) -> str:
        """Return what is asked for, for messages: ``"POST /predict"``."""
        ...

    @property
    def path(self) -> str:
        """Return its path on the server."""
        ...

    @property
    def size(self) -> int:
        """Return the number of bytes that it carries, without its head."""
        ...

    def check_sendable(self) -> None:
        """Check what a user gave.

        Raises:
            OptionError: it cannot be sent; says what to give instead.
        """
        ...

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


def scheme_of(protocol: PredictionProtocol) -> str:
    """Return the scheme of the addresses that a protocol is for; most are for HTTP."""
    return str(getattr(protocol, "scheme", "http"))


def check_address(request: Request, target: Target) -> None:
    """Check that a request can be sent to an address.

    Raises:
        OptionError: it is not; says which URL or request to give.
    """
    if request.scheme == target.scheme:
        return
    if request.scheme == "grpc":
        remedy = "gRPC needs the URL of a gRPC port: grpc://HOST:PORT, or grpcs:// with TLS"
    else:
        remedy = (
            "grpc:// is for GrpcRequest and the protocols over gRPC; for HTTP, give "
            "http://HOST:PORT, or https:// with TLS"
        )
    raise OptionError(f"{request!r} cannot be sent to {target.url}: {remedy}.")


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
        stream: the format of the answer if the server streams it: ``"openai"``, ``"sse"``,
            ``"json-lines"``, ``"parts"``, a function that gets each answer's server-sent events
            (:class:`~pytest_servebench.StreamEvent`) and returns a
            :class:`~pytest_servebench.StreamReading`, or a
            :class:`~pytest_servebench.StreamFormat`. ``None``: it is not streamed.
        tokenizer: returns the number of tokens of a streamed answer's text, for servers that do not
            report it; without one, events with output are counted.
    """

    transport: ClassVar[str] = "http/1.1"
    scheme: ClassVar[str] = "http"
    reserved: ClassVar[frozenset[str]] = frozenset(
        {"content-length", "transfer-encoding", "connection"}
    )

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    stream: Stream | None = field(default=None, repr=False)
    tokenizer: Tokenizer | None = field(default=None, repr=False)

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
        name = type(self).__name__
        return f"{name}(method={self.method!r}, path={redact(repr(self.path))})"

    @property
    def asked(self) -> str:
        """Return method and path."""
        return f"{self.method} {self.path}"

    @property
    def size(self) -> int:
        """Return the length of the body in bytes."""
        return len(self.body)

    def check_sendable(self) -> None:
        """See :class:`Request`."""
        if not isinstance(self.body, bytes):
            raise OptionError(
                f"{self!r}: the body is of type {type(self.body).__name__}; give bytes, such as "
                "text.encode()."
            )
        if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in self.headers):
            raise OptionError(
                f"{self!r}: headers are pairs, ((name, value), ...); for a dict: tuple(d.items())."
            )
        if self.method.upper() in ("HEAD", "CONNECT"):
            raise OptionError(
                f"{self!r}: answers to {self.method} have no body and look like a late one; use "
                "GET or POST."
            )
        texts = (self.method, self.path, *(part for pair in self.headers for part in pair))
        try:
            broken = any(set(text) & set("\r\n\0") for text in texts)
            "".join(texts).encode("latin-1")
        except (TypeError, UnicodeEncodeError):
            broken = True
        if broken or self.path[:1] not in ("", "/") or set(self.method + self.path) & {" "}:
            raise OptionError(
                f"{self!r} cannot be sent: the path must begin with '/' and have no spaces, and "
                "neither it nor the headers may have line breaks or characters outside Latin-1; "
                "quote them."
            )
        taken = sorted(self.reserved & {name.lower() for name, _ in self.headers})
        if taken:
            raise OptionError(
                f"{self!r}: the load generator sets the header {taken[0]}: leave it out."
            )
        check_way(self.stream, self.tokenizer, repr(self))

    @property
    def way(self) -> Way | None:
        """Return how its streamed answers are read; ``None`` if they are not streamed."""
        return None if self.stream is None else Way.of(self.stream, self.tokenizer, repr(self))

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
        head += [f"{name.lower()}: {compared(name, value)}" for name, value in self.headers]
        if (way := self.way) is not None:
            head.append(f"stream {way.format.name}")
        return [*(text.encode("utf-8", "surrogatepass") for text in head), self.body]


def compared(name: str, value: str) -> str:
    """Return the value of a header as a comparison sees it: empty if it may differ between runs."""
    return "" if _NOT_COMPARED.search(name.replace("_", "-")) else value


def _without_secrets(path: str) -> str:
    parts = urlsplit(path)
    if not parts.query:
        return path
    pairs = (pair.partition("=") for pair in parts.query.split("&"))
    return (
        parts.path + "?" + "&".join(f"{name}={compared(name, value)}" for name, _, value in pairs)
    )


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

    @classmethod
    def of_fields(cls, fields: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Return fields of HTTP/2, without those that are not headers, such as ``:status``."""
        return cls(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in fields
            if not name.startswith(b":")
        )

    def __getitem__(self, name: str) -> str:
        return self._found[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._found.values())

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"Headers({self.pairs!r})"


class Answer(Protocol):
    """What a server answered, whatever the transport.

    Attributes:
        OK: the status of a prediction.
    """

    OK: ClassVar[int]

    @property
    def status(self) -> int:
        """Return the transport's status."""
        ...

    @property
    def body(self) -> bytes:
        """Return the content."""
        ...

    @property
    def described(self) -> str:
        """Return status and beginning, for messages."""
        ...


@dataclass(frozen=True)
class HttpAnswer:
    """The answer to one request.

    Attributes:
        status: HTTP status.
        body: the whole body.
        headers: of the answer, by case-insensitive name: ``answer.headers["content-type"]``.
    """

    OK: ClassVar[int] = 200

    status: int
    body: bytes
    headers: Headers = field(default_factory=lambda: Headers(()), repr=False)

    @property
    def described(self) -> str:
        """Return its status and the beginning of its body, for an error message."""
        return f"status {self.status}: {excerpt(self.body)!r}"


class PredictionProtocol(Protocol):
    """How to ask one kind of server for predictions.

    One whose requests are GrpcRequests has an attribute ``scheme``, which is ``"grpc"``.
    """

    @property
    def name(self) -> str:
        """Return the protocol's name, as shown in reports."""
        ...

    def request(self, inputs: Arrays) -> Request:
        """Return the request for a prediction of one sample input: an HttpRequest, for example.

        Args:
            inputs: of shape ``input_shape``; for a model with named inputs, each by its name.
        """
        ...

    def read(self, answer: Any) -> Arrays:
        """Return the prediction for one sample input from a successful answer.

        The answer is what the request's ``answer`` returns, such as an HttpAnswer.

        It is of shape ``output_shape``; or each output by its name, if the answer has names.

        Raises:
            BadResponseError: the answer is not a prediction.
        """
        ...
