"""How long a test must be to decide its SLO, and which changes two such runs can detect.

A verdict needs the whole 95 % interval on one side of the bound. To get that in 95 % of the runs
(the *power*) the value must be z + z' = 1.960 + 1.645 standard errors away: with the variance v per
request (:mod:`pytest_servebench.analysis.precision`) this needs

    n = v ((z + z') / distance)^2

requests, with variance and distance on logarithms. For shares of requests it is the usual formula
for one proportion (Fleiss, Levin and Paik, Statistical Methods for Rates and Proportions, 3rd ed.
2003, section 2.5), which for a share of 1 is Wilson's interval solved for n. The same formula
serves percentiles that were not measured, as they ask which share lies beyond the bound.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from pytest_servebench.analysis import compare
from pytest_servebench.analysis.precision import (
    SHARES,
    Known,
    assumed,
    caution,
    is_percentile,
    measured,
    tail_of,
)
from pytest_servebench.metrics import METRICS, standing_in
from pytest_servebench.objectives.reader import written
from pytest_servebench.objectives.slo_grammar import Clause
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.stats.student import NORMAL, Z, student_quantile

POWER: Final = 0.95
"""Share of the runs in which the plan should be right."""

COMPARED: Final = tuple(one.name for one in standing_in("plan"))
"""Metrics whose smallest detectable changes are always shown."""

MOST_REPEATS: Final = 100
MOST_REQUESTS: Final = 10**9

_POWER: Final = NORMAL.inv_cdf(POWER)
_REACH: Final = Z + _POWER


@dataclass(frozen=True)
class Needed:
    """What it takes to decide a clause.

    Attributes:
        clause: as written.
        value: what the metric is expected to be; ``None`` where only the distance is assumed.
        distance: from the bound, relative to the smaller of both; for shares, the difference.
        inflation: see :class:`~pytest_servebench.analysis.precision.Known`.
        measured: see :class:`~pytest_servebench.analysis.precision.Known`.
        least: see :class:`~pytest_servebench.analysis.precision.Known`.
        requests: needed to decide, of the class that the clause is about; 0 if any number is
            enough, ``None`` if no number is.
        seconds: mean time for so many requests.
    """

    clause: str
    value: float | None
    distance: float
    inflation: float
    measured: bool
    least: int
    requests: int | None
    seconds: float | None


@dataclass(frozen=True)
class Detectable:
    """The smallest change of a metric that a comparison detects.

    Attributes:
        metric: one of :data:`COMPARED`, or of the SLO.
        request_class: whose metric it is; empty for all requests.
        change: relative; for shares, the difference.
        requests: of that class per run, with one run per side, to detect the given change; ``None``
            if more than :data:`MOST_REQUESTS` or if runs vary too much.
        seconds: mean time for so many requests.
        repeats: runs of the planned length per side to detect it; ``None`` if more than
            :data:`MOST_REPEATS` or if runs vary too much.
        measured: see :class:`~pytest_servebench.analysis.precision.Known`.
    """

    metric: str
    change: float
    requests: int | None
    seconds: float | None
    repeats: int | None
    measured: bool
    request_class: str = ""

    @property
    def name(self) -> str:
        """Return the metric as SLOs and gates write it."""
        return written(METRICS[self.metric], self.request_class)


@dataclass(frozen=True)
class CasePlan:
    """The plan for one cell.

    Attributes:
        rate: arrivals per second, of requests or of sessions.
        unit: what arrives, ``"request"`` or ``"session"``.
        case: which server and buffer of the run; empty without one.
        needed: for each clause.
        requests: enough to decide every clause that can be decided.
        seconds: the same.
        detectable: by comparing two sides of ``repeats`` runs of that length.
    """

    rate: float
    unit: str
    case: str
    needed: tuple[Needed, ...]
    requests: int
    seconds: float
    detectable: tuple[Detectable, ...]

    @property
    def soonest(self) -> Detectable | None:
        """Return the statistic of all requests' times that shows the change soonest."""
        known = [
            one for one in self.detectable
            if METRICS[one.metric].times and not one.request_class and one.requests is not None
        ]  # fmt: skip
        return min(known, key=lambda one: one.requests or 0, default=None)


# -- one clause -----------------------------------------------------------------------------------


