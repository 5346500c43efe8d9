"""The plan: closed forms, what holds always, and whether planned runs do decide."""

import argparse
import dataclasses
import functools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_servebench.analysis.compare import compare
from pytest_servebench.analysis.plan import (
    COMPARED,
    MOST_REPEATS,
    Detectable,
    Needed,
    detectable,
    needed,
    plan_case,
    repeats_for,
    requests_for,
)
from pytest_servebench.analysis.precision import (
    Known,
    assumed,
    caution,
    inflation,
    measured,
    tail_of,
)
from pytest_servebench.commands import plan as command
from pytest_servebench.errors import OptionError, SavedRunError, SLOSyntaxError
from pytest_servebench.metrics import METRICS
from pytest_servebench.objectives.slo import judge, parse_slo
from pytest_servebench.runs.results import CaseResult, Run, VerdictWord
from pytest_servebench.stats.summary import PERMILLES
from simulation import queueing, saved
from simulation.cases import case, mm1_records, records, steady
from simulation.queues import waits
from tests.pages import plain_entry
from tests.test_repeats import repeated

LATENCIES = ("p50", "p90", "p95", "p99", "p999", "mean")

loads = st.floats(0, 0.95)
margins = st.floats(0.01, 2)


def fewest(metric: str) -> int:
    return max(1, METRICS[metric].enough)


def need(text: str, rate: float = 10, load: float = 0.6, margin: float = 0.2) -> Needed:
    (clause,) = parse_slo(text)
    metric = "throughput_share" if clause.relative else clause.metric
    return needed(clause, assumed(metric, rate, load), rate, margin)


def seen(metric: str, cases: Sequence[CaseResult], load: float = 0.6) -> Known:
    found = measured(metric, cases, load)
    assert found is not None
    return found


def requests(text: str, rate: float = 10, load: float = 0.6, margin: float = 0.2) -> int:
    found = need(text, rate, load, margin).requests
    assert found is not None
    return found


# -- closed forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_the_inflation_is_that_of_simulated_queues(load: float) -> None:
    batch, batches = 4000, 300
    dice = np.random.default_rng(3)
    size = batch * batches + 20_000
    arrivals, services = np.cumsum(dice.exponential(1 / load, size)), dice.exponential(1, size)
    times = (waits(arrivals, services) + services)[20_000:].reshape(batches, batch)
    spread = times.mean(axis=1).var() * batch * (1 - load) ** 2
    assert spread == pytest.approx(inflation(load), rel=0.3)
    for metric in ("p50", "p90", "p99"):
        tail = tail_of(metric)
        bound = queueing.mm1_response_percentile(load, 1.0, 1 - tail)
        spread = (times > bound).mean(axis=1).var() * batch / (tail * (1 - tail))
        assert spread == pytest.approx(inflation(load, tail), rel=0.3)


def test_inflation_in_closed_form() -> None:
    assert inflation(0.0) == inflation(0.0, 0.01) == 1
    assert inflation(0.6) == pytest.approx(16)  # (1.6 / 0.4)^2
    assert inflation(0.6, 0.5) == pytest.approx(1 + 15 * (1 - math.log(2)))


@given(loads, st.floats(0.001, 0.999))
def test_a_percentile_is_inflated_no_more_than_the_mean(load: float, tail: float) -> None:
    assert 1 <= inflation(load, tail) <= inflation(load) + 1e-9


@pytest.mark.parametrize(("load", "tail"), [(1.0, None), (-0.1, None), (math.nan, None), (0, 1.0)])
def test_inflation_refuses_what_has_no_steady_state(load: float, tail: float | None) -> None:
    with pytest.raises(ValueError, match=r"load=|tail="):
        inflation(load, tail)


@pytest.mark.parametrize(
    ("metric", "least"), [("p50", 20), ("p90", 64), ("p95", 130), ("p99", 662), ("p999", 6636)]
)
def test_without_a_queue_the_least_is_the_binomial_minimum(metric: str, least: int) -> None:
    assert assumed(metric, 10, 0.0).least == least
    # However far the bound, no fewer will do.
    assert requests(f"{metric}<1s", load=0.0, margin=1e6) >= least


