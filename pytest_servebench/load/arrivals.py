"""When requests arrive: processes that draw a schedule from a seed, before the run.

Each process is frozen plain data. It draws its schedule from a given random generator, and after
the run checks that the schedule looks like a sample of it: see :mod:`.arrival_check`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import OptionError
from pytest_servebench.load.arrival_check import (
    ArrivalCheck,
    check_lattice,
    check_nothing,
    check_renewal,
)
from pytest_servebench.load.trace_file import read_times

Times = npt.NDArray[np.int64]
"""Arrival times in ns since the clock's start, ascending; shape ``(n,)``."""


class ArrivalProcess(Protocol):
    """How requests arrive; ``str()`` gives its text for options and reports."""

    def schedule(self, rate: float, duration: float, generator: np.random.Generator) -> Times:
        """Return the arrivals in ``[0, duration)`` s at ``rate`` per second.

        Raises:
            OptionError: the process cannot fill the whole window.
        """
        ...

    def mean_rate(self, rate: float, duration: float) -> float:
        """Return the expected arrivals per second over the window."""
        ...

    def check(self, times: Times, rate: float, duration: float) -> ArrivalCheck:
        """Test a schedule against this process."""
        ...


def _renewals(
    draw: Callable[[int], npt.NDArray[np.float64]],
    first: float,
    rate: float,
    duration: float,
    spread: float,
) -> Times:
    """Return the arrivals within the window: the first (s), then gaps from ``draw(size)`` (s)."""
    expected = rate * duration
    chunk = int(expected + 6 * spread * math.sqrt(expected) + 16)
    times = np.cumsum(np.concatenate([[first], draw(chunk)]))
    while times[-1] < duration:
        times = np.concatenate([times, np.cumsum(draw(chunk)) + times[-1]])
    return (times[times < duration] * 1e9).astype(np.int64)


class _Steady:
    """A process whose rate is that of the case."""

    def mean_rate(self, rate: float, duration: float) -> float:
        """Return ``rate``."""
        return rate


@dataclass(frozen=True)
class Poisson(_Steady):
    """Independent users: exponential gaps."""

    def schedule(self, rate: float, duration: float, generator: np.random.Generator) -> Times:
        """Return arrivals with exponential gaps."""
        first = generator.exponential(1 / rate)
        return _renewals(
            lambda size: generator.exponential(1 / rate, size), first, rate, duration, 1.0
        )

    def check(self, times: Times, rate: float, duration: float) -> ArrivalCheck:
        """Test counts and gaps against a Poisson process."""
        return check_renewal(times / 1e9, rate, duration)

    def __str__(self) -> str:
        return "poisson"


@dataclass(frozen=True)
class Constant(_Steady):
    """Equal gaps, with the first arrival when the clock starts."""

    def schedule(self, rate: float, duration: float, generator: np.random.Generator) -> Times:
        """Return i / rate for all i; ``generator`` is not used."""
        number = math.ceil(rate * duration - 1e-9)
        return (np.arange(number, dtype=np.float64) * (1e9 / rate)).astype(np.int64)

    def check(self, times: Times, rate: float, duration: float) -> ArrivalCheck:
        """Test that all gaps are equal."""
        return check_lattice(times, rate, duration)

    def __str__(self) -> str:
        return "constant"


@dataclass(frozen=True)
class Gamma(_Steady):
    """Independent gaps from a gamma distribution: burstier or steadier than Poisson.

    Attributes:
        burstiness: squared coefficient of variation of the gaps: 1 is Poisson, 4 is bursty, 0.25 is
            nearly regular. (Some tools call its reciprocal, the shape, burstiness.)
    """

    burstiness: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.burstiness) and 0.01 <= self.burstiness <= 100):
            raise ValueError(f"gamma: burstiness {self.burstiness:g}; give 0.01 to 100")

    def schedule(self, rate: float, duration: float, generator: np.random.Generator) -> Times:
        """Return arrivals with gamma-distributed gaps of mean ``1 / rate``.

        The clock starts at a random point of a gap, which is more likely a long one (D. R. Cox:
        Renewal Theory, 1962, section 2.4). Starting with a whole gap would start with a burst.
        """
        shape = 1 / self.burstiness
        scale = 1 / (rate * shape)
        return _renewals(
            lambda size: generator.gamma(shape, scale, size),
            float(generator.gamma(shape + 1, scale) * generator.random()),
            rate, duration, math.sqrt(self.burstiness),
        )  # fmt: skip

    def check(self, times: Times, rate: float, duration: float) -> ArrivalCheck:
        """Test counts and gaps against a renewal process of this burstiness."""
        return check_renewal(times / 1e9, rate, duration, self.burstiness)

    def __str__(self) -> str:
        return f"gamma:{self.burstiness:g}"


