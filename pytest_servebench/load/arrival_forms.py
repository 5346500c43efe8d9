"""Arrival processes as text for options and markers."""

import re
from pathlib import Path
from typing import Final

from pytest_servebench.load.arrivals import (
    ArrivalProcess,
    Constant,
    Gamma,
    Poisson,
    Ramp,
    Steps,
    Trace,
)
from pytest_servebench.load.trace_file import UNITS
from pytest_servebench.text.closest import closest

EXAMPLES: Final = (
    "give poisson, constant, gamma:BURSTINESS (gamma:4), steps:FACTORS (steps:1,3,1), "
    "ramp:FACTORS (ramp:0.5,2), trace:FILE or trace:FILE@recorded, with @column=NAME and "
    "@unit=ms if the file does not say"
)

_WORDS: Final = ("poisson", "constant", "gamma", "steps", "ramp", "trace")


def parse_arrivals(text: str, directory: Path = Path()) -> ArrivalProcess:
    """Read a process such as ``"gamma:4"``; a trace's path is relative to ``directory``.

    Raises:
        ValueError: it is not an arrival process; the message says what to give.
    """
    word, colon, rest = text.strip().partition(":")
    if text.strip() == "poisson":
        return Poisson()
    if text.strip() == "constant":
        return Constant()
    if word == "trace" and rest:
        return _parse_trace(rest, directory)
    if word not in _WORDS:
        close = closest(word, _WORDS)
        guess = f" (did you mean {close}?)" if close else ""
        raise ValueError(f"unknown pattern {word!r}{guess}; {EXAMPLES}")
    if word not in ("gamma", "steps", "ramp") or not colon:
        raise ValueError(EXAMPLES)
    try:
        factors = tuple(float(part) for part in rest.split(","))
    except ValueError:
        raise ValueError(f"{rest!r} is not a list of numbers; {EXAMPLES}") from None
    if word == "gamma":
        if len(factors) != 1:
            raise ValueError(EXAMPLES)
        return Gamma(factors[0])
    return Steps(factors) if word == "steps" else Ramp(factors)


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
