"""The formats of streamed answers that a request can name."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from types import MappingProxyType
from typing import Final, Literal, get_args

from pytest_servebench.errors import OptionError, ServebenchError, described
from pytest_servebench.streaming import json_lines, openai, parts, sse
from pytest_servebench.streaming.events import Splitter, StreamReader

Tokenizer = Callable[[str], int]
"""Returns the number of tokens of a text."""

Split = Literal["sse", "json-lines", "parts"]

MOST_PARTS: Final = 100_000
"""Parts of one answer that are kept: more than any model sends, and 1.6 MB."""

_MOST_TOKENS: Final = 2**31 - 1
_SPLITTERS: Final[Mapping[Split, Splitter]] = MappingProxyType(
    {"sse": sse.split, "json-lines": json_lines.split, "parts": parts.split}
)


@dataclass(frozen=True)
class StreamFormat:
    """How a streamed answer is split into events, and how these are read.

    Attributes:
        name: for reports.
        split: how it is cut: ``"sse"`` (server-sent events), ``"json-lines"``, or ``"parts"`` (what
            each read brought).
        read: returns the reading of one answer's events. It may get those of an answer that was cut
            off, and reports that as a fault.
    """

    name: str
    split: Split
    read: StreamReader

    @property
    def splitter(self) -> Splitter:
        """Return the function that splits a body into events."""
        return _SPLITTERS[self.split]


@dataclass(frozen=True)
class Way:
    """How the answers to a request are read.

    Attributes:
        format: of the stream.
        tokenizer: counts the tokens of the output if the server does not.
    """

    format: StreamFormat
    tokenizer: Tokenizer | None = None

    @classmethod
    def of(cls, stream: Stream, tokenizer: Tokenizer | None, where: str) -> Way:
        """Return the way that a request names; see :func:`stream_format`."""
        return cls(stream_format(stream, where), tokenizer)


FORMATS: Final[Mapping[str, StreamFormat]] = MappingProxyType({
    one.name: one
    for one in (
        StreamFormat("openai", "sse", openai.read),
        StreamFormat("sse", "sse", sse.read),
        StreamFormat("json-lines", "json-lines", json_lines.read),
        StreamFormat("parts", "parts", parts.read),
    )
})  # fmt: skip

Stream = str | StreamFormat | StreamReader
"""A request's format: a name in :data:`FORMATS`, a custom one, or a reader of server-sent
events."""


def stream_format(given: Stream, where: str) -> StreamFormat:
    """Return the format that a request names.

    Args:
        given: its ``stream``.
        where: how messages name the request.

    Raises:
        OptionError: there is no such format.
    """
    if isinstance(given, StreamFormat):
        if given.split in get_args(Split) and callable(given.read):
            return given
        raise OptionError(
            f"{where}: stream={reprlib.repr(given)}: split must be one of "
            f"{', '.join(get_args(Split))}, and read a function."
        )
    if isinstance(given, str):
        if given in FORMATS:
            return FORMATS[given]
    elif callable(given):
        return StreamFormat(getattr(given, "__name__", type(given).__name__), "sse", given)
    raise OptionError(
        f"{where}: stream={reprlib.repr(given)}: give one of {', '.join(FORMATS)}, or a function "
        "that reads the events (pytest_servebench.StreamFormat says how they are split)."
    )


def check_way(stream: Stream | None, tokenizer: Tokenizer | None, where: str) -> None:
    """Check what a request says about its streamed answers, if anything.

    Raises:
        OptionError: there is no such format, or the tokenizer does not count.
    """
    if stream is not None:
        stream_format(stream, where)
    elif tokenizer is not None:
        raise OptionError(
            f"{where}: tokenizer= counts the output of a streamed answer: give stream= too."
        )
    if tokenizer is not None:
        _check_tokenizer(tokenizer, where)


def _check_tokenizer(tokenizer: Tokenizer, where: str) -> None:
    if not callable(tokenizer):
        raise OptionError(
            f"{where}: tokenizer={reprlib.repr(tokenizer)}: give a function of a text that returns "
            "its number of tokens."
        )
    token_count(tokenizer, "Hello", f"{where}: tokenizer=", OptionError)


def is_count(number: object) -> bool:
    """Return whether something is a number of tokens: whole, of Python or NumPy, 32 bits."""
    if isinstance(number, bool) or not isinstance(number, Integral):
        return False
    return 0 <= int(number) <= _MOST_TOKENS


def token_count(tokenizer: Tokenizer, text: str, where: str, kind: type[ServebenchError]) -> int:
    """Return the number of tokens of a text, by a user's tokenizer.

    Args:
        tokenizer: that counts.
        text: what is counted.
        where: how messages name the tokenizer.
        kind: of the error.

    Raises:
        ServebenchError: of that kind: the tokenizer raised, or returned no number of tokens.
    """
    try:
        number = tokenizer(text)
    except Exception as error:
        raise kind(f"{where} raised {described(error)} for {reprlib.repr(text)}") from error
    if not is_count(number):
        raise kind(
            f"{where} returned {reprlib.repr(number)} for {reprlib.repr(text)}, not a number of "
            "tokens (0 to 2**31 - 1); for a tokenizer that returns tokens: "
            "lambda text: len(tokenize(text))"
        )
    return int(number)