@pytest.mark.parametrize(
    ("text", "number"),
    [
        # Wilson's interval without a miss: n / (n + 3.8415) > 0.99
        ("success_rate>=99%", math.ceil(3.8415 * 99)),
        ("drop_rate<1%", math.ceil(3.8415 * 99)),
        ("error_rate<1%", math.ceil(3.8415 * 99)),
        ("throughput>=95%", math.ceil(3.8415 * 19)),
        # Statements about the run take no length; a bound at the value is never decided.
        ("success_rate>=100%", 0),
        ("error_rate<=0", 0),
        ("throughput>=100%", 0),
        ("throughput>=10/s", None),
    ],
)
def test_shares_and_statements_about_the_run(text: str, number: int | None) -> None:
    found = need(text)
    assert found.requests == number
    assert found.seconds == (None if number is None else number / 10)


def test_time_is_requests_over_rate() -> None:
    found = need("p99<50ms", rate=20)
    assert found.requests == requests("p99<50ms", rate=10)
    assert found.seconds == pytest.approx(requests("p99<50ms") / 20)


def test_a_plan_without_a_clause_that_can_be_decided_takes_one_request() -> None:
    planned = plan_case(parse_slo("throughput>=10/s"), 10)
    assert (planned.requests, planned.seconds) == (1, 0.1)


def test_the_longest_clause_decides_the_length() -> None:
    planned = plan_case(parse_slo("p99<50ms, p50<5ms, cpu<80%, max<1s"), 10)
    assert planned.requests == requests("p99<50ms")
    assert [one.requests for one in planned.needed][2:] == [0, 0]
    assert planned.needed[1].requests == requests("p50<5ms")


# -- what holds always ----------------------------------------------------------------------------


@given(st.sampled_from(LATENCIES), st.tuples(loads, loads), st.tuples(margins, margins))
def test_a_tighter_bound_and_a_busier_server_take_longer(
    metric: str, busy: tuple[float, float], bounds: tuple[float, float]
) -> None:
    (light, heavy), (near, far) = sorted(busy), sorted(bounds)
    text = f"{metric}<1s"
    assert requests(text, 10, light, near) >= requests(text, 10, light, far)
    assert requests(text, 10, light, near) <= requests(text, 10, heavy, near)


