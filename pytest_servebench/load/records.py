"""What happened to every request: one record each, in columns.

During the load the columns live in one memory-mapped file: the generator writes them in place, the
pytest process can read them at any time, and nothing is lost if either process dies.
"""

from __future__ import annotations

import enum
import errno
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final, Literal, cast

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records_file import read_columns
from pytest_servebench.system.files import whole_file

NEVER: Final = -1
"""The time stamp of something that did not happen."""

TIME_COLUMNS: Final = ("scheduled", "enqueued", "dequeued", "sent", "first_byte", "done")
_FILE_COLUMNS: Final = {
    **dict.fromkeys(TIME_COLUMNS, (np.int64, 1)),
    "outcome": (np.uint8, 1), "status": (np.int16, 1), "window": (np.int64, 0),
}  # fmt: skip
BYTES_PER_RECORD: Final = 8 * len(TIME_COLUMNS) + 2 + 1
_HEADER_FIELDS: Final = 4  # number of records, phase, clock start, length of the window
_HEADER_BYTES: Final = 8 * _HEADER_FIELDS
_BLOCK: Final = 2**20


class Outcome(enum.IntEnum):
    """How an arrival ended; every arrival has exactly one outcome."""

    OK = 0
    DROPPED = 1
    TIMEOUT = 2
    CONNECT_ERROR = 3
    HTTP_ERROR = 4
    BAD_RESPONSE = 5
    UNFINISHED = 6

    @property
    def label(self) -> str:
        """Return the word for reports and JSON, such as ``"http_error"``."""
        return self.name.lower()


class Phase(enum.IntEnum):
    """What the generator is doing."""

    PREPARING = 0
    WARMING_UP = 1
    RUNNING = 2
    FINISHED = 3


_DTYPES: Final = {"q": np.int64, "h": np.int16, "B": np.uint8}
_NOTHING_YET: Final = {"status": 0, "outcome": Outcome.UNFINISHED}  # the others are times


