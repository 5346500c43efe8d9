"""Rate of some requests, and their share of the arrivals."""

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import Records
from pytest_servebench.stats.bootstrap import binned, bins_for, least_length, moving_blocks
from pytest_servebench.stats.estimates import Estimate
from pytest_servebench.stats.intervals import (
    dispersion_of,
    effective_number,
    poisson_interval,
    wilson_interval,
)
from pytest_servebench.stats.phases import by_phases


def counted(records: Records, which: npt.NDArray[np.bool_]) -> tuple[Estimate, Estimate]:
    """Return the rate of some requests in 1/s, and their share of the arrivals, with intervals.

    The intervals are made like those of throughput and of success rate, from moving blocks.

    Args:
        records: of the case.
        which: requests to count, all of them done inside the window; shape ``(n,)``.
    """
    n, number = len(records), int(which.sum())
    seconds = records.window / 1e9
    if n == 0:
        return poisson_interval(0, 1.0, seconds), Estimate(None, None, None)
    bins = bins_for(n)
    share = number / n
    ends = binned(np.ones((number, 1)), records.done[which], records.window, bins)
    arrived = binned(
        (which.astype(np.float64) - share)[:, None], records.scheduled, records.window, bins
    )
    least = least_length(records.memory, records.window, bins)
    blocks = moving_blocks(np.column_stack([arrived, ends - ends.mean(axis=0)]), least)
    blocks = by_phases(blocks, arrived, records)
    of_share, of_ends = blocks.variances.tolist()
    spread = dispersion_of(number, of_ends, float(blocks.degrees[1]))
    effective = effective_number(n, share, of_share / n**2, float(blocks.degrees[0]))
    return poisson_interval(number, spread, seconds), wilson_interval(share, effective)
