"""How percentiles and means shifted, from the requests of both runs, if both have records."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pytest_servebench.analysis.pairs import Pair
from pytest_servebench.load import quantities
from pytest_servebench.load.records import Records
from pytest_servebench.metrics import (
    METRICS,
    TIMES,
    Metric,
    Times,
    percentiles_of,
    statistics_of,
)
from pytest_servebench.runs.case_records import read_records
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.stats.departures import services
from pytest_servebench.stats.shifts import Shift, Side, mean_shift, percentile_shifts
from pytest_servebench.stats.summary import alike_for

Repeats = Sequence[Records]
"""The records of one side of a pair; none if any of its cases has none."""


def records_of(pair: Pair, directories: tuple[Path | None, Path | None]) -> tuple[Repeats, Repeats]:
    """Return the records of both sides.

    Args:
        pair: a case of two runs.
        directories: of the runs, for records that are not in memory.
    """
    return _records(pair.base, directories[0]), _records(pair.new, directories[1])


def request_shifts(
    base: Repeats, new: Repeats, whole: tuple[Repeats, Repeats] | None = None
) -> Mapping[str, Shift]:
    """Return the shift of each statistic of times, computed from the requests, by metric.

    Args:
        base: the repeats of BASE.
        new: those of NEW.
        whole: the records of all requests, if these are of one class.
    """
    found: dict[str, Shift] = {}
    # Requests in a batch are slow together, for seconds: hardly significant in the difference of
    # times that vary as much as answers' lengths, but in those of each run.
    span = max((alike_for(one) for side in whole or (base, new) for one in side), default=0.0)
    for times in TIMES:
        sides = _side(base, times, span), _side(new, times, span)
        if sides[0] is not None and sides[1] is not None:
            found |= _shifts(times, sides[0], sides[1])
    large = [name for name, shift in found.items() if shift.is_large and _waits(METRICS[name])]
    known = services(*(whole or (base, new))) if large else None
    return found | {name: replace(found[name], services=known) for name in large}


def _waits(metric: Metric) -> bool:
    """Return whether a metric is about times that begin with the arrival."""
    return metric.times is not None and metric.times.name in quantities.SINCE_ARRIVAL


def _records(cases: Sequence[CaseResult], directory: Path | None) -> list[Records]:
    """Return the records of each case; none if any has none."""
    found = [read_records(case, directory)[0] for case in cases]
    known = [one for one in found if one is not None]
    return known if len(known) == len(found) else []


def _side(repeats: Sequence[Records], times: Times, span: float) -> Side | None:
    """Return the values of all repeats; ``None`` if any of them lacks them.

    Requests are alike for ``span`` at least, ns.
    """
    samples = [quantities.sample(one, times.name) for one in repeats]
    known = [one for one in samples if one is not None]
    if not known or len(known) < len(samples):
        return None
    windows = [one.window for one in repeats]
    begins = np.cumsum([0, *windows[:-1]])
    return Side(
        np.concatenate([one.values for one in known]),
        np.concatenate(
            [
                rows.scheduled[one.request] + begin
                for rows, one, begin in zip(repeats, known, begins, strict=True)
            ]
        ),
        sum(windows),
        max(span, *(one.memory for one in repeats)),
    )


def _shifts(times: Times, base: Side, new: Side) -> dict[str, Shift]:
    percentiles = percentiles_of(times)
    permilles = [one.permille for one in percentiles if one.permille is not None]
    made = percentile_shifts(base, new, permilles)
    names = [one.name for one in percentiles]
    names += [one.name for one in statistics_of(times) if one.is_mean]
    return {
        name: shift
        for name, shift in zip(names, [*made, mean_shift(base, new)], strict=True)
        if shift is not None
    }