@given(st.floats(0.5, 0.9999), st.floats(0.5, 0.9999))
def test_a_stricter_success_rate_takes_longer(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert requests(f"success_rate>={low:.6f}") <= requests(f"success_rate>={high:.6f}")


@given(
    st.sampled_from(COMPARED), loads, st.tuples(st.integers(1, 10**7), st.integers(1, 10**7)),
    st.integers(1, MOST_REPEATS - 1), st.tuples(st.integers(1, 50), st.integers(1, 50)),
)  # fmt: skip
def test_longer_runs_more_repeats_and_fewer_statements_show_smaller_changes(
    metric: str, load: float, lengths: tuple[int, int], repeats: int, statements: tuple[int, int]
) -> None:
    (short, long), (few, many) = sorted(lengths), sorted(statements)
    known = assumed(metric, 10, load)
    shown = detectable(metric, known, short, repeats, many)
    assert detectable(metric, known, long, repeats, many) <= shown
    assert detectable(metric, known, short, repeats, few) <= shown
    if repeats > 1 and short >= 100:
        assert detectable(metric, known, short, repeats + 1, many) <= shown


@given(st.sampled_from(COMPARED), loads, st.integers(100, 10**6), st.floats(0.01, 1))
def test_the_repeats_asked_for_are_the_fewest(
    metric: str, load: float, number: int, change: float
) -> None:
    known = assumed(metric, 10, load)
    repeats = repeats_for(metric, known, number, change)
    if repeats is None:
        assert detectable(metric, known, number, MOST_REPEATS) > change
        return
    assert detectable(metric, known, number, repeats) <= change
    assert all(detectable(metric, known, number, fewer) > change for fewer in range(1, repeats))


@given(st.sampled_from(COMPARED), loads, st.floats(0.01, 0.5))
def test_the_requests_asked_for_are_the_fewest(metric: str, load: float, change: float) -> None:
    known = assumed(metric, 10, load)
    requests = requests_for(metric, known, change)
    assume(requests is not None)  # a p99 at a high load may take more than anybody waits for
    assert requests is not None
    assert detectable(metric, known, requests) <= change
    assert requests == fewest(metric) or detectable(metric, known, requests - 1) > change


@given(st.sampled_from(["p50", "p90", "p99"]), loads)
def test_a_run_that_does_not_resolve_a_percentile_shows_nothing(metric: str, load: float) -> None:
    known = assumed(metric, 10, load)
    assert math.isinf(detectable(metric, known, fewest(metric) - 1))
    assert math.isfinite(detectable(metric, known, 100 * known.least))


@given(st.floats(0, 0.2))
def test_what_differs_from_run_to_run_sets_a_floor(between: float) -> None:
    known = dataclasses.replace(assumed("p50", 10, 0.3), between=between**2)
    floor = math.expm1(math.sqrt(2) * between)
    assert detectable("p50", known, 10**9) >= floor
    assert requests_for("p50", known, 0.9 * floor) is None or between == 0


# -- from a run -----------------------------------------------------------------------------------


@functools.cache
def long_runs() -> list[CaseResult]:
    return [repeated(case(mm1_records(5, 20, 20_000, seed), 5), seed + 1) for seed in range(3)]


@pytest.mark.parametrize("metric", ["p50", "p90", "p99", "mean"])
def test_a_measured_queue_is_as_unsure_as_the_formula_says(metric: str) -> None:
    found = seen(metric, long_runs())
    assert found.measured
    guess = assumed(metric, 5, 0.25)
    # Its width is that of one side, the longer, and its own estimate.
    assert 0.6 < found.variance / (guess.variance * caution(metric, guess, 20_000)) < 2.5
    # Simulated runs differ by nothing but what their requests leave.
    assert found.between <= 0.01


def test_an_interval_without_any_width_is_no_promise_for_shorter_runs() -> None:
    # Most requests take exactly 0.1 s, and the others up to ten times as long.
    dice = np.random.default_rng(1)
    latency = np.where(dice.random(2000) < 0.7, 0.1, dice.uniform(0.1, 1.0, 2000))
    exact, alike = case(steady(latency)), case(steady(np.full(100, 0.01)))
    estimate = exact.summary.estimates["p50"]
    assert estimate.low == estimate.value == estimate.high
    assert seen("p50", [exact]).variance > 0.1
    assert seen("p50", [alike]).variance == 0
    assert detectable("p50", seen("p50", [alike]), fewest("p50")) == 0


def test_a_measured_value_gives_the_distance() -> None:
    (clause,) = parse_slo("p50<1s")
    value = queueing.mm1_response_percentile(5, 20, 0.5)
    found = plan_case([clause], 5, long_runs()).needed[0]
    assert found.value == pytest.approx(value, rel=0.1)
    assert found.distance == pytest.approx(1 / value - 1, rel=0.1)
    assert found.measured


def test_runs_that_differ_show_less() -> None:
    rows = [mm1_records(5, 20, 3000, seed=seed) for seed in range(4)]
    slower = [
        case(records(one.scheduled / 1e9, one.latency() * factor, one.window / 1e9), 5)
        for one, factor in zip(rows, (1.0, 1.3, 0.8, 1.5), strict=True)
    ]
    alike, unlike = seen("p50", [case(one, 5) for one in rows]), seen("p50", slower)
    assert unlike.between > 10 * max(alike.between, 1e-3)
    assert detectable("p50", unlike, 10**6) > 3 * detectable("p50", alike, 10**6)


def test_a_run_with_too_few_requests_gives_its_value_alone() -> None:
    few = [case(mm1_records(5, 20, 100, seed=1), 5)]
    found = seen("p99", few, 0.3)
    assert found.value == few[0].summary.estimates["p99"].value
    assert not found.measured
    assert found.variance == assumed("p99", 5, 0.3).variance


def test_bursts_of_failures_take_longer_to_tell() -> None:
    number = np.arange(2000)
    found = []
    for failed in (number % 40 == 0, number % 1000 < 25):
        rows = records(number / 10, np.full(2000, 0.01), 200.0, failed)
        found.append(seen("success_rate", [case(rows)]))
    scattered, burst = found
    assert scattered.value == burst.value == pytest.approx(0.975)
    assert scattered.variance < 1.2
    assert burst.variance > 5


def test_nothing_is_known_where_all_failed() -> None:
    lost = [case(steady(np.full(30, 0.005), failed=30))]
    assert measured("p99", lost, 0.6) is None
    assert measured("throughput", lost, 0.6) is None
    assert plan_case(parse_slo("p99<1s"), 10, lost).needed[0].value is None


@given(st.floats(1e-4, 10), st.floats(1e-6, 1e3), st.integers(1, 10**6), st.floats(0.5, 2))
def test_any_knowledge_gives_a_plan(
    value: float, variance: float, least: int, bound: float
) -> None:
    assume(abs(bound - 1) > 1e-6)
    (clause,) = parse_slo(f"p99<{value * bound:.12f}s")
    known = Known(value, variance, 1.0, least, 0.0, measured=True)
    found = needed(clause, known, 10, 0.2)
    assert found.requests is not None
    assert found.requests >= least


# -- whether it is right --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("load", [0.3, 0.6])
@pytest.mark.parametrize("metric", ["p50", "p90", "p99", "mean"])
def test_planned_runs_decide(metric: str, load: float) -> None:
    """On bounds 20 % above and below; 95 % are promised."""
    service_rate, runs = 100.0, 30
    rate = load * service_rate
    if metric == "mean":
        truth = queueing.mmc(rate, service_rate, 1).mean_response
    else:
        truth = queueing.mm1_response_percentile(rate, service_rate, PERMILLES[metric] / 1000)
    above, below = (parse_slo(f"{metric}<{truth * side:.9f}s") for side in (1.2, 1 / 1.2))
    number = plan_case(above, rate, load=load).requests
    assert plan_case(below, rate, load=load).requests == number
    made = [case(mm1_records(rate, service_rate, number, seed), rate) for seed in range(runs)]
    right: VerdictWord
    for clauses, right in ((above, "passed"), (below, "failed")):
        words = [judge(clauses, one)[0].verdict for one in made]
        assert words.count(right) >= 0.9 * runs, words


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metrics", "number", "pairs", "least"),
    [
        (("p50", "p90"), 3000, 8, 0.75),
        (("p50", "p99"), 12_000, 10, 0.8),
    ],
)
@pytest.mark.parametrize("repeats", [1, 4])
def test_comparisons_show_what_they_are_said_to(
    metrics: tuple[str, ...], number: int, pairs: int, least: float, repeats: int
) -> None:
    seeds = iter(range(10_000))

    def run(factor: float) -> Run:
        cases = []
        for which in range(1, repeats + 1):
            rows = mm1_records(30, 100, number, next(seeds))
            slower = records(rows.scheduled / 1e9, rows.latency() * factor, rows.window / 1e9)
            cases.append(dataclasses.replace(repeated(case(slower, 30), which), records=slower))
        return Run("one", "2026-01-01T00:00:00+00:00", {}, {}, tuple(cases))

    bases = [run(1.0) for _ in range(pairs)]
    for metric in metrics:
        change = detectable(metric, assumed(metric, 30, 0.3), number, repeats, command.SHOWN)
        found = [compare(base, run(1 + change)) for base in bases]
        assert all(one.statements == command.SHOWN for one in found)
        worse = sum(one.cases[0].changes[metric].verdict == "worse" for one in found)
        assert worse >= least * pairs


