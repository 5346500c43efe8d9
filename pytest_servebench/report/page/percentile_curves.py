"""The percentile curve of a case: from its records, or joined from the figures of the run."""

from __future__ import annotations

import math

import numpy as np

from pytest_servebench.load.records import Records
from pytest_servebench.report.figures import NAMES, percentile, share_of
from pytest_servebench.report.page.axes import Floats
from pytest_servebench.report.page.thinning import curve
from pytest_servebench.runs.results import CaseResult

_POINTS = 300  # at most


def percentile_curve(
    case: CaseResult, records: Records | None, most: int = _POINTS
) -> tuple[Floats, Floats]:
    """Return the share of requests that are slower, and the latency in ms as far as it is finite.

    Args:
        case: its figures.
        records: what happened to each request; without them the known percentiles are the curve.
        most: about how many points it may have; never more than 300.
    """
    if records is not None:
        return curve(np.sort(1e3 * records.latency()), min(_POINTS, most))
    known = [(1 - share_of(name), percentile(case.summary, name).value) for name in NAMES]
    found = [(share, 1e3 * value) for share, value in known
             if value is not None and math.isfinite(value)]  # fmt: skip
    return np.array([share for share, _ in found]), np.array([ms for _, ms in found])
