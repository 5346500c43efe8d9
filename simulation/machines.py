"""Machines whose speed varies during a search, and what their programs' work then costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from pytest_servebench.measure.capacity_plan import Plan
from pytest_servebench.stats.machine_paces import Work
from simulation.distributions import Seconds

Slower = Callable[[Seconds], Seconds]
"""How many times as long the machine takes at each time of a load."""


def steady(times: Seconds) -> Seconds:
    """Return the slowdown on a machine whose speed is constant."""
    return np.ones_like(times)


@dataclass(frozen=True)
class Machine:
    """A machine whose speed varies, and programs on it whose work is seen.

    Attributes:
        swing: logarithm of the slowdown, at most.
        seconds: for which it lasts: of each step, or of half a wave.
        steps: whether it jumps, to a value between those anew each time, or goes up and down.
        noise: standard deviation of the logarithm of what a probe's requests seem to cost.
        seen: whether the work of the programs is.
    """

    swing: float = 0.0
    seconds: float = 30.0
    steps: bool = True
    noise: float = 0.03
    seen: bool = True

    def slower(self, start: float, seed: int) -> Slower:
        """Return the slowdown in a load that begins so many seconds after the search."""
        dice = np.random.default_rng([seed, 1])
        levels = self.swing * dice.uniform(-1.0, 1.0, 1000)
        phase = dice.uniform(0.0, 2 * math.pi)

        def at(times: Seconds) -> Seconds:
            place = (start + times) / self.seconds
            if not self.steps:
                return np.asarray(np.exp(self.swing * np.sin(np.pi * place + phase)))
            return np.asarray(np.exp(levels[place.astype(np.int64)]))

        return at

    def work(
        self, plan: Plan, slowdown: float, over: bool, dice: np.random.Generator
    ) -> Work | None:
        """Return what the requests of a load seem to cost: less at higher rates."""
        if not self.seen or plan.rate * plan.seconds < _TELLING:
            return None
        generator, server = slowdown * np.exp(self.noise * dice.normal(size=2))
        costs = 3e-4 * plan.rate**-0.5 * generator, 3e-3 * plan.rate**-0.3 * server
        return Work(plan.rate, *costs, overloaded=over)


_TELLING: Final = 100  # requests
