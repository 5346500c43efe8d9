"""The result of a search for a capacity, and how it decides the outcome of the test."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

import pytest

from pytest_servebench.analysis.capacities import as_case
from pytest_servebench.errors import InvalidMeasurementError, OptionError
from pytest_servebench.measure.capacity_plan import SearchSettings
from pytest_servebench.objectives.capacity import (
    capacity_limits,
    decided,
    explained,
    judge_capacity,
    judge_clause,
    with_judged,
)
from pytest_servebench.objectives.slo import Clause
from pytest_servebench.plugin import benchmark_bridge, judgement
from pytest_servebench.plugin.cases import marked_seconds, marked_value
from pytest_servebench.plugin.judgement import InconclusiveWarning
from pytest_servebench.plugin.option_values import RATE, number_of, rate_range, share
from pytest_servebench.plugin.options import SECONDS
from pytest_servebench.plugin.own_fixtures import has
from pytest_servebench.plugin.own_warnings import warn
from pytest_servebench.plugin.saving import keep
from pytest_servebench.plugin.settings import InconclusivePolicy
from pytest_servebench.plugin.state import session_of
from pytest_servebench.runs.capacity import CapacityResult
from pytest_servebench.runs.node_ids import function_of
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.text.quantity import trimmed

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


class FoundCapacity:
    """The highest rate that keeps an SLO, with its 95 % interval.

    Attributes:
        result: the whole result; see
            :class:`~pytest_servebench.runs.capacity.CapacityResult`.
    """

    def __init__(self, item: pytest.Item, result: CapacityResult) -> None:
        self._item = item
        self.result = result
        self.answered = False  # whether the test has asked for a rate, and got an answer

    @property
    def value(self) -> float | None:
        """Return the estimate, arrivals per second; ``None`` if there is none."""
        return self.result.value

    @property
    def low(self) -> float | None:
        """Return the lower end of the interval; ``None`` if there is none."""
        return self.result.low

    @property
    def high(self) -> float | None:
        """Return the upper end of the interval; ``None`` if there is none."""
        return self.result.high

    def at_least(self, rate: float) -> bool:
        """Return whether the capacity is at least ``rate`` per second, beyond doubt.

        If the interval contains the rate there is no answer: the test is then inconclusive, which
        fails it, or skips it under ``--servebench-on-inconclusive=skip``. So neither ``assert
        capacity.at_least(150)`` nor ``assert not capacity.at_least(150)`` passes when in doubt.
        With the SLO ``capacity>=150/s`` instead, doubt is a warning by default.
        """
        __tracebackhide__ = True
        try:
            bound = float(number_of(RATE, rate))
        except ValueError as error:
            raise OptionError(f"at_least({rate!r}): {error}.") from None
        answer = decided(self.result, bound)
        if answer is None:
            self._undecided(bound)
        self.answered = True
        return answer

    def check(self, *expressions: str) -> None:
        """Judge SLOs such as ``"capacity>=150/s"`` at once; the test fails if one is broken.

        Raises:
            InvalidMeasurementError: the load generator was the limit below the bound.
            OptionError: an expression is malformed, or not about the capacity.
        """
        __tracebackhide__ = True
        clauses = judgement.clauses_of(expressions)
        if others := [str(one) for one in clauses if not one.of_search]:
            raise OptionError(
                f"check({others[0]!r}): give clauses on the capacity, such as capacity>=150/s; "
                "its limits come from the marker slo and from --servebench-slo."
            )
        self.result = judge_capacity(self.result, clauses)
        texts = set(map(str, clauses))
        asked = [one for one in self.result.clauses if one.clause in texts]
        if broken := [one.message for one in asked if one.verdict == "failed"]:
            pytest.fail("\n".join(broken), pytrace=False)
        if invalid := [one.message for one in asked if one.verdict == "invalid"]:
            raise InvalidMeasurementError("\n".join(invalid))

    def __repr__(self) -> str:
        return f"<capacity {explained(self.result)}>"

    def __getattr__(self, name: str) -> object:
        """Return fields of the result: ``capacity.state``, ``capacity.probes``, …"""
        if name.startswith("_") or name == "result":  # unset in a copy that is being made
            raise AttributeError(name)
        return getattr(self.result, name)

    def _undecided(self, bound: float) -> NoReturn:
        __tracebackhide__ = True
        clause = Clause("capacity", ">=", bound, text=f"at_least({trimmed(bound)})")
        text = judge_clause(clause, self.result).message
        if session_of(self._item.config).settings.on_inconclusive == "skip":
            pytest.skip(text)
        pytest.fail(text, pytrace=False)


# -- what the user wants --------------------------------------------------------------------------


def budget_of(item: pytest.Item) -> tuple[float, float, tuple[float, float]]:
    """Return a search's budget in seconds, its precision, and its range of rates.

    Raises:
        OptionError: a value of the marker is invalid.
    """
    settings = session_of(item.config).settings
    return (
        float(marked_value(item, "capacity_budget", SECONDS, settings.capacity_budget)),
        float(marked_value(item, "capacity_precision", share, settings.capacity_precision)),
        marked_value(item, "capacity_range", rate_range, settings.capacity_range),
    )


def settings_of(item: pytest.Item) -> SearchSettings:
    """Return what a test's search may do.

    Raises:
        OptionError: a value of the marker is invalid, or there is no time for a single load.
    """
    budget, precision, (lowest, highest) = budget_of(item)
    warmup = marked_seconds(item, "warmup", session_of(item.config).settings.load.warmup)
    settings = SearchSettings(
        lowest=lowest, highest=highest, budget=budget, precision=precision, overhead=warmup + 1.0
    )
    if budget < settings.least_budget:
        raise OptionError(
            f"capacity budget of {trimmed(budget)} s: one load with its warm-up takes about "
            f"{trimmed(settings.least_budget)} s, and a search takes about ten of them; give more "
            "with --servebench-capacity-budget, or with capacity_budget in the marker."
        )
    return settings


def wrong_limits(items: Iterable[pytest.Item]) -> list[str]:
    """Return errors in the SLOs and budgets of tests that search, once per test."""
    found: dict[str, None] = {}
    for item in items:
        try:
            if has(item, "find_capacity"):
                capacity_limits(judgement.slos_of(item))
                settings_of(item)
        except OptionError as error:
            found[f"{function_of(item.nodeid)}: {error}"] = None
    return list(found)


# -- the end of a search, and of its test ---------------------------------------------------------


def judged(item: pytest.Item, result: CapacityResult) -> CapacityResult:
    """Return the result judged by the test's clauses on the capacity, as if the test ended now."""
    clauses = [one for one in judgement.slos_of(item) if one.of_search]
    result = with_judged(judge_capacity(result, clauses), ())
    session = session_of(item.config)
    case = as_case(result, session.recorded.probes_of(item.nodeid))
    if session.baseline is None or case is None or any(one.is_gate for one in result.clauses):
        return result
    gates = session.against_baseline(case).clauses[len(result.clauses) :]
    return with_judged(result, gates)


