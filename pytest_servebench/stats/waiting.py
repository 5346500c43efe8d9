"""How much of the requests' time is waiting for others, and how a slow machine changes it."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Waiting(NamedTuple):
    """How requests waited for earlier ones.

    Attributes:
        share: of the mean time, from 0 to 1.
        found: median of the number in flight when a request arrived.
    """

    share: float = 0.0
    found: float = 0.0


def waiting(arrived: npt.NDArray[np.float64], took: npt.NDArray[np.float64]) -> Waiting:
    """Return how requests waited for earlier ones.

    The share is how much longer a request takes for each one already in flight (the slope of a
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
        return Waiting()
    found = np.arange(len(took)) - np.searchsorted(np.sort(arrived + took), arrived, side="right")
    usual = float(np.median(found))
    apart = found - found.mean()
    squares, mean = float(apart @ apart), float(took.mean())
    if not squares or not mean:
        return Waiting(0.0, usual)
    share = float(apart @ took) / squares * float(found.mean()) / mean
    return Waiting(min(max(share, 0.0), 1.0), usual)


def time_on_a_slower_machine(share: float, slower: float, room: float = math.inf) -> float:
    """Return how many times as long requests take if every service takes ``slower`` times as long.

    With a service time a and a share w of waiting, a request takes a / (1 - w), as in an M/M/1
    queue, where w is the utilization and grows with a. That is infinite if the queue would grow
    forever, but no request waits for more others than the buffer admits.

    Args:
        share: w on the faster of the machines.
        slower: below 1 for a faster machine.
        room: how many times as many requests as usual may be in flight there, 1 or more.
    """
    if slower < 1:
        return 1 / time_on_a_slower_machine(share, 1 / slower, room)
    if not share:
        return slower
    left = 1 - slower * share
    endless = slower * (1 - share) / left if left > 0 else math.inf
    return min(endless, slower * (1 + share * (room - 1)))
