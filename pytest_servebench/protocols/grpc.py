"""Requests and answers of unary gRPC: any message to any method."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import ItemsView, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeVar, cast
from urllib.parse import unquote

from pytest_servebench.errors import BadResponseError, OptionError
from pytest_servebench.load.transports.http2.grpc_status import GrpcStatus, name_of
from pytest_servebench.load.transports.http2.prepared import (
    MESSAGE_PREFIX,
    Fields,
    grpc_message,
    message_prefix,
    prepared,
)
from pytest_servebench.protocols.base import Headers, compared
from pytest_servebench.text.excerpt import cut
from pytest_servebench.text.redaction import hide_headers, redact

if TYPE_CHECKING:
    from pytest_servebench.load.target import Target
    from pytest_servebench.protocols.json_values import Bad

__all__ = ["GrpcAnswer", "GrpcRequest", "GrpcStatus"]

Metadata = tuple[tuple[str, str | bytes], ...]

_METHOD: Final = re.compile(r"/[!-.0-~]+/[!-.0-~]+")
_NAME: Final = re.compile(r"[0-9a-z_.-]+")
_VALUE: Final = re.compile(r"(?! )[ -~]*(?<! )")
_BINARY: Final = "-bin"
_RESERVED: Final = frozenset(
    {"te", "content-type", "content-length", "host", "connection", "transfer-encoding"}
)
_LONGEST: Final = 400  # characters of a server's details
_MOST_BYTES: Final = 256 * 2**20  # of a decompressed message
_WINDOWS: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""Compression to zlib's parameter for it."""


class Serializable(Protocol):
    """A message of protobuf, or of another library with its method."""

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """Return the message's bytes."""
        ...


