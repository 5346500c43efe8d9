"""The random numbers of a prediction, the same for a server and for each resample of it.

Every resample sees the arrivals that the measured services see, and for each request the service of
the same rank (common random numbers): what differs between them is the resample, not luck.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.sizing.inversion import Floats
from pytest_servebench.sizing.model import ServerModel

_SPELL: Final = 10  # memories, for which services keep their measured order

Places = npt.NDArray[np.int64]


class Resamples:
    """Services of a model in ascending order, and resamples of them.

    Attributes:
        ordered: services, seconds; shape ``(n,)``.
        failed: whether the request of each failed; shape ``(n,)``.
        rank: place of each measured service in that order, by arrival; shape ``(n,)``.
        chosen: for each resample, places in that order, ascending; shape ``(resamples, n)``.
    """

    def __init__(self, model: ServerModel, resamples: int, dice: np.random.Generator) -> None:
        """Draw blocks of neighbouring services, as long as they are alike."""
        order = np.argsort(model.services, kind="stable")
        n = len(order)
        self.ordered = model.services[order]
        self.failed = model.failed[order]
        self.rank = np.empty(n, dtype=np.int64)
        self.rank[order] = np.arange(n)
        length = model.memory
        starts = dice.integers(0, n, (resamples, -(-n // length)))
        drawn = (starts[:, :, None] + np.arange(length)).reshape(resamples, -1)[:, :n] % n
        self.chosen = np.sort(self.rank[drawn], axis=1)


class Draws:
    """Arrivals and services of all chains: first of the model, then of its resamples.

    Each stream of random numbers is used twice: chain i has the model's own services, chain
    ``streams`` + i those of resample i // (streams / resamples).
    """

    def __init__(
        self, model: ServerModel, pool: Resamples, streams: int, dice: np.random.Generator,
        rate: float, burstiness: float,
    ) -> None:  # fmt: skip
        """Draw ``streams`` streams at ``rate`` per second; see :class:`.prediction.Setting`."""
        self._pool = pool
        self._dice = dice
        self._scale = burstiness / rate
        self._shape = 1 / burstiness
        self._memory = model.memory
        self._now = np.zeros(streams)
        self._chosen = pool.chosen.ravel()
        self._services = pool.ordered[self._chosen]
        rows = np.repeat(np.arange(len(pool.chosen)), streams // len(pool.chosen))
        self._first = (rows * len(pool.rank))[:, None]
        self._fails = bool(model.failed.any())
        self._failed: list[npt.NDArray[np.bool_]] = []

    def __call__(self, steps: int) -> tuple[Floats, Floats]:
        """Return arrivals and services; shape ``(steps, 2 * streams)`` each."""
        streams = len(self._now)
        if self._shape == 1:
            gaps = self._dice.standard_exponential((steps, streams))
            gaps *= self._scale
        else:
            gaps = self._dice.gamma(self._shape, self._scale, (steps, streams))
        gaps[0] += self._now
        arrivals = np.empty((steps, 2 * streams))
        np.cumsum(gaps, axis=0, out=arrivals[:, :streams])
        self._now = arrivals[-1, :streams].copy()
        arrivals[:, streams:] = arrivals[:, :streams]
        # Stream by stream: one resample at a time stays in the processor's cache.
        ranks = self._ranks(steps)
        resampled = ranks + self._first
        services = np.empty((steps, 2 * streams))
        services[:, :streams] = self._pool.ordered.take(ranks).T
        services[:, streams:] = self._services.take(resampled).T
        if self._fails:
            failed = [self._pool.failed.take(ranks), self._pool.failed[self._chosen[resampled]]]
            self._failed.append(np.concatenate(failed).T)
        return arrivals, services

    def _ranks(self, steps: int) -> Places:
        """Return the place of each service among those of its chain; shape ``(streams, steps)``."""
        n, streams = len(self._pool.rank), len(self._now)
        if self._memory == 1:
            return self._dice.integers(0, n, (streams, steps))
        # Spells of random length (Politis and Romano 1994, The stationary bootstrap).
        fresh = self._dice.random((streams, steps)) < 1 / (_SPELL * self._memory)
        fresh[:, 0] = True
        starts = self._dice.integers(0, n, (streams, steps))
        since = np.arange(steps) - np.maximum.accumulate(
            np.where(fresh, np.arange(steps), 0), axis=1
        )
        begun = np.take_along_axis(starts, np.arange(steps) - since, axis=1)
        places: Places = self._pool.rank[(begun + since) % n]
        return places

    def failed(self, steps: int) -> npt.NDArray[np.bool_] | None:
        """Return which requests after the first ``steps`` fail, ``None`` if none ever does."""
        return np.concatenate(self._failed)[steps:] if self._fails else None
