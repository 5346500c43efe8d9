"""Which server did better, and which comparisons are undecided.

Every cell (a test at one rate, buffer size and number of rows) gives one point for each metric to
the server that did better than every other by more than the noise:

* times, throughput, success rate and CPU: the 95 % intervals do not overlap. This is stricter than
  an interval of the difference that excludes zero, on purpose: a run makes dozens of such
  comparisons, and at one in twenty some would always differ by chance.
* CPU and memory must also differ by 5 %, a convention: smaller differences may come from whatever
  else runs on the machine. Memory has no sampling interval, as it is one figure for the whole run.
  CPU is per successful request: a server must not win by doing less work.

Each comparison is made twice, with the latencies as measured and with the generator's own lag
subtracted: there is a point only if both give it to the same server.

A failed request ranks as infinitely slow. Cases whose measurement is invalid do not take part.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType
from typing import Final

from pytest_servebench.analysis import contests
from pytest_servebench.metrics import METRICS, POINTS, STREAMED_POINTS, TPOT, Metric, has_streams
from pytest_servebench.runs.node_ids import cell_id, repeat_of
from pytest_servebench.runs.plain_benchmarks import is_plain
from pytest_servebench.runs.results import CaseResult, Sizes
from pytest_servebench.runs.titles import server_titles
from pytest_servebench.stats.ratios import Range
from pytest_servebench.text.safe import joined

_SMALL: Final = f"less than {contests.MARGIN:.0%} apart"


@dataclass(frozen=True)
class Compared:
    """One metric in one cell: who did better.

    Attributes:
        cell: id of the test without server and repeat, such as
            ``test_it.py::test_load[rate10-buffer50]``.
        metric: one of :data:`~pytest_servebench.metrics.STREAMED_POINTS`.
        rate: offered arrivals a second.
        sizes: buffer size, and rows a request.
        winner: kind of the server that gets the point; ``None`` if nobody does.
        values: kind to value, in seconds, 1/s, as a fraction, in percent of a processor, in bytes;
            infinite where too many requests failed, ``None`` where it is not known.
        reason: why nobody gets the point.
        too_few: whether the reason is too few requests.
        pairs: the better and the worse server of each pair that differs.
    """

    cell: str
    metric: str
    rate: float
    sizes: Sizes
    winner: str | None
    values: Mapping[str, float | None]
    reason: str
    too_few: bool = False
    pairs: tuple[tuple[str, str], ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """Return the servers whose value is known."""
        return tuple(kind for kind, value in self.values.items() if value is not None)

    @property
    def unbeaten(self) -> tuple[str, ...]:
        """Return the servers that no other beat, as far as is known."""
        beaten = {worse for _, worse in self.pairs}
        return tuple(kind for kind in self.known if kind not in beaten)


@dataclass(frozen=True)
class Evaluation:
    """The comparison of a run's servers.

    Attributes:
        servers: kind to title, in the order of running.
        points: every cell's metrics.
        totals: points of each kind.
        undecided: comparisons without a winner.
        notes: what was left out, and why.
    """

    servers: Mapping[str, str]
    points: tuple[Compared, ...]
    totals: Mapping[str, int]
    undecided: int
    notes: tuple[str, ...]

    @property
    def headings(self) -> Mapping[str, tuple[Metric, ...]]:
        """Return the headings of what was compared, each with its metrics."""
        of_streams = any(METRICS[one.metric].of_streams for one in self.points)
        return STREAMED_POINTS if of_streams else POINTS

    def ranking(self, rate: float | None = None) -> tuple[Rank, ...]:
        """Return the servers, the least often beaten first; at one rate or at all rates.

        Of two that were beaten equally often, the one that was compared more often comes first.
        """
        points = [one for one in self.points if rate is None or one.rate == rate]
        ranks = [
            Rank(kind, MappingProxyType({
                heading: _counts(kind, [one for one in points if METRICS[one.metric] in metrics])
                for heading, metrics in self.headings.items()
            }))
            for kind in self.servers
        ]  # fmt: skip
        return tuple(sorted(ranks, key=lambda one: (-one.share, -one.among)))

    @property
    def beats(self) -> Mapping[tuple[str, str], int]:
        """Return in how many comparisons a server did better than another."""
        return Counter(pair for one in self.points for pair in one.pairs)


@dataclass(frozen=True)
class Rank:
    """How often no other server did better than one.

    Attributes:
        kind: of the server.
        counts: heading of a metric to the number of cells where none did better, and of those where
            it was compared.
    """

    kind: str
    counts: Mapping[str, tuple[int, int]]

    @property
    def unbeaten(self) -> int:
        """Return the number of comparisons in which none did better."""
        return sum(count for count, _ in self.counts.values())

    @property
    def among(self) -> int:
        """Return the number of comparisons in which it took part."""
        return sum(number for _, number in self.counts.values())

    @property
    def share(self) -> float:
        """Return the share of its comparisons in which none did better; 0 without any."""
        return self.unbeaten / self.among if self.among else 0.0


def _counts(kind: str, points: Sequence[Compared]) -> tuple[int, int]:
    mine = [one for one in points if kind in one.known and not one.too_few and len(one.known) > 1]
    return sum(kind in one.unbeaten for one in mine), len(mine)


_Cell = Mapping[str, Sequence[CaseResult]]  # kind to its cases: one, or one for each repeat
_Contest = Callable[[_Cell, Metric], Compared]


def evaluate(cases: Sequence[CaseResult], *, interleaved: bool = False) -> Evaluation:
    """Compare the servers of a run, cell by cell.

    Benchmarks without load do not take part. Repeats of a cell count as one: the median of their
    values, with a range that holds all of their intervals. Where servers took turns, three repeats
    or more are compared within each: see :mod:`~pytest_servebench.analysis.contests`.
    """
    cases = [case for case in cases if not is_plain(case)]
    notes = [
        f"{case.name} is left out: its measurement is invalid"
        for case in cases
        if not case.measured
    ]
    valid = [case for case in cases if case.measured]
    names = server_titles(cases)
    cells: dict[tuple[float, Sizes, str], dict[str, list[CaseResult]]] = {}
    for case in valid:
        key = (case.rate, case.sizes, cell_id(case))
        cells.setdefault(key, {}).setdefault(case.server.kind, []).append(case)
    points: list[Compared] = []
    # Servers without a common cell are one server under several names, or different tests.
    everyone = {(cell_id(case), case.server.kind) for case in cases}
    compared = len(everyone) > len({cell for cell, _ in everyone})
    for (rate, sizes, _), cell in sorted(cells.items(), key=lambda item: item[0]):
        missing = [names[kind] for kind in names if kind not in cell]
        if len(cell) > 1:
            points += _either_way(cell, interleaved=interleaved)
            if len(ways := _ways_of_counting(cell)) > 1:
                notes.append(f"{TPOT.title} is not compared, as tokens are counted by "
                             f"{joined(ways)}: let all servers report their tokens, or none, and "
                             "give the requests a tokenizer=")  # fmt: skip
        if missing and compared:
            notes.append(f"rate {rate:g}, {sizes}: no valid case of {', '.join(missing)}")
    totals = {kind: sum(point.winner == kind for point in points) for kind in names}
    return Evaluation(
        servers=MappingProxyType(names),
        points=tuple(points),
        totals=MappingProxyType(totals),
        undecided=sum(point.winner is None for point in points),
        notes=tuple(dict.fromkeys(notes)),
    )


# -- one cell -------------------------------------------------------------------------------------


def _either_way(cell: _Cell, *, interleaved: bool) -> list[Compared]:
    """Compare the servers; a result that depends on the generator's lag does not count."""
    measured = _compare(cell, interleaved=interleaved)
    if not any(case.summary.without_lag for cases in cell.values() for case in cases):
        return measured
    unlagged = {kind: [case.without_lag() for case in cases] for kind, cases in cell.items()}
    punctual = _compare(unlagged, interleaved=interleaved)
    return [_agreed(*rows) for rows in zip(measured, punctual, strict=True)]


