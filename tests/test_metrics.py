"""The registry of metrics, and that an entry of it stands everywhere: the time to first byte."""

import dataclasses
import json
import socket
import time
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from pytest_servebench.analysis.compare import compare
from pytest_servebench.analysis.plan import plan_case
from pytest_servebench.commands.cli import main
from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.measure.cpu_interval import per_request
from pytest_servebench.metrics import (
    COMPARED,
    LATENCY,
    METRICS,
    TIMES,
    TTFB,
    percentiles_of,
    statistics_of,
)
from pytest_servebench.objectives.gates import parse_gates
from pytest_servebench.objectives.slo import judge, parse_slo
from pytest_servebench.plugin.baseline import Baseline
from pytest_servebench.report.case_details import case_text
from pytest_servebench.report.comparison_formats import as_bmf, as_github_action_benchmark, as_json
from pytest_servebench.report.comparison_text import Block, Compared
from pytest_servebench.report.page import page
from pytest_servebench.report.page.cases import figure_table
from pytest_servebench.report.panels import CPU_PER_REQUEST
from pytest_servebench.report.plot_frame import Frame
from pytest_servebench.report.plots import draw_plots
from pytest_servebench.runs.results import CaseResult, Resources
from pytest_servebench.runs.run_json import from_dict, read_file
from pytest_servebench.stats.estimates import Estimate
from pytest_servebench.stats.summary import summarize
from simulation import saved
from simulation.cases import SEEN, UNSEEN, case, mm1_records, with_cost
from tests.load.test_misbehaving import load, serving
from tests.sample import SAMPLE
from tests.test_lateness import MAX_LAG, late, measured, verdicts
from tests.test_schema import SCHEMA

_OF_LOADS = [one.name for one in METRICS.values() if not one.of_search and not one.of_streams]
FIRST = [one.name for one in statistics_of(TTFB)]


def streamed(rest: float = 0.050, seed: int = 1, slower: float = 1.0) -> Records:
    """Return records of a queue whose answers begin ``rest`` seconds before they end."""
    rows = mm1_records(50, 100, 3000, seed=seed)
    first = rows.scheduled + ((rows.done - rows.scheduled) * slower).astype(np.int64)
    return dataclasses.replace(rows, first_byte=first, done=first + int(rest * 1e9))


STREAMED = case(streamed(), 50.0, resources=dataclasses.replace(SEEN, pss_after=410e6))


# -- the registry ---------------------------------------------------------------------------------


def test_every_arrival_is_counted_by_one_share() -> None:
    counted = [word for one in METRICS.values() for word in one.outcomes]
    assert sorted(counted) == sorted(outcome.label for outcome in Outcome)


@pytest.mark.parametrize("name", _OF_LOADS)
def test_every_metric_is_judged_by_the_name_that_it_is_written_with(name: str) -> None:
    unit = {"time": "s", "cpu": "%", "memory": "B"}.get(METRICS[name].kind, "")
    sign, bound = (">", 0) if METRICS[name].larger_is_better else ("<", 1)
    (clause,) = parse_slo(f"{METRICS[name].written}{sign}{bound}{unit}")
    assert clause.metric == name
    (found,) = judge([clause], STREAMED)
    reading = METRICS[name].read(STREAMED)
    assert found.value == reading.value
    assert reading.unknown == ""


def test_all_times_have_the_same_statistics() -> None:
    for times in TIMES:
        assert [one.permille for one in percentiles_of(times)] == [500, 900, 950, 990, 999]
        assert all(one.name in COMPARED for one in statistics_of(times))
    assert [one.written for one in statistics_of(TTFB)] == [
        "ttfb.p50", "ttfb.p90", "ttfb.p95", "ttfb.p99", "ttfb.p99.9", "ttfb.mean",
    ]  # fmt: skip


# -- the time to first byte -----------------------------------------------------------------------


