"""``run.json`` while its session goes on: whole after each case, however the session ends."""

import time
from pathlib import Path
from typing import Final

from pytest_servebench.runs.results import CaseResult, Run
from pytest_servebench.runs.run_json import RUN_FILE
from pytest_servebench.system.files import whole_file
from pytest_servebench.text.json_text import to_json

_SYNC_SHARE: Final = 0.05  # of the session's time that may be spent waiting for the disk


class GrowingRunFile:
    """Rewrites a run after each case; each case is converted to JSON once."""

    def __init__(self) -> None:
        """Start with nothing written."""
        self._cases: list[tuple[CaseResult, bytes]] = []
        self._next_sync = 0.0

    def write(self, run: Run, directory: Path) -> None:
        """Write the run to ``directory``, without what hooks and pytest-benchmark would add.

        Raises:
            OSError: it cannot be written; the file is unchanged.
        """
        known = {id(case): text for case, text in self._cases}
        self._cases = [(case, known.get(id(case)) or _encoded(case)) for case in run.cases]
        head = to_json({"servebench": run.to_dict(cases=False)}).removesuffix("\n }\n}")
        # Power may fail too, but with thousands of cases syncing must not take over.
        start = time.monotonic()
        sync = start >= self._next_sync
        with whole_file(directory / RUN_FILE, sync=sync) as file:
            file.write(head.encode() + b',\n  "cases": [\n')
            for number, (_, text) in enumerate(self._cases):
                file.write(b",\n" + text if number else text)
            file.write(b"\n  ]\n }\n}\n")
        if sync:
            end = time.monotonic()
            self._next_sync = end + (end - start) / _SYNC_SHARE


def _encoded(case: CaseResult) -> bytes:
    return to_json(case.to_dict(), indent=None).encode()
