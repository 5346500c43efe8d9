"""The value of the ``poisson_load`` fixture: it sends a load and returns the case."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_servebench.errors import (
    InvalidMeasurementError,
    OptionError,
    ServebenchError,
)
from pytest_servebench.load.arrivals import ArrivalProcess
from pytest_servebench.measure.case_runner import Case, run_case
from pytest_servebench.measure.traffic import AnswerCheck, Traffic
from pytest_servebench.objectives.slo import failure_message
from pytest_servebench.plugin import benchmark_bridge, judgement
from pytest_servebench.plugin.cells import Cell
from pytest_servebench.plugin.saving import keep
from pytest_servebench.plugin.sending import Sending
from pytest_servebench.plugin.state import PROGRESS, fail, session_of
from pytest_servebench.plugin.turns import Turn
from pytest_servebench.protocols.base import Request
from pytest_servebench.report.facts import attempt_name, cell_name
from pytest_servebench.runs.node_ids import function_of, labelled
from pytest_servebench.runs.results import Attempt, CaseResult
from pytest_servebench.servers.base import RunningServer

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


class LoadedCase:
    """The result of a load, and a method to check further SLOs.

    Attributes:
        result: everything that was measured; see
            :class:`~pytest_servebench.runs.results.CaseResult`.
    """

    def __init__(self, result: CaseResult, max_lag: float) -> None:
        self.result = result
        self._max_lag = max_lag

    def check(self, *expressions: str) -> None:
        """Judge SLOs such as ``"p99<50ms"`` at once; the test fails if one is broken.

        Raises:
            InvalidMeasurementError: the load generator was too late to judge one.
            OptionError: an expression is about a capacity, which no single load has, or about
                streamed answers or a class of requests, which this load does not have.
            SLOSyntaxError: an expression is malformed.
        """
        __tracebackhide__ = True
        clauses = judgement.clauses_of(expressions)
        if capacities := [str(clause) for clause in clauses if clause.of_search]:
            raise OptionError(f"check({capacities[0]!r}): find_capacity finds it, not a load at "
                              "one rate: capacity = find_capacity(server).")  # fmt: skip
        judgement.refuse_unstreamed(
            clauses, "poisson_load", streamed=self.result.streamed is not None
        )
        judgement.refuse_unknown_classes(clauses, self.result.class_names, "check")
        result = self.result = judgement.judged(self.result, clauses, self._max_lag)
        if result.verdict == "failed":
            pytest.fail(failure_message(result, result.clauses), pytrace=False)
        asked = set(map(str, clauses))
        undecided = [o for o in result.clauses if o.clause in asked and o.verdict == "invalid"]
        if undecided:
            raise InvalidMeasurementError(failure_message(result, undecided))

    def __getattr__(self, name: str) -> object:
        """Return fields of the result: ``case.summary``, ``case.resources``, …"""
        if name.startswith("_") or name == "result":  # unset in a copy that is being made
            raise AttributeError(name)
        return getattr(self.result, name)


class PoissonLoad:
    """Sends open-loop load to a server: ``result = poisson_load(server)``."""

    def __init__(
        self,
        request: pytest.FixtureRequest,
        cell: Cell,
        benchmark: BenchmarkFixture | None,
    ) -> None:
        self._item: pytest.Item = request.node
        self.benchmark = benchmark
        self.cell = cell
        self._sending = Sending(request.node, cell, "poisson_load")
        self.cases: list[LoadedCase] = []  # one per load, in order
        self.passed = False  # whether the test function passed, regardless of its cases
        self.settled = 0  # how many of the cases have been judged for good
        self.turn = Turn(request.node, "poisson_load")

    def __call__(
        self,
        server: object,
        *,
        requests: Sequence[Request] | None = None,
        check: AnswerCheck | None = None,
        arrivals: ArrivalProcess | str | None = None,
        name: str | None = None,
        rate: float | None = None,
        buffer_size: int | None = None,
        rows: int | None = None,
        duration: float | None = None,
        label: str | None = None,
    ) -> LoadedCase:
        """Send load to ``server`` for this test's duration and return the result.

        A test may call this several times, one load after the other: each is a separate case. When
        the test ends, every case is judged by the test's SLOs (its marker and
        ``--servebench-slo``).

        Args:
            server: a running server, or the URL of any HTTP or gRPC server: a string, or a URL
                object of yarl, furl, httpx or another library. A path in it is put before the paths
                of the requests.
            requests: what to send instead of the model's predictions; each arrival takes one at
                random, unless they have an order (:func:`trace_prompts`) or weights (:func:`mix`),
                or are turns of sessions (:func:`chat_sessions`, :func:`sessions`).
            check: called after the load with a sample of the requests and their successful answers;
                raises :class:`~pytest_servebench.errors.BadResponseError` or returns ``False`` if
                an answer is wrong.
            arrivals: the arrival process, such as ``"gamma:4"``; default: that of the requests, if
                they are a trace's, else of ``--servebench-arrivals``, which is Poisson unless set.
            name: of a server given by URL, for tables, plots and saved runs. In comparisons,
                servers of the same name are the same server, even at another address.
            rate: requests per second (sessions, if the requests are their turns), if different from
                the test's.
            buffer_size: requests that may queue, if different from the test's.
            rows: samples of the model in each request, if different from the test's. With requests
                of your own it only records how many each of them has.
            duration: seconds of load, if different from the test's.
            label: distinguishes this case from the test's others, and identifies it in other runs:
                letters, digits and ``._+-``. Default: what differs from the test's values
                (``rate80``), with a number if that is taken (``2``, ``rate80-2``).

        Raises:
            InvalidMeasurementError: the load generator failed, so the figures are meaningless.
            OptionError: an argument is invalid, or the server runs in the caller's event loop.
                Both fail the test.
        """
        __tracebackhide__ = True
        with self.turn.take():
            own = {"rate": rate, "buffer_size": buffer_size, "rows": rows, "duration": duration}
            given = {key: value for key, value in own.items() if value is not None}
            return self._load(server, requests, check, arrivals, name, given, label)

    def _load(
        self,
        server: object,
        requests: Sequence[Request] | None,
        check: AnswerCheck | None,
        arrivals: ArrivalProcess | str | None,
        name: str | None,
        given: Mapping[str, object],
        label: str | None,
    ) -> LoadedCase:
        __tracebackhide__ = True
        config = self._item.config
        session = session_of(config)
        try:
            plan = self._sending.to(server, requests, check, arrivals, name, given)
            label = self._sending.label(plan.spec, label, {one.result.label for one in self.cases})
            item = self._item
            slos = judgement.slos_of(item)
            judgement.refuse_unstreamed(slos, "poisson_load", streamed=plan.spec.streamed)
            judgement.refuse_unknown_classes(
                (*slos, *session.settings.gates), plan.traffic.classes, "poisson_load"
            )
            case = Case(
                labelled(item.name, label), item.nodeid, plan.spec, session.settings.max_lag, label
            )
            plan.await_loaded(item)
            result = self._measured(case, plan.server, plan.traffic)
        except ServebenchError as error:
            fail(error)
        self.turn.go_on()
        session.sent.add(function_of(item.nodeid), self.cell, plan.spec)
        if result.invalid_reason:
            result = dataclasses.replace(result, verdict="invalid")
        loaded = LoadedCase(result, session.settings.max_lag)
        records = result.records
        assert records is not None
        if not self.cases:  # a benchmark holds a single load, and is named after the test
            latencies = records.latency()[records.ok].tolist()
            benchmark_bridge.record(self._item, self.benchmark, latencies)
        self.cases.append(loaded)
        # Save now: the rest of the test may take long, and another load may end the session.
        session.recorded.add(self.judged(result))
        keep(session)
        # Last: a hook that raises fails the test, but loses no measurement.
        config.hook.pytest_servebench_case_finished(config=config, result=result)
        if result.invalid_reason:
            raise InvalidMeasurementError(result.invalid_reason)
        return loaded

    def _measured(self, case: Case, server: RunningServer, sent: Traffic) -> CaseResult:
        """Measure until noise does not invalidate the result, or the retries are used up."""
        session = session_of(self._item.config)
        info, show = session.describe(server), self._item.config.stash[PROGRESS]
        cell, number = cell_name(case.name), session.number(case.nodeid)
        spoilt: list[Attempt] = []
        earlier: CaseResult | None = None
        while True:
            logged = session.log_lines.of(server.log_files)
            name = f"{cell}, {attempt_name(len(spoilt) + 1)}" if spoilt else cell
            last = len(spoilt) >= session.settings.retries
            try:
                with show.load(name, number) as watch:
                    result = run_case(case, server, info, sent, self.turn.watching(watch))
            except InvalidMeasurementError as error:
                if last and earlier is not None:
                    # Keep the earlier measurement, which is invalid too.
                    return dataclasses.replace(
                        earlier, invalid_reason=str(error), attempts=tuple(spoilt)
                    )
                if last:
                    raise
                spoilt.append(Attempt(str(error)))
                continue
            result = session.save_records(result)
            reason = judgement.spoilt(self.judged(result))
            if reason is None or last:
                logs = session.log_parts(logged)
                return dataclasses.replace(result, attempts=tuple(spoilt), logs=logs)
            spoilt.append(Attempt(reason, result.records_file))
            earlier = result

    def judged(self, result: CaseResult) -> CaseResult:
        """Return the result, judged as if the test ended now."""
        if not result.measured:
            return result
        session = session_of(self._item.config)
        judged = judgement.judge_case(result, self._item, session.settings)
        return session.against_baseline(judged)


LOAD = pytest.StashKey[PoissonLoad | None]()
