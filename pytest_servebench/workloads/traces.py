"""Recorded arrivals with the lengths of their prompts and answers, as requests in that order."""

from __future__ import annotations

import csv
import io
import json
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pytest_servebench.errors import OptionError
from pytest_servebench.load.arrivals import Trace
from pytest_servebench.load.choice import InOrder
from pytest_servebench.load.trace_file import read_times, trace_text
from pytest_servebench.streaming.formats import Tokenizer
from pytest_servebench.workloads.prompts import Prompts, check_tokens, texts
from pytest_servebench.workloads.words import Writer

# Of the public traces of Mooncake, Azure and BurstGPT, by the columns' names.
_PROMPT: Final = ("input_length", "ContextTokens", "Request tokens")
_OUTPUT: Final = ("output_length", "GeneratedTokens", "Response tokens")
_BLOCKS: Final = "hash_ids"
_BLOCK_TOKENS: Final = 512  # of each of Mooncake's hash ids
_KEPT_BLOCKS: Final = 4096

Row = tuple[int, Mapping[str, Any]]


def trace_prompts(
    path: Path | str,
    *,
    recorded: bool = False,
    first: int | None = None,
    scale: float = 1.0,
    unit: str = "",
    seed: int = 0,
    tokenizer: Tokenizer | None = None,
) -> Prompts:
    """Return prompts with the lengths and the arrival times of a trace.

    It reads the public traces of Azure (``TIMESTAMP,ContextTokens,GeneratedTokens``), Mooncake
    (``timestamp``, ``input_length``, ``output_length``, ``hash_ids``) and BurstGPT (``Timestamp``,
    ``Request tokens``, ``Response tokens``), as CSV or JSON lines, and others with such columns.
    ``max_tokens`` is the length of the answer, and 1 where that is 0. The words are random. With
    ``hash_ids``, a prompt consists of blocks of 512 tokens, one for each id, so that prompts share
    prefixes as in the trace. Every load begins with the first prompt: see
    ``docs/howto/language-models.md`` for the effect on a server's cache.

    Args:
        path: of the trace.
        recorded: whether to keep the recorded speed; else time is scaled to the case's rate.
        first: how many of its requests to take; by default, all.
        scale: of all lengths, to shorten them for a smaller model.
        unit: of its times: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``; by default, as for arrivals by
            trace.
        seed: of the words.
        tokenizer: returns the number of tokens of a text; without one, each word counts as one.

    Raises:
        OptionError: it cannot be read, or an argument is invalid.
    """
    path = Path(path)
    check_tokens(first, "trace_prompts: first")
    if not 0 < scale <= 1:
        raise OptionError(f"trace_prompts: scale={scale!r}: give a number above 0, at most 1.")
    try:
        times, rows = _read(path, unit, first, any_unit=not recorded)
        items = texts(_texts(path, rows, scale, Writer(seed, tokenizer)))
    except ValueError as error:
        raise OptionError(f"trace_prompts: {error}.") from None
    return Prompts(
        items, f"lengths of {path.name}", InOrder(), Trace(times, str(path), as_recorded=recorded)
    )


def _read(
    path: Path, unit: str, first: int | None, *, any_unit: bool
) -> tuple[tuple[float, ...], list[Row]]:
    """Return the times in seconds since the first, and a row for each."""
    times = read_times(path, unit=unit, any_unit=any_unit)
    rows = list(_rows(path))
    if len(rows) != len(times):
        raise ValueError(f"{path}: it has {len(times)} times, but {len(rows)} rows with fields")
    times, rows = times[:first], rows[:first]
    for number, (_, row) in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise ValueError(  # noqa: TRY004 - of the file, as all that is wrong with it
                f"{path}: request {number} is {reprlib.repr(row)}, without numbers of tokens: give "
                f"objects that have one of {', '.join(_PROMPT)} and one of {', '.join(_OUTPUT)}"
            )
    if len(times) < 2 or times[-1] == 0:
        raise ValueError(f"first={first}: they all arrive at once; take more of {path}")
    return times, rows


def _rows(path: Path) -> Iterator[Row]:
    """Yield line and fields of each request."""
    text = trace_text(path)
    numbered = [
        (number, line)
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip() and not line.startswith("#")
    ]
    if numbered and numbered[0][1].lstrip().startswith("["):
        yield from enumerate(json.loads(text), 1)
    elif numbered and numbered[0][1].lstrip().startswith("{"):
        yield from ((number, json.loads(line)) for number, line in numbered)
    else:
        lines = [line for _, line in numbered]
        delimiter = next((one for one in "\t;," if lines and one in lines[0]), ",")
        read = csv.DictReader(io.StringIO("\n".join(lines)), delimiter=delimiter,
                              skipinitialspace=True)  # fmt: skip
        yield from zip((number for number, _ in numbered[1:]), read, strict=False)


def _texts(
    path: Path, rows: Sequence[Row], scale: float, writer: Writer
) -> Iterator[tuple[str, int]]:
    prompt, output = (_column(path, rows[0][1], names) for names in (_PROMPT, _OUTPUT))
    block_size = max(1, round(_BLOCK_TOKENS * scale))

    @lru_cache(_KEPT_BLOCKS)
    def block(identity: object) -> str:
        return writer.text(f"block {identity}", block_size)

    for index, (line, row) in enumerate(rows):
        where = f"{path}, line {line}"
        tokens = max(1, round(_length(row, prompt, where) * scale))
        shared: list[str] = []
        for identity in _blocks(row, where):
            if tokens <= 0:
                break
            # A shorter text is a prefix of a longer one.
            shared.append(block(identity) if tokens >= block_size
                          else writer.text(f"block {identity}", tokens))  # fmt: skip
            tokens -= block_size
        if tokens > 0:
            shared.append(writer.text(index, tokens))
        yield " ".join(shared), max(1, round(_length(row, output, where) * scale))


def _column(path: Path, row: Mapping[str, Any], names: Sequence[str]) -> str:
    wanted = {name.casefold() for name in names}
    for name in row:
        if isinstance(name, str) and name.strip().casefold() in wanted:
            return name
    raise ValueError(
        f"{path}: no column is one of {', '.join(names)}; it has {', '.join(map(str, row))}: "
        "rename the one with the number of tokens"
    )


def _length(row: Mapping[str, Any], name: str, where: str) -> int:
    value = row.get(name)
    try:
        number = float(value)  # type: ignore[arg-type]
        if number >= 0 and number.is_integer():
            return int(number)
    except (TypeError, ValueError):
        pass
    raise ValueError(f"{where}: {name} is {value!r}, not a number of tokens")


def _blocks(row: Mapping[str, Any], where: str) -> Sequence[object]:
    blocks = row.get(_BLOCKS, ())
    if isinstance(blocks, (list, tuple)):
        return blocks
    raise ValueError(f"{where}: {_BLOCKS} is {blocks!r}, not a list")