def _agreed(measured: Compared, punctual: Compared) -> Compared:
    pairs = tuple(pair for pair in measured.pairs if pair in punctual.pairs)
    agreed = dataclasses.replace(measured, pairs=pairs)
    if measured.winner == punctual.winner:
        return agreed
    return dataclasses.replace(
        agreed, winner=None, reason="the generator's own lateness decides it"
    )


def _compare(cell: _Cell, *, interleaved: bool) -> list[Compared]:
    contest = _by_repeats if interleaved and _in_pairs(cell) else _by_intervals
    streamed = has_streams(case for cases in cell.values() for case in cases)
    points = STREAMED_POINTS if streamed else POINTS
    return [_resolved(cell, one, contest) for one in points.values()]


def _in_pairs(cell: _Cell) -> bool:
    """Return whether every server has the same repeats, three or more."""
    repeats = [[repeat_of(case) for case in cases] for cases in cell.values()]
    return all(sorted(one) == sorted(repeats[0]) for one in repeats) and len(repeats[0]) >= 3


def _by_intervals(cell: _Cell, metric: Metric) -> Compared:
    read = _reader(cell, metric)
    ranges = {kind: _together([read(case) for case in cases]) for kind, cases in cell.items()}
    known = {kind: one for kind, one in ranges.items() if one is not None}
    wide = {kind: contests.widened(metric, one, len(known)) for kind, one in known.items()}
    values = {kind: None if one is None else one.value for kind, one in ranges.items()}
    return _row(cell, metric, values, contests.by_intervals(metric, wide))


