"""Streamed answers of a load under way, in one file, without NumPy.

The generator appends each answer soon after it has ended; the pytest process reads them after the
load, one at a time. What was written stays if the generator dies.
"""

from __future__ import annotations

import marshal
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import IO, Any, Final, Self

from pytest_servebench.load.transports.base import Completion

_HEAD: Final = struct.Struct("=Q")  # bytes of the answers that follow
# Written in one go: alone, each would be written by code that is in none of the processor's caches,
# which takes several times as long.
_TOGETHER: Final = 32
_BYTES_TOGETHER: Final = 2**17  # of bodies
_LONGEST: Final = 500_000_000  # ns for which fewer wait
_FORM: Final = 2  # of marshal: later ones look for objects that come twice


class JournalWriter:
    """Appends answers to an open file, which is empty.

    Attributes:
        lost: answers that could not be written.
    """

    def __init__(self, fileno: int) -> None:
        self._fileno = fileno
        self._end = 0
        # Index, pieces merged, and the others with their times.
        self._waiting: list[tuple[int, int, list[Any]]] = []
        self._bytes = 0  # of bodies
        self._flushed = 0  # when flush_some last wrote, ns
        self.lost = 0

    def add(self, index: int, completion: Completion) -> None:
        """Take what arrived of the answer to the request with this index, if anything did.

        It is written later, unless too many wait already: now, other answers may have come.
        """
        parts = completion.parts
        if parts is not None and parts.told:
            self._waiting.append((index, parts.merge(), parts.told))
            self._bytes += parts.size
            if len(self._waiting) > 2 * _TOGETHER or self._bytes > 2 * _BYTES_TOGETHER:
                self.flush()

    def flush_some(self, now: int) -> None:
        """Write the buffered answers, if they are many or old; to be called now and then."""
        many = len(self._waiting) >= _TOGETHER or self._bytes > _BYTES_TOGETHER
        if many or now - self._flushed > _LONGEST:
            self._flushed = now
            self.flush()

    def flush(self) -> None:
        """Write the buffered answers; to be called at the end."""
        if not self._waiting:
            return
        answers = marshal.dumps(self._waiting, _FORM)
        size = _HEAD.size + len(answers)
        try:
            written = os.writev(self._fileno, (_HEAD.pack(len(answers)), answers))
        except OSError:
            written = 0
        if written == size:
            self._end += size
        else:  # there is no more space
            self.lost += len(self._waiting)
            with suppress(OSError):
                os.ftruncate(self._fileno, self._end)
            with suppress(OSError):
                os.lseek(self._fileno, self._end, os.SEEK_SET)
        self._waiting.clear()
        self._bytes = 0


@dataclass(frozen=True)
class StreamedAnswer:
    """What arrived of one answer.

    Attributes:
        index: of its request.
        body: of the answer, as far as it arrived.
        times: of the reads that brought it, ns of the monotonic clock, ascending.
        ends: bytes of the body that had arrived after each of them.
        merged: pieces that were merged with the last, as there were too many.
    """

    index: int
    body: bytes
    times: Sequence[int]
    ends: Sequence[int]
    merged: int


class Journal:
    """The streamed answers of a load that has ended, in the order in which they ended.

    Args:
        file: what the generator wrote.
        places: the index in the records of each row of the store; by default, the same.
    """

    def __init__(self, file: IO[bytes], places: Sequence[int] = range(2**32)) -> None:
        self._file = file
        self._places = places

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[StreamedAnswer]:
        number, offset = self._file.fileno(), 0
        while len(head := os.pread(number, _HEAD.size, offset)) == _HEAD.size:
            (size,) = _HEAD.unpack(head)
            offset += _HEAD.size
            data = os.pread(number, size, offset)
            if len(data) < size:
                return  # the generator died while it wrote this
            offset += len(data)
            # Nobody else has ever had the file: it has no name.
            for index, merged, told in marshal.loads(data):
                pieces, times = told[::2], told[1::2]
                # Of the pieces that one read brought, the last one's end.
                reads = dict(zip(times, accumulate(map(len, pieces)), strict=True))
                body = b"".join(pieces)
                yield StreamedAnswer(self._places[index], body, [*reads], [*reads.values()], merged)

    def close(self) -> None:
        """Give the space back."""
        self._file.close()
