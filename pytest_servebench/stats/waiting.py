"""How much requests wait for each other, and what a slow machine makes of that."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import Records
from pytest_servebench.stats.bootstrap import Floats
from pytest_servebench.stats.departures import stretches

Counts = npt.NDArray[np.int64]


class Waiting(NamedTuple):
    """How requests waited for earlier ones.

    Attributes:
        share: of the mean time, from 0 to 1.
        found: median of the number in flight when a request arrived.
        mean: the same, its mean.
        busy: share of the most that the server could answer for which the arrivals ask; above 1 if
            it is overloaded.
    """

    share: float = 0.0
    found: float = 0.0
    mean: float = 0.0
    busy: float = 0.0


def waiting(records: Records) -> Waiting:
    """Return how requests waited for earlier ones.

    The share is how much longer a request takes for each one already in flight (the slope of a
    regression), times the mean number in flight, divided by the mean time. In a queue with one slot
    the slope is the mean service time, so that by Little's law the share is the utilization; if
    many are served at once, it is less.

    How busy the server is shows while more than usual are in flight: arrivals per second, times the
    seconds for each further request, which are the slope again, or the time between two departures.
    If some slots are idle, the slope is too small; if services are of one length, departures come
    too fast, as the service under way began before. The larger counts: it is 0.84 to 0.9 on queues
    with 1 to 40 slots and a utilization of 0.85. A server that has never had all of its slots busy
    is taken to have no more.
    """
    ended = records.ok
    found, took = records.in_flight()[ended], records.latency()[ended]
    if not len(took):
        return Waiting()
    usual, mean = float(np.median(found)), float(found.mean())
    many, rate = found >= usual, len(records) / max(records.window / 1e9, 1e-9)
    each = max(_slope(found[many], took[many]), stretches(records, max(1.0, usual)).each)
    whole = float(took.mean())
    share = _slope(found, took) * mean / whole if whole else 0.0
    return Waiting(min(max(share, 0.0), 1.0), usual, mean, float(rate * each))


def _slope(found: Counts, took: Floats) -> float:
    """Return how much longer a request takes for each one that it found, seconds."""
    apart = found - found.mean()
    squares = float(apart @ apart)
    return float(apart @ took) / squares if squares else 0.0


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


def overflow(busy: float, places: float) -> float:
    """Return the share of arrivals that find a queue full, as in M/M/1/K.

    Args:
        busy: arrivals per service.
        places: K, in service and waiting.
    """
    if busy == 1:
        return 1 / (places + 1)
    if busy > 1:  # the same fraction, without powers that overflow
        return (busy - 1) / (busy - math.pow(busy, -places))
    return (1 - busy) * math.pow(busy, places) / (1 - math.pow(busy, places + 1))
