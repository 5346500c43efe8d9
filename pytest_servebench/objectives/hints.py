"""What may have made a case worse than its server is, and the remedy, a line each."""

from __future__ import annotations

from typing import Final

from pytest_servebench.runs.results import CaseResult

_FULL: Final = 95.0  # percent of the whole machine
_HARDLY: Final = 60.0  # percent of one processor: a server that takes no more did not fill it


def hints(result: CaseResult) -> list[str]:
    """Return what a reader of a bad result should look at besides the server."""
    return [*_workers(result), *_machine(result)]


def _workers(result: CaseResult) -> list[str]:
    """Return that there were too few workers, and the remedy; nothing where there were enough."""
    known = result.generator
    if not known.too_few_workers or known.all_workers_busy is None:
        return []
    were = "was" if result.workers == 1 else "were"
    why = "" if result.workers == 1 else ", and the server answers as fast when all of them ask"
    return [
        f"{result.workers} of {result.workers} workers {were} busy "
        f"{100 * known.all_workers_busy:.0f} % of the time{why}: "
        "raise --servebench-worker-threads"
    ]


def _machine(result: CaseResult) -> list[str]:
    """Return that others had the machine, as far as its own counters tell."""
    known = result.resources
    if known.host_cpu_mean is None or known.host_cpu_mean < _FULL:
        return []
    # Without figures, so that cases are told together.
    again = "measure again while nothing else runs"
    if known.cpu_mean is None:
        return [f"the machine's processors were busy all the time; if not by this server, {again}"]
    if known.cpu_mean >= _HARDLY:
        return []
    return [
        "the machine's processors were busy all the time, and hardly with this server: other work "
        f"slowed it; {again}"
    ]
