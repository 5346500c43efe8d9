"""Which answers are successes: of HTTP/2, and of gRPC."""

import re
import struct
from collections.abc import Callable
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote_to_bytes

from pytest_servebench.load.store import Outcome
from pytest_servebench.load.transports.http2.grpc_status import GrpcStatus, is_known, name_of
from pytest_servebench.load.transports.http2.heads import Head
from pytest_servebench.load.transports.http2.prepared import MESSAGE_PREFIX, message_prefix
from pytest_servebench.load.transports.refusals import refusal
from pytest_servebench.text.redaction import without_keys
from pytest_servebench.text.safe import clean

Verdict = tuple[Outcome, int, str]
"""Outcome, the transport's status, and why it is a failure."""
Judge = Callable[[Head, Head | None, bytes], Verdict]
"""Judges a complete answer by its header fields, its trailers if it has any, and its body."""

# https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
_OF_HTTP: Final = MappingProxyType(
    {
        400: GrpcStatus.INTERNAL,
        401: GrpcStatus.UNAUTHENTICATED,
        403: GrpcStatus.PERMISSION_DENIED,
        404: GrpcStatus.UNIMPLEMENTED,
        **dict.fromkeys((429, 502, 503, 504), GrpcStatus.UNAVAILABLE),
    }
)
_NUMBER: Final = re.compile(rb"0|[1-9][0-9]{0,8}")
_URL: Final = re.compile(r"[a-z+]+://\S+", re.IGNORECASE)
_LONGEST_MESSAGE: Final = 200
_SUCCESS: Final = (Outcome.OK, 0, "")
_NO_STATUS: Final = "an answer without grpc-status in its trailers"
_NOT_COMPRESSED: Final = (None, b"identity")


def judge_http(head: Head, _trailers: Head | None, _body: bytes) -> Verdict:
    """Take statuses from 200 to 299 for success."""
    status = head.status
    if 200 <= status < 300:
        return Outcome.OK, status, ""
    return Outcome.ERROR_STATUS, status, refusal(status, head.get(b"location"))


def judge_grpc(head: Head, trailers: Head | None, body: bytes) -> Verdict:
    """Take ``grpc-status`` 0 with exactly one whole message for success (HTTP status 200)."""
    if (trailers or head).grpc_ok and head.status == 200:
        if trailers is not None and len(body) >= MESSAGE_PREFIX:
            flag, length = message_prefix(body)
            if length == len(body) - MESSAGE_PREFIX and (
                not flag or (flag == 1 and head.get(b"grpc-encoding") not in _NOT_COMPRESSED)
            ):
                return _SUCCESS
        if trailers is None and body:
            return Outcome.BAD_RESPONSE, 0, _NO_STATUS
        return Outcome.BAD_RESPONSE, 0, _what_is_no_message(head, body)
    return _judge_status(head, trailers or head)


def _judge_status(head: Head, last: Head) -> Verdict:
    given = last.get(b"grpc-status")
    if given is None:
        if head.status != 200:
            code: int = _OF_HTTP.get(head.status, GrpcStatus.UNKNOWN)
            return Outcome.ERROR_STATUS, code, f"{_named(code)}: HTTP status {head.status}"
        kind = (head.get(b"content-type") or b"").decode("latin-1")
        if not kind.startswith("application/grpc"):
            said = f"content-type {clean(kind)[:_LONGEST_MESSAGE]!r}" if kind else "no content-type"
            return Outcome.BAD_RESPONSE, 0, f"an answer that is not gRPC: {said}"
        return Outcome.BAD_RESPONSE, 0, _NO_STATUS
    if not _NUMBER.fullmatch(given):
        said = clean(given.decode("latin-1"))[:_LONGEST_MESSAGE]
        return Outcome.BAD_RESPONSE, 0, f"an answer with grpc-status {said!r}"
    code = int(given)
    if not code:  # with another status of HTTP
        return Outcome.BAD_RESPONSE, 0, f"grpc-status 0 with HTTP status {head.status}"
    name = _named(code)
    if not is_known(code):
        code = GrpcStatus.UNKNOWN
    outcome = Outcome.TIMEOUT if code == GrpcStatus.DEADLINE_EXCEEDED else Outcome.ERROR_STATUS
    message = _message(last.get(b"grpc-message") or b"")
    return outcome, code, f"{name}: {message}" if message else name


def _named(code: int) -> str:
    return f"{name_of(code)} ({code:d})"


def _message(value: bytes) -> str:
    """Return ``grpc-message`` without percent-encoding, control characters and keys."""
    text = unquote_to_bytes(value).decode("utf-8", "replace")
    text = clean(_URL.sub(lambda url: without_keys(url[0]), text))
    return text[:_LONGEST_MESSAGE] + "…" * (len(text) > _LONGEST_MESSAGE)


def _what_is_no_message(head: Head, body: bytes) -> str:
    """Describe a body that is not exactly one message."""
    if not body:
        return "grpc-status 0 without a message"
    try:
        flag, length = message_prefix(body)
    except struct.error:
        return "a message that is cut short"
    if flag > 1:
        return f"a message with an unknown flag ({flag})"
    have = len(body) - MESSAGE_PREFIX
    if have < length:
        return f"a message that is cut short: {have} of {length} bytes"
    if have > length:
        return "more than one message in the answer to a unary call"
    coding = head.get(b"grpc-encoding") or b"none"
    return f"a compressed message with grpc-encoding {coding.decode('latin-1')}"
