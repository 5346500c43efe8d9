"""Service times from a queue's arrivals and departures: exact, whatever the distribution."""

from __future__ import annotations

import heapq
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

_SMALLEST: Final = -np.inf


def fifo_services(sent: Floats, done: Floats, slots: int, overhead: float = 0.0) -> Floats:
    """Return the service times of a first come, first served queue with ``slots`` servers.

    Request k begins when it has arrived and a slot is free: at the later of its arrival and the
    ``slots``-th largest departure among the requests before it. A negative service time means that
    the queue was of another kind.

    Args:
        sent: arrivals at the server, ascending, seconds; shape ``(n,)``.
        done: departures, seconds; shape ``(n,)``.
        slots: requests that it works on at once.
        overhead: part of each request's time in which it holds no slot, such as that on the
            network, seconds.
    """
    left = done - overhead
    free: Floats
    if slots == 1:
        free = np.concatenate([[_SMALLEST], np.maximum.accumulate(left)[:-1]])
    else:
        busy = [_SMALLEST] * slots  # the largest departures so far
        freed = []
        for end in left.tolist():
            freed.append(busy[0])
            if end > busy[0]:
                heapq.heapreplace(busy, end)
        free = np.array(freed)
    services: Floats = left - np.maximum(sent, free)
    return services


def shared_services(sent: Floats, done: Floats, slots: int) -> Floats:
    """Return the service times of a server that shares its capacity equally (processor sharing).

    With N requests in the server, each is served at the rate min(1, slots / N). Args as in
    :func:`fifo_services`.
    """
    times = np.concatenate([sent, done])
    steps = np.concatenate([np.ones(len(sent)), -np.ones(len(done))])
    order = np.lexsort((steps, times))
    inside = np.maximum(np.cumsum(steps[order])[:-1], 1.0)
    gained = np.diff(times[order]) * np.minimum(1.0, slots / inside)
    attained = np.empty(len(times))
    attained[order] = np.concatenate([[0.0], np.cumsum(gained)])
    services: Floats = attained[len(sent) :] - attained[: len(sent)]
    return services


def unordered_services(sent: Floats, done: Floats) -> Floats:
    """Return the service times of one server that takes waiting requests in any order.

    It is never idle while one waits, so each begins when the previous one has left, or when it
    arrives. Args as in :func:`fifo_services`.
    """
    order = np.argsort(done, kind="stable")
    left = done[order]
    services = np.empty(len(sent))
    services[order] = left - np.maximum(sent[order], np.concatenate([[_SMALLEST], left[:-1]]))
    return services


def found_inside(sent: Floats, done: Floats) -> Counts:
    """Return how many requests each one found in the server; args as above, shape ``(n,)``."""
    left = np.searchsorted(np.sort(done), sent, "right")
    inside: Counts = np.arange(len(sent)) - left
    return inside


def rank_correlation(first: npt.NDArray[np.generic], second: npt.NDArray[np.generic]) -> float:
    """Return Spearman's correlation, ties at their mean rank; 0 where one never changes."""
    centred = [one - one.mean() for one in (ranks(first), ranks(second))]
    scale = float(np.sqrt((centred[0] @ centred[0]) * (centred[1] @ centred[1])))
    return float(centred[0] @ centred[1]) / scale if scale > 0 else 0.0


def ranks(values: npt.NDArray[np.generic]) -> Floats:
    """Return the rank of each value from 1, ties at their mean rank; shape ``(n,)``."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    found: Floats = (ends - (counts - 1) / 2)[place]
    return found
