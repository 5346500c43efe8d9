"""Whether a run says anything about the server: the load generator judges itself.

Taking an arrival up never waits for the server: late arrivals are late because the generator could
not run. Waiting for a busy worker is the server's doing, and is part of the latencies.

The effect of lateness on the latencies is known for each request, and each SLO clause takes it
into account (:mod:`pytest_servebench.objectives.slo`). A whole run is invalid only if the traffic
was not the requested traffic. Delayed arrivals come in a burst when the generator runs again: the
server sees different traffic, whatever is subtracted from its latencies afterwards. With fewer than
a tenth of the arrivals late, the median of all lies between the 44th and the 56th percentile of
those on time.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.device import Generator
from pytest_servebench.load.limits import exhausted
from pytest_servebench.load.records import NEVER, Outcome, Records

MOST_LATE: Final = 0.1
"""Share of late arrivals beyond which the traffic is not the requested traffic."""

_SUSPENDED: Final = 0.1  # seconds by which the clocks of a machine that never slept may differ
_SATURATED: Final = 0.85  # share of a processor


def invalid_reason(
    records: Records, generator: Generator, pauses: npt.NDArray[np.float64], max_lag: float
) -> str | None:
    """Return why a measurement says nothing about the server, or ``None`` if it is valid.

    Args:
        records: the run's records.
        generator: how the load generator did.
        pauses: how late, in seconds, the generator was at each check of the deadlines, about
            twenty per second whatever the rate; shape ``(k,)``.
        max_lag: tolerated lateness of the generator in seconds.
    """
    if generator.stops:
        times = "once" if generator.stops == 1 else f"{generator.stops} times"
        return (
            f"the load generator was stopped by a signal {times} (SIGSTOP, or a debugger): "
            "run the case again without interrupting it."
        )
    if (generator.suspended_seconds or 0.0) > _SUSPENDED:
        return (
            f"the machine was suspended for {generator.suspended_seconds:.1f} s: "
            "run the case again while it is awake."
        )
    if (reason := exhausted(generator.own_failures)) is not None:
        return reason
    if generator.unaccounted:
        return (
            f"{generator.unaccounted} of {len(records)} arrivals were never taken up: the load "
            f"generator could not keep up ({_cause(generator, 0.0)}). {_remedy(generator)}, or "
            "lower the rate."
        )
    backwards = int(
        np.count_nonzero((records.outcome == Outcome.OK) & (records.done < records.scheduled))
    )
    if backwards:
        return (
            f"{backwards} requests were done before they arrived: the system's monotonic clock is "
            "broken. Check /sys/devices/system/clocksource, and run the case again."
        )
    return _lateness(records.generator_lag(), pauses, generator, max_lag)


def _lateness(
    lag: npt.NDArray[np.float64],
    pauses: npt.NDArray[np.float64],
    generator: Generator,
    max_lag: float,
) -> str | None:
    late, paused = lag > max_lag, pauses > max_lag
    if not any(many.sum() >= 2 and many.mean() > MOST_LATE for many in (late, paused)):
        return None
    worst = float(max(lag.max(initial=0.0), pauses.max(initial=0.0)))
    what = (
        f"{int(late.sum())} of {len(lag)} arrivals were more than {max_lag * 1e3:g} ms late"
        if late.any()
        else f"it paused {int(paused.sum())} times for more than {max_lag * 1e3:g} ms"
    )
    # Time in which it did not run: pauses do not overlap, and a late arrival falls into one.
    missing = max(worst, float(pauses[paused].sum()))
    return (
        f"the load generator did not get a CPU in time: {what} (worst {worst * 1e3:.1f} ms); "
        f"{_cause(generator, missing)}. {_remedy(generator)}, lower the rate, or raise "
        "--servebench-max-lag."
    )


def _remedy(generator: Generator) -> str:
    priority = ", allow real-time priority" if generator.priority == "normal" else ""
    return (
        "Stop other work on this machine, leave a CPU to the generator "
        f"(--servebench-server-cpus){priority}"
    )


def _cause(generator: Generator, missing: float) -> str:
    """Return the likely causes of ``missing`` seconds of lateness."""
    causes = []
    if (generator.throttled_seconds or 0.0) > 0.01:
        causes.append(
            f"its control group's CPU quota throttled it for {generator.throttled_seconds:.2f} s"
        )
    if generator.cpu_share > _SATURATED:
        causes.append(
            f"it used {100 * generator.cpu_share:.0f} % of a CPU, and has only one thread"
        )
    if (generator.steal or 0.0) > 0.02:
        causes.append(
            f"steal was {100 * (generator.steal or 0.0):.0f} %: the host gave this machine's CPU "
            "time to other guests"
        )
    # While its control group is throttled, it waits on a run queue too.
    waited = (generator.waited_seconds or 0.0) - (generator.throttled_seconds or 0.0)
    if waited > 0.01 and waited > 0.1 * missing:
        causes.append(
            f"it waited {waited:.2f} s for a CPU that other processes used "
            f"(priority: {generator.priority})"
        )
    return "; ".join(causes) or "the system's counters do not show why"


def unaccounted(records: Records) -> int:
    """Return how many arrivals the generator never took up."""
    return int(np.count_nonzero(records.enqueued == NEVER))


def lag_p99(records: Records) -> tuple[float | None, float | None]:
    """Return the p99 lag in seconds when a worker was idle, and when all were busy."""
    taken = records.enqueued != NEVER
    lag = (records.enqueued - records.scheduled) / 1e9
    idle = taken & (records.dequeued == records.enqueued)
    return _p99(lag[idle]), _p99(lag[taken & ~idle])


def _p99(values: npt.NDArray[np.float64]) -> float | None:
    return float(np.percentile(values, 99)) if len(values) else None
