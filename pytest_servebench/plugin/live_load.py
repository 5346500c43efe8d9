"""The live line about a running load."""

import math
from typing import Final

import numpy as np

from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.stats.episodes import nearest_rank
from pytest_servebench.text.live import duration
from pytest_servebench.text.numbers import significant
from pytest_servebench.text.safe import clean, clip, display_width

_SEPARATOR: Final = " · "
_BAR: Final = 8  # cells
_BAR_FROM: Final = 50  # in narrower terminals the text needs the room


def live_line(records: Records, now: int, width: int, *, number: str = "", name: str = "") -> str:
    """Return one line about a running case, at most ``width - 1`` columns wide.

    Parts that do not fit are dropped from the end, least important first. The last column stays
    free: many terminals wrap as soon as it is written.

    Args:
        records: the current records; requests in flight are ``UNFINISHED``.
        now: ns since the start of the records' clock.
        width: columns of the terminal.
        number: which case of how many, such as ``3/12``.
        name: of the case.
    """
    left = (records.window - now) / 1e9
    ended = records.outcome != Outcome.UNFINISHED
    done = int(np.count_nonzero(ended & (records.sent != NEVER)))
    sent = int(np.count_nonzero(records.sent != NEVER))
    dropped = int(np.count_nonzero(records.outcome == Outcome.DROPPED))
    failed = int(np.count_nonzero(ended & ~records.ok)) - dropped
    latencies = records.latency()[ended]
    time = f"{duration(math.ceil(left))} left" if left > 0 else f"draining {duration(-left)}"
    bar = f"{_bar(now / records.window)} " if width >= _BAR_FROM else ""
    parts = [
        bar + time,
        # Errors come first: the rest is always there.
        *([f"errors {failed}"] if failed else []),
        *([f"dropped {dropped}"] if dropped else []),
        *([number] if number else []),
        f"p50 {_percentile(latencies, 500)}",
        f"p99 {_percentile(latencies, 990)}",
        f"sent {sent}",
        f"done {done}",
        *([clean(name)] if name else []),
    ]
    return _fitting(parts, width - 1)


def _bar(share: float) -> str:
    full = round(_BAR * min(max(share, 0.0), 1.0))
    return "█" * full + "░" * (_BAR - full)


def _percentile(latencies: np.ndarray[tuple[int, ...], np.dtype[np.float64]], permille: int) -> str:
    if not latencies.size:
        return "-"
    place = nearest_rank(permille, len(latencies)) - 1
    value = float(np.partition(latencies, place)[place])
    return f"{significant(value * 1e3)} ms" if np.isfinite(value) else "∞"


def _fitting(parts: list[str], width: int) -> str:
    line = ""
    for part in parts:
        longer = line + _SEPARATOR + part if line else part
        if display_width(longer) > width:
            break
        line = longer
    return line or clip(parts[0], width)
