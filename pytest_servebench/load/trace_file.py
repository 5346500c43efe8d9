"""Read recorded arrivals from common file formats.

Text with a time on each line, CSV (``,``, ``;`` or tab), JSON lines, or a JSON list; times as ISO
8601, as the time since the epoch, or from any other start. The unit follows from the times, from
the column's name, or from ``@unit``: if it is ambiguous, the file is refused.
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pytest_servebench.text.safe import first_few

UNITS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
"""Units of times, in seconds."""

_SIGNATURES: Final = {
    b"version https://git-lfs.github.com/spec": "is a Git LFS pointer; fetch the file with "
    "'git lfs pull'",
    b"/annex/objects/": "is a git-annex pointer; fetch the file with 'git annex get'",
    b"\x1f\x8b": "is compressed with gzip; unpack it with gunzip",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd; unpack it with unzstd",
    b"\xfd7zXZ": "is compressed with xz; unpack it with unxz",
    b"BZh": "is compressed with bzip2; unpack it with bunzip2",
    b"PK\x03\x04": "is a zip archive; unpack it",
    b"PAR1": "is a Parquet file; export the column of times as CSV",
}
_BOMS: Final = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_TIME_NAMES: Final = ("timestamp", "time", "arrival_time", "arrival", "arrived_at", "ts")
_LIKE_TIME: Final = re.compile(r"time|arriv|stamp|\bts\b", re.IGNORECASE)
_UNIT_IN_NAME: Final = re.compile(
    r"(?:[\W_]|(?-i:(?<=[a-z])(?=[A-Z])))"
    r"(s|secs?|seconds?|ms|msecs?|millis|milliseconds?|us|µs|micros|microseconds?|ns|nanos"
    r"|nanoseconds?)[\W_]*$",
    re.IGNORECASE,
)
_WHOLE_SECONDS: Final = re.compile(r":\d\d$")
_MILLISECONDS: Final = re.compile(r"\d{3}(?!\d)")  # after the comma in the timestamps of logs
_WORDS: Final = {"s": "s", "micro": "us", "m": "ms", "u": "us", "µ": "us", "n": "ns"}
_FORMATS: Final = (
    # Public traces whose files do not name the unit, recognized by their column names.
    ({"timestamp", "input_length", "output_length"}, "ms"),  # Mooncake
    ({"timestamp", "model", "request tokens"}, "s"),  # BurstGPT
)
_EPOCH: Final = (946_684_800, 4_102_444_800)  # the years 2000 to 2099, s
_SLOW: Final = 10.0  # s between arrivals beyond which the unit may not be seconds
_SLOW_WHOLE: Final = 1.0  # the same for whole numbers
_SHOWN: Final = 10  # columns in an error


@dataclass(frozen=True)
class _Column:
    """The times as written in the file, each with its line; the column's name and unit."""

    cells: Sequence[tuple[int, Any]]
    name: str = ""
    unit: str = ""


def read_times(
    path: Path, *, unit: str = "", column: str = "", any_unit: bool = False
) -> tuple[float, ...]:
    """Return the arrival times of a file in seconds since the first.

    Args:
        path: the file.
        unit: of numbers, one of ``UNITS``; by default detected from the file, else seconds.
        column: name of the field, or number of the column, counted from 1.
        any_unit: whether the unit is irrelevant because time is scaled.

    Raises:
        ValueError: the file cannot be read, has no usable times, or its unit is ambiguous.
    """
    found = _column(path, trace_text(path), column)
    times: list[Any] = [_time(cell, line, path) for line, cell in found.cells]
    dates = {isinstance(time, datetime) for time in times}
    if len(dates) > 1:
        raise ValueError(f"{path}: some times are dates and some are numbers; give one kind")
    if dates == {True}:
        if unit:
            raise ValueError(f"{path}: its times are dates, which have no unit; remove @unit")
        values: list[Any] = _since_epoch(times, path)
        scale: float | None = 1.0
    else:
        values = times
        scale = UNITS[unit] if unit else _scale(found, values)
    for (line, cell), before, value in zip(found.cells[1:], values, values[1:], strict=False):
        if value < before:
            raise ValueError(
                f"{path}, line {line}: {cell} is earlier than the line before; sort the file"
            )
    if len(values) < 2 or values[0] == values[-1]:
        raise ValueError(
            f"{path}{'' if values else ' is empty'}: a trace needs at least two different arrival "
            "times"
        )
    if scale is None:
        _refuse_doubt(path, values, any_unit=any_unit)
        scale = 1.0
    return tuple((value - values[0]) * scale for value in values)