def needed(clause: Clause, known: Known | None, rate: float, margin: float) -> Needed:
    """Return what it takes to decide a clause.

    Args:
        clause: the clause.
        known: of its metric; ``None`` for one without an interval, which any run decides.
        rate: arrivals a second.
        margin: how far from its bound, relatively, a latency of unknown value is expected.
    """
    if known is None or clause.of_run:
        return Needed(str(clause), known.value if known else None, 0.0, 1.0, False, 0, 0, 0.0)
    if clause.metric in SHARES or clause.relative:
        assert known.value is not None
        distance = abs(known.value - clause.bound)
        number = known.variance * _one_proportion(known.value, clause.bound)
    else:
        distance = margin if known.value is None else _distance(known.value, clause.bound)
        if known.measured or not is_percentile(clause.metric):
            number = known.variance * (_REACH / math.log1p(distance)) ** 2 if distance else math.inf
        else:
            number = known.inflation * _percentile(tail_of(clause.metric), distance)
        number *= caution(clause.metric, known, number)
    requests = None if math.isinf(number) else max(known.least, math.ceil(number - 1e-9))
    return Needed(
        str(clause),
        known.value,
        distance,
        known.inflation,
        known.measured,
        known.least,
        requests,
        None if requests is None else requests / rate,
    )


def _distance(value: float, bound: float) -> float:
    if bound <= 0 or value <= 0:
        return math.inf
    return max(value, bound) / min(value, bound) - 1


def _percentile(tail: float, distance: float) -> float:
    """Return how many independent requests distinguish a percentile from a bound on either side.

    If latencies are exponential, a share tail^(1 + d) lies beyond a bound that exceeds the
    percentile by the fraction d. Whether it is less than the tail is a test of one proportion.
    Showing that a tail is shorter takes more requests than showing that it is longer: the larger
    number counts.
    """
    if distance <= 0:
        return math.inf
    sides = (tail ** (1 + distance), tail ** (1 / (1 + distance)))
    return max(_one_proportion(side, tail) for side in sides)


def _one_proportion(share: float, bound: float) -> float:
    if share == bound:
        return math.inf
    spread = Z * math.sqrt(bound * (1 - bound)) + _POWER * math.sqrt(share * (1 - share))
    return (spread / (share - bound)) ** 2


# -- comparisons ----------------------------------------------------------------------------------


def detectable(
    metric: str, known: Known, requests: int, repeats: int = 1, statements: int = 1
) -> float:
    """Return the smallest change that ``compare`` detects with 95 % power.

    The requests of both sides are compared there (:mod:`pytest_servebench.stats.shifts`), or what
    differs between repeats, whichever is less sure. The change must exceed the interval by z'
    standard errors. With repeats the width is uncertain too, which by Johnson and Welch (1940,
    Biometrika 31:362) makes z' the sqrt(1 + t^2 / 2f)-fold for Student's quantile t of f degrees.

    For a percentile with the tail p, shares p (1 + h) and p (1 - h) lie beyond a common threshold
    if latencies are exponential and differ by the factor ((1 + h) / (1 - h))^(1 / |ln p|); if h
    would have to be 1 or more, no change is detected.

    For shares the difference is that of their arcsines (Cohen 1988, Statistical Power Analysis,
    chapter 6), whose variance is the same near 1 as elsewhere.

    Args:
        metric: what changes.
        known: about the metric.
        requests: of each run.
        repeats: runs of each side.
        statements: how many verdicts share the level: see
            :mod:`pytest_servebench.analysis.compare`.

    Returns:
        A relative change, such as 0.1 for 10 % more; for shares, the difference. Infinite if no
        change can be told from chance.
    """
    if requests * repeats < _fewest(metric):
        return math.inf
    tail = compare.TAIL / statements
    z = NORMAL.inv_cdf(1 - tail / 2)
    number = requests * repeats
    error = math.sqrt(2 * (known.variance / requests + known.between) / repeats)
    wide = z * math.sqrt(2 * known.variance * caution(metric, known, 2 * number) / number)
    change = _of_shares(metric, wide + _POWER * error)
    if repeats > 1:
        # Welch's degrees come from two estimated variances, whose own variance makes them fewer
        # than 2 (repeats - 1): their moments in Satterthwaite's formula.
        scatter = 2 / (repeats - 1)
        degrees = (repeats - 1) * (2 + scatter) / (1 + scatter)
        t = student_quantile(tail, degrees)
        change = max(change, (t + _POWER * math.sqrt(1 + t * t / (2 * degrees))) * error)
    if metric in SHARES:
        share = 1.0 if known.value is None else known.value
        angle = math.asin(math.sqrt(share))
        # Away from the nearer end: a share of 1 can only fall.
        moved = angle - change / 2 if share >= 0.5 else angle + change / 2
        return abs(share - math.sin(min(max(moved, 0.0), math.pi / 2)) ** 2)
    return math.expm1(change) if change < 700 else math.inf


