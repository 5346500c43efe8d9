"""Arrival processes as text for options and markers."""

import re
from pathlib import Path
from typing import Final

from pytest_servebench.load.arrivals import FORMS, ArrivalProcess, Trace
from pytest_servebench.load.trace_file import UNITS
from pytest_servebench.text.closest import closest

_TRACE: Final = "trace"
EXAMPLES: Final = (
    f"give {', '.join(form.example for form in FORMS.values())}, {_TRACE}:FILE or "
    f"{_TRACE}:FILE@recorded, with @column=NAME and @unit=ms if the file does not say"
)


def parse_arrivals(text: str, directory: Path = Path()) -> ArrivalProcess:
    """Read a process such as ``"gamma:4"``; a trace's path is relative to ``directory``.

    Raises:
        ValueError: it is not an arrival process; the message says what to give.
    """
    word, colon, rest = text.strip().partition(":")
    if word == _TRACE and rest:
        return _parse_trace(rest, directory)
    if word not in FORMS and word != _TRACE:
        close = closest(word, (*FORMS, _TRACE))
        guess = f" (did you mean {close}?)" if close else ""
        raise ValueError(f"unknown pattern {word!r}{guess}; {EXAMPLES}")
    try:
        numbers = [float(part) for part in rest.split(",")] if colon else []
    except ValueError:
        raise ValueError(f"{rest!r} is not a list of numbers; {EXAMPLES}") from None
    form = FORMS.get(word)
    if form is None or not form.least <= len(numbers) <= form.most:
        raise ValueError(EXAMPLES)
    return form.make(*numbers)


_SUFFIX: Final = re.compile(r"@(?:(recorded)|unit=(\w+)|column=([^@]+))$")


def _parse_trace(text: str, directory: Path) -> Trace:
    recorded, unit, column = "", "", ""
    while found := _SUFFIX.search(text):  # a file's name may have @ in it
        recorded = recorded or found[1] or ""
        unit, column = unit or found[2] or "", column or found[3] or ""
        text = text[: found.start()]
    if unit and unit not in UNITS:
        raise ValueError(f"@unit={unit}: give one of {', '.join(UNITS)}")
    return Trace.read(
        directory / text, as_recorded=bool(recorded), unit=unit, column=column.strip()
    )