# -- the command ----------------------------------------------------------------------------------


def plan(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    options = parser.parse_args(["plan", *arguments])
    status: int = command.run(options)
    return status


def write_run(directory: Path, *cases: CaseResult) -> str:
    return str(saved.save(saved.run(cases), directory))


def test_output_without_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    every = ("--slo", "p99<50ms and cpu<80%", "--slo", "p50<20ms")
    assert plan(*every, "--rate", "10", "--rate", "20") == 0
    text = capsys.readouterr().out
    needs = need("p99<50ms")
    assert needs.requests is not None
    assert needs.seconds is not None
    assert f"{needs.requests:,}" in text
    assert "p50 shows such a change soonest" in " ".join(text.split())
    assert f"--servebench-duration={math.ceil(needs.seconds)}" in text.replace("\n", " ")
    for part in ("10 requests/s", "20 requests/s", "p99<50ms", "cpu<80%", "p50<20ms"):
        assert part in text
    assert "an M/M/1 queue" in " ".join(text.split())
    assert "60 % utilization (--load)" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 100


def test_output_with_a_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    other = case(mm1_records(5, 20, 2000, seed=9), 5.0, title="TensorFlow Serving")
    path = write_run(tmp_path, *long_runs(), other)
    assert plan("--slo", "p99<2s", "--run", path) == 0
    text = capsys.readouterr().out
    assert "5 requests/s, TorchServe, buffer 50" in text
    assert "5 requests/s, TensorFlow Serving, buffer 50" in text
    assert "measured" in text


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    # A run that decides the median alone has no upper limit of its p99.
    arguments = ("--slo", "success_rate>=90%", "--rate", "10", "--load", "0.9")
    assert plan(*arguments, "--format", "json") == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert data["asked"]["load"] == 0.9
    (planned,) = data["plans"]
    assert planned["needed"][0]["clause"] == "success_rate>=90%"
    assert planned["requests"] == planned["needed"][0]["requests"] > 0
    changes = {one["metric"]: one["change"] for one in planned["detectable"]}
    assert set(changes) == set(COMPARED)
    assert changes["p99"] is None
    lengths = {one["metric"]: one["requests"] for one in planned["detectable"]}
    assert lengths[planned["soonest"]] == min(lengths[one] for one in ("p50", "p90", "p99", "mean"))
    assert plan(*arguments) == 0
    assert "none" in capsys.readouterr().out


def test_a_throughput_cannot_change_by_more_than_all() -> None:
    def change(metric: str, value: float) -> str:
        return command._change(Detectable(metric, value, None, None, None, measured=True))

    assert [change("throughput", value) for value in (1.84, 0.84)] == ["none", "84 %"]
    assert change("success_rate", 1.2) == "none"
    assert change("p99", 1.84) == "184 %"


@pytest.mark.parametrize(
    ("slo", "words"),
    [
        ("success_rate>=100%", "Any duration will do"),
        ("throughput>=10/s", "No duration decides throughput>=10/s"),
        ("throughput>=10/s, p50<1s", "no duration decides throughput>=10/s"),
        ("ttft.p99<1s, tpot.p50<1s", "To detect 10 % more ttft.p99,"),
    ],
)
def test_advice(slo: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan("--slo", slo, "--rate", "10") == 0
    assert words in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "such as --rate=10, or an earlier run by --run"),
        (("--rate", "ten"), "--rate='ten': give a number above 0, such as --rate=10"),
        (("--rate", "-1"), "--rate='-1': give a number above 0"),
        (("--rate", "inf"), "--rate='inf': give a number above 0"),
        (("--rate", "9", "--load", "1"), "--load='1': give a number above 0 and below 1"),
        (("--rate", "9", "--load", "nan"), "--load='nan': give a number above 0 and below 1"),
        (("--rate", "9", "--margin", "20"), "--margin='20': give a percentage above 0, such as"),
        (("--rate", "9", "--change", "0%"), "--change='0%': give a percentage above 0, such as"),
        (("--rate", "9", "--repeats", "0"), "--repeats='0': give a whole number from 1 to 100"),
        (("--rate", "9", "--repeats", "2.5"), "--repeats='2.5': give a whole number from 1 to 100"),
        (("--rate", "9", "--slo", "p99{chat}<1s"), "--slo=p99{chat}<1s: "),
        (("--rate", "9", "--slo", "p99{chat}<1s"), "give one by --run, or leave {chat} out"),
    ],
)
def test_bad_options_are_named(arguments: Sequence[str], words: str) -> None:
    with pytest.raises(OptionError) as caught:
        plan("--slo", "p99<50ms", *arguments)
    assert words in str(caught.value)