def _of_shares(metric: str, change: float) -> float:
    """Return the change of a percentile's logarithm that moves the shares beyond it so far."""
    if not is_percentile(metric):
        return change
    each = 2 / -math.log(tail_of(metric))
    return each * math.atanh(change / each) if change < each else math.inf


def _fewest(metric: str) -> int:
    """Return how many requests resolve a metric if they are independent."""
    return max(1, METRICS[metric].enough) if metric in METRICS else 1


def requests_for(metric: str, known: Known, change: float, statements: int = 1) -> int | None:
    """Return how many requests one run per side needs to detect a change; ``None`` if too many.

    Variation between runs is invisible with one run per side, and limits what any length can
    detect.
    """

    def shown(requests: int) -> bool:
        return detectable(metric, known, requests, 1, statements) <= change

    low = high = _fewest(metric)
    while not shown(high):
        low, high = high, 2 * high
        if high > MOST_REQUESTS:
            return None
    return bisect_left(range(high + 1), True, low, high, key=shown)


def repeats_for(
    metric: str, known: Known, requests: int, change: float, statements: int = 1
) -> int | None:
    """Return how many runs per side detect a change; ``None`` if too many."""
    for repeats in range(1, MOST_REPEATS + 1):
        if detectable(metric, known, requests, repeats, statements) <= change:
            return repeats
    return None


# -- all of it ------------------------------------------------------------------------------------


def plan_case(
    clauses: Sequence[Clause],
    rate: float,
    cases: Sequence[CaseResult] = (),
    *,
    case: str = "",
    load: float = 0.6,
    margin: float = 0.2,
    repeats: int = 1,
    change: float = 0.1,
    statements: int = 1,
) -> CasePlan:
    """Return the plan for one rate.

    Args:
        clauses: of the SLO, one at least.
        rate: arrivals a second, above 0.
        cases: repeats of one case in an earlier run at this rate; empty without one.
        case: its name for people.
        load: of the server, from 0 to below 1, if the run does not show how correlated requests
            are.
        margin: relative distance of latencies from their bounds, if there is no run.
        repeats: runs per side of a comparison.
        change: that a comparison should detect.
        statements: verdicts of the comparison, which share its level.

    Raises:
        OptionError: a clause is about a class of requests that a case does not have.
        ValueError: the load is out of its range, or a clause about a class has no case.
    """
    named = {(clause.metric, clause.request_class) for clause in clauses}
    if not cases and any(name for _, name in named):
        raise ValueError("only an earlier run tells how many requests a class has")
    parts = {
        name: _Requests([one.of_class(name) if name else one for one in cases], rate, load)
        for name in dict.fromkeys(("", *(clause.request_class for clause in clauses)))
    }
    everything = parts[""].per_second

    def of(clause: Clause) -> Known | None:
        if METRICS[clause.metric].of_run:
            return None
        metric = "throughput_share" if clause.relative else clause.metric
        return parts[clause.request_class].known(metric)

    wanted = []
    requests = 1
    for clause in clauses:
        own = parts[clause.request_class].per_second
        wanted.append(found := needed(clause, of(clause), own, margin))
        if found.requests is not None:
            requests = max(requests, math.ceil(found.requests * (everything / own) - 1e-9))
    changes = []
    for metric, one in METRICS.items():
        for name, part in parts.items():
            of_slo = (metric, name) in named and one.times is not None and not one.of_run
            if (name or metric not in COMPARED) and not of_slo:
                continue
            about = part.known(metric)
            planned = max(1, round(requests * part.per_second / everything))
            changes.append(
                Detectable(
                    metric,
                    detectable(metric, about, planned, repeats, statements),
                    alone := requests_for(metric, about, change, statements),
                    None if alone is None else alone / part.per_second,
                    repeats_for(metric, about, planned, change, statements),
                    about.measured,
                    name,
                )
            )
    unit = cases[0].unit if cases else "request"
    return CasePlan(
        rate, unit, case, tuple(wanted), requests, requests / everything, tuple(changes)
    )


class _Requests:
    def __init__(self, cases: Sequence[CaseResult], rate: float, load: float) -> None:
        """All requests of an earlier run's case, or those of one class; ``rate`` without one."""
        self._cases = cases
        self._load = load
        # Only a run can tell how many requests per second sessions make.
        self.per_second = fmean(one.request_rate for one in cases) if cases else rate

    def known(self, metric: str) -> Known:
        found = measured(metric, self._cases, self._load) if self._cases else None
        return found or assumed(metric, self.per_second, self._load)
