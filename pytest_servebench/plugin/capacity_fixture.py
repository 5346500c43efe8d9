"""The value of the ``find_capacity`` fixture: it searches for a capacity and returns it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_servebench.errors import OptionError, ServebenchError
from pytest_servebench.load.arrivals import ArrivalProcess, Trace
from pytest_servebench.load.draws import schedule
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.measure.capacity_plan import Capacity, Plan, SearchSettings
from pytest_servebench.measure.capacity_run import CapacityRun
from pytest_servebench.measure.case_runner import Case, run_case
from pytest_servebench.measure.traffic import AnswerCheck
from pytest_servebench.objectives.capacity import capacity_limits, reason
from pytest_servebench.objectives.capacity_answers import judge_probes
from pytest_servebench.objectives.limits import Limit
from pytest_servebench.plugin import capacity_judgement, judgement
from pytest_servebench.plugin.capacity_judgement import FoundCapacity
from pytest_servebench.plugin.cells import Cell
from pytest_servebench.plugin.saving import keep
from pytest_servebench.plugin.sending import PlannedLoad, Sending
from pytest_servebench.plugin.state import PROGRESS, fail, session_of
from pytest_servebench.plugin.turns import Turn
from pytest_servebench.protocols.base import Request
from pytest_servebench.report.facts import cell_name
from pytest_servebench.runs.capacity import CapacityLimit, CapacityResult
from pytest_servebench.runs.node_ids import labelled
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.text.live import duration
from pytest_servebench.text.quantity import trimmed

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

_FIXTURE = "find_capacity"
_SEEDS = 50  # to try
_NEXT_PROBE = 1000  # seeds further on: repeats are one apart
_NEXT_SEED = 1_000_003  # further on, beyond those of other probes
_LONG = 60.0  # seconds over which arrivals have their mean rate
_ALIKE = 0.01  # how far that may be from the rate asked for, as a share
_CHECK_EVERY = 0.2  # seconds between checks of the server while it rests


class FindCapacity:
    """Finds the highest rate that keeps the test's SLO: ``capacity = find_capacity(server)``."""

    def __init__(
        self, request: pytest.FixtureRequest, cell: Cell, benchmark: BenchmarkFixture | None
    ) -> None:
        self._item: pytest.Item = request.node
        self.benchmark = benchmark
        self.cell = cell
        self._sending = Sending(request.node, cell, _FIXTURE)
        self.found: list[FoundCapacity] = []  # one per search, in order
        self.passed = False  # whether the test function passed, regardless of the verdicts
        self.settled = 0  # how many of the searches have been judged for good
        self.turn = Turn(request.node, _FIXTURE)
        self._labels: set[str] = (
            set()
        )  # of the searches begun, whose probes are saved even if a search fails

    def __call__(
        self,
        server: object,
        *,
        requests: Sequence[Request] | None = None,
        check: AnswerCheck | None = None,
        arrivals: ArrivalProcess | str | None = None,
        name: str | None = None,
        buffer_size: int | None = None,
        rows: int | None = None,
        label: str | None = None,
    ) -> FoundCapacity:
        """Search for the highest rate at which ``server`` keeps the SLO, and return it.

        The limits are the clauses of the test's ``slo`` markers and of ``--servebench-slo``:
        percentiles, and success, drop and error rates. Each probe of the search is a separate load;
        its records are saved, and its verdict does not count. When the test ends, clauses such as
        ``capacity>=150/s`` are judged.

        Args:
            server: as for ``poisson_load``, like the following.
            requests: what to send instead of the model's predictions.
            check: called with a sample of the requests and their responses of each probe.
            arrivals: the arrival process.
            name: of a server given by URL.
            buffer_size: requests that may queue, if different from the test's.
            rows: samples of the model in each request, if different from the test's.
            label: distinguishes this search from the test's others.

        Raises:
            OptionError: an argument or a clause of the SLO is invalid; it fails the test.
        """
        __tracebackhide__ = True
        with self.turn.take():
            own = {"buffer_size": buffer_size, "rows": rows}
            given = {key: value for key, value in own.items() if value is not None}
            try:
                limits = capacity_limits(judgement.slos_of(self._item))
                load = self._sending.to(server, requests, check, arrivals, name, given)
                clauses = [limit.clause for limit in limits]
                judgement.refuse_unstreamed(clauses, "find_capacity", streamed=load.spec.streamed)
                judgement.refuse_unknown_classes(clauses, load.traffic.classes, "find_capacity")
                _check_arrivals(load.spec)
                label = self._sending.label(load.spec, label, self._labels)
                self._labels.add(label)
                search = _Search(self, self._item, load, limits, label)
                load.await_loaded(self._item)
                found = FoundCapacity(self._item, search.run())
            except ServebenchError as error:
                fail(error)
            self.found.append(found)
            capacity_judgement.record(self._item, self.benchmark, found, search.cases)
            # Last: a hook that raises fails the test, but loses no measurement.
            config = self._item.config
            config.hook.pytest_servebench_search_finished(config=config, result=found.result)
            if search.death is not None:
                fail(search.death)
        return found