class _Varying:
    """A Poisson process whose rate changes over the window."""

    factors: tuple[float, ...]

    def _check_factors(self, word: str, least: int) -> None:
        if len(self.factors) < least:
            raise ValueError(f"{word}: give at least {least} factors of the rate")
        if not all(math.isfinite(one) and one >= 0 for one in self.factors) or not any(
            self.factors
        ):
            raise ValueError(f"{word}: factors of the rate must be 0 or more, and not all 0")

    def factor(self, share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the factor of the rate after ``share`` (0 to 1) of the window."""
        raise NotImplementedError

    def integral(self, share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the integral of :meth:`factor` from 0 to ``share``."""
        raise NotImplementedError

    def schedule(self, rate: float, duration: float, generator: np.random.Generator) -> Times:
        """Return arrivals by thinning a Poisson process with the highest rate.

        P. A. W. Lewis, G. S. Shedler: Simulation of nonhomogeneous Poisson processes by thinning,
        Naval Research Logistics 26 (1979).
        """
        peak = max(self.factors)
        times = Poisson().schedule(rate * peak, duration, generator)
        kept = generator.random(len(times)) * peak < self.factor(times / (duration * 1e9))
        return times[kept]

    def mean_rate(self, rate: float, duration: float) -> float:
        """Return ``rate`` times the mean factor."""
        return rate * float(self.integral(np.array([1.0]))[0])

    def check(self, times: Times, rate: float, duration: float) -> ArrivalCheck:
        """Test the schedule on a time scale that runs with the expected arrivals.

        On that scale it is a Poisson process with constant rate (time change theorem).
        """
        changed = self.integral(times / (duration * 1e9)) * duration
        return check_renewal(
            changed, rate, float(self.integral(np.array([1.0]))[0]) * duration, shown_over=duration
        )


def is_planned(process: ArrivalProcess) -> bool:
    """Return whether its rate changes over the window by a plan, the same in each run."""
    return isinstance(process, _Varying)


@dataclass(frozen=True)
class Steps(_Varying):
    """A Poisson process whose rate jumps: equal parts of the window, each with its own factor."""

    factors: tuple[float, ...]

    def __post_init__(self) -> None:
        self._check_factors("steps", 1)

    def factor(self, share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the factor of the step."""
        steps = np.minimum((share * len(self.factors)).astype(int), len(self.factors) - 1)
        factors: npt.NDArray[np.float64] = np.array(self.factors)[steps]
        return factors

    def integral(self, share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the integral of a step function."""
        edges = np.linspace(0, 1, len(self.factors) + 1)
        sums = np.concatenate([[0.0], np.cumsum(self.factors)]) / len(self.factors)
        return np.interp(share, edges, sums)

    def __str__(self) -> str:
        return "steps:" + ",".join(f"{one:g}" for one in self.factors)


@dataclass(frozen=True)
class Ramp(_Varying):
    """A Poisson process whose rate changes linearly between equally spaced factors."""

    factors: tuple[float, ...]

    def __post_init__(self) -> None:
        self._check_factors("ramp", 2)

    def factor(self, share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the factor on the line."""
        return np.interp(share, np.linspace(0, 1, len(self.factors)), self.factors)

    def integral(self, share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the integral of a piecewise linear function, by trapezia."""
        factors = np.array(self.factors)
        pieces = len(factors) - 1
        sums = np.concatenate([[0.0], np.cumsum((factors[:-1] + factors[1:]) / 2)])
        piece = np.minimum((share * pieces).astype(int), pieces - 1)
        inside = share * pieces - piece
        slope = factors[piece + 1] - factors[piece]
        area: npt.NDArray[np.float64] = inside * factors[piece] + inside**2 * slope / 2
        sums_here: npt.NDArray[np.float64] = sums[piece]
        return (sums_here + area) / pieces

    def __str__(self) -> str:
        return "ramp:" + ",".join(f"{one:g}" for one in self.factors)


@dataclass(frozen=True)
class Trace:
    """Recorded arrivals, replayed.

    Attributes:
        times: arrival times in seconds, ascending, the first at 0.
        source: the file, for messages and reports.
        as_recorded: whether to keep the recorded speed; else time is scaled to the case's rate.
    """

    times: tuple[float, ...] = field(repr=False)
    source: str
    as_recorded: bool = False

    @classmethod
    def read(
        cls, path: Path, *, as_recorded: bool = False, unit: str = "", column: str = ""
    ) -> Trace:
        """Read a file of arrival times; see :func:`.trace_file.read_times`.

        Raises:
            ValueError: the file cannot be read, or has no usable times.
        """
        times = read_times(path, unit=unit, column=column, any_unit=not as_recorded)
        return cls(times, str(path), as_recorded)

    def _speed(self, rate: float) -> float:
        return 1.0 if self.as_recorded else self._recorded_rate() / rate

    def _recorded_rate(self) -> float:
        return (len(self.times) - 1) / self.times[-1]

    def schedule(self, rate: float, duration: float, generator: np.random.Generator) -> Times:
        """Return the recorded arrivals; ``generator`` is not used."""
        times = np.array(self.times) * self._speed(rate)
        # The trace also covers one mean gap after its last arrival.
        covered = float(times[-1]) * len(times) / (len(times) - 1)
        if covered < duration * 0.999:
            speed = "as recorded" if self.as_recorded else f"at {rate:g}/s"
            raise OptionError(
                f"the trace {self.source} ends after {covered:.3g} s {speed}, before the case's "
                f"{duration:g} s: give a longer trace, or lower --servebench-duration (for a "
                "search, the upper end of --servebench-capacity-range)."
            )
        inside = times[times < duration]
        if self.as_recorded and len(inside) < 2:
            raise OptionError(
                f"the trace {self.source} has a single arrival in the case's {duration:g} s as "
                f"recorded; the next one comes at {times[times >= duration][0]:.4g} s: raise "
                "--servebench-duration, or set the unit of its times, such as @unit=ms."
            )
        return (inside * 1e9).astype(np.int64)

    def mean_rate(self, rate: float, duration: float) -> float:
        """Return the recorded arrivals per second within the window."""
        return int(np.searchsorted(np.array(self.times) * self._speed(rate), duration)) / duration

    def check(self, times: Times, rate: float, duration: float) -> ArrivalCheck:
        """Describe the schedule; a recording has no expected figures."""
        return check_nothing(times, duration)

    def __str__(self) -> str:
        # Without its directory, which differs between machines and may be private.
        return f"trace:{Path(self.source).name}" + ("@recorded" if self.as_recorded else "")


@dataclass(frozen=True)
class Form:
    """How a process is written in options and markers: a word, and perhaps numbers after a colon.

    Attributes:
        example: what to give, for messages.
        make: returns the process with these numbers.
        least: how many numbers it takes at least.
        most: how many at most.
    """

    example: str
    make: Callable[..., ArrivalProcess]
    least: int = 0
    most: float = 0


FORMS: Final[Mapping[str, Form]] = {
    "poisson": Form("poisson", Poisson),
    "constant": Form("constant", Constant),
    "gamma": Form("gamma:BURSTINESS (gamma:4)", Gamma, 1, 1),
    "steps": Form("steps:FACTORS (steps:1,3,1)", lambda *given: Steps(given), 1, math.inf),
    "ramp": Form("ramp:FACTORS (ramp:0.5,2)", lambda *given: Ramp(given), 1, math.inf),
}
"""The processes that are written with numbers; traces are read in :mod:`.arrival_forms`."""
