"""How much of the requests' time is waiting for others, and how a slow machine changes it."""

import math

import numpy as np
import numpy.typing as npt


def waiting_share(arrived: npt.NDArray[np.float64], took: npt.NDArray[np.float64]) -> float:
    """Return the share of the mean time spent waiting for earlier requests, from 0 to 1.

    It is how much longer a request takes for each one already in flight (the slope of a
    regression), times the mean number in flight, divided by the mean time. In a queue with one slot
    the slope is the mean service time, so that by Little's law the share is the utilization; if
    many are served at once, it is less.

    Args:
        arrived: when each request came, seconds; shape ``(n,)``.
        took: how long it took, seconds, infinite for failed ones, which are left out.
    """
    ended = np.isfinite(took)
    order = np.argsort(arrived[ended], kind="stable")
    arrived, took = arrived[ended][order], took[ended][order]
    if not len(took):
        return 0.0
    found = np.arange(len(took)) - np.searchsorted(np.sort(arrived + took), arrived, side="right")
    apart = found - found.mean()
    squares, mean = float(apart @ apart), float(took.mean())
    if not squares or not mean:
        return 0.0
    share = float(apart @ took) / squares * float(found.mean()) / mean
    return min(max(share, 0.0), 1.0)


def time_on_a_slower_machine(share: float, slower: float) -> float:
    """Return how many times as long requests take if every service takes ``slower`` times as long.

    With a service time a and a share w of waiting, a request takes a / (1 - w), as in an M/M/1
    queue, where w is the utilization and grows with a. Infinite if the queue would grow forever.

    Args:
        share: w on the faster of the machines.
        slower: below 1 for a faster machine.
    """
    if slower < 1:
        return 1 / time_on_a_slower_machine(share, 1 / slower)
    left = 1 - slower * share
    return slower * (1 - share) / left if left > 0 else math.inf