class _Search:
    """One search of a test."""

    def __init__(
        self,
        owner: FindCapacity,
        item: pytest.Item,
        load: PlannedLoad,
        limits: Sequence[Limit],
        label: str,
    ) -> None:
        self._item = item
        self._load = load
        self._limits = limits
        self._label = label
        self._turn = owner.turn
        self._session = session_of(item.config)
        self._info = self._session.describe(load.server)
        self.cases: list[CaseResult] = []
        self.death: ServebenchError | None = None

    def run(self) -> CapacityResult:
        """Search, and return the result, not yet judged."""
        settings = capacity_judgement.settings_of(self._item)
        driver = CapacityRun(self._limits, settings, self._session.settings.max_lag)
        capacity, self.death = driver.run(self._probe)
        return self._result(capacity, driver, settings)

    def _probe(self, number: int, plan: Plan, left: float) -> CaseResult:
        label = f"probe{number}-rate{_rate(plan.rate)}"
        label = f"{self._label}-{label}" if self._label else label
        item, session = self._item, self._session
        spec = dataclasses.replace(
            self._load.spec, rate=plan.rate, duration=plan.seconds,
            # Fresh arrivals, also in each repeat, and the same in every run.
            seed=self._load.spec.seed + number * _NEXT_PROBE,
        )  # fmt: skip
        spec = _with_arrivals(spec)
        case = Case(labelled(item.name, label), item.nodeid, spec, session.settings.max_lag, label)
        self._rest(plan.rest)
        show = item.config.stash[PROGRESS]
        place = ", ".join(filter(None, (
            session.number(item.nodeid), f"probe {number}", f"{trimmed(plan.rate)}/s",
            f"search {duration(max(0.0, left))} left",
        )))  # fmt: skip
        logged = session.log_lines.of(self._load.server.log_files)
        with show.load(cell_name(case.name), place) as watch:
            result = run_case(
                case, self._load.server, self._info, self._load.traffic, self._turn.watching(watch)
            )
        self._turn.go_on()
        result = session.save_records(dataclasses.replace(result, probe=True))
        result = dataclasses.replace(result, logs=session.log_parts(logged))
        judged = judgement.judge_case(result, item, session.settings) if result.measured else result
        if judged.invalid_reason:
            judged = dataclasses.replace(judged, verdict="invalid")
        self.cases.append(judged)
        # Save now: whatever ends the search, what was measured is kept.
        # Without the records, which are many, and which reports read from their files.
        session.recorded.add(dataclasses.replace(judged, records=None))
        keep(session)
        item.config.hook.pytest_servebench_case_finished(config=item.config, result=judged)
        return judged

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._turn.go_on()
            self._load.server.check_alive()
            time.sleep(min(left, _CHECK_EVERY))

    def _result(
        self, capacity: Capacity, driver: CapacityRun, settings: SearchSettings
    ) -> CapacityResult:
        item, spec, traffic = self._item, self._load.spec, self._load.traffic
        limits = tuple(CapacityLimit(str(one.clause), one.allowed) for one in self._limits)
        result = CapacityResult(
            **spec.shared_with(CapacityResult) | {"arrivals": str(spec.arrivals)},
            name=labelled(item.name, self._label), nodeid=item.nodeid, label=self._label,
            server=self._info, model=traffic.name, weights_sha256=traffic.weights_sha256,
            input_source=traffic.source, requests_sha256=traffic.digest, limits=limits,
            state=capacity.state, value=capacity.value, low=capacity.low, high=capacity.high,
            limiting="" if capacity.limiting is None else limits[capacity.limiting].clause,
            lowest=settings.lowest, highest=settings.highest, budget=settings.budget,
            precision=settings.precision, seconds=capacity.seconds,
            needed_seconds=capacity.needed_seconds, generator_limit=capacity.generator_limit,
            slow_recovery=capacity.slow_recovery, recovery_seconds=capacity.recovery_seconds,
            probes=driver.probes(capacity), keep_alive=spec.terms.keep_alive,
            streams=spec.streams, expected=capacity.expected,
        )  # fmt: skip
        clauses = judge_probes(result, self.cases)
        # Another range or a longer search would not help if nothing succeeds.
        hopeless = any(one.sort == "successes" for one in clauses)
        return dataclasses.replace(
            result, clauses=clauses, reason="" if hopeless else reason(result)
        )


def _check_arrivals(spec: LoadSpec) -> None:
    """Refuse arrivals whose rate a search cannot choose, or that depend on the server.

    Raises:
        OptionError: they do.
    """
    if spec.think:
        raise OptionError(
            "find_capacity(requests=…): these are sessions, whose later turns arrive only as "
            "fast as the server answers and users think, so a probe of a few seconds ends before "
            "its load has reached its rate. Load them at several rates instead: poisson_load "
            "with --servebench-rates."
        )
    arrivals = spec.arrivals
    if isinstance(arrivals, Trace):
        made = "the recorded rate" if arrivals.as_recorded else ""
    else:
        factor = arrivals.mean_rate(1.0, _LONG)
        made = f"{trimmed(factor)} times the rate" if abs(factor - 1) > _ALIKE else ""
    if made:
        raise OptionError(
            f"arrivals {str(arrivals)!r} come at {made}, which a search cannot choose; give "
            "find_capacity arrivals whose mean rate is the requested one, such as poisson, "
            "steps:0.5,1.5 or trace:FILE without @recorded."
        )


def _with_arrivals(spec: LoadSpec) -> LoadSpec:
    """Return the load, with another seed if at a low rate nothing arrives in a short window."""
    for _ in range(_SEEDS):
        try:
            schedule(spec)
        except OptionError:
            spec = dataclasses.replace(spec, seed=spec.seed + _NEXT_SEED)
        else:
            break
    return spec


def _rate(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


SEARCH = pytest.StashKey[FindCapacity | None]()
