"""Calls over HTTP/2: streams, windows, ends of connections, and what an answer counts as."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load.store import Outcome
from pytest_servebench.load.transports.base import Completion, Loss, Terms
from pytest_servebench.load.transports.http2 import frames as f
from pytest_servebench.load.transports.http2.frames import ErrorCode
from pytest_servebench.load.transports.http2.header_blocks import decode
from pytest_servebench.load.transports.http2.heads import both
from pytest_servebench.load.transports.http2.prepared import Fields, grpc_message, prepared
from pytest_servebench.load.transports.http2.requests import grpc_timeout
from pytest_servebench.load.transports.http2.verdicts import judge_http
from tests.load.http2_wire import (
    ALL,
    ASKED,
    INITIAL,
    LAST,
    MESSAGE,
    Talk,
    answer,
    frame,
    goaway,
    headers,
    number,
    settings,
)

MOST_STREAMS = f.MAX_CONCURRENT_STREAMS
WINDOW = f.INITIAL_WINDOW_SIZE
GRPC = ("content-type", "application/grpc")


def request(size: int) -> bytes:
    return prepared(ASKED, bytes(range(256)) * (size // 256) + bytes(range(size % 256)))


def bodies(talk: Talk) -> list[tuple[int, int, bool]]:
    """Return stream, size and end of each DATA frame that was written."""
    return [
        (stream, len(payload), bool(flags & f.END_STREAM))
        for kind, flags, stream, payload in talk.written()
        if kind == f.DATA
    ]


# -- requests -------------------------------------------------------------------------------------


def test_a_request_is_its_header_block_and_its_body() -> None:
    talk = Talk()
    for stream in (1, 3, 5):
        talk.callers[0].ends.clear()
        talk.send()
        (kind, flags, first, block), body = talk.written()
        assert (kind, flags, first) == (f.HEADERS, f.END_HEADERS, stream)
        # The first block of a connection says that there is no dynamic table.
        assert block.startswith(b"\x20") == (stream == 1)
        assert decode(block) == [(name.encode(), value.encode()) for name, value in ASKED]
        assert body == (f.DATA, f.END_STREAM, stream, grpc_message(b"abc"))
        talk.feed(answer(stream))
        assert talk.callers[0].ok


def test_a_request_without_a_body_ends_with_its_headers() -> None:
    talk = Talk(judge=judge_http)
    for stream in (1, 3):
        talk.callers[0].ends.clear()
        talk.send(prepared([(":method", "GET"), *ASKED[1:4]]))
        ((kind, flags, _, _),) = talk.written()
        assert (kind, flags) == (f.HEADERS, LAST)
        talk.feed(headers(stream, (":status", "204"), flags=LAST))
        assert talk.callers[0].ok


@pytest.mark.parametrize("size", [0, 5])
def test_headers_above_one_frame_are_continued(size: int) -> None:
    talk = Talk()
    fields = [*ASKED, *((f"x-{place}", "v" * 4000) for place in range(10))]
    talk.send(prepared(fields, bytes(size)))
    written = [frame for frame in talk.written() if frame[0] != f.DATA]
    kinds = [kind for kind, *_ in written]
    assert kinds == [f.HEADERS, f.CONTINUATION, f.CONTINUATION]
    assert [flags & f.END_HEADERS for _, flags, *_ in written] == [0, 0, f.END_HEADERS]
    assert bool(written[0][1] & f.END_STREAM) == (not size)
    block = b"".join(payload for *_, payload in written)
    assert decode(block) == [(name.encode(), value.encode()) for name, value in fields]


@pytest.mark.parametrize("seconds", [1e-6, 0.0015, 1.0, 30.0, 99.999_999, 100.0, 12_345.0, 1e9])
def test_a_deadline_is_rounded_up_in_eight_digits(seconds: float) -> None:
    text = grpc_timeout(seconds).decode()
    unit = {"u": 1e-6, "m": 1e-3, "S": 1.0, "M": 60.0, "H": 3600.0}[text[-1]]
    assert 1 <= len(text) - 1 <= 8
    assert int(text[:-1]) * unit >= seconds * (1 - 1e-9)
    assert (int(text[:-1]) - 1) * unit < seconds


# -- windows --------------------------------------------------------------------------------------


def test_a_body_above_one_frame_and_every_window() -> None:
    talk = Talk()
    talk.send(request(100_000))
    assert bodies(talk) == [*[(1, 16_384, False)] * 3, (1, 16_383, False)]
    talk.feed(number(f.WINDOW_UPDATE, 1, 20_000))  # the connection's is still closed
    assert bodies(talk) == []
    talk.feed(number(f.WINDOW_UPDATE, 0, 10))
    assert bodies(talk) == [(1, 10, False)]
    talk.feed(number(f.WINDOW_UPDATE, 0, 10**6))
    assert bodies(talk) == [(1, 16_384, False), (1, 3_606, False)]
    talk.feed(number(f.WINDOW_UPDATE, 1, 10**6))
    assert bodies(talk) == [(1, 14_465, True)]
    talk.feed(answer(1))
    assert talk.callers[0].ok


def test_a_body_above_the_largest_frame_that_there_is() -> None:
    talk = Talk(first=settings((WINDOW, f.LARGEST_NUMBER), (f.MAX_FRAME_SIZE, f.LARGEST_FRAME)))
    talk.feed(number(f.WINDOW_UPDATE, 0, 2**30))
    talk.send(request(f.LARGEST_FRAME + 7))
    assert bodies(talk) == [(1, f.LARGEST_FRAME, False), (1, 7, True)]
    talk.feed(answer(1))
    assert talk.callers[0].ok


def test_settings_change_the_windows_of_open_streams_even_below_zero() -> None:
    talk = Talk(first=settings((WINDOW, 1000)))
    talk.send(request(3000))
    assert bodies(talk) == [(1, 1000, False)]
    talk.feed(settings((WINDOW, 200)))  # the stream's is -800 now
    talk.feed(number(f.WINDOW_UPDATE, 1, 800))
    assert bodies(talk) == []
    talk.feed(number(f.WINDOW_UPDATE, 1, 1))
    assert bodies(talk) == [(1, 1, False)]
    talk.feed(settings((WINDOW, 1200)))
    assert bodies(talk) == [(1, 1000, False)]
    talk.feed(settings((WINDOW, 0)), settings((WINDOW, 5000)))
    assert bodies(talk) == [(1, 999, True)]


@pytest.mark.parametrize("window", [0, 1, 5])
def test_a_window_of_nothing_at_first(window: int) -> None:
    talk = Talk(first=settings((WINDOW, window)))
    talk.send(request(5))
    size = [] if not window else [(1, window, window == 5)]
    assert bodies(talk) == size
    talk.feed(number(f.WINDOW_UPDATE, 1, 5))
    assert talk.callers[0].ends == []
    assert sum(count for _, count, _ in bodies(talk)) == 5 - window


def test_larger_frames_where_the_server_takes_them() -> None:
    talk = Talk(first=settings((f.MAX_FRAME_SIZE, 40_000)))
    talk.send(request(50_000))
    assert bodies(talk) == [(1, 40_000, False), (1, 10_000, True)]


def test_small_requests_do_not_overtake_one_that_waits_for_the_connection() -> None:
    talk = Talk(2)
    talk.send(request(70_000))
    talk.written()
    talk.send(channel=1)
    assert bodies(talk) == []
    talk.feed(number(f.WINDOW_UPDATE, 0, 70_000), number(f.WINDOW_UPDATE, 1, 70_000))
    assert [(stream, end) for stream, _, end in bodies(talk)][-2:] == [(3, True), (1, True)]


@given(
    st.integers(0, 200_000),
    st.integers(0, 2**17),
    st.lists(st.tuples(st.sampled_from([0, 1]), st.integers(1, 40_000)), max_size=20),
)
def test_no_window_is_ever_exceeded(
    size: int, initial: int, updates: list[tuple[int, int]]
) -> None:
    talk = Talk(first=settings((WINDOW, initial)))
    talk.send(request(size))
    own, shared = initial, f.DEFAULT_WINDOW
    sent = 0
    for stream, more in [*updates, (0, 300_000), (1, 300_000)]:
        part = sum(count for _, count, _ in bodies(talk))
        sent += part
        own, shared = own - part, shared - part
        assert min(own, shared) >= 0
        assert sent == size or not (own and shared)
        talk.feed(number(f.WINDOW_UPDATE, stream, more))
        own, shared = own + more * stream, shared + more * (not stream)
    assert sent + sum(count for _, count, _ in bodies(talk)) == size


# -- streams --------------------------------------------------------------------------------------


def test_calls_wait_for_a_stream_in_their_order() -> None:
    talk = Talk(4, first=settings((MOST_STREAMS, 1)))
    for channel in range(3):
        talk.send(channel=channel)
    assert [caller.waits for caller in talk.callers] == [[], ["held"], ["held"], []]
    talk.channels[1].close()  # given up while it waits
    talk.feed(answer(1))
    assert talk.callers[2].waits == ["held", "released"]
    assert talk.callers[1].ends == []
    talk.send(channel=3)
    assert talk.callers[3].waits == ["held"]
    talk.feed(settings((MOST_STREAMS, 2)))
    assert talk.callers[3].waits == ["held", "released"]
    talk.feed(answer(3), answer(5))
    assert talk.callers[2].ok
    assert talk.callers[3].ok


def test_a_server_may_allow_no_stream_for_a_while() -> None:
    talk = Talk(first=settings((MOST_STREAMS, 0)))
    talk.send()
    assert talk.written() == []
    talk.feed(settings((MOST_STREAMS, 1)))
    talk.feed(answer(1))
    assert talk.callers[0].ok


def test_a_cancelled_call_leaves_the_connection_to_others() -> None:
    talk = Talk(3)
    for channel in range(3):
        talk.send(channel=channel)
    talk.written()
    talk.channels[1].close()
    assert talk.written() == [(f.RST_STREAM, 0, 3, ErrorCode.CANCEL.to_bytes(4, "big"))]
    talk.feed(answer(3)[:20], answer(3)[20:], answer(1), answer(5))
    assert talk.callers[0].ok
    assert talk.callers[2].ok
    assert talk.callers[1].ends == []
    talk.channels[0].close()
    assert not talk.link.closed
    talk.channels[2].close()
    assert talk.link.closed


def test_a_cancelled_call_makes_room_for_one_that_waits() -> None:
    talk = Talk(2, first=settings((MOST_STREAMS, 1)))
    talk.send()
    talk.send(channel=1)
    talk.channels[0].close()
    assert talk.callers[1].waits == ["held", "released"]


def test_a_cancelled_upload_sends_no_more() -> None:
    talk = Talk(2, first=settings((WINDOW, 10)))
    talk.send(request(50))
    talk.channels[0].close()
    talk.written()
    talk.feed(settings((WINDOW, 100)))
    assert bodies(talk) == []


def test_a_channel_whose_upload_ended_early_sends_the_next_one_once() -> None:
    talk = Talk(2, first=settings((WINDOW, 10)))
    talk.send(request(30), channel=1)
    for stream in (3, 5, 7):
        talk.callers[0].ends.clear()
        talk.send(request(50))
        talk.feed(answer(stream))
        assert talk.callers[0].ok
    talk.callers[0].ends.clear()
    talk.send(request(50))
    talk.written()
    talk.feed(settings((WINDOW, 100)))
    assert bodies(talk) == [(1, 20, True), (9, 40, True)]


def test_a_refused_call_is_sent_again_over_the_same_connection_once() -> None:
    talk = Talk()
    talk.send()
    talk.written()
    talk.feed(number(f.RST_STREAM, 1, ErrorCode.REFUSED_STREAM))
    assert talk.callers[0].waits == ["refused", "released"]
    assert [stream for *_, stream, _ in talk.written()] == [3, 3]
    talk.feed(number(f.RST_STREAM, 3, ErrorCode.REFUSED_STREAM))
    end = talk.callers[0].end
    assert end.outcome is Outcome.CONNECT_ERROR
    assert "REFUSED_STREAM (7)" in end.reason
    assert end.keep


def test_a_call_refused_by_a_server_that_goes_away_is_sent_elsewhere() -> None:
    talk = Talk()
    talk.send()
    talk.feed(goaway(1) + number(f.RST_STREAM, 1, ErrorCode.REFUSED_STREAM))
    assert talk.callers[0].loss[0] is Loss.UNSEEN


@pytest.mark.parametrize("code", [*sorted(set(ErrorCode) - {7}), 4711])
@pytest.mark.parametrize("begun", [b"", frame(f.HEADERS, ALL, 1, INITIAL)], ids=["", "begun"])
def test_a_reset_stream_is_a_bad_response(code: int, begun: bytes) -> None:
    talk = Talk()
    talk.send()
    talk.feed(begun + number(f.RST_STREAM, 1, code))
    end = talk.callers[0].end
    assert end.outcome is Outcome.BAD_RESPONSE
    assert str(code) in end.reason
    assert getattr(code, "name", "") in end.reason
    assert end.keep
    assert bool(end.began) == bool(begun)


def test_an_early_answer_counts_and_the_rest_of_the_request_is_not_sent() -> None:
    talk = Talk(first=settings((WINDOW, 10)))
    talk.send(request(50))
    talk.written()
    talk.feed(answer(1))
    assert talk.callers[0].ok
    assert talk.written() == [(f.RST_STREAM, 0, 1, ErrorCode.CANCEL.to_bytes(4, "big"))]
    talk.feed(number(f.RST_STREAM, 1, ErrorCode.NO_ERROR), settings((WINDOW, 100)))
    assert bodies(talk) == []
    assert not talk.link.closed


def test_numbers_of_streams_run_out() -> None:
    talk = Talk(3, first=settings((MOST_STREAMS, 1)))
    talk.connection._sender.next = f.LARGEST_NUMBER - 2
    for channel in range(3):
        talk.send(channel=channel)
    talk.feed(answer(f.LARGEST_NUMBER - 2))
    assert talk.callers[1].waits == ["held", "released"]
    assert talk.callers[2].loss[0] is Loss.UNSENT
    assert talk.connection in talk.dropped
    talk.feed(answer(f.LARGEST_NUMBER))
    assert talk.callers[1].ok
    assert not talk.callers[1].end.keep
    assert talk.link.closed


@pytest.mark.parametrize("end", ["answer", "reset", "goaway"])
@pytest.mark.parametrize("spare", [0, -1])
def test_a_failure_tells_of_header_fields_above_the_servers_advice(end: str, spare: int) -> None:
    size = sum(len(name) + len(value) + 32 for name, value in ASKED)
    talk = Talk(2, first=settings((f.MAX_HEADER_LIST_SIZE, size + spare)))
    talk.send()
    assert talk.written()[0][0] == f.HEADERS  # it is advice
    if end == "answer":
        talk.feed(headers(1, (":status", "431"), flags=LAST))
    elif end == "reset":
        talk.feed(number(f.RST_STREAM, 1, ErrorCode.ENHANCE_YOUR_CALM))
    else:
        talk.feed(goaway(1, ErrorCode.ENHANCE_YOUR_CALM))
        talk.lose()
    caller = talk.callers[0]
    reason = caller.loss[1] if end == "goaway" else caller.end.reason
    said = f"{size} bytes" in reason and f"{size - 1} (MAX_HEADER_LIST_SIZE)" in reason
    assert said == bool(spare)
    assert "MAX_HEADER_LIST_SIZE" not in str(talk.callers[1].gone)  # it sent nothing


# -- ends of connections --------------------------------------------------------------------------


def test_goaway_twice_lets_calls_end_and_moves_the_others() -> None:
    talk = Talk(6, first=settings((MOST_STREAMS, 4)))
    for channel in range(5):
        talk.send(channel=channel)  # streams 1, 3, 5, 7, and one that waits
    talk.feed(goaway(f.LARGEST_NUMBER))
    assert talk.callers[4].loss[0] is Loss.UNSENT
    assert talk.callers[5].loss[0] is Loss.QUIET  # idle
    assert talk.connection in talk.dropped
    talk.feed(answer(1))
    assert talk.callers[0].ok
    assert not talk.callers[0].end.keep
    talk.feed(goaway(3))
    assert [caller.loss[0] for caller in talk.callers[2:4]] == [Loss.UNSEEN] * 2
    talk.feed(answer(5))  # too late
    assert not talk.link.closed
    talk.feed(answer(3))
    assert talk.callers[1].ok
    assert talk.link.closed
    talk.lose()
    assert [len(caller.ends) for caller in talk.callers] == [1, 1, 1, 1, 1, 0]


def test_a_channel_that_has_not_heard_of_goaway_is_told_when_it_sends() -> None:
    talk = Talk(2)
    for own, other in ((0, 1), (1, 0)):
        talk.callers[own].then = lambda other=other: (  # type: ignore[misc]
            None if talk.callers[other].gone else talk.send(channel=other)
        )
    talk.feed(goaway(0))
    assert {caller.loss[0] for caller in talk.callers} == {Loss.QUIET, Loss.UNSENT}


def test_why_a_server_goes_away_is_told() -> None:
    talk = Talk()
    talk.send()
    talk.feed(goaway(1, ErrorCode.ENHANCE_YOUR_CALM, b"too_many\x1b[31m_pings"))
    talk.lose()
    loss, reason = talk.callers[0].loss
    assert loss is Loss.QUIET
    assert "ENHANCE_YOUR_CALM (11): too_many" in reason
    assert "\x1b" not in reason


@pytest.mark.parametrize(
    ("data", "loss"),
    [(b"", Loss.QUIET), (headers(1, (":status", "100")), Loss.BROKEN),
     (frame(f.HEADERS, ALL, 1, INITIAL), Loss.BROKEN), (answer(1)[:-1], Loss.BROKEN)],
    ids=["nothing", "interim", "headers", "almost all"],
)  # fmt: skip
def test_a_lost_connection_ends_its_calls(data: bytes, loss: Loss) -> None:
    talk = Talk(3, first=settings((MOST_STREAMS, 1)))
    talk.send()
    talk.send(channel=1)
    talk.feed(data)
    talk.lose()
    assert talk.callers[0].loss[0] is loss
    assert "closed the connection" in talk.callers[0].loss[1]
    assert talk.callers[1].loss[0] is Loss.UNSEEN  # it was waiting
    assert len(talk.callers[2].gone) == 1


def test_a_channel_that_is_closed_by_anothers_loss_reports_nothing() -> None:
    talk = Talk(2)
    talk.send()
    talk.send(channel=1)
    for own, other in ((0, 1), (1, 0)):
        talk.callers[own].then = talk.channels[other].close
    talk.lose()
    assert sorted(len(caller.ends) for caller in talk.callers) == [0, 1]


def test_a_new_connection_for_each_request() -> None:
    talk = Talk(terms=Terms(keep_alive=False))
    talk.send()
    talk.feed(answer(1))
    assert talk.callers[0].ok
    assert not talk.callers[0].end.keep
    assert talk.link.closed


# -- verdicts -------------------------------------------------------------------------------------


def judged(talk: Talk, data: bytes) -> Completion:
    talk.send()
    talk.feed(data)
    return talk.callers[0].end


def ended(*fields: tuple[str, str], body: bytes = MESSAGE, first: bytes = INITIAL) -> bytes:
    return (
        frame(f.HEADERS, ALL, 1, first)
        + frame(f.DATA, 0, 1, body)
        + headers(1, *fields, flags=LAST)
    )


def alone(*fields: tuple[str, str]) -> bytes:
    return headers(1, *fields, flags=LAST)


OK = (":status", "200")
ZERO = ("grpc-status", "0")
BAD, TIMEOUT, ERROR = Outcome.BAD_RESPONSE, Outcome.TIMEOUT, Outcome.ERROR_STATUS
VERDICTS = {
    "error": (alone(OK, GRPC, ("grpc-status", "5"), ("grpc-message", "no%20such%C3%A9")),
              ERROR, 5, "NOT_FOUND (5): no suché"),
    "error after a message": (ended(("grpc-status", "13")), ERROR, 13, "INTERNAL (13)"),
    "deadline": (alone(OK, GRPC, ("grpc-status", "4")), TIMEOUT, 4, "DEADLINE_EXCEEDED (4)"),
    "unavailable": (alone(OK, GRPC, ("grpc-status", "14")), ERROR, 14, "UNAVAILABLE (14)"),
    "unknown code": (alone(OK, GRPC, ("grpc-status", "99")), ERROR, 2, "grpc-status (99)"),
    "control characters": (
        alone(OK, GRPC, ("grpc-status", "2"), ("grpc-message", "a%0Ab%1B[31m%FF")),
        ERROR, 2, "UNKNOWN (2): a b"),
    "keys": (alone(OK, GRPC, ("grpc-status", "2"), ("grpc-message", "see http://h/?token=QQwwEE1")),
             ERROR, 2, "http://h/?token="),
    "bad code": (alone(OK, GRPC, ("grpc-status", "x")), BAD, 0, "grpc-status 'x'"),
    "no number": (alone(OK, GRPC, ("grpc-status", "-1")), BAD, 0, "grpc-status '-1'"),
    "zeros": (ended(("grpc-status", "00")), BAD, 0, "grpc-status '00'"),
    "no trailers": (frame(f.HEADERS, ALL, 1, INITIAL) + frame(f.DATA, f.END_STREAM, 1, MESSAGE),
                    BAD, 0, "without grpc-status"),
    "a status before the message only": (
        headers(1, OK, GRPC, ZERO) + frame(f.DATA, f.END_STREAM, 1, MESSAGE),
        BAD, 0, "without grpc-status"),
    "no status in the trailers": (ended(("a", "b")), BAD, 0, "without grpc-status"),
    "not gRPC": (alone(OK, ("content-type", "text/html")), BAD, 0, "text/html"),
    "no type": (alone(OK), BAD, 0, "no content-type"),
    "no message": (alone(OK, GRPC, ZERO), BAD, 0, "without a message"),
    "cut prefix": (ended(ZERO, body=MESSAGE[:4]), BAD, 0, "cut short"),
    "cut message": (ended(ZERO, body=MESSAGE[:-1]), BAD, 0, "cut short: 5 of 6 bytes"),
    "two messages": (ended(ZERO, body=MESSAGE * 2), BAD, 0, "more than one message"),
    "a flag of 2": (ended(ZERO, body=b"\x02" + MESSAGE[1:]), BAD, 0, "flag (2)"),
    "compressed by nothing": (ended(ZERO, body=b"\x01" + MESSAGE[1:]), BAD, 0, "compressed"),
    "compressed": (
        ended(ZERO, body=b"\x01" + MESSAGE[1:],
              first=INITIAL + b"\x00\x0dgrpc-encoding\x04gzip"), Outcome.OK, 0, ""),
    "zero with an error of HTTP": (
        alone((":status", "500"), GRPC, ZERO), BAD, 0, "HTTP status 500"),
    "both statuses": (
        alone((":status", "503"), GRPC, ("grpc-status", "8")), ERROR, 8, "RESOURCE_EXHAUSTED (8)"),
    "length": (headers(1, OK, GRPC, ("content-length", "9")) + ended(ZERO)[len(frame(
        f.HEADERS, ALL, 1, INITIAL)):], BAD, 0, "content-length of 9"),
    **{
        f"HTTP {status}": (
            headers(1, (":status", str(status)), ("content-type", "text/html"))
            + frame(f.DATA, f.END_STREAM, 1, b"<p>"), ERROR, code, f"HTTP status {status}")
        for status, code in {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14,
                             302: 2, 418: 2, 500: 2}.items()
    },
}  # fmt: skip


@pytest.mark.parametrize(("data", "outcome", "status", "words"), VERDICTS.values(), ids=VERDICTS)
def test_what_an_answer_of_grpc_counts_as(
    data: bytes, outcome: Outcome, status: int, words: str
) -> None:
    end = judged(Talk(), data)
    assert (end.outcome, end.status) == (outcome, status)
    assert words in end.reason
    assert end.reason.isprintable()
    assert "QQwwEE1" not in end.reason
    assert end.keep


def test_the_reason_of_a_failure_is_bounded() -> None:
    many = ("grpc-message", "x" * 5000)
    assert len(judged(Talk(), alone(OK, GRPC, ("grpc-status", "3"), many)).reason) < 300


@pytest.mark.parametrize(
    ("method", "data", "outcome", "words"),
    [
        ("GET", alone((":status", "200")), Outcome.OK, ""),
        ("GET", alone((":status", "299")), Outcome.OK, ""),
        ("GET", alone((":status", "300")), ERROR, "status 300"),
        ("GET", alone((":status", "404"), ("location", "/a")), ERROR, "status 404"),
        ("GET", alone((":status", "302"), ("location", "/a")), ERROR, "status 302, Location: /a"),
        ("GET", alone(OK, ("content-length", "2")), BAD, "content-length of 2"),
        ("HEAD", alone(OK, ("content-length", "2")), Outcome.OK, ""),
        ("GET", alone((":status", "304"), ("content-length", "2")), ERROR, "status 304"),
        ("GET", ended(("x", "y")), Outcome.OK, ""),
    ],
)
def test_what_an_answer_of_http_counts_as(
    method: str, data: bytes, outcome: Outcome, words: str
) -> None:
    talk = Talk(judge=judge_http)
    talk.send(prepared([(":method", method), *ASKED[1:4]]))
    talk.feed(data)
    end = talk.callers[0].end
    assert end.outcome is outcome
    assert words in end.reason
    assert end.status == int(dict(Fields.of_head(both(*end.head)).initial)[b":status"])


def test_headers_and_trailers_reach_the_checks() -> None:
    talk = Talk()
    end = judged(talk, ended(ZERO, ("x-bin", "AQ")))
    fields = Fields.of_head(both(*end.head))
    assert fields.initial == ((b":status", b"200"), (b"content-type", b"application/grpc"))
    assert fields.trailers == ((b"grpc-status", b"0"), (b"x-bin", b"AQ"))
    assert end.body == MESSAGE