def _seconds(nanoseconds: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return nanoseconds.astype(np.float64) / 1e9


@dataclass(frozen=True)
class Records:
    """The records of one run, as columns of equal length n.

    Attributes:
        scheduled: arrival, in ns since the clock's start; the other times are on the same clock,
            ``NEVER`` if they did not happen.
        enqueued: when the generator took the arrival up.
        dequeued: when a worker took the request.
        sent: when the request was written to the connection.
        first_byte: when the first byte of the answer arrived.
        done: when the answer was complete, or the request given up.
        outcome: one :class:`Outcome` per arrival.
        status: the transport's status, such as HTTP's; 0 if there was none.
        window: length of the arrival window in ns.
    """

    scheduled: npt.NDArray[np.int64]
    enqueued: npt.NDArray[np.int64]
    dequeued: npt.NDArray[np.int64]
    sent: npt.NDArray[np.int64]
    first_byte: npt.NDArray[np.int64]
    done: npt.NDArray[np.int64]
    outcome: npt.NDArray[np.uint8]
    status: npt.NDArray[np.int16]
    window: int

    def __len__(self) -> int:
        return len(self.scheduled)

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """Return which requests succeeded; shape ``(n,)``."""
        return np.equal(self.outcome, Outcome.OK)

    def latency(self) -> npt.NDArray[np.float64]:
        """Return done - scheduled in seconds; infinite for failed requests; shape ``(n,)``."""
        return self.until("done")

    def until(self, column: str) -> npt.NDArray[np.float64]:
        """Return the time in ``column`` - scheduled, like :meth:`latency`."""
        return np.where(self.ok, _seconds(getattr(self, column) - self.scheduled), np.inf)

    def knows(self, column: str) -> bool:
        """Return whether every success has a time in ``column``."""
        return not (self.ok & (getattr(self, column) == NEVER)).any()

    def queue_wait(self) -> npt.NDArray[np.float64]:
        """Return dequeued - enqueued in seconds, for the requests that a worker took."""
        taken = (self.dequeued != NEVER) & (self.enqueued != NEVER)
        return _seconds(self.dequeued[taken] - self.enqueued[taken])

    def service_time(self) -> npt.NDArray[np.float64]:
        """Return done - sent in seconds, for the requests that succeeded."""
        return _seconds(self.done[self.ok] - self.sent[self.ok])

    def generator_lag(self) -> npt.NDArray[np.float64]:
        """Return enqueued - scheduled in seconds, for the arrivals that were taken up."""
        taken = self.enqueued != NEVER
        return _seconds(self.enqueued[taken] - self.scheduled[taken])

    def without_lag(
        self, tolerated: float, unread: Mapping[int, float] = MappingProxyType({})
    ) -> Records:
        """Return the best records that a generator without any lag could have seen.

        Each answer, and its first byte, is moved earlier by the seconds for which it lay
        ``unread``, but never before its request was sent; and by the largest lag among the request
        itself and those that it may have waited behind, but it is never faster than the fastest:
        if all arrivals at a queue come earlier by some time, each is done earlier by at most that.

        Late arrivals come in bursts, which may also fill the buffer: each arrival that was more
        than ``tolerated`` seconds late can have caused at most one drop until a worker is idle
        again. That drop counts as answered at once.
        """
        lag = np.where(self.enqueued == NEVER, 0, self.enqueued - self.scheduled)
        lag_ahead = self._lag_ahead(lag)
        spared = self._dropped_by_bunches(lag > tolerated * 1e9)
        outcome = self.outcome.copy()
        outcome[spared] = Outcome.OK

        def earlier(came: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            read = came.copy()
            for index, seconds in unread.items():
                read[index] = max(read[index] - int(seconds * 1e9), self.sent[index])
            answered = self.ok & (came != NEVER)
            fastest = (read - self.sent)[answered].min() if answered.any() else 0
            ahead = np.maximum(read - lag_ahead, self.scheduled + fastest)
            at_best = np.where(came == NEVER, NEVER, np.minimum(read - lag, ahead))
            at_best[spared] = self.scheduled[spared]
            return at_best

        first_byte, done = earlier(self.first_byte), earlier(self.done)
        return replace(self, first_byte=first_byte, done=done, outcome=outcome)

    def _lag_ahead(self, lag: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the largest lag of the arrivals that a request may have waited behind.

        A burst is over when an arrival finds no more requests in flight than the median: from then
        on the server is as busy as usual.
        """
        if not len(self):
            return lag
        taken = self.enqueued != NEVER
        ended = np.sort(self.done[taken & (self.done != NEVER)])
        before = np.cumsum(taken) - taken
        under_way = before - np.searchsorted(ended, self.enqueued, "right")
        usual = under_way <= np.median(under_way[taken]) if taken.any() else taken
        # A running maximum that restarts at each: the steps are larger than any lag.
        steps = np.cumsum(usual) * (lag.max() + 1)
        largest: npt.NDArray[np.int64] = np.maximum.accumulate(steps + lag) - steps
        return largest

    def _dropped_by_bunches(self, late: npt.NDArray[np.bool_]) -> list[int]:
        dropped = np.equal(self.outcome, Outcome.DROPPED)
        if not late.any() or not dropped.any():
            return []
        idle = ~late & (self.enqueued != NEVER) & (self.enqueued == self.dequeued)
        spared, bunched = [], 0
        for index in np.flatnonzero(late | dropped | idle).tolist():
            if idle[index]:
                bunched = 0
            bunched += int(late[index])
            if dropped[index] and bunched:
                bunched -= 1
                spared.append(index)
        return spared

    def counts(self) -> dict[str, int]:
        """Return the number of arrivals for each outcome's label; they add up to n."""
        number = np.bincount(self.outcome, minlength=len(Outcome))
        return {outcome.label: int(number[outcome]) for outcome in Outcome}

    def save(self, path: Path) -> None:
        """Write the records to ``path`` (``.npz``), whole or not at all.

        Raises:
            OSError: they cannot be written; nothing is left behind.
        """
        columns = {name: getattr(self, name) for name in (*TIME_COLUMNS, "outcome", "status")}
        with whole_file(path) as file:
            np.savez_compressed(file, window=np.int64(self.window), **columns)

    @classmethod
    def load(cls, path: Path, arrivals: int | None = None) -> Records:
        """Read records that :meth:`save` wrote.

        Args:
            path: the file.
            arrivals: the number of records that the file must have, if known.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is truncated, not a records file, or has a different number of records.
        """
        columns = read_columns(path, _FILE_COLUMNS, arrivals)
        window = int(columns.pop("window"))
        if (columns["outcome"] >= len(Outcome)).any():
            raise ValueError(f"{path}: not a records file: it has an unknown outcome")
        return cls(**columns, window=window)


class RecordStore:
    """Records in a memory-mapped file, shared by the generator and the pytest process."""

    def __init__(self, fileno: int) -> None:
        """Map an open file that :meth:`create` filled."""
        self._map = mmap.mmap(fileno, 0)
        self._view = memoryview(self._map)
        self._header = self._view[:_HEADER_BYTES].cast("q")
        size = self._header[0]
        offset = _HEADER_BYTES
        self._columns: dict[str, memoryview[int]] = {}
        for name, code, width in (
            *((name, "q", 8) for name in TIME_COLUMNS),
            ("status", "h", 2),
            ("outcome", "B", 1),
        ):
            part = self._view[offset : offset + width * size]
            self._columns[name] = part.cast(cast(Literal["q"], code))
            offset += width * size

    @classmethod
    def create(cls, file: IO[bytes], scheduled: npt.NDArray[np.int64], window: int) -> RecordStore:
        """Fill an empty file for a schedule (ns) of n arrivals, none of which has begun.

        Raises:
            OSError: there is not enough space.
        """
        cls.reserve(file, cls.size_for(len(scheduled)))
        os.pwrite(
            file.fileno(),
            np.array([len(scheduled), Phase.PREPARING, NEVER, window], dtype=np.int64).tobytes(),
            0,
        )
        store = cls(file.fileno())
        for name, view in store._columns.items():
            start = scheduled if name == "scheduled" else _NOTHING_YET.get(name, NEVER)
            np.frombuffer(view, dtype=_DTYPES[view.format])[:] = start
        return store

    @staticmethod
    def size_for(arrivals: int) -> int:
        """Return the size in bytes of a file with that many records."""
        return _HEADER_BYTES + BYTES_PER_RECORD * arrivals

    @staticmethod
    def reserve(file: IO[bytes], size: int) -> None:
        """Extend an empty file to ``size`` bytes, and allocate all of them.

        Writing to a mapping without allocated space kills the process by SIGBUS.

        Raises:
            OSError: there is not enough space.
        """
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except AttributeError:  # macOS
            pass
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
        else:
            return
        for offset in range(0, size, _BLOCK):
            os.pwrite(file.fileno(), bytes(min(_BLOCK, size - offset)), offset)

    def __len__(self) -> int:
        return int(self._header[0])

    def column(self, name: str) -> memoryview[int]:
        """Return a writable view of one column."""
        return self._columns[name]

    @property
    def phase(self) -> Phase:
        """Return what the generator is doing."""
        return Phase(self._header[1])

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._header[1] = phase

    @property
    def start(self) -> int:
        """Return the clock's start on the system's monotonic clock in ns, or ``NEVER``."""
        return int(self._header[2])

    @start.setter
    def start(self, start: int) -> None:
        self._header[2] = start

    def snapshot(self) -> Records:
        """Return a copy of the records as they are now."""
        columns = {
            name: np.frombuffer(view, dtype=_DTYPES[view.format]).copy()
            for name, view in self._columns.items()
        }
        return Records(**columns, window=int(self._header[3]))

    def close(self) -> None:
        """Unmap the file."""
        for view in self._columns.values():
            view.release()
        self._columns = {}
        self._header.release()
        self._view.release()
        self._map.close()
