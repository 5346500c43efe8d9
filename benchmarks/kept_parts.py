"""What keeping the parts of streamed answers costs, told from what reading them costs.

The CPU times of two processes, one of which keeps parts, differ by a tenth from run to run whatever
they do: what a process has where in memory, and what else the machine does, decides. So both kinds
of answers are in one load, and the work on each is timed: :mod:`benchmarks.targets.parts_of_half`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import numpy.typing as npt

from benchmarks.stats import Spread
from benchmarks.targets.parts_of_half import JOURNAL, KEPT, NOT_KEPT, VARIABLE, Half
from pytest_servebench.load.runner import run_load
from pytest_servebench.load.spec import LoadSpec

_TRIMMED: Final = 0.05  # of the answers at each end: the system may take the CPU from any of them
_RESAMPLED: Final = 10_000


@dataclass(frozen=True)
class Work:
    """Time in callbacks of the event loop for an answer, µs.

    Attributes:
        read: if its parts are not kept.
        kept: if they are, without the journal.
        journal: writing it to the journal.
    """

    read: float
    kept: float
    journal: float

    @property
    def keeping(self) -> float:
        """Return how much longer it takes to keep the parts."""
        return self.kept - self.read + self.journal


def measure(spec: LoadSpec) -> Work:
    """Make a load of streamed answers, and keep the parts of half of them.

    Raises:
        RuntimeError: not all answers came.
    """
    with tempfile.TemporaryDirectory(prefix="servebench-parts-") as scratch:
        file = Path(scratch) / "work"
        file.touch()
        with patch.dict(os.environ, {VARIABLE: str(file)}):
            made = run_load(replace(spec, transport=f"{Half.__module__}:{Half.__name__}"))
        told = np.fromfile(file, np.int64).reshape(-1, 2)
    if made.journal is not None:
        made.journal.close()
    if made.failure is not None or not made.records.ok.all():
        raise RuntimeError(made.failure or f"answers failed: {made.failures}")
    read, kept, journal = (told[told[:, 0] == kind, 1] / 1e3 for kind in (NOT_KEPT, KEPT, JOURNAL))
    return Work(_mean(read), _mean(kept), float(journal.sum()) / len(kept))


def _mean(times: npt.NDArray[np.float64]) -> float:
    """Return the mean without the longest and shortest ones."""
    left_out = int(_TRIMMED * len(times))
    return float(np.sort(times)[left_out : len(times) - left_out].mean())


def over_plain(works: Sequence[dict[str, Any]], plain: Sequence[float]) -> Spread | None:
    """Return a streamed answer's CPU time without its reads, over a plain one's.

    Args:
        works: of several loads, each the fields of a :class:`Work`.
        plain: CPU time for each plain answer in other loads, µs.

    Returns:
        The ratio and its 95 % interval, by a bootstrap of the loads.
    """
    if len(works) < 2 or not plain:
        return None
    keeping = np.array([Work(**one).keeping for one in works])
    dice = np.random.default_rng(0)
    means = [dice.choice(one, (_RESAMPLED, len(one))).mean(axis=1) for one in (keeping, plain)]
    low, high = np.quantile(1 + means[0] / means[1], [0.025, 0.975])
    return Spread(float(1 + keeping.mean() / np.mean(plain)), float(low), float(high))
