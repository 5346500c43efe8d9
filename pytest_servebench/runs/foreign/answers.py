"""One request as another tool recorded it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import Outcome

Floats = npt.NDArray[np.float64]

_LONGEST: Final = 1e6  # seconds between two times of one request
_LATEST: Final = 1e10  # seconds: in 2286, when a double still resolves 2 µs
_MOST_TOKENS: Final = 2**31 - 1
_HIGHEST: Final = 1e9  # rate, 1/s


@dataclass(frozen=True, slots=True)
class Answer:
    """One request; times in seconds, on any clock that all requests of a load share.

    Attributes:
        sent: when it was sent.
        events: when its events with output came, ascending; empty if it failed, or had none.
        done: when the answer was complete; ``None`` if the tool does not record it.
        tokens: of the output; -1 if unknown.
        input_tokens: of the prompt, likewise.
        due: when it should have been sent; ``None`` if the tool does not record it.
        outcome: how it ended.
        failure: why it failed, if it did.
    """

    sent: float
    events: Floats = field(default_factory=lambda: np.empty(0))
    done: float | None = None
    tokens: int = -1
    input_tokens: int = -1
    due: float | None = None
    outcome: Outcome = Outcome.OK
    failure: str = ""

    def check(self, where: str) -> None:
        """Refuse impossible times.

        Args:
            where: how messages name it.

        Raises:
            ValueError: they do not ascend, or are not times; or its number of tokens is not a
                number.
        """
        for name, number in (("output", self.tokens), ("input", self.input_tokens)):
            if not -1 <= number <= _MOST_TOKENS:
                raise ValueError(f"{where}: {number} {name} tokens")
        if not abs(self.sent) <= _LATEST:
            raise ValueError(f"{where}: sent at {self.sent:g} s, which is not a time in seconds")
        told = [("due", self.due), ("sent", self.sent)]
        told += [("output", float(one)) for one in self.events[:: max(1, len(self.events) - 1)]]
        told.append(("the end", self.done))
        known = [(name, time) for name, time in told if time is not None]
        for (before, first), (after, then) in pairwise(known):
            if not 0 <= then - first <= _LONGEST:  # nor for NaN
                raise ValueError(f"{where}: {after} is {then - first:.6g} s after {before}")
        if not (np.diff(self.events) >= 0).all():
            raise ValueError(f"{where}: the times of its output do not ascend")


def floats(values: object, where: str) -> Floats:
    """Return a list of numbers as an array.

    Raises:
        ValueError: it is something else; the message names it.
    """
    try:
        found = np.asarray(values if values else [0.0][:0])
    except ValueError:  # of unequal lengths
        found = np.empty(0, dtype=object)
    if not isinstance(values, Sequence) or found.ndim != 1 or found.dtype.kind not in "iuf":
        raise ValueError(f"{where} is not a list of numbers")
    return found.astype(np.float64)


def rate_of(setting: object) -> float:
    """Return a rate, 1/s, or a number of streams; 0 if it is neither, such as ``"inf"``."""
    if isinstance(setting, bool) or not isinstance(setting, int | float):
        return 0.0
    return float(setting) if 0 < setting <= _HIGHEST else 0.0


def last_line(error: str) -> str:
    """Return what went wrong: Python errors may be whole tracebacks."""
    return error.strip().splitlines()[-1] if error.strip() else "an error without a message"


def utc(seconds: float) -> str:
    """Return a time since the epoch as ISO 8601; empty if it is not one."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return ""
