"""The registry of readers."""

from typing import Any, Final, Protocol

from pytest_servebench.runs.foreign import aiperf, guidellm, vllm
from pytest_servebench.runs.results import Run


class Reader(Protocol):
    """A module that reads the files of one tool."""

    @property
    def TOOL(self) -> str:  # noqa: N802 - a constant of the module
        """Return the tool's name."""

    def recognizes(self, data: object) -> bool:
        """Return whether a file's JSON is of this tool, whole or not."""

    def read(self, data: Any, name: str) -> Run:
        """Return the run in a file that it recognizes.

        Args:
            data: the JSON of the file, or the list of that of its lines.
            name: of the run.

        Raises:
            ValueError: a field is missing or has a wrong value; the message names it.
        """


READERS: Final[tuple[Reader, ...]] = (vllm, aiperf, guidellm)


def reader_of(data: object) -> Reader | None:
    """Return the reader of a file with this JSON; ``None`` if there is none."""
    return next((one for one in READERS if one.recognizes(data)), None)
