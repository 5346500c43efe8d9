"""Fewer points for the same picture: what is left out is never the slowest, nor a failure."""

from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.report.axes import Floats

_SLOWEST: Final = 0.25  # of the points that are drawn are the slowest of their slice of time


def thinned(time: Floats, value: Floats, most: int) -> npt.NDArray[np.int64]:
    """Return which of n points to draw, at most about ``most``, in the order of time.

    Time is cut into slices. The highest and lowest of each are kept, and every nth of the rest by
    height, so that dense and sparse regions stay recognizable.
    """
    n = len(time)
    if n <= most:
        return np.arange(n)
    slices = max(1, int(most * _SLOWEST))
    ends = np.linspace(time.min(), time.max(), slices + 1)
    place = np.clip(np.searchsorted(ends, time, side="right") - 1, 0, slices - 1)
    order = np.lexsort((value, place))  # slice by slice, ascending
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    stops = np.append(starts[1:], n) - 1
    rest = order[:: max(1, round(n / (most - 2 * slices)))]
    return np.unique(np.concatenate([order[starts], order[stops], rest]))


def in_flight(records: Records, slices: int) -> tuple[Floats, Floats, Floats]:
    """Return the start of each slice of the window in seconds, and how many requests were inside.

    Returns:
        time, the most requests that waited or were worked on at once in the slice, and the most
        that were worked on; shape ``(slices,)`` each.
    """
    start: Floats = np.arange(slices, dtype=np.float64) * (records.window / slices)
    entered = (records.enqueued != NEVER) & np.not_equal(records.outcome, Outcome.DROPPED)
    inside = _most(records.enqueued[entered], records.done[entered], start)
    busy = records.dequeued != NEVER
    worked = _most(records.dequeued[busy], records.done[busy], start)
    seconds: Floats = start / 1e9
    return seconds, inside, worked


def _most(begun: npt.NDArray[np.int64], done: npt.NDArray[np.int64], start: Floats) -> Floats:
    ended = done[done != NEVER]
    times = np.concatenate([begun, ended])
    steps = np.concatenate([np.ones(len(begun)), -np.ones(len(ended))])
    order = np.lexsort((steps, times))  # those that leave at the same time leave first
    times, level = times[order], np.cumsum(steps[order])
    before = np.searchsorted(times, start, side="right") - 1
    most: Floats = np.where(before >= 0, level[before] if len(level) else 0.0, 0.0)
    place = np.searchsorted(start, times, side="right") - 1
    within = place >= 0
    np.maximum.at(most, place[within], level[within])
    return most


def slice_means(time: Floats, values: Floats, ends: Floats) -> Floats:
    """Return the mean of the values in each slice of time, NaN where there are none."""
    slices = len(ends) - 1
    place = np.clip(np.searchsorted(ends, time, side="right") - 1, 0, slices - 1)
    number = np.bincount(place, minlength=slices).astype(np.float64)
    total = np.bincount(place, weights=values, minlength=slices)
    result: Floats = np.full(slices, np.nan)
    np.divide(total, number, out=result, where=number > 0)
    return result
