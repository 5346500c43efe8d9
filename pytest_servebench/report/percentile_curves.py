"""The percentile curve of a case: from its records, or joined from the run's percentiles."""

import math

import numpy as np

from pytest_servebench.analysis.precision import tail_of
from pytest_servebench.load.records import Records
from pytest_servebench.report.axes import Floats
from pytest_servebench.report.figures import NAMES, percentile
from pytest_servebench.runs.results import CaseResult

_POINTS = 300  # at most


def percentile_curve(
    case: CaseResult, records: Records | None, most: int = _POINTS
) -> tuple[Floats, Floats]:
    """Return the share of requests that are slower, and the finite latencies in ms.

    Args:
        case: its figures.
        records: what happened to each request; without them the known percentiles are the curve.
        most: about how many points it may have; never more than 300.
    """
    if records is not None:
        return curve(1e3 * records.latency(), min(_POINTS, most))
    joined = [
        (tail_of(name), 1e3 * value)
        for name in NAMES
        if (value := percentile(case.summary, name).value) is not None and math.isfinite(value)
    ]
    return np.array([share for share, _ in joined]), np.array([ms for _, ms in joined])


def curve(latencies: Floats, most: int = _POINTS) -> tuple[Floats, Floats]:
    """Return the share of requests that are slower, and the latency.

    Args:
        latencies: infinite if a request failed: those rank as the slowest and are left out. If
            there are many, points close together on a logarithmic axis are left out, but none of
            the tail.
        most: about how many points the curve may have.
    """
    ordered = np.sort(latencies)
    n = len(ordered)
    finite = int(np.isfinite(ordered).sum())
    index = np.arange(finite)
    if finite > most:
        tail = n - np.unique(np.geomspace(1, n, most).astype(np.int64))
        index = np.unique(tail[tail < finite])
    return (n - index - 0.5) / max(n, 1), ordered[index]