def test_runs_that_cannot_be_planned_from_are_named(tmp_path: Path) -> None:
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps({"benchmarks": [plain_entry()]}))
    invalid = case(mm1_records(5, 20, 100, seed=1), 5.0, invalid_reason="late")
    measured = write_run(tmp_path / "a", *long_runs())
    table: list[tuple[type[Exception], str, Sequence[str]]] = [
        (OptionError, r"--rate=7: .* has valid cases only at 5/s;",
         ("--rate", "7", "--run", measured)),
        (OptionError, "no valid case", ("--run", write_run(tmp_path / "b", invalid))),
        (OptionError, r"plain\.json.*valid", ("--run", str(plain))),
        (SavedRunError, "there is no such file", ("--run", str(tmp_path / "none.json"))),
        (OptionError, "--slo=p99{chat}<1s: .* no class 'chat'",
         ("--run", measured, "--slo", "p99{chat}<1s")),
        (SLOSyntaxError, "there is no metric", ("--rate", "9", "--slo", "p98<1s")),
    ]  # fmt: skip
    for error, words, arguments in table:
        with pytest.raises(error, match=words):
            plan("--slo", "p99<1s", *arguments)


def test_tests_of_one_run_are_told_apart(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = dataclasses.replace(long_runs()[0], nodeid="test_other.py::test_it[torchserve-rate5]")
    path = write_run(tmp_path, long_runs()[1], other)
    assert plan("--slo", "p99.9<2s", "--run", path) == 0
    text = capsys.readouterr().out
    assert "TorchServe, buffer 50, test_it.py::test_load" in text
    assert "TorchServe, buffer 50, test_other.py::test_it" in text
    assert "10 % more p99.9" in " ".join(text.split())