def trace_text(path: Path) -> str:
    """Return the text of a trace, with ``\\n`` at the end of lines.

    Raises:
        ValueError: it cannot be read, or is not text; says what it is instead.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"the trace {path} cannot be read: {error.strerror}") from None
    for signature, problem in _SIGNATURES.items():
        if content.startswith(signature):
            raise ValueError(f"the trace {path} {problem}")
    encoding = next((code for bom, code in _BOMS.items() if content.startswith(bom)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError(f"the trace {path} cannot be read: it is not a text file")
    return text.replace("\r\n", "\n").replace("\r", "\n")


# -- where the times are --------------------------------------------------------------------------


def _column(path: Path, text: str, column: str) -> _Column:
    lines = [line for line in text.split("\n") if line.strip() and not line.startswith("#")]
    if not lines:
        return _Column(())
    first = lines[0].lstrip()
    if first.startswith(("{", "[")):
        return _of_json(path, text, column)
    delimiter = next((one for one in "\t;," if one in first), ",")
    try:
        return _of_rows(path, list(_rows(text, delimiter)), column, delimiter)
    except csv.Error as error:
        raise ValueError(f"the trace {path} cannot be read as CSV: {error}") from None


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    for row in reader:
        cells = [cell.strip() for cell in row]
        if any(cells) and not cells[0].startswith("#"):
            yield reader.line_num, cells


def _of_rows(
    path: Path, rows: Sequence[tuple[int, list[str]]], column: str, delimiter: str
) -> _Column:
    if not rows:
        return _Column(())
    first = rows[0][1]
    names = [] if any(_is_time(cell) for cell in first) else first
    if len(names) == 1 and len(rows) > 1 and not any(map(_is_time, rows[1][1])):
        names = []  # not a header, but text
    place = _place(path, names, len(first), column)
    if not names and not column:
        _refuse_unnamed(path, [row for _, row in rows])
    cells = []
    for line, row in rows[1:] if names else rows:
        if place >= len(row):
            raise ValueError(f"{path}, line {line}: has no column {place + 1}")
        if len(names) == 1 and len(row) > 1:
            raise ValueError(
                f"{path}, line {line}: has {len(row)} columns, but the header has one; write "
                "decimals with a point, or separate the columns with ';'"
            )
        # A comma that does not separate columns can be a decimal comma.
        cells.append((line, row[place].replace(",", ".") if delimiter == ";" else row[place]))
    name = names[place] if names else ""
    return _Column(cells, name, _known_unit(name, names))


def _place(path: Path, names: Sequence[str], width: int, column: str) -> int:
    if column:
        folded = [name.casefold() for name in names]
        if column.casefold() in folded:
            return folded.index(column.casefold())
        if column.isdecimal() and 1 <= int(column) <= width:
            return int(column) - 1
        raise ValueError(f"{path} has no column {column!r}; {_columns(names, width)}")
    if len(names) < 2:
        return 0  # the only one, or the first if there is no header
    return names.index(_time_name(path, names))


def _refuse_unnamed(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Raise ``ValueError`` if the first column may be a line number, or only part of the time.

    A comma may be a decimal comma, in numbers and in the timestamps of logs.
    """
    if not all(len(row) > 1 for row in rows):
        return
    if all(row[0].isdecimal() for row in rows):
        doubtful = any(all(map(_is_time, column)) for column in zip(*(row[1:] for row in rows)))  # noqa: B905
    else:
        doubtful = all(_WHOLE_SECONDS.search(row[0]) for row in rows) and all(
            _MILLISECONDS.match(row[1]) for row in rows
        )
    if doubtful:
        raise ValueError(
            f"{path}: {_columns((), min(map(len, rows)))}, and the first may not be the time: "
            "choose one with @column=1 or another number; or write decimals with a point"
        )


