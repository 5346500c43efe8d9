"""The results of a session so far: one per load, or search, in the last attempt of each test."""

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pytest_servebench.runs.results import CapacityResult, CaseResult, TestOutcome

_Result = TypeVar("_Result", CaseResult, CapacityResult)
_Outcome = Callable[[TestOutcome | None], TestOutcome | None]
_Entries = dict[tuple[str, str], dict[str, Any]]  # node id and label to the data


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

    def __bool__(self) -> bool:
        """Return whether there is anything to save."""
        return bool(self.results or self.capacities)

    def add(self, result: CaseResult) -> dict[str, Any]:
        """Store a judged result, replacing an earlier one of its load; return it as JSON data.

        Results of the test's earlier attempts are removed. The data are updated with the result.
        """
        self.forget_outdated(result.nodeid)
        return _put(self.results, self._entries, result)

    def add_capacity(self, result: CapacityResult) -> dict[str, Any]:
        """Store what a search found, like :meth:`add`."""
        self.forget_outdated(result.nodeid)
        return _put(self.capacities, self._capacity_entries, result)

    def capacities_of(self, nodeid: str) -> list[CapacityResult]:
        """Return what the searches of a test found so far."""
        return [one for one in self.capacities if one.nodeid == nodeid]

    def cases_of(self, nodeid: str) -> list[CaseResult]:
        """Return the cases of a test so far, without probes."""
        return [one for one in self._of(nodeid) if not one.probe]

    def probes_of(self, nodeid: str) -> list[CaseResult]:
        """Return the probes of a test's searches so far."""
        return [one for one in self._of(nodeid) if one.probe]

    def tests(self) -> set[str]:
        """Return the node ids of the tests with results."""
        return {one.nodeid for one in self.results} | {one.nodeid for one in self.capacities}

    def _of(self, nodeid: str) -> list[CaseResult]:
        return [one for one in self.results if one.nodeid == nodeid]

    def outdate(self, nodeid: str) -> None:
        """Mark the results of a test as outdated, as it runs again."""
        if nodeid in self.tests():
            self._outdated.add(nodeid)

    def forget_outdated(self, nodeid: str) -> bool:
        """Remove the outdated results of a test that ran again; return whether there were any."""
        if nodeid not in self._outdated:
            return False
        self._outdated.discard(nodeid)
        for old in self._of(nodeid):
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

    def note_outcome(self, nodeid: str, outcome: _Outcome) -> bool:
        """Store the outcome of a test with all of its results; return whether any has changed.

        Args:
            nodeid: of the test.
            outcome: given the one so far.
        """
        of_cases = _put_outcome(self.results, self._entries, nodeid, outcome)
        return _put_outcome(self.capacities, self._capacity_entries, nodeid, outcome) or of_cases


def _put(results: list[_Result], entries: _Entries, result: _Result) -> dict[str, Any]:
    places = [place for place, one in enumerate(results) if _key(one) == _key(result)]
    if places:
        results[places[0]] = result
    else:
        results.append(result)
    entry = entries.setdefault(_key(result), {})
    entry.update(result.to_dict())
    return entry


def _put_outcome(results: list[_Result], entries: _Entries, nodeid: str, outcome: _Outcome) -> bool:
    changed = False
    for place, one in enumerate(results):
        if one.nodeid == nodeid and (now := outcome(one.test_outcome)) != one.test_outcome:
            results[place] = dataclasses.replace(one, test_outcome=now)
            entries[_key(one)]["test_outcome"] = now
            changed = True
    return changed


def _key(result: CaseResult | CapacityResult) -> tuple[str, str]:
    return result.nodeid, result.label
