"""The results of a session so far: one per load, or search, in the last attempt of each test."""

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_servebench.runs.results import CapacityResult, CaseResult, TestOutcome


class RecordedCases:
    """Judged results in test order, and their data for benchmarks."""

    def __init__(self, directory: Callable[[], Path]) -> None:
        """Start empty.

        Args:
            directory: returns the run's directory, which has the records.
        """
        self.results: list[CaseResult] = []
        self.capacities: list[CapacityResult] = []
        self._directory = directory
        self._entries: dict[tuple[str, str], dict[str, Any]] = {}  # shared with benchmarks
        self._capacity_entries: dict[tuple[str, str], dict[str, Any]] = {}
        self._outdated: set[str] = set()  # node ids that run again, with results from before

    def add(self, result: CaseResult) -> dict[str, Any]:
        """Store a judged result, replacing an earlier one of its load; return it as JSON data.

        Results of the test's earlier attempts are removed. The data are updated with the result.
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

    def add_capacity(self, result: CapacityResult) -> dict[str, Any]:
        """Store what a search found, like :meth:`add`."""
        self.forget_outdated(result.nodeid)
        places = [place for place, one in enumerate(self.capacities) if _key(one) == _key(result)]
        if places:
            self.capacities[places[0]] = result
        else:
            self.capacities.append(result)
        entry = self._capacity_entries.setdefault(_key(result), {})
        entry.update(result.to_dict())
        return entry

    def capacities_of(self, nodeid: str) -> list[CapacityResult]:
        """Return what the searches of a test found so far."""
        return [one for one in self.capacities if one.nodeid == nodeid]

    def of(self, nodeid: str) -> list[CaseResult]:
        """Return the results of a test so far."""
        return [one for one in self.results if one.nodeid == nodeid]

    def outdate(self, nodeid: str) -> None:
        """Mark the results of a test as outdated, as it runs again."""
        if self.of(nodeid):
            self._outdated.add(nodeid)

    def forget_outdated(self, nodeid: str) -> bool:
        """Remove the outdated results of a test that ran again; return whether there were any."""
        if nodeid not in self._outdated:
            return False
        self._outdated.discard(nodeid)
        for old in self.of(nodeid):
            self.results.remove(old)
            del self._entries[_key(old)]
            for file in (old.records_file, *(attempt.records_file for attempt in old.attempts)):
                if file:
                    with suppress(OSError):  # a leftover file does no harm
                        (self._directory() / file).unlink()
        for found in self.capacities_of(nodeid):
            self.capacities.remove(found)
            del self._capacity_entries[_key(found)]
        return True

    def note_outcome(self, result: CaseResult, outcome: TestOutcome | None) -> None:
        """Store the outcome of the test with a recorded result."""
        place = self.results.index(result)
        self.results[place] = dataclasses.replace(result, test_outcome=outcome)
        self._entries[_key(result)]["test_outcome"] = outcome

    def note_capacity_outcome(self, result: CapacityResult, outcome: TestOutcome | None) -> None:
        """Store the outcome of the test with what its search found."""
        place = self.capacities.index(result)
        self.capacities[place] = dataclasses.replace(result, test_outcome=outcome)
        self._capacity_entries[_key(result)]["test_outcome"] = outcome


def _key(result: CaseResult | CapacityResult) -> tuple[str, str]:
    return result.nodeid, result.label
