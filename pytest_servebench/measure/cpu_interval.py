"""Confidence interval for a server's CPU usage.

The mean CPU time of a window is exact for that window, but not for the next one: some requests cost
more than others, and garbage collection, compilation and other work of the server are irregular.
The samples of the window show how much.

The number of requests is the same for all servers with the same schedule, and not noise. It is
removed from each sample by regression on the requests that ended in it (control variates: Lavenberg
and Welch 1981, Management Science 27:322). The residuals are correlated in time: moving blocks
(:mod:`pytest_servebench.stats.bootstrap`) give the variance of their mean.

Changes from run to run, above all in the speed of the machine, are not in the samples: on a shared
virtual machine, five runs of one server took 2.5 to 2.9 ms per request, with intervals of 4 % each.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from pytest_servebench.load.records import NEVER, Records
from pytest_servebench.runs.results import Resources
from pytest_servebench.stats.bootstrap import moving_blocks
from pytest_servebench.stats.estimates import Estimate
from pytest_servebench.stats.student import Z, student

_FEWEST: Final = 8  # samples needed for a variance


def per_request(cpu: Estimate, throughput: float) -> Estimate | None:
    """Return the CPU time per success, seconds; ``None`` if nothing succeeded.

    Given the arrivals, their number is not noise, so the interval is that of the CPU.

    Args:
        cpu: percent of one CPU over the window.
        throughput: successes per second in the same window.
    """
    if not throughput:
        return None
    value, low, high = (
        None if end is None else end / 100 / throughput for end in (cpu.value, cpu.low, cpu.high)
    )
    return Estimate(value, low, high)


def cpu_estimate(resources: Resources, records: Records) -> Estimate | None:
    """Return the mean CPU, percent of one CPU, with a 95 % confidence interval.

    The interval holds for the same arrivals. It is open if the window had too few samples; the
    result is ``None`` if the server's processes cannot be seen.

    Args:
        resources: of the window, with their k samples; shape of each column ``(k,)``.
        records: of the requests in the same window.
    """
    if resources.cpu_mean is None:
        return None
    cpu = np.array(resources.series.get("cpu", ()), dtype=np.float64)
    n = len(cpu)
    if n < _FEWEST:
        return Estimate(resources.cpu_mean, 0.0, None)
    rest = cpu - cpu.mean()
    ended = records.done[(records.sent != NEVER) & (records.done != NEVER)] / 1e9
    edges = np.array([0.0, *resources.series["time"]])
    number = np.histogram(ended, np.maximum.accumulate(edges))[0].astype(np.float64)
    number -= number.mean()
    if (squares := float(number @ number)) > 0:
        rest -= float(number @ rest) / squares * number
    blocks = moving_blocks(rest[:, np.newaxis])
    # The regression's slope takes one more degree of freedom.
    variance = float(blocks.variances[0]) * (n - 1) / (n - 2)
    half = Z * student(float(blocks.degrees[0])) * math.sqrt(variance) / n
    mean = resources.cpu_mean
    return Estimate(mean, max(0.0, mean - half), mean + half)
