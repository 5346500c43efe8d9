"""Clauses as limits on single requests, and the goodput that follows from them."""

import dataclasses
import math

import numpy as np
import pytest

from pytest_servebench.analysis.compare import compare, why_unknown
from pytest_servebench.errors import InvalidMeasurementError, OptionError
from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.measure.capacity_plan import SearchSettings
from pytest_servebench.measure.capacity_run import CapacityRun
from pytest_servebench.metrics import METRICS
from pytest_servebench.objectives.gates import parse_gates
from pytest_servebench.objectives.goodput import with_goodput
from pytest_servebench.objectives.limits import limit_of, limits_of, of_each_request
from pytest_servebench.objectives.slo import judge, parse_slo, with_clauses
from pytest_servebench.plugin.load_fixture import LoadedCase
from pytest_servebench.report.case_details import case_text
from pytest_servebench.report.terminal import report_lines
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.text.tables import plain_text
from simulation.cases import mm1_records, steady
from simulation.saved import run
from tests.test_lateness import MAX_LAG, late, measured

MS = 1_000_000


def as_limit(text: str, records: Records) -> tuple[float | None, list[int]]:
    """Return the share that may break a clause, and which requests do; ``None`` if it is none."""
    limit = limit_of(parse_slo(text)[0])
    if limit is None:
        return None, []
    return round(limit.allowed, 9), np.flatnonzero(limit.broken_by(records)).tolist()


def handful() -> Records:
    """Return eight requests in a window of 1 s: two slow, one late, three not answered."""
    latency = np.array([10, 20, 50, 80, 300, 0, 0, 0]) * MS
    outcome = np.array(
        [Outcome.OK] * 5 + [Outcome.DROPPED, Outcome.TIMEOUT, Outcome.ERROR_STATUS], dtype=np.uint8
    )
    scheduled = np.array([100, 200, 300, 400, 900, 910, 920, 930], dtype=np.int64) * MS
    done = scheduled + latency
    return Records(
        scheduled=scheduled, enqueued=scheduled, dequeued=scheduled, sent=scheduled,
        first_byte=np.where(outcome == Outcome.OK, scheduled + latency // 2, NEVER), done=done,
        outcome=outcome, status=np.zeros(8, dtype=np.int16), window=1000 * MS,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "allowed", "broken"),
    [
        ("p99<50ms", 0.01, [2, 3, 4, 5, 6, 7]),
        ("p99<=50ms", 0.01, [3, 4, 5, 6, 7]),
        ("p50<1s", 0.5, [5, 6, 7]),
        ("ttfb.p99.9<30ms", 0.001, [3, 4, 5, 6, 7]),
        ("success_rate>=99%", 0.01, [5, 6, 7]),
        ("drop_rate<1%", 0.01, [5]),
        ("error_rate<=0", 0.0, [6, 7]),
        *((text, None, []) for text in (
            "mean<5ms", "max<1s", "cpu<80%", "memory<1GiB", "throughput>=9/s", "throughput>=95%",
            "goodput>=95%",
            "success_rate<=50%", "success_rate>=0", "drop_rate<=100%",
        )),
    ],
)  # fmt: skip
def test_a_clause_as_a_limit(text: str, allowed: float | None, broken: list[int]) -> None:
    assert as_limit(text, handful()) == (allowed, broken)


@pytest.mark.parametrize(
    ("text", "limits", "good"),
    [
        ("p99<50ms", ["p99<50ms"], 2),
        ("p50<20ms, p99<60ms", ["p99<60ms"], 3),
        ("p99<60ms, p99<30ms", ["p99<30ms"], 2),
        ("p99<60ms, ttfb.p99<8ms", ["p99<60ms", "ttfb.p99<8ms"], 1),
        ("success_rate>=99%, mean<5ms", [], None),
    ],
)
def test_goodput_counts_what_keeps_every_limit(
    text: str, limits: list[str], good: int | None
) -> None:
    clauses = parse_slo(text)
    assert [str(one.clause) for one in of_each_request(clauses)] == limits
    result = with_goodput(recorded(handful(), 8.0), clauses, MAX_LAG)
    found = result.summary.estimates.get("goodput")
    assert (found and found.value) == good


def recorded(records: Records, rate: float) -> CaseResult:
    return dataclasses.replace(measured(records, rate), records=records)


def judged(records: Records, rate: float, text: str) -> CaseResult:
    clauses = parse_slo(text)
    result = with_goodput(recorded(records, rate), clauses, MAX_LAG)
    return with_clauses(result, judge(clauses, result))


