"""How the load generator performed: the measuring device's report on itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Generator:
    """How the load generator performed, from the clock's start to the end of the drain.

    What this system cannot measure is ``None``.

    Attributes:
        pacing: ``timerfd``, or the fallback's name.
        priority: scheduling of the generator's process.
        event_loop: ``uvloop`` or ``asyncio``.
        cpu_seconds: its CPU time.
        cpu_share: the same as a share of one CPU.
        waited_seconds: time in which it was runnable but had no CPU.
        involuntary_switches: how often it was preempted.
        throttled_seconds: time for which a CPU quota throttled its control group.
        suspended_seconds: time for which the machine was suspended.
        stops: how often a signal stopped it.
        longest_pause: how late it was for its regular checks of the deadlines, at most, seconds.
        steal: share of the machine's CPU time that its host gave to other guests.
        cpu_pressure: share of the time in which any process on the machine waited for a CPU
            (PSI); a busy server shows here too.
        memory_pressure: the same for memory.
        io_pressure: the same for disks.
        lag_idle_p99: p99 lag of arrivals that found an idle worker, seconds.
        lag_busy_p99: the same for arrivals that found all workers busy.
        unaccounted: arrivals that it never took up.
        resent: requests that were sent again because the server had just closed a kept connection.
        arrivals: the arrival process, such as ``"poisson"``.
        arrivals_plausible: whether the schedule passed the checks of its arrival process.
        dispersion: index of dispersion of the arrivals; 1 for Poisson.
        lag1: lag-1 correlation of the gaps; 0 for Poisson.
        reconnections: connections that it opened after the clock's start; ``None`` in older files.
        received_bytes: of the answers' bodies; ``None`` in older files.
        own_failures: number of connections that it could not open, by the limit of this machine
            that was hit, such as ``"EMFILE"``; and of streamed answers for which there was no space
            (``"journal"``).
        all_workers_busy: share of the arrival window in which all workers were busy.
        too_few_workers: whether requests waited or were dropped for want of workers, although the
            server could have answered more at once.
    """

    pacing: str
    priority: str
    event_loop: str
    cpu_seconds: float
    cpu_share: float
    waited_seconds: float | None
    involuntary_switches: int
    throttled_seconds: float | None
    suspended_seconds: float | None
    stops: int
    longest_pause: float
    steal: float | None
    cpu_pressure: float | None
    memory_pressure: float | None
    io_pressure: float | None
    lag_idle_p99: float | None
    lag_busy_p99: float | None
    unaccounted: int
    resent: int
    arrivals: str
    arrivals_plausible: bool
    dispersion: float
    lag1: float
    reconnections: int | None = None
    received_bytes: int | None = None
    own_failures: Mapping[str, int] = field(default_factory=dict)
    all_workers_busy: float | None = None
    too_few_workers: bool = False
