"""What other than the server may have made a case look bad, and the remedy, a line each."""

from collections.abc import Iterable
from typing import Final

from pytest_servebench.runs.results import CapacityResult, CaseResult

_FULL: Final = 95.0  # percent of the whole machine


def hints(result: CaseResult) -> list[str]:
    """Return what to look at, other than the server, if a result is bad."""
    return [*_workers(result), *_machine(result), *buffering(result)]


def buffering(result: CaseResult) -> list[str]:
    """Return a hint if most gaps of streamed answers are unknown, whatever the verdict."""
    known = result.streamed
    if known is None or not known.bunched or 2 * known.bunched < known.events:
        return []
    return [
        "most events of the streamed answers arrived together with the event before them, as a "
        "proxy or server that buffers sends them, so the times between tokens are unknown; turn "
        "buffering off (nginx: proxy_buffering off, or the header X-Accel-Buffering: no)"
    ]


def search_hints(result: CapacityResult, probes: Iterable[CaseResult]) -> list[str]:
    """Return a hint if the capacity may be that of the generator's workers.

    Args:
        result: what a search found.
        probes: of its run.
    """
    broken = {
        one.label
        for one in result.probes
        if one.used and any(
            beyond >= limit.allowed * one.arrivals
            for beyond, limit in zip(one.beyond, result.limits, strict=True)
        )
    }  # fmt: skip
    own = (one for one in probes if one.nodeid == result.nodeid and one.label in broken)
    nearest = min(own, key=lambda one: one.rate, default=None)
    return [] if nearest is None else _workers(nearest)


def _workers(result: CaseResult) -> list[str]:
    """Return a hint if there were too few workers."""
    known = result.generator
    if not known.too_few_workers or known.all_workers_busy is None:
        return []
    were = "was" if result.workers == 1 else "were"
    why = "" if result.workers == 1 else ", and the server is just as fast when all of them are"
    return [
        f"{result.workers} of {result.workers} workers {were} busy "
        f"{100 * known.all_workers_busy:.0f} % of the time{why}: "
        "raise --servebench-worker-threads"
    ]


def _machine(result: CaseResult) -> list[str]:
    """Return a hint if other work used the machine, according to the machine's counters."""
    known = result.resources
    # Without figures, so that the hints of several cases can be merged.
    again = "measure again while nothing else runs"
    if known.crowded:
        return [
            "other programs, or other guests of the host, used the server's processors and may "
            f"have slowed it down; {again}"
        ]
    if known.others_share is None and (known.host_cpu_mean or 0.0) >= _FULL:
        return [
            "the machine's processors were busy all the time; "
            f"if that was not this server's load, {again}"
        ]
    return []
