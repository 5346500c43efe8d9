"""How far the CPU that a server took can be trusted.

The mean CPU time of a window is exact for that window; what it tells of the next one is not, as
some requests cost more than others, and collections of garbage, compilations and other work of the
server's own come when they come. The samples of the window show how much that is.

How many requests came is common to all servers that get the same schedule, and no noise. It is
taken out of each sample by regression on the requests that ended in it (control variates: Lavenberg
and Welch 1981, Management Science 27:322). What is left varies, in neighbours alike: moving blocks
(:mod:`pytest_servebench.stats.bootstrap`) tell the variance of its mean.

What changes from run to run, the speed of the machine above all, is not in the samples: on a shared
virtual machine, five runs of one server took 2.5 to 2.9 ms a request, with intervals of 4 % each.
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

_FEWEST: Final = 8  # samples from which a variance is taken


def cpu_estimate(resources: Resources, records: Records) -> Estimate | None:
    """Return the mean CPU, percent of one processor, with a 95 % interval.

    The interval is for the same arrivals. It is open where the window had too few samples, and
    there is none at all where the server's processes cannot be seen.

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
    # One more degree of freedom is gone with the regression's slope.
    variance = float(blocks.variances[0]) * (n - 1) / (n - 2)
    half = Z * student(float(blocks.degrees[0])) * math.sqrt(variance) / n
    mean = resources.cpu_mean
    return Estimate(mean, max(0.0, mean - half), mean + half)
