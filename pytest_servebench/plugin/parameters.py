"""What makes a case, in addition to its server: rate, buffer size and rows per request."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pytest_servebench.plugin.option_values import BUFFER_SIZE, RATE, ROWS
from pytest_servebench.runs.node_ids import buffer_id, rate_id, rows_id


@dataclass(frozen=True)
class Parameter:
    """One of a case's numbers: a fixture, an option, and a part of ids.

    Attributes:
        name: of the fixture, the argument of ``poisson_load``, and the field of results.
        several: name of the marker's keyword and of the setting with a case for each value.
        words: the plural for people.
        keyword: what precedes a value in ids and for ``-m``.
        read: parses a value; raises ``ValueError`` saying what to give instead.
        id: returns the part of an id for a value.
        usual: a value that does not appear in ids if it is the only one.
    """

    name: str
    several: str
    words: str
    keyword: str
    read: Callable[[str], Any]
    id: Callable[[Any], str]
    usual: int | None = None

    @property
    def option(self) -> str:
        """Return the option with a case for each value."""
        return f"--servebench-{self.several.replace('_', '-')}"


PARAMETERS: Final = {
    one.name: one
    for one in (
        Parameter("rate", "rates", "rates", "rate", RATE, rate_id),
        Parameter("buffer_size", "buffer_sizes", "buffer sizes", "buffer", BUFFER_SIZE, buffer_id),
        Parameter("rows", "rows", "rows", "rows", ROWS, rows_id, usual=1),
    )
}
"""By name, in the order of ids."""
