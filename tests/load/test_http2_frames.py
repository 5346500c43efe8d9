"""Every frame a server may send, and may not, as RFC 9113 has it for a client."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load.store import Outcome
from pytest_servebench.load.transports.base import Loss, Terms
from pytest_servebench.load.transports.http2 import frames as f
from pytest_servebench.load.transports.http2.frames import ErrorCode
from tests.load.http2_wire import (
    ALL,
    INITIAL,
    LAST,
    MESSAGE,
    TRAILERS,
    Talk,
    answer,
    frame,
    frames_of,
    goaway,
    headers,
    number,
    settings,
)

OK = (":status", "200")
PING = frame(f.PING, 0, 0, b"12345678")
HEAD = frame(f.HEADERS, ALL, 1, INITIAL)
BODY = frame(f.DATA, 0, 1, MESSAGE)
END = frame(f.HEADERS, LAST, 1, TRAILERS)
PADDED = f.PADDED

ALLOWED = {
    "plain": HEAD + BODY + END,
    "padded body": HEAD + frame(f.DATA, PADDED, 1, b"\x03" + MESSAGE + bytes(3)) + END,
    "padding alone": HEAD + frame(f.DATA, PADDED, 1, b"\x03" + bytes(3)) + BODY + END,
    "padded headers": frame(f.HEADERS, ALL | PADDED, 1, b"\x01" + INITIAL + b"\0") + BODY + END,
    "priority in headers": frame(f.HEADERS, ALL | f.PRIORITIZED, 1, bytes(5) + INITIAL)
    + BODY + END,
    "both in headers": frame(
        f.HEADERS, ALL | f.PRIORITIZED | PADDED, 1, b"\x02" + bytes(5) + INITIAL + bytes(2)
    ) + BODY + END,
    "priority": frame(f.PRIORITY, 0, 1, bytes(5)) + frame(f.PRIORITY, 0, 99, bytes(5))
    + HEAD + BODY + END,
    "unknown frames": frame(99, 255, 0, b"abc") + HEAD + frame(200, 1, 1, b"") + BODY + END,
    "unknown settings": settings((77, 5), (f.MAX_HEADER_LIST_SIZE, 9)) + HEAD + BODY + END,
    "ping": PING + HEAD + PING + BODY + PING + END,
    "ping's echo": frame(f.PING, f.ACK, 0, bytes(8)) + HEAD + BODY + END,
    "settings": HEAD + settings((f.INITIAL_WINDOW_SIZE, 5)) + BODY + settings() + END,
    "acknowledged settings": frame(f.SETTINGS, f.ACK, 0) + HEAD + BODY + END,
    "window updates": HEAD + number(f.WINDOW_UPDATE, 0, 9) + BODY
    + number(f.WINDOW_UPDATE, 1, f.LARGEST_NUMBER - 65_535) + END + number(f.WINDOW_UPDATE, 1, 1),
    "interim answers": headers(1, (":status", "103"), ("link", "<a>"))
    + headers(1, (":status", "100")) + HEAD + BODY + END,
    "continued": frame(f.HEADERS, 0, 1, INITIAL[:3]) + frame(f.CONTINUATION, 0, 1, INITIAL[3:5])
    + frame(f.CONTINUATION, f.END_HEADERS, 1, INITIAL[5:]) + BODY
    + frame(f.HEADERS, f.END_STREAM, 1, b"") + frame(f.CONTINUATION, ALL, 1, TRAILERS),
    "empty pieces": HEAD + frame(f.DATA, 0, 1) + BODY[:3] + BODY[3:] + frame(f.DATA, 0, 1) + END,
    "body in pieces": HEAD + frame(f.DATA, 0, 1, MESSAGE[:2]) + frame(f.DATA, 0, 1, MESSAGE[2:])
    + END,
    "reserved bit": (HEAD + BODY + END).replace(b"\0\0\0\x01", b"\x80\0\0\x01"),
    "reset after the end": HEAD + BODY + END + number(f.RST_STREAM, 1, 0),
    "length": headers(1, OK, ("content-length", str(len(MESSAGE)))) + BODY + END,
    "table of size 0": frame(f.HEADERS, ALL, 1, b"\x20" + INITIAL) + BODY + END,
    "GOAWAY meanwhile": HEAD + goaway(f.LARGEST_NUMBER) + BODY + goaway(1) + END,
}  # fmt: skip


@pytest.mark.parametrize("data", ALLOWED.values(), ids=ALLOWED)
@given(cuts=st.lists(st.integers(1, 200), max_size=6))
def test_what_is_allowed_in_any_pieces(data: bytes, cuts: list[int]) -> None:
    talk = Talk()
    talk.send()
    edges = [0, *sorted({cut % len(data) for cut in cuts} - {0}), len(data)]
    talk.feed(*(data[a:b] for a, b in itertools.pairwise(edges)))
    assert talk.callers[0].ok
    assert talk.callers[0].end.body == MESSAGE
    pings = [frame for frame in talk.written() if frame[0] == f.PING]
    assert pings == [(f.PING, f.ACK, 0, b"12345678")] * data.count(PING)


P, Z, W = ErrorCode.PROTOCOL_ERROR, ErrorCode.FRAME_SIZE_ERROR, ErrorCode.FLOW_CONTROL_ERROR
CLOSED, CALM = ErrorCode.STREAM_CLOSED, ErrorCode.ENHANCE_YOUR_CALM
UNREADABLE = ErrorCode.COMPRESSION_ERROR

CONNECTION_FAULTS = {
    "frame above 16384 bytes": (frame(f.DATA, 0, 1, bytes(16_385)), Z),
    "body on stream 0": (frame(f.DATA, 0, 0, b"x"), P),
    "headers on stream 0": (frame(f.HEADERS, ALL, 0, INITIAL), P),
    "headers on the server's stream": (frame(f.HEADERS, ALL, 2, INITIAL), P),
    "headers on an idle stream": (frame(f.HEADERS, ALL, 3, INITIAL), P),
    "body on an idle stream": (frame(f.DATA, 0, 3, b"x"), P),
    "reset of an idle stream": (number(f.RST_STREAM, 3, 8), P),
    "window of an idle stream": (number(f.WINDOW_UPDATE, 3, 8), P),
    "reset of stream 0": (number(f.RST_STREAM, 0, 8), P),
    "short reset": (frame(f.RST_STREAM, 0, 1, bytes(3)), Z),
    "lone continuation": (frame(f.CONTINUATION, ALL, 1, b""), P),
    "headers cut by body": (frame(f.HEADERS, 0, 1, INITIAL) + BODY, P),
    "headers cut by ping": (frame(f.HEADERS, 0, 1, INITIAL) + PING, P),
    "headers cut by unknown": (frame(f.HEADERS, 0, 1, INITIAL) + frame(99, 0, 0), P),
    "continuation of another": (
        frame(f.HEADERS, 0, 1, INITIAL) + frame(f.CONTINUATION, ALL, 3, b""), P),
    "push": (frame(f.PUSH_PROMISE, ALL, 1, b"\0\0\0\x02" + INITIAL), P),
    "ping on a stream": (frame(f.PING, 0, 1, bytes(8)), P),
    "short ping": (frame(f.PING, 0, 0, bytes(7)), Z),
    "settings on a stream": (frame(f.SETTINGS, 0, 1), P),
    "settings cut": (frame(f.SETTINGS, 0, 0, bytes(5)), Z),
    "acknowledged with content": (frame(f.SETTINGS, f.ACK, 0, bytes(6)), Z),
    "window setting": (settings((f.INITIAL_WINDOW_SIZE, 2**31)), W),
    "window setting that overflows": (
        number(f.WINDOW_UPDATE, 1, 100_000)
        + settings((f.INITIAL_WINDOW_SIZE, f.LARGEST_NUMBER)), W),
    "too small frame setting": (settings((f.MAX_FRAME_SIZE, 16_383)), P),
    "too large frame setting": (settings((f.MAX_FRAME_SIZE, 2**24)), P),
    "push setting": (settings((f.ENABLE_PUSH, 1)), P),
    "window update of 0": (number(f.WINDOW_UPDATE, 0, 0), P),
    "window update that overflows": (number(f.WINDOW_UPDATE, 0, f.LARGEST_NUMBER), W),
    "short window update": (frame(f.WINDOW_UPDATE, 0, 0, bytes(3)), Z),
    "priority on stream 0": (frame(f.PRIORITY, 0, 0, bytes(5)), P),
    "short priority": (frame(f.PRIORITY, 0, 1, bytes(4)), Z),
    "goaway on a stream": (frame(f.GOAWAY, 0, 1, bytes(8)), P),
    "short goaway": (frame(f.GOAWAY, 0, 0, bytes(7)), Z),
    "goaway taken back": (goaway(3) + goaway(5), P),
    "more padding than body": (HEAD + frame(f.DATA, PADDED, 1, b"\x02x"), P),
    "padding without length": (HEAD + frame(f.DATA, PADDED, 1, b""), P),
    "more padding than headers": (frame(f.HEADERS, ALL | PADDED, 1, b"\x09\x88"), P),
    "priority cut": (frame(f.HEADERS, ALL | f.PRIORITIZED, 1, bytes(4)), P),
    "headers that cannot be read": (frame(f.HEADERS, ALL, 1, b"\xbe"), UNREADABLE),
    "a larger table": (frame(f.HEADERS, ALL, 1, b"\x3f\xe1\x1f"), UNREADABLE),
    "flood of pings": (PING * 10_001, CALM),
    "flood of settings": (settings() * 10_001, CALM),
    "flood of unknown frames": (frame(99, 0, 0) * 10_001, CALM),
    "flood of priorities": (frame(f.PRIORITY, 0, 1, bytes(5)) * 10_001, CALM),
    "flood of window updates": (number(f.WINDOW_UPDATE, 1, 1) * 10_001, CALM),
    "flood of empty bodies": (HEAD + frame(f.DATA, 0, 1) * 10_001, CALM),
    "flood of padding": (HEAD + frame(f.DATA, PADDED, 1, b"\x01\0") * 10_001, CALM),
    "flood of continuations": (
        frame(f.HEADERS, 0, 1) + frame(f.CONTINUATION, 0, 1) * 1_001, CALM),
    "endless headers": (
        frame(f.HEADERS, 0, 1) + frame(f.CONTINUATION, 0, 1, bytes(16_384)) * 5, CALM),
}  # fmt: skip


@pytest.mark.parametrize(("data", "code"), CONNECTION_FAULTS.values(), ids=CONNECTION_FAULTS)
def test_violations_that_end_the_connection(data: bytes, code: ErrorCode) -> None:
    talk = Talk(2)
    talk.send()
    talk.written()
    talk.feed(data)
    kind, _, stream, payload = talk.written()[-1]
    assert (kind, stream, payload[4:]) == (f.GOAWAY, 0, code.to_bytes(4, "big"))
    assert talk.link.closed
    assert talk.connection in talk.dropped
    loss, reason = talk.callers[0].loss
    assert loss is Loss.BROKEN
    assert "not valid HTTP/2" in reason
    talk.lose()
    assert len(talk.callers[0].ends) == len(talk.callers[1].gone) == 1  # the idle one too


STREAM_FAULTS = {
    "body first": (BODY, P),
    "no status": (headers(1, ("a", "b")), P),
    "two statuses": (headers(1, OK, (":status", "200")), P),
    "status late": (headers(1, ("a", "b"), OK), P),
    "no number": (headers(1, (":status", "2xx")), P),
    "four digits": (headers(1, (":status", "2000")), P),
    "another pseudo-header": (headers(1, OK, (":path", "/")), P),
    "upper case": (frame(f.HEADERS, ALL, 1, b"\x88\x00\x01A\x01b"), P),
    "empty name": (frame(f.HEADERS, ALL, 1, b"\x88\x00\x00\x01b"), P),
    "connection": (headers(1, OK, ("connection", "close")), P),
    "transfer-encoding": (headers(1, OK, ("transfer-encoding", "chunked")), P),
    "line break": (headers(1, OK, ("a", "b\r\nc")), P),
    "NUL": (headers(1, OK, ("a", "\0")), P),
    "blank at the end": (headers(1, OK, ("a", "b ")), P),
    "lengths": (headers(1, OK, ("content-length", "1"), ("content-length", "2")), P),
    "switching protocols": (headers(1, (":status", "101")), P),
    "interim at the end": (headers(1, (":status", "100"), flags=LAST), P),
    "status in trailers": (HEAD + headers(1, OK, flags=LAST), P),
    "trailers in the middle": (HEAD + BODY + headers(1, ("grpc-status", "0")), P),
    "upper case in trailers": (HEAD + frame(f.HEADERS, LAST, 1, b"\x00\x01A\x01b"), P),
    "window update of 0": (number(f.WINDOW_UPDATE, 1, 0), P),
    "window update that overflows": (number(f.WINDOW_UPDATE, 1, f.LARGEST_NUMBER), W),
    "body above the limit": (HEAD + frame(f.DATA, 0, 1, bytes(1001)), ErrorCode.CANCEL),
    "headers above the limit": (headers(1, OK, ("a", "b" * 964)), ErrorCode.CANCEL),
    "many interim answers": (headers(1, (":status", "100")) * 24, ErrorCode.CANCEL),
}  # fmt: skip


@pytest.mark.parametrize(("data", "code"), STREAM_FAULTS.values(), ids=STREAM_FAULTS)
def test_violations_that_end_the_call_alone(data: bytes, code: ErrorCode) -> None:
    talk = Talk(2, Terms(max_body=1000, max_headers=1000))
    talk.send()
    talk.send(channel=1)
    talk.written()
    talk.feed(data)
    assert (f.RST_STREAM, 0, 1, code.to_bytes(4, "big")) in talk.written()
    end = talk.callers[0].end
    assert end.outcome is Outcome.BAD_RESPONSE
    assert end.keep
    if code is ErrorCode.CANCEL:
        assert "--servebench-max-" in end.reason
    # What is on its way is ignored; the connection carries on.
    talk.feed(BODY, END, answer(3))
    assert talk.callers[1].ok
    talk.callers[0].ends.clear()
    talk.send()
    talk.feed(answer(5))
    assert talk.callers[0].ok


def test_limits_are_those_of_the_terms() -> None:
    talk = Talk(1, Terms(max_body=len(MESSAGE), max_headers=1000))
    talk.send()
    talk.feed(headers(1, OK, ("a", "b" * 800)), BODY, END)
    assert talk.callers[0].ok


@pytest.mark.parametrize(
    ("data", "code"),
    [(BODY, CLOSED), (HEAD, CLOSED), (number(f.WINDOW_UPDATE, 1, 1), None), (PING, None),
     (number(f.RST_STREAM, 1, 8), None), (frame(f.PRIORITY, 0, 1, bytes(5)), None)],
    ids=["body", "headers", "window", "ping", "reset", "priority"],
)  # fmt: skip
def test_frames_after_the_end_of_a_stream(data: bytes, code: ErrorCode | None) -> None:
    talk = Talk(2)
    talk.send()
    talk.feed(answer(1))
    talk.send(channel=1)
    talk.feed(data)
    assert talk.link.closed == (code is not None)
    if code is not None:
        assert talk.written()[-1][3][4:] == code.to_bytes(4, "big")


@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize(
    "data",
    [number(f.RST_STREAM, 1, 8), frame(f.PRIORITY, 0, 1, bytes(5)), number(f.WINDOW_UPDATE, 1, 1)],
    ids=["reset", "priority", "window"],
)
def test_a_flood_on_a_stream_that_has_ended(data: bytes, cancelled: bool) -> None:
    talk = Talk(2)
    talk.send()
    talk.send(channel=1)
    if cancelled:
        talk.channels[0].close()
    else:
        talk.feed(answer(1))
    talk.feed(data * 9_000)
    assert not talk.link.closed
    talk.feed(data * 1_001)
    assert talk.written()[-1][3][4:] == CALM.to_bytes(4, "big")
    assert talk.callers[1].loss[0] is Loss.BROKEN


def test_a_wide_window_is_given_back() -> None:
    talk = Talk(terms=Terms(max_body=2**30))
    talk.send()
    talk.written()
    talk.feed(HEAD)
    piece = frame(f.DATA, PADDED, 1, b"\xff" + bytes(16_383))
    talk.feed(*[piece] * 65)
    ((kind, _, stream, payload),) = talk.written()
    assert (kind, stream) == (f.WINDOW_UPDATE, 0)
    assert int.from_bytes(payload, "big") == 65 * 16_384


@pytest.mark.parametrize(
    ("said", "words"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1, not HTTP/2: HTTP/1.1"),
     (b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP/2; it says 'SSH-2.0"),
     (frame(f.SETTINGS, f.ACK, 0), "does not speak HTTP/2"),
     (frame(f.PING, 0, 0, bytes(8)), "does not speak HTTP/2"),
     (settings((f.MAX_FRAME_SIZE, 1)), "frames of at most 1 bytes")],
    ids=["HTTP/1.1", "SSH", "acknowledgement", "ping", "bad settings"],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_what_a_server_says_first(said: bytes, words: str, size: int) -> None:
    talk = Talk(0, first=b"")
    talk.feed(*(said[place : place + size] for place in range(0, len(said), size)))
    assert words in talk.connection.failure
    assert talk.connection.settled.done()


def test_what_a_client_says_first() -> None:
    talk = Talk(0, Terms(max_headers=1000))
    assert talk.greeting.startswith(f.PREFACE)
    (kind, _, _, payload), (window, _, stream, size) = frames_of(talk.greeting)
    assert (kind, window, stream) == (f.SETTINGS, f.WINDOW_UPDATE, 0)
    assert dict(f.SETTING.iter_unpack(payload)) == {
        f.HEADER_TABLE_SIZE: 0, f.ENABLE_PUSH: 0, f.INITIAL_WINDOW_SIZE: f.LARGEST_NUMBER,
        f.MAX_HEADER_LIST_SIZE: 1000,
    }  # fmt: skip
    assert int.from_bytes(size, "big") + f.DEFAULT_WINDOW == f.LARGEST_NUMBER
    assert frames_of(talk.first) == [(f.SETTINGS, f.ACK, 0, b"")]