def _time_name(path: Path, names: Sequence[str]) -> str:
    folded = {name.casefold(): name for name in reversed(names)}
    known = [folded[name] for name in _TIME_NAMES if name in folded]
    likely = known or [name for name in names if _LIKE_TIME.search(name)]
    if not likely:
        raise ValueError(
            f"{path}: no column is named like a time; {_columns(names, len(names))}: choose "
            "one with @column=NAME"
        )
    return likely[0]


def _columns(names: Sequence[str], width: int) -> str:
    if not names:
        return f"it has columns 1 to {width} without a header"
    return f"it has {first_few([*map(repr, names)], _SHOWN)}"


def _of_json(path: Path, text: str, column: str) -> _Column:
    items: list[tuple[int, Any]] = []
    try:
        if text.lstrip().startswith("["):
            items = list(enumerate(json.loads(text), 1))
        else:
            lines = enumerate(text.split("\n"), 1)
            items = [
                (number, json.loads(line))
                for number, line in lines
                if line.strip() and not line.startswith("#")
            ]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the trace {path} cannot be read as JSON lines: {error}") from None
    if not items or not all(isinstance(item, dict) for _, item in items):
        if any(isinstance(item, dict) for _, item in items):
            raise ValueError(f"{path}: some items are JSON objects and some are not")
        return _Column(items)
    names = list(items[0][1])
    name = column or _time_name(path, names)
    for number, item in items:
        if name not in item:
            raise ValueError(
                f"{path}, line {number}: has no field {name!r}; {_columns(list(item), len(item))}"
            )
    return _Column([(number, item[name]) for number, item in items], name, _known_unit(name, names))


def _known_unit(name: str, names: Sequence[str]) -> str:
    """Return the unit from the column's name, or from a known format with these columns."""
    if found := _UNIT_IN_NAME.search(name):
        word = found[1].lower()
        return next(unit for start, unit in _WORDS.items() if word.startswith(start))
    have = {one.casefold() for one in names}
    return next((unit for wanted, unit in _FORMATS if wanted <= have), "")


# -- what they mean -------------------------------------------------------------------------------


def _is_time(cell: str) -> bool:
    return _read(cell) is not None


def _read(cell: Any) -> float | int | datetime | None:
    """Return a cell as a number or a date; ``None`` if it is neither."""
    if isinstance(cell, bool):
        return None
    if isinstance(cell, int | float):
        return cell
    if not isinstance(cell, str):
        return None
    for read in (int, float, datetime.fromisoformat):
        try:
            value: float | int | datetime = read(cell)
        except (ValueError, OverflowError):
            continue
        if read is datetime.fromisoformat and not re.search(r"\d[-:]\d", cell):
            return None
        return value
    return None


def _time(cell: Any, line: int, path: Path) -> float | int | datetime:
    value = _read(cell)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(
            f"{path}, line {line}: {str(cell)[:60]!r} is not a time: give numbers, or ISO 8601 "
            "such as 2026-01-31T09:30:00.5"
        )
    if not isinstance(value, datetime) and value < 0:
        raise ValueError(f"{path}, line {line}: {cell} is negative; give times of 0 or more")
    return value


def _since_epoch(times: Sequence[Any], path: Path) -> list[float]:
    if len({time.tzinfo is None for time in times}) > 1:
        raise ValueError(f"{path}: some dates have a UTC offset and some have none")
    start = datetime(1970, 1, 1, tzinfo=UTC)
    return [
        ((time if time.tzinfo else time.replace(tzinfo=UTC)) - start).total_seconds()
        for time in times
    ]


def _scale(found: _Column, values: Sequence[float]) -> float | None:
    """Return the seconds in one unit; ``None`` if it is unknown."""
    if found.unit:
        return UNITS[found.unit]
    for unit in UNITS.values():
        low, high = (end / unit for end in _EPOCH)
        if values and low <= values[0] and values[-1] <= high:
            return unit
    return None


def _refuse_doubt(path: Path, values: Sequence[float], *, any_unit: bool) -> None:
    whole = all(isinstance(value, int) or value.is_integer() for value in values)
    gap = (values[-1] - values[0]) / (len(values) - 1)
    if not any_unit and gap > (_SLOW_WHOLE if whole else _SLOW):
        raise ValueError(
            f"{path}: its times are {gap:.4g} apart on average, which may be seconds or "
            "milliseconds; choose @unit=s or @unit=ms"
        )