def test_times_that_the_records_do_not_tell_keep_no_limit() -> None:
    unknown = dataclasses.replace(handful(), first_byte=np.full(8, NEVER))
    clauses = parse_slo("ttfb.p99<8ms")
    result = with_goodput(recorded(unknown, 8.0), clauses, MAX_LAG)
    assert "goodput" not in result.summary.estimates
    search = CapacityRun(limits_of(clauses), SearchSettings(), MAX_LAG)
    with pytest.raises(OptionError, match=r"ttfb\.p99<8ms.*leave"):
        search.run(lambda *_: result)


def test_goodput_of_a_queue_is_that_of_theory() -> None:
    # M/M/1: exp(-(100 - 50) 0.05) of the requests take longer than 50 ms.
    result = judged(mm1_records(50, 100, 20_000, seed=3), 50.0, "p99<50ms, goodput>=20/s")
    expected = 1 - math.exp(-2.5)
    reading = METRICS["goodput"].read(result)
    assert reading.value == pytest.approx(50 * expected, rel=0.03)
    assert reading.low is not None
    assert reading.high is not None
    assert reading.low < 50 * expected < reading.high
    share = result.summary.estimates["goodput_share"]
    assert share.value == pytest.approx(expected, rel=0.02)
    assert [one.verdict for one in result.clauses] == ["failed", "passed"]
    assert any(line.strip().startswith("goodput  ") for line in case_text(result, "toy", 100))
    wide = [plain_text(one) for one in report_lines(run([result]), width=160)]
    assert any("good/s" in one for one in wide)


def test_without_limits_goodput_is_throughput_and_not_told() -> None:
    result = judged(mm1_records(50, 100, 2000, seed=1), 50.0, "goodput>=20/s, goodput>=90%")
    throughput = result.summary.estimates["throughput"]
    assert [one.verdict for one in result.clauses] == ["passed", "passed"]
    assert result.clauses[0].value == throughput.value
    assert not any(line.strip().startswith("goodput  ") for line in case_text(result, "toy", 100))
    wide = [plain_text(one) for one in report_lines(run([result]), width=160)]
    assert not any("good/s" in one for one in wide)


def test_lateness_of_the_generator_is_no_fault_of_the_server() -> None:
    rows = mm1_records(50, 100, 2000, seed=1)
    result = judged(late(rows, np.full(len(rows), 0.04)), 50.0, "p99<50ms, goodput>=85%")
    assert result.clauses[1].verdict == "invalid"
    # Answers that lay unread are late, too.
    unread = dataclasses.replace(
        rows, done=rows.done + 40 * MS, unread=dict.fromkeys(range(2000), 0.04)
    )
    assert judged(unread, 50.0, "p99<50ms, goodput>=85%").clauses[1].verdict == "invalid"


def test_drops_after_late_arrivals_are_no_fault_of_the_server_in_check_either() -> None:
    rows = steady(np.full(400, 0.005))
    lag = np.where((np.arange(400) >= 100) & (np.arange(400) < 120), 30 * MS, 0)
    dropped = np.roll(lag > 0, 20)
    rows = dataclasses.replace(
        rows, enqueued=rows.enqueued + lag, sent=rows.sent + lag, done=rows.done + lag,
        dequeued=np.where(dropped, NEVER, rows.dequeued + lag),
        outcome=np.where(dropped, Outcome.DROPPED, rows.outcome).astype(np.uint8),
    )  # fmt: skip
    loaded = LoadedCase(recorded(rows, 100.0), MAX_LAG)
    with pytest.raises(InvalidMeasurementError, match="goodput"):
        loaded.check("p99<50ms, goodput>=99%")


def test_runs_are_compared_by_goodput_only_under_the_same_limits() -> None:
    base, same, other = (
        run([judged(mm1_records(50, service, 4000, seed=1), 50.0, text)])
        for service, text in ((100, "p99<50ms"), (70, "p99<50ms"), (70, "p99<80ms"))
    )
    gates = parse_gates("goodput:5%")
    found = compare(base, same, gates)
    change = found.cases[0].changes["goodput"]
    assert found.worse
    # exp(-(70 - 50) 0.05) of the requests take longer now.
    assert change.new / change.base == pytest.approx(
        (1 - math.exp(-1)) / (1 - math.exp(-2.5)), rel=0.1
    )
    found = compare(base, other, gates)
    assert "goodput" not in found.cases[0].changes
    assert "limit" in why_unknown(gates[0], (one.pair for one in found.cases))
