"""The records of a load under way: columns in one memory-mapped file, without NumPy.

The generator writes them in place, the pytest process can read them at any time, and nothing is
lost if either process dies. :mod:`.records` copies and analyses them.
"""

from __future__ import annotations

import enum
import errno
import mmap
import os
import struct
from types import MappingProxyType
from typing import IO, Final, Literal, cast

NEVER: Final = -1
"""The time stamp of something that did not happen."""

TIME_COLUMNS: Final = ("scheduled", "enqueued", "dequeued", "sent", "first_byte", "done")
COLUMNS: Final = MappingProxyType(
    {**dict.fromkeys(TIME_COLUMNS, "q"), "payload": "I", "status": "h", "outcome": "B"}
)
"""Name to format, as :mod:`struct` writes it; the widest first, so that all are aligned."""
BYTES_PER_RECORD: Final = sum(map(struct.calcsize, COLUMNS.values()))
_HEADER: Final = struct.Struct("4q")  # number of records, phase, clock start, length of the window
_BLOCK: Final = 2**20


class Outcome(enum.IntEnum):
    """How an arrival ended; every arrival has exactly one outcome."""

    OK = 0
    DROPPED = 1
    TIMEOUT = 2
    CONNECT_ERROR = 3
    ERROR_STATUS = 4
    BAD_RESPONSE = 5
    UNFINISHED = 6

    @property
    def label(self) -> str:
        """Return the word for reports and JSON, such as ``"error_status"``."""
        return self.name.lower()


class Phase(enum.IntEnum):
    """What the generator is doing."""

    PREPARING = 0
    WARMING_UP = 1
    RUNNING = 2
    FINISHED = 3


class RecordStore:
    """Records in a memory-mapped file, shared by the generator and the pytest process."""

    def __init__(self, fileno: int) -> None:
        """Map an open file that :func:`.records.new_store` filled."""
        self._map = mmap.mmap(fileno, 0)
        self._view = memoryview(self._map)
        self._header = self._view[: _HEADER.size].cast("q")
        size = self._header[0]
        offset = _HEADER.size
        self._columns: dict[str, memoryview[int]] = {}
        for name, code in COLUMNS.items():
            width = struct.calcsize(code) * size
            part = self._view[offset : offset + width]
            self._columns[name] = part.cast(cast(Literal["q"], code))
            offset += width

    @classmethod
    def allocate(cls, file: IO[bytes], arrivals: int, window: int) -> RecordStore:
        """Map an empty file after making it a store for that many records, all of them zeros.

        Args:
            file: the file.
            arrivals: the number of records.
            window: length of the arrival window in ns.

        Raises:
            OSError: there is not enough space.
        """
        cls.reserve(file, cls.size_for(arrivals))
        os.pwrite(file.fileno(), _HEADER.pack(arrivals, Phase.PREPARING, NEVER, window), 0)
        return cls(file.fileno())

    @staticmethod
    def size_for(arrivals: int) -> int:
        """Return the size in bytes of a file with that many records."""
        return _HEADER.size + BYTES_PER_RECORD * arrivals

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
        """Return a writable view of one of the :data:`COLUMNS`."""
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

    @property
    def window(self) -> int:
        """Return the length of the arrival window in ns."""
        return int(self._header[3])

    def close(self) -> None:
        """Unmap the file."""
        for view in self._columns.values():
            view.release()
        self._columns = {}
        self._header.release()
        self._view.release()
        self._map.close()
