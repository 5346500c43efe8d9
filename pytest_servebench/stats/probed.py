"""Counts for one limit in one probe of a search for a capacity."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import Records
from pytest_servebench.stats.bootstrap import binned, bins_for, moving_blocks
from pytest_servebench.stats.machine_paces import MEDIAN_PACE, Pace

OVERLOADED: Final = 0.2
"""With a larger share beyond a limit, the queue may grow all the time. How far depends on the
probe's length, so such a probe only shows that its rate is too high."""


@dataclass(frozen=True)
class Probed:
    """What one limit saw in one probe.

    Attributes:
        rate: arrivals per second that were asked for.
        seconds: of load that count, without those of settling.
        arrivals: in these seconds, of those that the limit counts.
        beyond: how many of the arrivals went beyond the limit.
        dispersion: variance of ``beyond`` over that of as many independent requests; ``None`` where
            none or all went beyond.
        throughput: successes a second in these seconds; ``None`` if unknown.
        uncounted: further arrivals, successes without a value of the limit's time.
        pace: how fast the machine was, compared to the speed at which the capacity is asked for.
    """

    rate: float
    seconds: float
    arrivals: int
    beyond: int
    dispersion: float | None
    throughput: float | None = None
    uncounted: int = 0
    pace: Pace = MEDIAN_PACE

    @property
    def offered(self) -> int:
        """Return the number of all arrivals."""
        return self.arrivals + self.uncounted

    @property
    def share(self) -> float:
        """Return the share of the arrivals that went beyond the limit, 0 without any."""
        return self.beyond / self.arrivals if self.arrivals else 0.0


def probed(
    records: Records,
    beyond: npt.NDArray[np.bool_],
    rate: float,
    settle: float = 0.0,
    counted: npt.NDArray[np.bool_] | None = None,
) -> Probed:
    """Return what a limit saw in a probe, from its records.

    Args:
        records: of the probe.
        beyond: which requests went beyond the limit; shape ``(n,)``.
        rate: arrivals per second that were asked for.
        settle: seconds at the start that do not count.
        counted: which requests the limit counts; shape ``(n,)``. By default, all.
    """
    start = min(int(settle * 1e9), records.window)
    settled = records.scheduled >= start
    kept = settled if counted is None else settled & counted
    arrived, exceeded = records.scheduled[kept] - start, beyond[kept]
    window = records.window - start
    n, k = len(arrived), int(exceeded.sum())
    dispersion = None
    if 0 < k < n:
        centred = exceeded[:, np.newaxis].astype(np.float64) - k / n
        variance = float(moving_blocks(binned(centred, arrived, window, bins_for(n))).variances[0])
        dispersion = variance / (n * (k / n) * (1 - k / n))
    ended = records.done[records.ok]
    completed = int(((ended >= start) & (ended < records.window)).sum())
    return Probed(
        rate, window / 1e9, n, k, dispersion, completed * 1e9 / max(window, 1),
        uncounted=int(settled.sum()) - n,
    )  # fmt: skip


def saturation(probes: Sequence[Probed]) -> float | None:
    """Return the highest rate of successes of an overloaded server.

    Some servers do less under overload than before.
    """
    if not any(map(is_saturated, probes)):
        return None
    return max(one.throughput for one in probes if one.throughput is not None)


def is_saturated(one: Probed) -> bool:
    """Return whether the server was overloaded in a probe."""
    # Without a success the server's throughput is unknown, and no queue explains the failures.
    return (
        one.throughput is not None
        and one.throughput > 0
        and one.share >= OVERLOADED
        and one.offered - one.throughput * one.seconds > 3 * math.sqrt(one.offered)
    )


def evidence(probes: Iterable[Probed], allowed: float) -> float:
    """Return how strongly probes of one rate speak against its keeping the limit: above 1.

    If it kept it, the share beyond would be ``allowed`` at most on average, and the product of
    share / ``allowed`` over independent probes 1: it comes to 40 once in 40 times (Ville's
    inequality). A few slow requests can prove that even if the curve, which expects them in
    clusters, does not.
    """
    return math.prod(one.share / allowed for one in probes)
