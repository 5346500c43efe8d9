"""Capacities as a search would have found them, with their probes on simulated queues."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from pytest_servebench.errors import InvalidMeasurementError
from pytest_servebench.load.records import Records
from pytest_servebench.measure.capacity_plan import Plan, SearchSettings
from pytest_servebench.measure.capacity_run import CapacityRun
from pytest_servebench.objectives.capacity import capacity_limits, reason, with_judged
from pytest_servebench.objectives.limits import limits_of
from pytest_servebench.objectives.slo import judge, overall, parse_slo
from pytest_servebench.runs.capacity import CapacityLimit, CapacityProbe
from pytest_servebench.runs.results import CapacityResult, CaseResult, ServerInfo
from pytest_servebench.stats.probed import probed
from simulation import cases
from simulation.queues import waits

SLO: Final = "p99<50ms"


def probe_cases(
    service_rate: float = 200.0,
    rates: tuple[float, ...] = (50.0, 100.0, 150.0, 104.0),
    *,
    kind: str = "torchserve",
    title: str = "TorchServe",
    number: int = 600,
) -> tuple[CaseResult, ...]:
    """Return probes of an M/M/1 queue, at several rates."""
    found = []
    for index, rate in enumerate(rates, 1):
        rows = cases.mm1_records(rate, service_rate, number, seed=index)
        made = cases.case(rows, rate, kind=kind, title=title, implementation=f"{title} 1.0")
        found.append(
            dataclasses.replace(
                made, probe=True, label=f"probe{index}-rate{rate:g}", records=rows,
                name=f"test_capacity[{kind}-buffer50]::probe{index}-rate{rate:g}",
                nodeid=f"test_it.py::test_capacity[{kind}-buffer50]",
            )
        )  # fmt: skip
    return tuple(found)


def capacity(
    value: float | None = 107.9,
    low: float | None = 100.0,
    high: float | None = 116.0,
    *,
    probes: tuple[CaseResult, ...] = (),
    kind: str = "torchserve",
    title: str = "TorchServe",
    **changes: Any,
) -> CapacityResult:
    """Return a capacity with this interval; ``changes`` are of its fields."""
    limits = limits_of(parse_slo(SLO))
    one = probes[0] if probes else probe_cases(rates=(50.0,), kind=kind, title=title)[0]
    made = CapacityResult(
        name=one.name.partition("::")[0], nodeid=one.nodeid, server=one.server, buffer_size=50,
        workers=10, seed=0, model="adder", weights_sha256="0" * 64, input_source="random numbers",
        requests_sha256="1" * 64, arrivals="poisson", timeout=30.0,
        limits=tuple(CapacityLimit(str(limit.clause), limit.allowed) for limit in limits),
        state="found", value=value, low=low, high=high, limiting=SLO, lowest=1.0, highest=10_000.0,
        budget=180.0, precision=0.05, seconds=178.0, verdict="passed",
        probes=tuple(_probe(case, case.records) for case in probes if case.records is not None),
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def _probe(case: CaseResult, rows: Records) -> CapacityProbe:
    (limit,) = limits_of(parse_slo(SLO))
    seen = probed(rows, limit.broken_by(rows), case.rate, settle=1.0)  # a latency: all count
    return CapacityProbe(
        label=case.label, rate=case.rate, state="measured", stage="estimate", seconds=seen.seconds,
        settle=1.0, arrivals=seen.offered, counted=(seen.arrivals,), beyond=(seen.beyond,),
        used=True,
    )  # fmt: skip


def searched(
    server: ServerInfo,
    service_rate: float,
    *,
    slo: str = SLO,
    buffer_size: int = 50,
    settings: SearchSettings | None = None,
    fails_from: float = math.inf,
    error: type[Exception] = InvalidMeasurementError,
    seed: int = 0,
    slowdown: Callable[[int], float] = lambda _: 1.0,
) -> tuple[CapacityResult, tuple[CaseResult, ...]]:
    """Return what a search finds on an M/M/1 queue, with its probes, in no time.

    Args:
        server: that is said to have been searched.
        service_rate: requests that it serves a second.
        slo: that it has to keep.
        buffer_size: that it is said to have had.
        settings: of the search.
        fails_from: rate from which on probes end in ``error``.
        error: what ends them.
        seed: of the dice.
        slowdown: of the machine in each probe, by its number: of the server and of the generator.
    """
    chosen = settings or SearchSettings()
    clauses = parse_slo(slo)
    limits = capacity_limits(clauses)
    cell = f"{server.kind}-buffer{buffer_size}"
    made: list[CaseResult] = []
    now = 0.0

    def load(number: int, plan: Plan, _left: float) -> CaseResult:
        nonlocal now
        now += plan.rest + plan.seconds + 1.0
        if plan.rate >= fails_from:
            raise error("it gave up")
        dice = np.random.default_rng([seed, number])
        times = np.sort(
            dice.uniform(0, plan.seconds, max(1, dice.poisson(plan.rate * plan.seconds)))
        )
        slower = slowdown(number)
        served = dice.exponential(slower / service_rate, len(times))
        rows = cases.records(times, waits(times, served) + served, plan.seconds)
        label = f"probe{number}-rate{plan.rate:.0f}"
        made_case = cases.case(rows, plan.rate)
        case = dataclasses.replace(
            made_case, probe=True, label=label, records=rows, server=server,
            buffer_size=buffer_size, name=f"test_capacity[{cell}]::{label}",
            nodeid=f"test_it.py::test_capacity[{cell}]",
            summary=cases.with_cost(made_case.summary, slower * made_case.summary.throughput),
            generator=dataclasses.replace(
                made_case.generator, cpu_seconds=slower * made_case.generator.cpu_seconds
            ),
        )  # fmt: skip
        judged = judge(clauses, case)
        made.append(dataclasses.replace(case, clauses=judged, verdict=overall(judged)))
        return made[-1]

    driver = CapacityRun(limits, chosen, 5e-3, lambda: now)
    found, _ = driver.run(load)
    result = capacity(
        found.value, found.low, found.high, kind=server.kind, title=server.title, server=server,
        name=f"test_capacity[{cell}]", nodeid=f"test_it.py::test_capacity[{cell}]",
        buffer_size=buffer_size,
        limits=tuple(CapacityLimit(str(one.clause), one.allowed) for one in limits),
        state=found.state, seconds=found.seconds, needed_seconds=found.needed_seconds,
        limiting="" if found.limiting is None else str(limits[found.limiting].clause),
        lowest=chosen.lowest, highest=chosen.highest, budget=chosen.budget,
        generator_limit=found.generator_limit, slow_recovery=found.slow_recovery,
        recovery_seconds=found.recovery_seconds, expected=found.expected,
    )  # fmt: skip
    result = dataclasses.replace(result, probes=driver.probes(found), reason=reason(result))
    return with_judged(result, ()), tuple(made)