def record(
    item: pytest.Item,
    benchmark: BenchmarkFixture | None,
    found: FoundCapacity,
    probes: Sequence[CaseResult],
) -> None:
    """Save the result of a search, with the probe nearest to the capacity as the benchmark."""
    session = session_of(item.config)
    entry = session.recorded.add_capacity(judged(item, found.result))
    keep(session)
    known = [case for case in probes if case.measured and case.records is not None]
    if not known:
        return
    used = {one.label for one in found.result.probes if one.used}
    middle = found.result.value or math.inf
    nearest = min(
        known, key=lambda case: (case.label not in used, abs(math.log(case.rate / middle)))
    ) if math.isfinite(middle) else known[-1]  # fmt: skip
    assert nearest.records is not None
    latencies = nearest.records.latency()[nearest.records.ok].tolist()
    benchmark_bridge.record(item, benchmark, latencies)
    benchmark_bridge.attach(benchmark, nearest.to_dict(), valid=True, capacity=entry)


def apply(found: Sequence[FoundCapacity], item: pytest.Item) -> None:
    """Fail, warn or skip the test, according to the results of its searches.

    Without a clause on the capacity, there is only a note if none was found, and not even that if
    ``at_least`` gave an answer.

    Raises:
        InvalidMeasurementError: the load generator was the limit below a clause's bound.
    """
    __tracebackhide__ = True
    told: dict[str, list[str]] = {}
    for one in found:
        result, policy = one.result, _policy(item, one.result)
        for clause in result.clauses:
            word = policy if clause.verdict == "inconclusive" else clause.verdict
            told.setdefault(word, []).append(clause.message)
        asked = one.answered or any(clause.sort in ("slo", "gate") for clause in result.clauses)
        if result.state != "found" and not asked:
            told.setdefault(policy, []).append(f"{result.name}: capacity {explained(result)}")
    if "failed" in told:
        pytest.fail("\n".join(told["failed"]), pytrace=False)
    if "invalid" in told:
        raise InvalidMeasurementError("\n".join(told["invalid"]))
    if "fail" in told:
        pytest.fail("\n".join(told["fail"]), pytrace=False)
    if "warn" in told:
        warn(item, InconclusiveWarning("\n".join(told["warn"])))
    if "skip" in told:
        pytest.skip("\n".join(told["skip"]))


def _policy(item: pytest.Item, result: CapacityResult) -> InconclusivePolicy:
    session = session_of(item.config)
    case = as_case(result, session.recorded.probes_of(item.nodeid))
    return session.settings.on_inconclusive if case is None else session.policy(case)
