"""A transport that keeps the parts of half of all answers, and times the work on each.

Every other connection is for streamed answers; the others read the same, and keep neither times nor
a journal. Both serve one load in one process, so that the machine is the same for both. Appended to
the file that the environment variable names, for each answer and each time the journal is written:
:data:`ROW`.
"""

from __future__ import annotations

import os
import struct
import time
from itertools import count
from typing import Any, Final

from pytest_servebench.load.journal import JournalWriter
from pytest_servebench.load.transports.base import Caller
from pytest_servebench.load.transports.http1 import Connection, Http1, StreamedConnection

VARIABLE: Final = "SERVEBENCH_PARTS_OF_HALF"
NOT_KEPT: Final = 0
KEPT: Final = 1
JOURNAL: Final = 2
ROW: Final = struct.Struct("=qq")
"""What it was, and ns in the callbacks of the event loop; the journal's are not in an answer's."""

_clock: Final = time.perf_counter_ns


class Half(Http1):
    """HTTP/1.1, where answers have parts or none by connections."""

    def __init__(self, *arguments: Any) -> None:
        """See :class:`.Http1`."""
        super().__init__(*arguments)
        self._number = count()
        _time_work(os.environ[VARIABLE])

    def _connection(self, caller: Caller) -> Connection:
        if next(self._number) % 2:
            return super()._connection(caller)
        return Connection(caller, self._terms, self._woken)


def _time_work(path: str) -> None:
    """Time what is done in this process from now on."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    receive, flush = Connection.data_received, JournalWriter.flush
    spent: dict[Connection, int] = {}  # on the answer that each awaits
    flushed = 0  # within one callback

    def timed_receive(self: Connection, data: bytes) -> None:
        nonlocal flushed
        flushed = 0
        began = _clock()
        receive(self, data)
        took = _clock() - began - flushed
        took += spent.get(self, 0)
        if self._headers_done:
            spent[self] = took
        else:
            spent[self] = 0
            kind = KEPT if isinstance(self, StreamedConnection) else NOT_KEPT
            os.write(file, ROW.pack(kind, took))

    def timed_flush(self: JournalWriter) -> None:
        nonlocal flushed
        began = _clock()
        flush(self)
        flushed = _clock() - began
        os.write(file, ROW.pack(JOURNAL, flushed))

    Connection.data_received = timed_receive  # type: ignore[method-assign]
    JournalWriter.flush = timed_flush  # type: ignore[method-assign]