def test_it_is_measured_from_the_scheduled_arrival_to_the_first_byte() -> None:
    whole = case(mm1_records(50, 100, 3000, seed=1), 50.0)
    for times in (LATENCY, TTFB):
        for one, latency in zip(statistics_of(times), statistics_of(LATENCY), strict=True):
            found = METRICS[one.name].read(STREAMED)
            expected = METRICS[latency.name].read(whole)
            assert found.value is not None
            assert expected.value is not None
            late = 0.050 if times is LATENCY else 0.0
            assert found.value == pytest.approx(expected.value + late)
            assert found.low is not None
            assert found.high is not None
            assert found.low <= found.value <= found.high
    # Where an answer comes in one, both are the same, and so are their intervals.
    assert [whole.summary.estimates[name] for name in FIRST] == [
        whole.summary.estimates[one.name] for one in statistics_of(LATENCY)
    ]
    assert verdicts(STREAMED, "ttfb.p50<40ms, TTFB.P50 < 10 ms, p50<40ms, ttfb.p90<10s") == [
        "passed", "failed", "failed", "passed",
    ]  # fmt: skip


def test_a_failed_request_counts_as_infinitely_slow() -> None:
    rows = streamed()
    rows.outcome[::4] = Outcome.TIMEOUT
    rows.first_byte[::8] = NEVER
    result = case(rows, 50.0)
    assert verdicts(result, "ttfb.p50<1s, ttfb.p90<10s, ttfb.mean<10s") == [
        "passed", "failed", "failed",
    ]  # fmt: skip


def test_what_a_transport_does_not_record_is_not_known() -> None:
    rows = streamed()
    rows.first_byte[7] = NEVER
    result = case(rows, 50.0)
    (clause,) = judge(parse_slo("ttfb.p99<1s"), result)
    assert (clause.verdict, clause.value) == ("inconclusive", None)
    assert not set(FIRST) & set(result.summary.estimates)


def test_the_generators_lag_is_taken_off_it() -> None:
    rows = streamed()
    lag = np.where(np.random.default_rng(1).random(len(rows)) < 0.05, 0.060, 1e-4)
    rows = late(rows, lag)
    result = measured(rows, 50.0)
    as_seen, punctual = (
        one.estimates["ttfb.p95"].value for one in (result.summary, result.summary.punctual())
    )
    assert as_seen is not None
    assert punctual is not None
    between = (as_seen + punctual) / 2
    assert verdicts(result, f"ttfb.p95<{between:.9f}s") == ["invalid"]
    unlagged = rows.without_lag(MAX_LAG)
    assert (unlagged.until("first_byte") <= rows.until("first_byte")).all()
    assert (unlagged.first_byte >= rows.scheduled).all()