def _by_repeats(cell: _Cell, metric: Metric) -> Compared:
    """Compare servers that took turns: see :func:`contests.by_repeats`."""
    read = _reader(cell, metric)
    series: dict[str, list[float]] = {}
    for kind, cases in cell.items():
        found = [read(case) for case in sorted(cases, key=repeat_of)]
        if None not in found:
            series[kind] = [one.value for one in found if one is not None]
    known = {kind: median(values) for kind, values in series.items()}
    pairs = contests.by_repeats(metric, known, series, _by_intervals(cell, metric).pairs)
    return _row(cell, metric, {kind: known.get(kind) for kind in cell}, pairs)


def _row(
    cell: _Cell, metric: Metric, values: Mapping[str, float | None], pairs: contests.Pairs
) -> Compared:
    """Return the result for the pairs that differ, with its winner or why there is none."""
    some = next(iter(cell.values()))[0]
    row = Compared(
        cell=cell_id(some),
        metric=metric.name,
        rate=some.rate,
        sizes=some.sizes,
        winner=None,
        values=values,
        reason="",
        pairs=tuple(pairs),
    )
    known = {kind: value for kind, value in values.items() if value is not None}
    if len(known) < len(values):
        return dataclasses.replace(row, reason="not known for every server")
    sign = -1 if metric.larger_is_better else 1
    best = min(known, key=lambda kind: sign * known[kind])
    rivals = [kind for kind in known if kind != best and (best, kind) not in row.pairs]
    if not rivals:
        return dataclasses.replace(row, winner=best)
    small = contests.too_small(metric, known[best], known[rivals[0]])
    return dataclasses.replace(row, reason=_SMALL if small else "within noise")


def _resolved(cell: _Cell, metrics: Sequence[Metric], contest: _Contest) -> Compared:
    """Compare by the first of the metrics that is known of every server, from enough requests."""
    every = [case for cases in cell.values() for case in cases]
    fewest = min(case.summary.arrivals for case in every)
    last = metrics[-1]
    if last.times is TPOT and len(_ways_of_counting(cell)) > 1:
        row = _row(cell, last, dict.fromkeys(cell), ())
        return dataclasses.replace(row, reason="tokens are counted in different ways")
    if len(metrics) == 1:
        return contest(cell, last)
    for metric in metrics:
        readings = [metric.read(case) for case in every]
        known = all(one.value is not None for one in readings)
        bounded = any(one.high != math.inf for one in readings)
        if fewest >= metric.enough and ((known and bounded) or metric is last):
            return contest(cell, metric)
    row = contest(cell, last)
    few = f"{fewest} requests are too few for {last.written}, which needs {last.enough}"
    return dataclasses.replace(row, winner=None, reason=few, too_few=True, pairs=())


def _ways_of_counting(cell: _Cell) -> list[str]:
    """Return how the tokens of streamed answers were counted: times per token depend on it."""
    every = (case.streamed for cases in cell.values() for case in cases)
    return sorted({one.counted for one in every if one is not None})


def _together(repeats: Sequence[Range | None]) -> Range | None:
    known = [one for one in repeats if one is not None]
    if not known or len(known) < len(repeats):
        return None
    return Range(
        median(one.value for one in known),
        min(one.low for one in known),
        max(one.high for one in known),
    )


def _reader(cell: _Cell, metric: Metric) -> Callable[[CaseResult], Range | None]:
    """Return a reader of the metric; it excludes the schedule's luck if all share a schedule."""
    every = [case.summary for cases in cell.values() for case in cases]
    alike = len({summary.arrivals for summary in every}) == 1

    def read(case: CaseResult) -> Range | None:
        share = case.summary.estimates.get(metric.share_of_load) if alike else None
        if share is not None and None not in (share.value, share.low, share.high):
            scale = case.summary.achieved_rate
            return Range.of(share).through(lambda value: value * scale)
        reading = metric.read(case)
        if reading.value is None:
            return None
        low, high = (reading.value if end is None else end for end in (reading.low, reading.high))
        return Range(reading.value, low, high)

    return read
