"""The threads that answer predictions."""

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

_log = logging.getLogger(__name__)


class Workers:
    """A fixed number of threads that take jobs in order.

    ``concurrent.futures`` would do, but nobody here waits for a future: a job itself hands its
    result to the event loop.
    """

    def __init__(self, count: int) -> None:
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        for number in range(count):
            # Daemons: a model that runs for minutes must not keep the process from ending.
            threading.Thread(target=self._work, name=f"rest-{number}", daemon=True).start()

    def submit(self, job: Callable[[], None]) -> None:
        """Have a thread call ``job``."""
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                job()
            except Exception:
                _log.exception("a request could not be answered")
            # Else the last request's body and arrays live until the next one.
            del job
