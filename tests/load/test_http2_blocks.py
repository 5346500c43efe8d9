"""What an HTTP/2 request is made of before the run, and an answer's head after it."""

import struct

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load.transports.http2.header_blocks import decode, encode, list_size
from pytest_servebench.load.transports.http2.prepared import (
    Fields,
    grpc_message,
    message_prefix,
    parts,
    prepared,
)

NAMES = st.one_of(
    st.sampled_from([b":method", b":status", b"accept", b"authorization", b"www-authenticate"]),
    st.from_regex(rb"[a-z][a-z0-9-]{0,200}", fullmatch=True),
)
FIELDS = st.lists(
    st.tuples(NAMES, st.one_of(st.binary(max_size=300), st.just(b"POST"))), max_size=9
)


@given(FIELDS, st.binary(max_size=300))
def test_a_request_is_read_by_others_as_it_was_made(
    fields: list[tuple[bytes, bytes]], body: bytes
) -> None:
    block, rest = parts(prepared(fields, body))
    assert rest == body
    decoder = Decoder()
    decoder.header_table_size = 0
    theirs = decoder.decode(block, raw=True)
    assert [tuple(pair) for pair in theirs] == fields == decode(block)
    assert not decoder.header_table.dynamic_entries


@given(FIELDS, FIELDS)
def test_a_head_tells_trailers_from_headers(
    initial: list[tuple[bytes, bytes]], trailers: list[tuple[bytes, bytes]]
) -> None:
    fields = Fields(tuple(initial), tuple(trailers))
    assert Fields.of_head(fields.head()) == fields
    assert Fields.of_head(b"") == Fields(())


@given(FIELDS, st.booleans())
def test_blocks_of_other_encoders_are_read(
    fields: list[tuple[bytes, bytes]], huffman: bool
) -> None:
    encoder = Encoder()
    encoder.header_table_size = 0
    assert decode(encoder.encode(fields, huffman=huffman)) == fields


def test_text_is_latin_1_in_lower_case_and_the_static_table_is_used() -> None:
    assert encode([(":method", "POST"), (":scheme", "http"), (":path", "/")]) == b"\x83\x86\x84"
    assert encode([("X-Né", "é")]) == b"\x00\x04x-n\xe9\x01\xe9"


@pytest.mark.parametrize("name", ["authorization", "Cookie", "x-api-key", "session-id"])
def test_secrets_are_never_indexed(name: str) -> None:
    assert encode([(name, "secret")])[0] & 0xF0 == 0x10
    assert encode([("x-other", "secret")])[0] & 0xF0 == 0


@pytest.mark.parametrize(
    "block",
    [b"\xbe", b"\xff", b"\x00\x05ab", b"\x3f\xe1\x1f", b"\x80", b"\x00", b"\x7f\x00\x01a",
     b"\x00\x82\xff\xff\x01a"],
    ids=["dynamic", "cut number", "cut name", "larger table", "index 0", "no name",
         "dynamic name", "Huffman"],
)  # fmt: skip
def test_what_is_no_block_without_a_table_is_refused(block: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever hpack says
        decode(block)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_block_or_refused(block: bytes) -> None:
    try:
        fields = decode(block)
    except ValueError:
        return
    assert decode(encode(fields)) == [(name.lower(), value) for name, value in fields]


def test_a_list_beyond_its_limit_is_refused() -> None:
    block = encode([(b"a", b"b" * 67)])
    assert list_size(decode(block, 100)) == 100
    with pytest.raises(ValueError, match="99"):
        decode(block, 99)


def test_a_message_has_its_prefix() -> None:
    assert grpc_message(b"abc") == b"\0\0\0\0\x03abc"
    assert message_prefix(grpc_message(b"abc", compressed=True)) == (1, 3)
    with pytest.raises(struct.error):
        message_prefix(b"\0\0\0\0")
