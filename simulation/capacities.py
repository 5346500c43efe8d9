"""Capacities as a search would have found them, with their probes on simulated queues."""

import dataclasses
from typing import Any, Final

from pytest_servebench.load.records import Records
from pytest_servebench.objectives.limits import limits_of
from pytest_servebench.objectives.slo import parse_slo
from pytest_servebench.runs.capacity import CapacityLimit, CapacityProbe
from pytest_servebench.runs.results import CapacityResult, CaseResult
from pytest_servebench.stats.capacity import probed
from simulation import cases

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
    seen = probed(rows, limit.broken_by(rows), case.rate, settle=1.0)
    return CapacityProbe(
        label=case.label, rate=case.rate, state="measured", stage="estimate", seconds=seen.seconds,
        settle=1.0, arrivals=seen.arrivals, beyond=(seen.beyond,), used=True,
    )  # fmt: skip
