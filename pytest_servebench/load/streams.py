"""When the output of streamed answers arrived: one row for each event, beside the records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records_file import part_of
from pytest_servebench.load.store import NEVER

Counted = Literal["usage", "tokenizer", "events", "tool"]

_COUNTED: Final[tuple[Counted, ...]] = get_args(Counted)
_PREFIX: Final = "stream_"  # of the columns' names in a file
_OF_REQUESTS: Final = ("tokens", "input_tokens", "bunched")


@dataclass(frozen=True)
class Streams:
    """When the output of n streamed answers arrived, and how many tokens it had.

    Attributes:
        offsets: request k's events are ``times[offsets[k] : offsets[k + 1]]``; shape ``(n + 1,)``,
            int64.
        times: when each event with output was read, ns since the clock's start, ascending within a
            request; shape ``(m,)``, int64.
        tokens: output tokens of each answer; -1 if unknown; shape ``(n,)``, int32.
        input_tokens: likewise of the prompt; shape ``(n,)``, int32.
        bunched: events of each answer that came in one read with the event before them, so that
            their gap is not known; shape ``(n,)``, int32.
        counted: where the token counts come from: ``"usage"``, ``"tokenizer"`` or ``"events"``; or
            another ``"tool"``, which does not say.
        ends_only: whether only the first and the last event of each answer are known. Not saved.
    """

    offsets: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int32]
    input_tokens: npt.NDArray[np.int32]
    bunched: npt.NDArray[np.int32]
    counted: Counted
    ends_only: bool = False

    def __len__(self) -> int:
        return len(self.tokens)

    def first(self) -> npt.NDArray[np.int64]:
        """Return when each answer's first output was read, ns; ``NEVER`` without; ``(n,)``."""
        return self._at(self.offsets[:-1])

    def last(self) -> npt.NDArray[np.int64]:
        """Return when each answer's last output was read, ns; ``NEVER`` without; ``(n,)``."""
        return self._at(self.offsets[1:] - 1)

    def answered(self) -> npt.NDArray[np.bool_]:
        """Return which answers have output; shape ``(n,)``."""
        return np.diff(self.offsets) > 0

    def _at(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        answered = self.answered()
        found = np.full(len(self), NEVER, dtype=np.int64)
        found[answered] = self.times[places[answered]]
        return found

    def reads(self) -> npt.NDArray[np.int64]:
        """Return the number of reads that brought each answer's output; shape ``(n,)``."""
        return (np.diff(self.offsets) - self.bunched).astype(np.int64)

    def spaced(self) -> npt.NDArray[np.bool_]:
        """Return for which answers the time between events is known; shape ``(n,)``."""
        return (self.reads() >= 2) & (not self.ends_only)

    def uncounted(self) -> npt.NDArray[np.bool_]:
        """Return which answers have output of an unknown number of tokens; shape ``(n,)``."""
        return self.answered() & (self.tokens < 0)

    def gaps(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Return the time between neighbouring events of an answer, and the request of each.

        Seconds, and indexes of requests, ascending; of both shape ``(m - answered,)``, where
        ``answered`` is the number of answers with output.
        """
        request = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        within = request[1:] == request[:-1]
        return np.diff(self.times)[within] / 1e9, request[1:][within]

    def stalls(self) -> npt.NDArray[np.int64]:
        """Return after which event each answer's longest gap begins, as a place in ``times``.

        The first one if several are equally long; -1 for answers with fewer than two events; shape
        ``(n,)``.
        """
        found = np.full(len(self), -1, dtype=np.int64)
        several = np.diff(self.offsets) > 1
        if not several.any():
            return found
        gaps = np.diff(self.times)
        between = self.offsets[(self.offsets > 0) & (self.offsets < len(self.times))] - 1
        gaps[between] = -1  # those between two answers
        begins = self.offsets[:-1][several]
        longest = np.maximum.reduceat(gaps, begins)
        each = np.repeat(longest, np.diff(begins, append=len(gaps)))
        places = begins[0] + np.flatnonzero(gaps[begins[0] :] == each)
        found[several] = places[np.searchsorted(places, begins)]
        return found

    def rows(self, which: npt.NDArray[np.int64]) -> Streams:
        """Return those of some requests, in that order."""
        lengths = np.diff(self.offsets)[which]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        events = np.repeat(self.offsets[which] - offsets[:-1], lengths) + np.arange(offsets[-1])
        columns = {name: getattr(self, name)[which] for name in _OF_REQUESTS}
        return replace(self, offsets=offsets, times=self.times[events], **columns)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays by their names in a records file."""
        found = {
            _PREFIX + name: getattr(self, name) for name in ("offsets", "times", *_OF_REQUESTS)
        }
        return {**found, f"{_PREFIX}counted": np.uint8(_COUNTED.index(self.counted))}

    @classmethod
    def read(cls, path: Path, arrivals: int) -> Streams | None:
        """Read them from a records file of that many arrivals; ``None`` if it has none.

        Raises:
            OSError: the file cannot be read.
            ValueError: they are not what :meth:`columns` returned.
        """
        if (part := part_of(path, _PREFIX, "offsets")) is None:
            return None
        offsets = part.column("offsets", np.int64, arrivals + 1)
        if offsets[0] != 0 or (np.diff(offsets) < 0).any():
            part.refuse("offsets do not ascend from 0")
        times = part.column("times", np.int64, int(offsets[-1]))
        numbers = part.columns(dict.fromkeys(_OF_REQUESTS, (np.int32, 1)), arrivals)
        counted = int(part.column("counted", np.uint8, dimensions=0))
        if counted >= len(_COUNTED):
            part.refuse(f"counted is {counted}")
        tokens, input_tokens, bunched = (numbers[name] for name in _OF_REQUESTS)
        streams = cls(offsets, times, tokens, input_tokens, bunched, _COUNTED[counted])
        if (problem := streams._problem()) is not None:
            part.refuse(problem)
        return streams

    def _problem(self) -> str | None:
        if (self.times < 0).any() or (self.gaps()[0] < 0).any():
            return "times do not ascend"
        if (self.tokens < -1).any() or (self.input_tokens < -1).any():
            return "tokens are negative"
        most = np.maximum(np.diff(self.offsets) - 1, 0)
        if (self.bunched < 0).any() or (self.bunched > most).any():
            return "bunched is more than there are events after the first"
        return None
