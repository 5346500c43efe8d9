"""Whether a server recovers from an overload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_REST: Final = 2.0  # seconds without load before a low rate is visited again; doubled each time
_LONGEST_REST: Final = 16.0


@dataclass(frozen=True)
class Recovery:
    """Whether a low rate is kept again after an overload.

    Attributes:
        rate: that was kept before.
        rest: seconds without load before the next visit.
        rested: seconds without load so far.
        slow: whether a visit broke a limit.
        over: whether the rate was kept again.
    """

    rate: float
    rest: float = 0.0
    rested: float = 0.0
    slow: bool = False
    over: bool = False

    @property
    def given_up(self) -> bool:
        """Return whether the server had long enough."""
        return self.rest > _LONGEST_REST

    def after(self, rest: float, broken: bool) -> Recovery:
        """Return what is known after a visit."""
        following = max(_REST, 2 * rest)
        return Recovery(self.rate, following, self.rested + rest, self.slow or broken, not broken)