@dataclass(frozen=True, init=False)
class GrpcRequest:
    """One call of a unary gRPC method, without the server's address.

    Args:
        method: ``"/package.Service/Method"``.
        message: bytes, or a message of protobuf, which is serialized at once.
        metadata: names in lower case, and values. The value of a name that ends with ``-bin`` is
            bytes. Not in the ``repr``, as it may hold a key.
    """

    transport: ClassVar[str] = "grpc"
    scheme: ClassVar[str] = "grpc"

    method: str
    message: bytes = field(repr=False)
    metadata: Metadata = field(repr=False)

    def __init__(
        self, method: str, message: bytes | Serializable = b"", metadata: Metadata = ()
    ) -> None:
        """Serialize the message, and register keys in the metadata, which no text may show."""
        object.__setattr__(self, "method", method)
        object.__setattr__(self, "message", _serialized(message))
        object.__setattr__(self, "metadata", metadata)
        pairs = metadata.items() if isinstance(metadata, Mapping) else metadata
        if isinstance(pairs, (tuple, list, ItemsView)):
            hide_headers(_as_text(*pair) for pair in pairs if _is_pair(pair))

    @property
    def asked(self) -> str:
        """Return the method."""
        return self.method

    @property
    def path(self) -> str:
        """Return the method, which is the path in HTTP/2."""
        return self.method

    @property
    def size(self) -> int:
        """Return the length of the message in bytes."""
        return len(self.message)

    def check_sendable(self) -> None:
        """See :class:`~pytest_servebench.protocols.base.Request`."""
        if not isinstance(self.method, str) or not _METHOD.fullmatch(self.method):
            raise OptionError(
                f'{self!r}: the method is a path such as "/package.Service/Method"; grpcurl, or '
                "the .proto file, has its names."
            )
        if not isinstance(self.message, bytes):
            raise OptionError(
                f"{self!r}: the message is of type {type(self.message).__name__}; give bytes, or "
                "a message of protobuf (an object with SerializeToString)."
            )
        if not isinstance(self.metadata, tuple) or not all(map(_is_pair, self.metadata)):
            raise OptionError(
                f"{self!r}: metadata are pairs, ((name, value), ...); for a dict: tuple(d.items())."
            )
        for name, value in self.metadata:
            if problem := _problem(name, value):
                raise OptionError(f"{self!r}: metadata {name!r}: {problem}.")

    def prepared(
        self,
        target: Target,
        authorization: Sequence[tuple[str, str]] = (),
        *,
        keep_alive: bool = True,  # noqa: ARG002 - the transport's to heed
    ) -> bytes:
        """See :class:`~pytest_servebench.protocols.base.Request`."""
        names = {name for name, _ in self.metadata}
        fields = [
            (":method", "POST"),
            (":scheme", "http" if target.tls is None else "https"),
            (":path", self.method),
            (":authority", target.authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-accept-encoding", "identity,deflate,gzip"),
            *((name, _written(value)) for name, value in self.metadata),
            *((n.lower(), value) for n, value in authorization if n.lower() not in names),
        ]
        return prepared(fields, grpc_message(self.message))

    def answer(self, status: int, head: bytes, body: bytes) -> GrpcAnswer:
        """Return the answer of a call.

        Args:
            status: ``grpc-status``.
            head: initial metadata and trailers.
            body: the message with its prefix; empty if there is none.

        Raises:
            BadResponseError: the message is not whole, or cannot be decompressed.
        """
        fields = Fields.of_head(head)
        metadata, trailers = Headers.of_fields(fields.initial), Headers.of_fields(fields.trailers)
        details = trailers.get("grpc-message", metadata.get("grpc-message", ""))
        if status:  # a proxy's answer has neither a message nor gRPC's fields
            http = dict(fields.initial).get(b":status", b"")
            if http != b"200":
                details = details or f"HTTP status {http.decode('latin-1')}"
            message = b""
        else:
            message = unframed(body, metadata.get("grpc-encoding", "identity"))
        return GrpcAnswer(status, unquote(details, errors="replace"), message, metadata, trailers)

    def identity(self, *, paths: bool) -> Sequence[bytes]:
        """See :class:`~pytest_servebench.protocols.base.Request`."""
        head = ["gRPC", self.method if paths else ""]
        head += [f"{name}: {compared(name, _written(value))}" for name, value in self.metadata]
        return [*(text.encode("utf-8", "surrogatepass") for text in head), self.message]


@dataclass(frozen=True)
class GrpcAnswer:
    """The answer to one call.

    Attributes:
        status: gRPC's status code; 0 is success. See :class:`GrpcStatus`.
        details: the server's text about an error.
        message: the bytes of the message, decompressed; empty after an error.
        metadata: the initial metadata, by case-insensitive name; values of names that end with
            ``-bin`` are in base64, as received.
        trailers: the trailing metadata, likewise.
    """

    OK: ClassVar[int] = 0

    status: int
    details: str = ""
    message: bytes = b""
    metadata: Headers = field(default_factory=lambda: Headers(()), repr=False)
    trailers: Headers = field(default_factory=lambda: Headers(()), repr=False)

    @property
    def body(self) -> bytes:
        """Return the message, by the name that answers of HTTP have for theirs."""
        return self.message

    @property
    def described(self) -> str:
        """Return status and details, for an error message."""
        name = name_of(self.status)
        details = cut(" ".join(redact(self.details).split()), _LONGEST)
        return f"gRPC status {self.status} ({name}): {details!r}"


def unframed(body: bytes, encoding: str, most: int = _MOST_BYTES) -> bytes:
    """Return the message behind its prefix, decompressed.

    Args:
        body: one message with its prefix; empty if there is none.
        encoding: the value of ``grpc-encoding``.
        most: bytes that it may have: some kilobytes can decompress to gigabytes.

    Raises:
        BadResponseError: it is not one whole message, is longer, or cannot be decompressed.
    """
    if not body:
        return b""
    content = body[MESSAGE_PREFIX:]
    if len(body) < MESSAGE_PREFIX or message_prefix(body)[1] != len(content):
        raise BadResponseError(f"the answer's {len(body)} bytes are not one whole gRPC message")
    if not message_prefix(body)[0]:
        return content
    if encoding not in _WINDOWS:
        raise BadResponseError(f"the answer is compressed by {encoding!r}, not by gzip or deflate")
    try:
        unzip = zlib.decompressobj(_WINDOWS[encoding])
        message = unzip.decompress(content, most)
    except zlib.error as error:
        raise BadResponseError(f"the answer is not valid {encoding}: {error}") from None
    if unzip.unconsumed_tail:
        raise BadResponseError(f"the answer decompresses to more than {most:,} bytes")
    if not unzip.eof:
        raise BadResponseError(f"the answer's {encoding} is cut off")
    return message


M = TypeVar("M")


def parsed(empty: M, answer: GrpcAnswer, wrong: Bad) -> M:
    """Return an answer's message, read into an empty message of protobuf.

    Raises:
        BadResponseError: it is not such a message.
    """
    from google.protobuf.message import DecodeError

    try:
        cast(Any, empty).ParseFromString(answer.message)
    except DecodeError as error:
        raise wrong(f"is not such a message: {error}") from None
    return empty


def _serialized(message: Any) -> Any:
    """Return the bytes of a message, the same in every process; anything else as it is."""
    serialize = getattr(message, "SerializeToString", None)
    if serialize is None or isinstance(message, type):
        return bytes(message) if isinstance(message, (bytearray, memoryview)) else message
    try:
        return serialize(deterministic=True)  # else the entries of a map have no fixed order
    except TypeError:  # another library than protobuf
        return serialize()


def _is_pair(pair: object) -> bool:
    return isinstance(pair, tuple) and len(pair) == 2


def _as_text(name: Any, value: Any) -> tuple[Any, Any]:
    """Return an entry of metadata as a header: a key may be bytes."""
    if isinstance(name, str) and isinstance(value, bytes):
        return name.removesuffix(_BINARY), value.decode("utf-8", "surrogateescape")
    return name, value


def _problem(name: object, value: object) -> str:
    """Return what is wrong with an entry of metadata, and what to give; empty: nothing."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return "a name has lower-case letters, digits, '_', '-' and '.' only"
    if name in _RESERVED or name.startswith("grpc-"):
        return "gRPC itself sets it: leave it out"
    if name.endswith(_BINARY):
        return "" if isinstance(value, bytes) else "a name that ends with -bin has bytes as value"
    if not isinstance(value, str):
        return f"its value is text; for bytes, name it {name}{_BINARY}"
    if not _VALUE.fullmatch(value):
        return (
            "its value has characters outside printable ASCII, or a space at an end; send its "
            f"bytes as {name}{_BINARY}"
        )
    return ""


def _written(value: str | bytes) -> str:
    if isinstance(value, str):
        return value
    return base64.b64encode(value).decode("ascii").rstrip("=")
