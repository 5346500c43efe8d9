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

_SPELL: Final = 10  # memories, for which services follow one another as they were measured

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
        self._place = dice.integers(0, len(pool.rank), streams)
        self._resample = np.repeat(np.arange(len(pool.chosen)), streams // len(pool.chosen))
        self._fails = bool(model.failed.any())
        self._failed: list[npt.NDArray[np.bool_]] = []

    def __call__(self, steps: int) -> tuple[Floats, Floats]:
        """Return arrivals and services; shape ``(steps, 2 * streams)`` each."""
        streams = len(self._now)
        if self._shape == 1:
            gaps = self._dice.standard_exponential((steps, streams)) * self._scale
        else:
            gaps = self._dice.gamma(self._shape, self._scale, (steps, streams))
        gaps[0] += self._now
        arrivals = np.cumsum(gaps, axis=0)
        self._now = arrivals[-1]
        ranks = self._ranks(steps)
        places = np.concatenate([ranks, self._pool.chosen[self._resample, ranks]], axis=1)
        if self._fails:
            self._failed.append(self._pool.failed[places])
        return np.tile(arrivals, 2), self._pool.ordered[places]

    def _ranks(self, steps: int) -> Places:
        n, streams = len(self._pool.rank), len(self._now)
        if self._memory == 1:
            return self._dice.integers(0, n, (steps, streams))
        # Spells of random length (Politis and Romano 1994, The stationary bootstrap).
        fresh = self._dice.random((steps, streams)) < 1 / (_SPELL * self._memory)
        starts = self._dice.integers(0, n, (steps, streams))
        places = np.empty((steps, streams), dtype=np.int64)
        place = self._place
        for step in range(steps):
            place = np.where(fresh[step], starts[step], place + 1)
            places[step] = place
        self._place = place % n
        return self._pool.rank[places % n]

    def failed(self, steps: int) -> npt.NDArray[np.bool_] | None:
        """Return which requests after the first ``steps`` fail, ``None`` if none ever does."""
        return np.concatenate(self._failed)[steps:] if self._fails else None
