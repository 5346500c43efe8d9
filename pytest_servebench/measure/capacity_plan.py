"""Input and output of a search for a capacity: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pytest_servebench.runs.capacity import CapacityState, ProbeStage, ProbeState
from pytest_servebench.stats.machine_paces import Work
from pytest_servebench.stats.probed import Probed

LEAST_SECONDS: Final = 4.0
"""Of load in a probe: less is mostly settling."""


@dataclass(frozen=True)
class SearchSettings:
    """What a search may do.

    Attributes:
        lowest: lower end of the range of rates, 1/s.
        highest: upper end, 1/s.
        budget: seconds for the whole search, everything included.
        precision: width of the interval, high / low - 1, at which it may end sooner.
        settle: seconds at the start of each probe that do not count, while the queue fills.
        overhead: seconds that the first probe is expected to cost in addition to its load.
    """

    lowest: float = 1.0
    highest: float = 10_000.0
    budget: float = 180.0
    precision: float = 0.05
    settle: float = 1.0
    overhead: float = 1.0

    @property
    def least_budget(self) -> float:
        """Return the seconds below which there is no time for even one probe."""
        return self.overhead + LEAST_SECONDS


@dataclass(frozen=True)
class Plan:
    """A probe to make.

    Attributes:
        rate: arrivals per second.
        seconds: of load in all, ``settle`` included.
        settle: seconds at its start that do not count.
        rest: seconds without load before it.
        stage: its purpose: the ladder up to the first rate that breaks a limit, the estimate, or a
            low rate again after an overload.
    """

    rate: float
    seconds: float
    settle: float
    rest: float
    stage: ProbeStage


@dataclass(frozen=True)
class ProbeOutcome:
    """The outcome of a probe.

    Attributes:
        elapsed: seconds that it took in all: rest, start, warm-up, load and drain.
        limits: what each limit saw, in the order of the search's limits; empty if it was not
            measured.
        state: ``"disturbed"`` if it was measured while other programs used the server's
            processors, ``"invalid"`` if the generator failed to make the load, ``"died"`` if the
            server died.
        work: CPU cost of its requests; ``None`` if unknown, as for a server on another machine.
    """

    elapsed: float
    limits: tuple[Probed, ...] = ()
    state: ProbeState = "measured"
    work: Work | None = None


@dataclass(frozen=True)
class Capacity:
    """What a search found.

    Attributes:
        state: how it ended; only ``"found"`` has an interval of 95 %.
        value: the estimate, arrivals per second; ``None`` if all probes kept the limits, or none.
        low: lower end of the interval; a rate that was shown to keep the limits. ``None`` if there
            is none. In other states it holds by itself with 97.5 %.
        high: its upper end, likewise; ``None`` if there is none.
        limiting: index of the limit that is broken first; ``None`` if none was seen to be.
        needed_seconds: of more load that would close an open interval, if known.
        generator_limit: lowest rate that the generator failed to make; ``None`` if none.
        slow_recovery: whether low rates broke a limit after an overload that they had kept before.
        recovery_seconds: without load until they kept it again; ``None`` if not slow, or they never
            did.
        used: indexes of the probes that the interval rests on, in the order of ``add``.
        seconds: that the search took in all.
        slowdowns: by the index of a probe, how many times as long the machine took for the same
            work as at the median of these probes; the capacity is that at the median. Empty if its
            speed is not known to have varied.
        expected: capacity of the queue that the probes fit, on which the interval rests, too;
            ``None`` if they fit none.
    """

    state: CapacityState
    value: float | None
    low: float | None
    high: float | None
    limiting: int | None
    needed_seconds: float | None
    generator_limit: float | None
    slow_recovery: bool
    recovery_seconds: float | None
    used: tuple[int, ...]
    seconds: float
    slowdowns: Mapping[int, float] = field(default_factory=dict)
    expected: float | None = None

    @property
    def width(self) -> float | None:
        """Return the width of the interval, high / low - 1; ``None`` if an end is missing."""
        return None if self.low is None or self.high is None else self.high / self.low - 1
