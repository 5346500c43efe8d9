"""The results of a session so far: one of each test, that of its last attempt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_servebench.runs.results import CaseResult, TestOutcome


class RecordedCases:
    """Judged results in the order of their tests, and what benchmarks have of them."""

    def __init__(self, directory: Callable[[], Path]) -> None:
        """Hold none.

        Args:
            directory: gives the run's own, where the records are.
        """
        self.results: list[CaseResult] = []
        self._directory = directory
        self._entries: dict[str, dict[str, Any]] = {}  # node id to what its benchmark has of it
        self._outdated: set[str] = set()  # node ids that run again, with results from before

    def add(self, result: CaseResult) -> dict[str, Any]:
        """Keep a judged result, the only one of its test, and return it as data for JSON.

        The data follow what becomes known of the result later.
        """
        self._forget(result.nodeid)
        self.results.append(result)
        return self._entries.setdefault(result.nodeid, result.to_dict())

    def of(self, nodeid: str) -> CaseResult | None:
        """Return what is recorded of a test so far."""
        return next((one for one in self.results if one.nodeid == nodeid), None)

    def outdate(self, nodeid: str) -> None:
        """Hold what there is of a test for old, as it runs once more."""
        if nodeid in self._entries:
            self._outdated.add(nodeid)

    def forget_outdated(self, nodeid: str) -> bool:
        """Forget the result of a test that has run once more without one; tell if there was one."""
        if nodeid not in self._outdated:
            return False
        self._forget(nodeid)
        return True

    def note_outcome(self, result: CaseResult, outcome: TestOutcome | None) -> None:
        """Keep with a recorded result what pytest makes of its test."""
        place = self.results.index(result)
        self.results[place] = dataclasses.replace(result, test_outcome=outcome)
        self._entries[result.nodeid]["test_outcome"] = outcome

    def _forget(self, nodeid: str) -> None:
        self._outdated.discard(nodeid)
        self._entries.pop(nodeid, None)
        for old in [one for one in self.results if one.nodeid == nodeid]:
            self.results.remove(old)
            for file in (old.records_file, *(attempt.records_file for attempt in old.attempts)):
                if file:
                    with suppress(OSError):  # a file too many costs no case
                        (self._directory() / file).unlink()
