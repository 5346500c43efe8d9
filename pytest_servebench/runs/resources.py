"""CPU and memory of a case: plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

CROWDED: Final = 0.10
"""Share of a server's processors at which other programs may have slowed it down.

On a machine on which nothing else runs, it is below 0.02.
"""


@dataclass(frozen=True)
class Resources:
    """CPU and memory over the arrival window; ``None`` if they are not visible.

    Attributes:
        cpu_mean: CPU time of the server's process tree / length of the window, from cumulative
            times, in percent of one processor.
        cpu_peak: highest between two samples; never below the mean.
        memory_mean: mean resident memory (RSS) of the tree, bytes; pages that its processes share
            count once for each.
        memory_peak: highest resident memory of the tree, bytes.
        host_cpu_mean: mean of all processors of the machine, percent of the whole machine.
        series: the samples: columns ``time`` (s since the clock's start), ``cpu``, ``memory``,
            ``host_cpu``.
        pss_before: proportional memory (PSS) of the tree before the load, bytes: shared pages
            count once. ``None`` if the system does not report it.
        pss_after: the same after the load.
        others_share: CPU time of all other programs on the processors on which the server may run,
            as a share of their total: without the server, the load generator and pytest. Time that
            the host gave to other guests (steal) is included.
    """

    cpu_mean: float | None
    cpu_peak: float | None
    memory_mean: float | None
    memory_peak: float | None
    host_cpu_mean: float | None
    series: Mapping[str, list[float]] = field(default_factory=dict)
    pss_before: float | None = None
    pss_after: float | None = None
    others_share: float | None = None

    @property
    def crowded(self) -> bool:
        """Return whether other programs used so much that the server may have been slowed down."""
        return self.others_share is not None and self.others_share > CROWDED

    @property
    def pss(self) -> float | None:
        """Return the larger PSS, since other programs that map the same files lower it."""
        known = [size for size in (self.pss_before, self.pss_after) if size is not None]
        return max(known, default=None)
