"""``run.json`` during its session: complete after each case, however the session ends."""

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
        self._cases: dict[tuple[str, str], tuple[CaseResult, bytes]] = {}  # and probes
        self._written: list[bytes] = []
        self._next_sync = 0.0

    def write(self, run: Run, directory: Path) -> None:
        """Write the run to ``directory``, without what hooks and pytest-benchmark would add.

        Raises:
            OSError: it cannot be written; the file is unchanged.
        """
        known, self._cases = self._cases, {}
        for case in run.every_case:
            key = case.nodeid, case.label
            same = key in known and (known[key][0] is case or known[key][0] == case)
            self._cases[key] = case, known[key][1] if same else _encoded(case)
        head = to_json({"servebench": run.to_dict(cases=False)}).removesuffix("\n }\n}")
        texts = [head.encode()]
        for name, cases in (("cases", run.cases), ("probes", run.probes)):
            each = (self._cases[case.nodeid, case.label][1] for case in cases)
            texts += [f',\n  "{name}": [\n'.encode(), b",\n".join(each), b"\n  ]"]
        # A case is judged again when its test ends: mostly to the same result.
        if texts == self._written and (directory / RUN_FILE).exists():
            return
        self._written = []
        # Power may fail too, but with thousands of cases syncing must not take over.
        start = time.monotonic()
        sync = start >= self._next_sync
        with whole_file(directory / RUN_FILE, sync=sync) as file:
            file.writelines(texts)
            file.write(b"\n }\n}\n")
        self._written = texts
        if sync:
            end = time.monotonic()
            self._next_sync = end + (end - start) / _SYNC_SHARE


def _encoded(case: CaseResult) -> bytes:
    return to_json(case.to_dict(), indent=None).encode()
