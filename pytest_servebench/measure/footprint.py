"""How much memory a server's process tree takes, with shared pages counted once.

A server that forks workers shares most pages among them: the sum of resident sets (RSS) counts
these once for each process, and overstated forked trees by 40 to 60 %. The proportional set size
(PSS) divides each page among the processes that have it. To sum it up, the kernel walks all pages
of a process and holds its memory map meanwhile: about 40 ms for 1 GB, against 0.03 ms for RSS. So
it is read between loads only, and not with the samples.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from pytest_servebench.runs.results import MemoryMeasure


@dataclass(frozen=True)
class Footprint:
    """Memory of a process tree at one moment.

    Attributes:
        size: bytes.
        measure: ``"pss"``; ``"rss"`` if the system does not report the PSS of each process.
    """

    size: float
    measure: MemoryMeasure


def footprint(pids: Iterable[int]) -> Footprint | None:
    """Return the memory of these processes; ``None`` if none of them can be seen."""
    shared: list[float] | None = []
    resident = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            resident.append(float(process.memory_info().rss))
            if shared is not None:
                shared.append(float(process.memory_full_info().pss))
        except psutil.NoSuchProcess:
            continue  # it has just ended
        except (psutil.AccessDenied, AttributeError, OSError):  # another user's, or not Linux
            shared = None
    if not resident:
        return None
    if shared:
        return Footprint(sum(shared), "pss")
    return Footprint(sum(resident), "rss")


def proportional(pids: Iterable[int]) -> float | None:
    """Return the PSS of these processes, bytes; ``None`` if the system does not report it."""
    found = footprint(pids)
    return found.size if found is not None and found.measure == "pss" else None
