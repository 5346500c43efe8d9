"""How long it takes to make ``report.html``, and how large it is."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks import pages, plotting, stats
from benchmarks.parts import Bar, Data
from benchmarks.rounds import say
from benchmarks.settings import Settings
from simulation import saved

NAME = "page"
TITLE = "The page"
EACH: Final = (20, 200, 6000)
"""Requests in each of the twelve cases; the last makes 72,000 in all."""
LONGEST: Final = 5.0
LARGEST: Final = 3e6


def run(settings: Settings) -> Data:
    """Make the page of saved runs by the command, as a user would."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="servebench-page-") as scratch:
        for number in EACH:
            path = pages.save(saved.busy_run(number), Path(scratch) / str(number))
            for repeat in range(settings.repeats):
                one = pages.make_page(path)
                say(NAME, number, repeat, one)
                rows.append({"each": number, **one})
    return {"rows": rows}


def _of(data: Data, number: int, key: str) -> list[float]:
    return [float(row[key]) for row in data["rows"] if row["each"] == number]


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: peers do not make such a page."""
    del data
    return {}


def bars(data: Data) -> Sequence[Bar]:
    """Check time and size of the page of 72,000 requests."""
    number = max(EACH)
    what = f"page of {12 * number:,} requests in 12 cases"
    seconds, size = max(_of(data, number, "seconds")), max(_of(data, number, "bytes"))
    return [
        Bar(f"{what}: time of `pytest-servebench report`, the slowest", f"{seconds:.2f} s",
            f"< {LONGEST:g} s", seconds < LONGEST),
        Bar(f"{what}: size", f"{size / 1e6:.2f} MB", f"< {LARGEST / 1e6:g} MB", size < LARGEST),
    ]  # fmt: skip


def section(data: Data) -> str:
    """Return the table."""
    rows = [
        [f"{12 * number:,}", stats.text(stats.spread(_of(data, number, "seconds")), "{:.2f}"),
         f"{max(_of(data, number, 'bytes')) / 1e6:.2f}"]
        for number in EACH
    ]  # fmt: skip
    return "\n\n".join([
        "Whole run of `pytest-servebench report RUN --output FILE`: read run and records, draw, "
        "write.",
        plotting.table(["requests in 12 cases", "time, s", "size, MB"], rows),
    ])  # fmt: skip
