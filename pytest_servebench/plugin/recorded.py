"""The results of a session so far: one of each load in the last attempt of each test."""

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
        self._entries: dict[tuple[str, str], dict[str, Any]] = {}  # what a benchmark may have of it
        self._outdated: set[str] = set()  # node ids that run again, with results from before

    def add(self, result: CaseResult) -> dict[str, Any]:
        """Keep a judged result in place of an earlier one of its load; return it as data for JSON.

        What is left of the test's earlier attempts goes. The data follow what becomes known of the
        result later.
        """
        self.forget_outdated(result.nodeid)
        places = [place for place, one in enumerate(self.results) if _key(one) == _key(result)]
        if places:
            self.results[places[0]] = result
        else:
            self.results.append(result)
        entry = self._entries.setdefault(_key(result), {})
        entry.update(result.to_dict())
        return entry

    def of(self, nodeid: str) -> list[CaseResult]:
        """Return what is recorded of a test so far."""
        return [one for one in self.results if one.nodeid == nodeid]

    def outdate(self, nodeid: str) -> None:
        """Hold what there is of a test for old, as it runs once more."""
        if self.of(nodeid):
            self._outdated.add(nodeid)

    def forget_outdated(self, nodeid: str) -> bool:
        """Forget what a test that has run once more had before; tell if there was anything."""
        if nodeid not in self._outdated:
            return False
        self._outdated.discard(nodeid)
        for old in self.of(nodeid):
            self.results.remove(old)
            del self._entries[_key(old)]
            for file in (old.records_file, *(attempt.records_file for attempt in old.attempts)):
                if file:
                    with suppress(OSError):  # a file too many costs no case
                        (self._directory() / file).unlink()
        return True

    def note_outcome(self, result: CaseResult, outcome: TestOutcome | None) -> None:
        """Keep with a recorded result what pytest makes of its test."""
        place = self.results.index(result)
        self.results[place] = dataclasses.replace(result, test_outcome=outcome)
        self._entries[_key(result)]["test_outcome"] = outcome


def _key(result: CaseResult) -> tuple[str, str]:
    return result.nodeid, result.label
