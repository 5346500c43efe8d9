"""Failed requests at the rim of a drawing, which has no height for them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import Outcome, Records


@dataclass(frozen=True)
class Lost:
    """Failed requests at the rim of a drawing.

    Attributes:
        shape: ``drop`` or ``error``.
        text: what happened to them.
        places: of each, indexes; shape ``(n,)``.
    """

    shape: Literal["drop", "error"]
    text: str
    places: npt.NDArray[np.int64]

    @property
    def legend(self) -> str:
        """Return what happened to them, and to how many."""
        return f"{self.text} ({len(self.places)})"


def lost(records: Records) -> list[Lost]:
    """Return the failed requests by kind of failure, without empty kinds."""
    dropped = np.equal(records.outcome, Outcome.DROPPED)
    found = [
        Lost("drop", "dropped: the buffer was full", np.flatnonzero(dropped)),
        Lost("error", "failed", np.flatnonzero(~records.ok & ~dropped)),
    ]
    return [one for one in found if len(one.places)]
