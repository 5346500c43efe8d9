"""Whatever a server sends, each call has one end, and a success is one to other readers too."""

from contextlib import suppress
from dataclasses import dataclass

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, TrailersReceived
from h2.exceptions import ProtocolError
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load.transports.base import Completion, Terms
from pytest_servebench.load.transports.http2 import frames as f
from pytest_servebench.load.transports.http2.header_blocks import encode
from tests.examples import examples
from tests.load.http2_wire import (
    ALL,
    INITIAL,
    LAST,
    MESSAGE,
    TRAILERS,
    Talk,
    frame,
    goaway,
    number,
)
from tests.load.http2_wire import settings as settings_frame

STREAMS = st.sampled_from([1, 3, 1, 3, 1, 3, 0, 2, 5, f.LARGEST_NUMBER])
BLOCKS = st.one_of(
    st.sampled_from([
        INITIAL, TRAILERS, INITIAL[:4], INITIAL[4:], b"", encode([(":status", "100")]),
        encode([(":status", "200"), ("content-length", "11")]), encode([(":status", "500")]),
        encode([("grpc-status", "1")]), INITIAL + TRAILERS, TRAILERS + INITIAL, b"\x20" + INITIAL,
        b"\x00\x01A\x01b", b"\x3f\xe1\x1f",
    ]),
    st.binary(max_size=30),
)  # fmt: skip
FLAGS = st.sampled_from([0, ALL, LAST, f.END_STREAM, f.PADDED, LAST | f.PADDED, 0x20 | ALL, 0xFF])
BODIES = st.one_of(
    st.sampled_from([MESSAGE, MESSAGE[:3], MESSAGE[3:], b"", b"\x01" + MESSAGE + b"\0"]),
    st.binary(max_size=30),
)
NUMBERS = st.sampled_from([0, 1, 7, 8, 100, f.LARGEST_NUMBER, 2**32 - 1])
SETTINGS = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 9])  # without those of other RFCs
FRAMES = st.one_of(
    st.builds(frame, st.just(f.HEADERS), FLAGS, STREAMS, BLOCKS),
    st.builds(frame, st.just(f.CONTINUATION), FLAGS, STREAMS, BLOCKS),
    st.builds(frame, st.just(f.DATA), FLAGS, STREAMS, BODIES),
    st.builds(number, st.sampled_from([f.RST_STREAM, f.WINDOW_UPDATE]), STREAMS, NUMBERS),
    st.builds(settings_frame, st.tuples(SETTINGS, NUMBERS)),
    st.builds(goaway, NUMBERS, NUMBERS, st.binary(max_size=5)),
    st.builds(frame, st.integers(0, 255), FLAGS, STREAMS, st.binary(max_size=20)),
)
RIGHT = [
    frame(f.HEADERS, ALL, 1, INITIAL), frame(f.HEADERS, ALL, 3, INITIAL),
    frame(f.DATA, 0, 3, MESSAGE), frame(f.DATA, 0, 1, MESSAGE),
    frame(f.HEADERS, LAST, 1, TRAILERS), frame(f.HEADERS, LAST, 3, TRAILERS),
]  # fmt: skip
# What is right must be frequent, or nothing else is ever reached.
NOISE = st.one_of(st.just(b""), FRAMES)
AGAIN = st.sampled_from([b"", b"", *RIGHT])
SEVERAL = st.one_of(
    st.lists(st.one_of(FRAMES, st.sampled_from(RIGHT)), max_size=12),
    st.tuples(*(NOISE.map(right.__add__) for right in RIGHT)),
    st.tuples(*(AGAIN.map(right.__add__) for right in RIGHT)),
).map(b"".join)


@dataclass
class Seen:
    """What another client has seen of an answer."""

    status: bytes = b""
    body: bytes = b""
    grpc_status: bytes = b""
    ended: bool = False


def seen_by_h2(data: bytes, stream: int) -> Seen:
    """Read one stream alone: ``h2`` ends the connection for what we take as the end of a
    call, at the first GOAWAY, and for extensions (RFC 9113, 5.5) that it knows and finds wrong."""
    client = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    client.initiate_connection()
    asked = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "h")]
    for number_ in range(1, stream + 1, 2):
        client.send_headers(number_, asked, end_stream=True)
    seen = Seen()
    data = settings_frame() + frame(f.SETTINGS, f.ACK, 0) + data
    with suppress(ProtocolError):
        while len(data) >= f.HEADER_SIZE:
            end = f.HEADER_SIZE + int.from_bytes(data[:3], "big")
            ours = int.from_bytes(data[5:9], "big") & f.LARGEST_NUMBER in (0, stream)
            if ours and data[3] <= f.CONTINUATION and data[3] != f.GOAWAY:
                for event in client.receive_data(data[:end]):
                    take(event, seen)
            data = data[end:]
    return seen


def take(event: object, seen: Seen) -> None:
    if isinstance(event, ResponseReceived | TrailersReceived):
        fields = dict(event.headers)
        seen.status = seen.status or fields.get(b":status", b"")
        seen.grpc_status = fields.get(b"grpc-status", b"")
    elif isinstance(event, DataReceived):
        seen.body += event.data or b""
    elif isinstance(event, StreamEnded):
        seen.ended = True


@examples(400)
@given(
    SEVERAL,
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=2),
    st.lists(st.integers(1, 300), max_size=5),
)
def test_each_call_has_one_end_and_a_success_is_one_to_others(
    data: bytes, changes: list[tuple[int, int]], cuts: list[int]
) -> None:
    changed = bytearray(data)
    for place, value in changes:
        if place < len(changed):
            changed[place] = value
    data = bytes(changed)
    talk = Talk(3, Terms(max_body=100, max_headers=1000))
    talk.send()
    talk.send(channel=1)
    rest = data
    for cut in cuts:
        talk.feed(rest[:cut])
        rest = rest[cut:]
    talk.feed(rest)
    talk.lose()
    for caller, stream in zip(talk.callers, (1, 3), strict=False):
        (end,) = caller.ends
        if isinstance(end, Completion) and caller.ok:
            assert seen_by_h2(data, stream) == Seen(b"200", end.body, b"0", ended=True)
        assert len(caller.gone) <= 1
    assert len(talk.callers[2].gone) == 1
