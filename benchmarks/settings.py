"""Settings of a run of the benchmarks, and where its files go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HOME: Final = Path(__file__).resolve().parent
ROOT: Final = HOME.parent
FIGURES: Final = HOME / "figures"  # raw figures, not in version control
PLOTS: Final = HOME / "plots"
RESULTS: Final = HOME / "RESULTS.md"


@dataclass(frozen=True)
class Settings:
    """One run of the benchmarks.

    Attributes:
        repeats: how often every figure is measured; reports give the median.
        seconds: length of the steady window in which a run is measured.
        settle: seconds of load before that window, which do not count.
        only: names of the peers to run; all if empty.
        body_bytes: size of each request's body.
        quick: whether this is only to see that everything runs.
    """

    repeats: int = 5
    seconds: float = 4.0
    settle: float = 1.0
    only: Sequence[str] = ()
    body_bytes: int = 7000
    quick: bool = False

    @property
    def load_seconds(self) -> float:
        """Return how long a load lasts: the window lies well inside."""
        return self.settle + self.seconds + 1.0


def make_body(size: int) -> bytes:
    """Return a JSON body of exactly ``size`` bytes, like that of a small image."""
    head, tail = b'{"instances": [[', b"]]}"
    pixels = b"0.4980392, " * (size // 11 + 1)
    inside = pixels[: size - len(head) - len(tail)]
    # Cut anywhere, the list would end in half a number or a comma: spaces are always right.
    whole = inside.rfind(b",")
    return head + inside[:whole].ljust(len(inside)) + tail