def test_answers_in_two_parts_are_told_apart() -> None:
    def behave(link: socket.socket) -> None:
        while b"\r\n\r\n" in link.recv(65536):
            link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{")
            time.sleep(0.05)
            link.sendall(b"}")

    with serving(behave) as port:
        made = load(port, rate=20.0, duration=0.5, workers=8)
    assert made.records.ok.all()
    rest = made.records.latency() - made.records.until("first_byte")
    assert np.median(rest) > 0.045  # where others have the processors, some are read late
    summary = summarize(made.records, 20.0)
    first, whole = (summary.estimates[name].value for name in ("ttfb.p50", "p50"))
    assert first is not None
    assert whole is not None
    assert whole - first > 0.04


# -- the CPU per request --------------------------------------------------------------------------


def costing(milliseconds: float, half: float = 0.01, **changes: Any) -> CaseResult:
    """Return a case that answers 50 requests/s, each for some CPU time, give or take a share."""
    made = dataclasses.replace(STREAMED, **changes)
    cpu = milliseconds * made.summary.throughput / 10
    used = dataclasses.replace(SEEN, cpu_mean=cpu)
    summary = with_cost(made.summary, cpu, half)
    return dataclasses.replace(made, resources=used, summary=summary)


def test_cpu_per_request_is_cpu_time_by_successes() -> None:
    assert per_request(Estimate(50.0, 40.0, None), 100.0) == Estimate(0.005, 0.004, None)
    assert per_request(Estimate(50.0, 40.0, 60.0), 0.0) is None
    found = METRICS["cpu_per_request"].read(costing(3.0))
    assert found.value == pytest.approx(0.003)
    assert (found.low, found.high) == pytest.approx((0.00297, 0.00303))


def test_cpu_per_request_is_judged_by_its_interval() -> None:
    cost = costing(3.0, half=0.1)
    slo = ", ".join(f"cpu_per_request<{bound}ms" for bound in (3.4, 2.6, 3.1))
    assert verdicts(cost, slo) == ["passed", "failed", "inconclusive"]
    (clause,) = judge(parse_slo("cpu_per_request<2.6ms"), cost)
    assert "3 ms (95 % interval 2.7 ms to 3.3 ms" in clause.message


@pytest.mark.parametrize(
    ("resources", "answered", "why"),
    [
        (UNSEEN, True, "the server's processes are not visible"),
        (SEEN, False, "no request succeeded in the window"),
    ],
)
def test_cpu_per_request_is_undefined(resources: Resources, answered: bool, why: str) -> None:
    rows = streamed()
    if not answered:
        rows.outcome[:] = Outcome.ERROR_STATUS
    result = case(rows, 50.0, resources=resources)
    (clause,) = judge(parse_slo("cpu_per_request<1s"), result)
    assert (clause.verdict, clause.value) == ("inconclusive", None)
    assert why in clause.message


def test_cpu_per_request_has_a_gate_a_plan_and_a_place() -> None:
    base, new = costing(3.0), costing(3.6)
    found = compare(saved.run([base]), saved.run([new]), parse_gates("cpu_per_request:10%,p50:9%"))
    assert [len(one.failed) for one in found.gates] == [1, 0]
    (figures,) = json.loads(as_bmf(Compared([Block(found, (), ())], every=False))).values()
    assert figures["cpu_per_request_ms"]["value"] == pytest.approx(3.6)
    clauses = parse_slo("cpu_per_request<4ms")
    (seen,) = plan_case(clauses, 50.0, [base]).needed
    (guessed,) = plan_case(clauses, 50.0).needed
    assert seen.measured
    assert seen.value == pytest.approx(0.003)
    # Exponential costs, 20 % away: ((1.96 + 1.645) / ln 1.2)^2 requests, queueing or not.
    assert (guessed.value, guessed.requests) == (None, 391)

    text = "\n".join(case_text(base, "TorchServe", 120))
    assert "3 ms per success (95 % interval 2.97 ms to 3.03 ms)" in " ".join(text.split())
    drawn = CPU_PER_REQUEST.point(base)
    assert drawn is not None
    assert (drawn.value, drawn.low, drawn.high) == pytest.approx((3.0, 2.97, 3.03))


def test_memory_is_the_larger_pss_before_and_after_the_load() -> None:
    # What maps the same files at one of both moments takes a part of them.
    for before, after, size in ((4e8, 3e8, 4e8), (3e8, 4e8, 4e8), (None, 3e8, 3e8)):
        used = dataclasses.replace(SEEN, pss_before=before, pss_after=after)
        assert METRICS["memory_pss"].read(case(streamed(), resources=used)).value == size
    assert METRICS["memory_pss"].read(case(streamed())).unknown == "the system does not report it"
    assert METRICS["memory_pss"].read(case(streamed(), resources=UNSEEN)).value is None


# -- where it stands ------------------------------------------------------------------------------


def test_a_gate_sees_what_the_latency_hides() -> None:
    base = case(streamed(rest=1.0), 50.0)
    new = case(streamed(rest=0.98, slower=2.0), 50.0)  # begins later, ends about as before
    gates = parse_gates("ttfb.p50:10%,p50:10%")
    found = compare(saved.run([base]), saved.run([new]), gates)
    assert [len(one.failed) for one in found.gates] == [1, 0]
    (compared,) = found.cases
    assert set(FIRST) <= set(compared.changes)
    assert "ttfb.p50" in compared.shown
    assert "ttfb.p50" not in compare(saved.run([base]), saved.run([new])).cases[0].shown
    shown = Compared([Block(found, (), ())], every=False)
    block = json.loads(as_json(shown))["comparisons"][0]["cases"][0]["metrics"]
    assert block["ttfb.p50"]["failed"]
    assert not block["p50"]["failed"]
    (figures,) = json.loads(as_bmf(shown)).values()
    assert figures["ttfb.p999_ms"]["value"] == pytest.approx(
        1e3 * (METRICS["ttfb.p999"].read(new).value or 0.0), rel=1e-5
    )
    exported = json.loads(as_github_action_benchmark(shown))
    assert any(": ttfb.p99.9" in one["name"] for one in exported)


def test_a_plan_tells_it_where_an_slo_names_it() -> None:
    def metrics(slo: str) -> list[str]:
        return [one.metric for one in plan_case(parse_slo(slo), 50.0, [STREAMED]).detectable]

    assert {"ttfb.p99", "ttfb.mean"} < set(metrics("ttfb.p99<1s, ttfb.mean<1s"))
    assert not set(FIRST) & set(metrics("p99<1s"))
    (needed,) = plan_case(parse_slo("ttfb.p50<50ms"), 50.0, [STREAMED]).needed
    assert needed.measured
    assert needed.value == pytest.approx(METRICS["ttfb.p50"].read(STREAMED).value)


def test_the_details_have_it() -> None:
    text = "\n".join(case_text(STREAMED, "TorchServe", 120))
    assert text.index("latency, all requests") < text.index("ttfb, all requests")
    rows = [label for label, _ in figure_table(STREAMED)]
    assert rows[:4] == [
        "latency, all requests", "95 % interval", "time to first byte, all requests",
        "95 % interval",
    ]  # fmt: skip


def test_it_is_saved_and_read() -> None:
    data = json.loads(json.dumps(STREAMED.to_dict()))
    jsonschema.validate(data, {"$ref": "#/$defs/case", "$defs": SCHEMA["$defs"]})
    assert from_dict(data).summary.estimates == STREAMED.summary.estimates


def test_a_run_from_before_does_not_know_it() -> None:
    old, _ = read_file(SAMPLE / "run.json")
    assert not any(set(FIRST) & set(one.summary.estimates) for one in old.cases)
    assert "ttfb" not in "\n".join(case_text(old.cases[0], "toy", 100))
    assert all("first byte" not in label for label, _ in figure_table(old.cases[0]))
    new = saved.queue_run(rates=[40.0], number=1500)
    gates = parse_gates("ttfb.p99:10%")
    baseline = Baseline("main", old, "", gates, frozenset({"workload"}), "fail")
    (clause,) = baseline.judge(new.cases[0], new, among=1).clauses
    assert clause.verdict == "inconclusive"
    assert "ttfb.p99 is unknown in BASE" in clause.message
    assert "Save a new baseline" in clause.message


def test_compare_refuses_a_gate_that_the_base_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = saved.save(saved.queue_run("new", rates=[40.0], number=1500), tmp_path)
    arguments = ["compare", str(SAMPLE / "run.json"), str(new), "--fail", "ttfb.p99:10%"]
    assert main(arguments) == 2
    out = " ".join(capsys.readouterr().out.split())
    assert "--fail=ttfb.p99:10%" in out
    assert "in BASE: it was not measured" in out


def test_plots_and_page_draw_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Frame, "save", lambda frame, path: [path])
    files = draw_plots(saved.run([STREAMED]), tmp_path)
    assert {"latency", "ttfb"} < {path.stem for path in files}
    old, _ = read_file(SAMPLE / "run.json")
    assert not any(path.stem == "ttfb" for path in draw_plots(old, tmp_path / "old"))
    new, before = page(saved.run([STREAMED]), tmp_path), page(old, tmp_path)
    for text in ("Time to first byte p99", "time to first byte, all requests"):
        assert text in new
        assert text not in before
