"""Header blocks without state (RFC 7541): no dynamic table, in either direction.

We ask the server for a table of size 0, and use none ourselves. So the same fields are always the
same bytes: those of a request are made before the run, and an answer's meaning can be looked up.
"""

from collections.abc import Iterable
from functools import cache
from typing import Final, cast

from hpack import Decoder, HPACKError

from pytest_servebench.text.redaction import names_secret

Field = tuple[bytes, bytes]

_INDEXED: Final = 0x80  # RFC 7541, 6.1: a number of 7 bits
_NEVER_INDEXED: Final = 0x10  # 6.2.3; of 4 bits, as that of a literal without indexing (6.2.2)
_OVERHEAD: Final = 32  # bytes for each field, as RFC 9113, 6.5.2 counts the size of a header list


def encode(fields: Iterable[tuple[bytes | str, bytes | str]]) -> bytes:
    """Return a block of fields, in their order; names in lower case, text as Latin-1.

    Fields that hold secrets, by their names, are literals that no intermediary may index.
    """
    whole, names = _static_table()
    block = bytearray()
    for given, content in fields:
        name, value = _raw(given).lower(), _raw(content)
        if index := whole.get((name, value)):
            block += _integer(index, 7, _INDEXED)
            continue
        form = _NEVER_INDEXED if names_secret(name.decode("latin-1")) else 0
        index = names.get(name, 0)
        block += _integer(index, 4, form)
        if not index:
            block += _string(name)
        block += _string(value)
    return bytes(block)


def decode(block: bytes, most: int = 2**31) -> list[Field]:
    """Return the fields of a block.

    Args:
        block: without use of a dynamic table.
        most: bytes of names and values, and 32 for each field (RFC 9113, 6.5.2).

    Raises:
        ValueError: it is not a block, it refers to a dynamic table, or it is too large.
    """
    decoder = Decoder(most)
    decoder.header_table_size = decoder.max_allowed_table_size = 0
    try:
        return [
            (bytes(name), bytes(value))
            for name, value in cast(Iterable[Field], decoder.decode(block, raw=True))
        ]
    # With a block that ends early, some releases raise an IndexError.
    except (HPACKError, IndexError) as error:
        raise ValueError(str(error)) from None


def list_size(fields: Iterable[Field]) -> int:
    """Return the size of a header list, as RFC 9113, 6.5.2 counts it."""
    return sum(len(name) + len(value) + _OVERHEAD for name, value in fields)


@cache
def _static_table() -> tuple[dict[Field, int], dict[bytes, int]]:
    """Return the indices of whole fields, and of names, in the static table."""
    whole: dict[Field, int] = {}
    names: dict[bytes, int] = {}
    table = Decoder().header_table
    for index in range(1, len(table.STATIC_TABLE) + 1):
        name, value = table.get_by_index(index)
        names.setdefault(name, index)
        whole.setdefault((name, value), index)
    return whole, names


def _raw(text: bytes | str) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else bytes(text)


def _integer(value: int, bits: int, form: int = 0) -> bytes:
    """Return a number of so many bits in its first byte (RFC 7541, 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((form | value,))
    out, value = bytearray((form | most,)), value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _string(value: bytes) -> bytes:
    """Return a string literal; without Huffman's code, which costs the server time."""
    return _integer(len(value), 7) + value
