"""The outcome of a comparison in words: which server for little load, and which for much."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_servebench.metrics import METRICS
from pytest_servebench.runs.node_ids import cell_of, function_of, short_labels
from pytest_servebench.text.quantity import quantity


@dataclass(frozen=True)
class Compared:
    """One metric in one cell: who did better.

    Attributes:
        cell: id of the test without server and repeat, such as
            ``test_it.py::test_load[rate10-buffer50]``.
        metric: one of :data:`~pytest_servebench.metrics.POINTS`.
        rate: offered arrivals a second.
        buffer_size: requests that could wait.
        winner: kind of the server that gets the point; ``None`` if nobody does.
        values: kind to value, in seconds, 1/s, as a fraction, in percent of a processor, in bytes;
            infinite where too many requests failed, ``None`` where it is not known.
        reason: why nobody gets the point.
        too_few: whether it is that there were too few requests.
    """

    cell: str
    metric: str
    rate: float
    buffer_size: int
    winner: str | None
    values: Mapping[str, float | None]
    reason: str
    too_few: bool = False


def recommend(
    points: Sequence[Compared], titles: Mapping[str, str], full_names: Mapping[str, str]
) -> tuple[str, ...]:
    """Return a text for the lowest rate and one for the highest; one for a single rate.

    Args:
        points: all comparisons.
        titles: kind to the name in words.
        full_names: kind to the name with the implementation, for the first mention.
    """
    if len(titles) < 2:
        alone = "".join(full_names.values())
        return (f"Only {alone} was measured: there is nothing to compare.",) if alone else ()
    rates = sorted({point.rate for point in points})
    if not rates:
        return ("No cell has a valid case of two servers: there is nothing to compare.",)
    if len(rates) == 1:
        return (_text("", rates[0], points, titles, full_names),)
    return (
        _text("Low load: ", rates[0], points, titles, full_names),
        _text("High load: ", rates[-1], points, titles, full_names),
    )


def cell_names(points: Sequence[Compared]) -> dict[str, tuple[str, str]]:
    """Return the id of each cell to its test and to its place, in the points' order.

    The test is empty where all cells are of one test function. The place is the buffer, with the
    whole of the cell's id where others of the same test and rate have the same buffer: parameters
    of the user's own tell them apart.
    """
    tests = short_labels(function_of(point.cell) for point in points)
    cells = {point.cell: point for point in points}
    places = Counter(
        (function_of(cell), point.rate, point.buffer_size) for cell, point in cells.items()
    )
    found = {}
    for cell, point in cells.items():
        test = function_of(cell)
        alone = places[test, point.rate, point.buffer_size] == 1
        place = f"buffer {point.buffer_size}" + ("" if alone else f" ({cell_of(cell)})")
        found[cell] = (tests[test] if len(tests) > 1 else "", place)
    return found


def _text(
    heading: str,
    rate: float,
    points: Sequence[Compared],
    titles: Mapping[str, str],
    full_names: Mapping[str, str],
) -> str:
    here = [point for point in points if point.rate == rate]
    cells = cell_names(here)
    compared = [kind for kind in titles if any(kind in point.values for point in here)]
    won: dict[str, list[str]] = {kind: [] for kind in compared}
    alike: list[str] = []
    unknown: list[str] = []
    for metric in dict.fromkeys(point.metric for point in here):
        rows = [point for point in here if point.metric == metric]
        winners = list(dict.fromkeys(point.winner for point in rows if point.winner is not None))
        for kind in winners:
            won[kind].append(_praise(kind, rows, titles, cells))
        if not winners:
            decidable = any(None not in row.values.values() for row in rows)
            few = all(row.too_few for row in rows)
            (alike if decidable and not few else unknown).append(METRICS[metric].title)
    return heading + " ".join(
        [
            _choice(rate, here, compared, full_names),
            *(f"{titles[kind]} {_joined(what)}." for kind, what in won.items() if what),
            *([f"No difference beyond noise in {_joined(alike)}."] if alike else []),
            *([f"Not enough was measured to compare {_joined(unknown)}."] if unknown else []),
        ]
    )


def _choice(
    rate: float,
    here: Sequence[Compared],
    compared: Sequence[str],
    full_names: Mapping[str, str],
) -> str:
    """Return the sentence that names every server with its implementation, once."""
    totals = {kind: sum(point.winner == kind for point in here) for kind in compared}
    most = max(totals.values())
    ahead = [kind for kind in compared if totals[kind] == most]
    start = f"At {rate:g} request{'' if rate == 1 else 's'}/s,"
    if len(ahead) == len(compared) or most == 0:
        everyone = _joined([full_names[kind] for kind in compared])
        score = f"{most} point{'' if most == 1 else 's'} each" if most else "no points"
        return f"{start} no choice between {everyone} follows from the measurements ({score})."
    others = [f"{full_names[kind]} ({totals[kind]})" for kind in compared if kind not in ahead]
    names = _joined([full_names[kind] for kind in ahead])
    unit = "points" if most != 1 else "point"
    return f"{start} {names} ({most} {unit}) did better than {_joined(others)}."


def _praise(
    kind: str,
    rows: Sequence[Compared],
    titles: Mapping[str, str],
    cells: Mapping[str, tuple[str, str]],
) -> str:
    """Return what the server did better, with the figures of the first cell in which it did."""
    mine = [row for row in rows if row.winner == kind]
    row = mine[0]
    metric = METRICS[row.metric]
    point = metric.point
    assert point is not None
    label = point.statistic or metric.title
    value = row.values[kind]
    rivals = {other: one for other, one in row.values.items() if other != kind and one is not None}
    assert value is not None
    several = len(rivals) > 1
    where = ""
    if len(rows) > 1:
        some = len(mine) < len(rows)
        where = f"{'only ' if some else ''}{_places(mine if some else mine[:1], cells)}: "
    against = _joined(
        [_shown(row.metric, one) + (f" of {titles[other]}" if several else "")
         for other, one in rivals.items()]
    )  # fmt: skip
    change = "" if several else _difference(row.metric, value, next(iter(rivals.values())))
    return f"{point.praise} ({where}{label} {_shown(row.metric, value)} against {against}{change})"


def _places(rows: Sequence[Compared], cells: Mapping[str, tuple[str, str]]) -> str:
    """Return such as ``with buffer 10 and 50``, test by test where there are several."""
    found: dict[str, list[str]] = {}
    for row in rows:
        test, place = cells[row.cell]
        found.setdefault(test, []).append(place.removeprefix("buffer "))
    return _joined(
        [f"{f'in {test} ' if test else ''}with buffer {_joined(places)}"
         for test, places in found.items()]
    )  # fmt: skip


def _shown(metric: str, value: float) -> str:
    return quantity(METRICS[metric].kind, value)


def _difference(metric: str, value: float, other: float) -> str:
    finite = math.isfinite(value) and math.isfinite(other)
    if not finite or other == 0 or METRICS[metric].is_share:
        return ""
    change = value / other - 1
    if change > 1:
        return f", {value / other:.3g} times as much"
    return f", {abs(100 * change):.0f} % {'lower' if change < 0 else 'higher'}"


def _joined(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
