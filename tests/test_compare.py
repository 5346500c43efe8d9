"""Comparing runs: what holds always, examples, and how often identical queues are called worse."""

import dataclasses
import functools
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.analysis.changes import NOISE
from pytest_servebench.analysis.comparability import differences, notes
from pytest_servebench.analysis.compare import TAIL, CaseComparison, compare, fails
from pytest_servebench.analysis.pairs import key_of, match, near
from pytest_servebench.analysis.precision import tail_of
from pytest_servebench.analysis.request_shifts import Repeats, request_shifts
from pytest_servebench.errors import SLOSyntaxError
from pytest_servebench.metrics import COMPARED, METRICS
from pytest_servebench.objectives.gates import Gate, parse_gates
from pytest_servebench.report.comparison import (
    beyond_text,
    comparison_lines,
    gate_text,
    percent_change,
    point_change,
)
from pytest_servebench.report.comparison_formats import as_json
from pytest_servebench.report.comparison_notes import notes as comparison_notes
from pytest_servebench.report.comparison_text import Block, Compared
from pytest_servebench.runs.results import (
    CaseResult,
    Resources,
    Run,
    StreamedAnswers,
    Workload,
)
from pytest_servebench.stats import ratios
from pytest_servebench.stats.estimates import Estimate, Summary
from pytest_servebench.stats.intervals import wilson_interval
from pytest_servebench.stats.ratios import Range, Sample
from pytest_servebench.stats.shifts import Shift
from pytest_servebench.stats.student import Z, student, student_quantile
from pytest_servebench.text.quantity import quantity
from pytest_servebench.text.tables import plain_text
from simulation import saved
from simulation.cases import UNSEEN, calm_generator, queue, records, steady
from simulation.pairs import Kind, pair_of_runs
from simulation.queues import LAWS
from tests.examples import examples

SWAPPED = {"worse": "better", "better": "worse", "same": "same", "cannot tell": "cannot tell"}
UNKNOWN = Estimate(None, None, None)


def changed(summary: Summary, **estimates: Estimate) -> Summary:
    return dataclasses.replace(summary, estimates={**summary.estimates, **estimates})


def estimated(
    metric: str, value: float | None, low: float | None, high: float | None, **about: Any
) -> CaseResult:
    """Return a case with this estimate of a metric; ``about`` is of other fields."""
    plain = saved.case(**about)
    ends = Estimate(value, low, high)
    return dataclasses.replace(plain, summary=changed(plain.summary, **{metric: ends}))


def using(cpu: float, memory: float = 520e6) -> Resources:
    return Resources(cpu, None, None, memory, None)


def only(base: CaseResult, new: CaseResult, gates: Sequence[Gate] = ()) -> CaseComparison:
    (found,) = compare(saved.run([base]), saved.run([new]), gates).cases
    return found


# -- what holds always ----------------------------------------------------------------------------

PLAIN = saved.case()
SUMMARY = PLAIN.summary
times = st.floats(1e-5, 1e3)


@st.composite
def latencies(draw: st.DrawFn) -> Estimate:
    """Return any percentile with its interval, those of failed requests included."""
    low, value, high = sorted(draw(st.lists(times, min_size=3, max_size=3)))
    return draw(
        st.sampled_from(
            [
                Estimate(value, low, high),
                Estimate(value, low, None),
                Estimate(value, 0.0, None),
                Estimate(None, low, None),
                UNKNOWN,
            ]
        )
    )


@st.composite
def cases(draw: st.DrawFn) -> CaseResult:
    n = draw(st.integers(0, 2000))
    found = {name: draw(latencies()) for name in ("p50", "p90", "p95", "p99", "p999", "mean")}
    for name in ("success_rate", "drop_rate", "error_rate", "throughput_share"):
        count = draw(st.integers(0, n))
        found[name] = wilson_interval(count / n, n) if n else UNKNOWN
    rate = draw(st.just(0.0) | st.floats(1e-3, 1e4))
    found["throughput"] = Estimate(rate, rate * 0.9, rate * 1.1)
    summary = dataclasses.replace(SUMMARY, arrivals=n, throughput=rate, estimates=found)
    amounts = st.none() | st.just(0.0) | st.floats(1e-3, 1e10)
    resources = Resources(draw(amounts), None, None, draw(amounts), None)
    return dataclasses.replace(PLAIN, summary=summary, resources=resources)


@examples(150)
@given(cases(), cases())
def test_any_comparison_is_consistent_and_swapped_sides_swap_its_verdicts(
    base: CaseResult, new: CaseResult
) -> None:
    there, back = only(base, new), only(new, base)
    assert list(there.changes) == list(back.changes)
    for metric, change in there.changes.items():
        other, one = back.changes[metric], change.change
        assert other.verdict == SWAPPED[change.verdict], metric
        if math.isnan(one.value):
            assert math.isnan(other.change.value)
            continue
        assert one.low <= one.value * (1 + 1e-9) + 1e-9
        assert one.value <= one.high * (1 + 1e-9) + 1e-9
        if METRICS[metric].is_share:
            assert other.change.value == pytest.approx(-one.value)
            assert other.change.low == pytest.approx(-one.high)
        elif 0 < one.value < math.inf:
            assert other.change.value == pytest.approx(1 / one.value)
    gates = parse_gates("p50:5%,p99:10%,success_rate:1%,throughput:5%")
    found = compare(saved.run([base]), saved.run([new]), gates)
    for result in found.gates:
        for case in result.failed:
            assert case.changes[result.gate.metric].verdict == "worse"
    for parts in comparison_lines(found, every=True):
        assert "nan" not in plain_text(parts)
        assert len(plain_text(parts)) <= 100


@examples(100)
@given(st.lists(cases(), min_size=1, max_size=3))
def test_a_run_is_never_worse_than_itself(runs: list[CaseResult]) -> None:
    both = saved.run([dataclasses.replace(case, nodeid=f"a.py::test[{number}]")
                      for number, case in enumerate(runs)])  # fmt: skip
    found = compare(both, both, [Gate(metric, 0.0) for metric in COMPARED])
    assert not found.worse
    for case in found.cases:
        assert {change.verdict for change in case.changes.values()} <= {"same", "cannot tell"}


@functools.cache
def any_sides(seed: int) -> list[list[CaseResult]]:
    dice = np.random.default_rng(seed)
    return [
        [
            saved.case(
                steady(dice.uniform(0.01, 0.02, 40)), rate=rate, repeat=repeat, server=server
            )
            for server in ("toy", "torchserve")
            for rate in (5.0, 10.0)
            for repeat in (1, 2)
        ]
        for _ in range(2)
    ]


@examples(30)
@given(st.randoms(use_true_random=False), st.integers(0, 1))
def test_the_order_of_cases_does_not_matter(random: Random, seed: int) -> None:
    base, new = any_sides(seed)
    ordered = compare(saved.run(base), saved.run(new))
    one, other = (saved.run(random.sample(side, len(side))) for side in (base, new))
    shuffled = compare(one, other)
    assert [case.changes for case in ordered.cases] == [case.changes for case in shuffled.cases]


# -- intervals ------------------------------------------------------------------------------------


def test_shares_differ_as_newcombe_says() -> None:
    # Newcombe (1998, Statistics in Medicine 17:873), table II, contrast (a): 56/70 - 48/80.
    sides = [
        Sample(range_of(wilson_interval(k / n, n)), share=True) for k, n in ((48, 80), (56, 70))
    ]
    found = ratios.difference([sides[0]], [sides[1]], 0.05)
    assert found.value == pytest.approx(0.2)
    assert found.low == pytest.approx(0.0524, abs=1e-4)
    assert found.high == pytest.approx(0.3339, abs=1e-4)


@given(st.integers(1, 5000), st.floats(0, 1))
def test_wilson_at_another_level_is_that_of_the_same_requests(n: int, part: float) -> None:
    share = round(part * n) / n
    wider = Sample(range_of(wilson_interval(share, n)), share=True).at(2 * Z)
    asked = wilson_interval(share, n / 4)
    assert wider.low == pytest.approx(asked.low, abs=1e-6)
    assert wider.high == pytest.approx(asked.high, abs=1e-6)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(1.001, 3), st.floats(1.001, 3))
def test_ratio_of_lognormal_estimates(a: float, b: float, da: float, db: float) -> None:
    # Where both intervals are symmetric on logarithms, MOVER is the textbook's.
    base, new = Sample(Range(a, a / da, a * da)), Sample(Range(b, b / db, b * db))
    found = ratios.ratio([base], [new], 0.05)
    half = math.hypot(math.log(da), math.log(db))
    assert found.value == pytest.approx(b / a)
    assert found.low == pytest.approx(b / a * math.exp(-half))
    assert found.high == pytest.approx(b / a * math.exp(half))


@pytest.mark.parametrize(
    ("tail", "degrees", "quantile"),
    [
        (0.05, 1, 12.706), (0.05, 2, 4.3027), (0.05, 3, 3.1824), (0.05, 10, 2.2281),
        (0.01, 4, 4.6041), (0.001, 6, 5.9588), (0.0001, 8, 7.1200), (0.001, 30, 3.6460),
    ],
)  # fmt: skip
def test_students_quantiles(tail: float, degrees: float, quantile: float) -> None:
    assert student_quantile(tail, degrees) == pytest.approx(quantile, rel=2e-3)
    if tail == 0.05:
        at_2 = 4.3027  # and below
        assert student(degrees) * Z == pytest.approx(min(quantile, at_2), rel=2e-3)


def test_welch_is_the_textbooks() -> None:
    # Equal variances of 2.5 and five values: a standard error of 1 and 8 degrees of freedom.
    assert ratios.welch([1, 2, 3, 4, 5], [11, 12, 13, 14, 15], 0.05) == pytest.approx(
        2.306, abs=1e-3
    )
    # A side that does not vary adds nothing: 4 degrees of freedom.
    assert ratios.welch([1, 2, 3, 4, 5], [7, 7, 7], 0.05) == pytest.approx(
        2.7764 * math.sqrt(0.5), abs=1e-3
    )
    assert ratios.welch([1, 1], [2, 2], 0.05) == 0


def range_of(estimate: Estimate) -> Range:
    assert estimate.value is not None
    assert estimate.low is not None
    assert estimate.high is not None
    return Range(estimate.value, estimate.low, estimate.high)


# -- examples -------------------------------------------------------------------------------------


def test_a_slower_server_is_worse_and_the_other_way_round_better() -> None:
    base, new = saved.queue_run("base"), saved.queue_run("new", seed=2, slower=1.5, failed=0.05)
    found = {case.key.kind + f"{case.key.rate:g}": case for case in compare(base, new).cases}
    for rate in (10, 40):
        assert found[f"torchserve{rate}"].verdict == "worse"
        assert found[f"toy{rate}"].verdict != "worse"
        # The same arrivals make throughput sure.
        unchanged = found[f"toy{rate}"].changes
        assert [unchanged[one].verdict for one in ("throughput", "success_rate")] == ["same"] * 2
    changes = found["torchserve10"].changes
    assert changes["p50"].change.low < 1.5 < changes["p50"].change.high
    back = {case.key.kind: case for case in compare(new, base).cases}
    assert back["torchserve"].changes["p50"].verdict == "better"
    # Success is compared in points.
    assert changes["success_rate"].worse_by == pytest.approx(0.05, abs=0.015)
    assert fails(Gate("success_rate", 0.01), changes["success_rate"])
    assert not fails(Gate("success_rate", 0.10), changes["success_rate"])


def p99(value: float | None, low: float | None, high: float | None) -> CaseResult:
    return estimated("p99", value, low, high)


def with_cpu(cpu: float, low: float, high: float | None, seed: int = 0) -> CaseResult:
    """Return a case whose CPU has this interval, as shares of it."""
    end = None if high is None else cpu * high
    return estimated("cpu", cpu, cpu * low, end, resources=using(cpu), seed=seed)


INFINITE, FINITE = p99(None, None, None), p99(0.02, 0.015, 0.03)
A_LITTLE = 20.0 * (1 + 3 / math.sqrt(PLAIN.summary.arrivals))


@pytest.mark.parametrize(
    ("metric", "base", "new", "verdict", "reason"),
    [
        ("p99", FINITE, INFINITE, "worse", ""),
        ("p99", INFINITE, FINITE, "better", ""),
        ("p99", INFINITE, INFINITE, "cannot tell", "infinite on both sides"),
        ("p99", FINITE, p99(None, 0.05, None), "worse", ""),
        # One failed request more can make a percentile infinite: only the interval proves it.
        ("p99", FINITE, p99(None, 0.02, None), "cannot tell", "requests failed"),
        ("p99", p99(0.02, 0.015, None), INFINITE, "cannot tell", "too few requests"),
        ("p99", p99(0.02, 0.015, None), p99(0.2, 0.15, 0.3), "cannot tell", "too few requests"),
        ("p99", FINITE, p99(0.2, 0.15, None), "worse", ""),
        ("mean", PLAIN, estimated("mean", None, None, None), "cannot tell", "requests failed"),
        ("p50", saved.case(steady(np.empty(0)), rate=50.0, duration=1.0), PLAIN, None, ""),
        # CPU by its interval; a run of an earlier version has none, and memory never.
        ("cpu", with_cpu(20, 0.99, 1.01), with_cpu(24, 0.99, 1.01), "worse", ""),
        ("cpu", with_cpu(20, 0.75, 1.25), with_cpu(24, 0.75, 1.25), "cannot tell", NOISE),
        ("cpu", saved.case(resources=using(20.0)), with_cpu(24, 0.96, 1.04), "worse", ""),
        ("cpu", PLAIN, saved.case(resources=using(57.0)), "same", ""),
        ("cpu", PLAIN, saved.case(resources=using(40.0)), "better", ""),
        ("cpu", with_cpu(20, 0, None), with_cpu(60, 0, None), "cannot tell", "too short a window"),
        ("cpu", PLAIN, saved.case(resources=UNSEEN), None, ""),
        ("memory", PLAIN, saved.case(resources=using(55.0, 520e6)), "same", ""),
        ("memory", PLAIN, saved.case(resources=using(55.0, 600e6)), "worse", ""),
        # That of other arrivals needs more.
        ("cpu", with_cpu(20, 0.99, 1.01), with_cpu(A_LITTLE, 0.99, 1.01), "worse", ""),
        ("cpu", with_cpu(20, 0.99, 1.01), with_cpu(A_LITTLE, 0.99, 1.01, 1), "cannot tell", NOISE),
    ],
)
def test_a_change_has_a_verdict_and_a_reason(
    metric: str, base: CaseResult, new: CaseResult, verdict: str | None, reason: str
) -> None:
    found = only(base, new, [gate := Gate(metric, 0.1)])
    change = found.changes.get(metric)
    if change is None:
        assert verdict is None
        assert compare(saved.run([base]), saved.run([new]), [gate]).gates[0].judged == ()
        return
    assert (change.verdict, change.reason) == (verdict, reason)
    assert fails(gate, change) == (verdict == "worse")
    if METRICS[metric].of_server:
        readings = [METRICS[metric].read(case) for case in (base, new)]
        assert change.sampled == all(one.low is not None for one in readings)


def test_a_gates_threshold_is_the_margin_of_the_same_and_many_cases_share_the_error() -> None:
    base, new = p99(0.0200, 0.0195, 0.0205), p99(0.0205, 0.0200, 0.0210)
    assert only(base, new).changes["p99"].verdict == "same"  # 10 %, unless a gate says otherwise
    assert only(base, new, [Gate("p99", 0.01)]).changes["p99"].verdict == "cannot tell"

    def many(case: CaseResult, number: int) -> Run:
        return saved.run([dataclasses.replace(case, nodeid=f"a.py::t[{i}]") for i in range(number)])

    base, new = p99(0.0200, 0.0190, 0.0210), p99(0.0225, 0.0214, 0.0236)
    for number, worse in ((1, True), (40, False)):
        assert compare(many(base, number), many(new, number), [Gate("p99", 0.05)]).worse == worse


@pytest.mark.parametrize(("number", "tail"), [(2000, "p99"), (300, "p95")])
def test_the_tail_is_the_highest_percentile_that_both_resolve(number: int, tail: str) -> None:
    case = saved.case(queue("M/M/1", 0.1, number, 3))
    assert only(case, case).shown[1] == tail


def test_what_the_requests_show_decides_in_either_direction_and_is_told() -> None:
    """Their records are read where there are some, and the interval is the one that decides."""
    base, new = pair_of_runs("lognormal", 0.3, 1250, 1, slower=1.25)
    without = [saved.run([dataclasses.replace(one.cases[0], records=None)]) for one in (base, new)]
    for gate in (Gate("p95", 0.10), Gate("p90", 0.10)):
        (case,) = (found := compare(base, new, [gate])).cases
        change = case.changes[gate.metric]
        assert found.worse
        assert 1 < change.strict.low < change.change.low < change.change.high
        (other,) = compare(without[0], without[1], [gate]).cases
        width = [one.changes[gate.metric].change for one in (case, other)]
        assert width[0].high / width[0].low < width[1].high / width[1].low
        (back,) = compare(new, base, [gate]).cases
        assert back.changes[gate.metric].verdict == "better"
        assert back.changes[gate.metric].strict.high == pytest.approx(1 / change.strict.low)
        tail = tail_of(gate.metric)
        assert change.beyond is not None
        assert change.beyond > 1.5 * tail
        text = "\n".join(map(plain_text, comparison_lines(found)))
        assert f"{quantity('share', change.beyond)} of its requests" in " ".join(text.split())


@pytest.mark.parametrize(
    ("calm", "statements", "reason"),
    [(0.2, 1, None), (0.3, 1, NOISE), (0.3, 1000, "too few requests")],
)
def test_one_long_episode_is_no_proof_however_slow_it_is(
    calm: float, statements: int, reason: str | None
) -> None:
    """Where no change of any size could be shown at the level, requests are what is missing.

    The server answers many at once: requests leave it as fast as they come.
    """
    arrived = np.cumsum(np.random.default_rng(1).exponential(0.02, 600))
    took = 0.05 * np.random.default_rng(2).exponential(1.0, 600)
    slow = np.where(np.arange(600) < calm * 600, took, 200 * took)
    rows = [records(arrived, one, arrived[-1]) for one in (took, slow)]
    runs = [saved.run([saved.case(one, rate=50.0, records=one)]) for one in rows]
    (case,) = compare(runs[0], runs[1], [Gate("p50", 0.2)], among=statements).cases
    change = case.changes["p50"]
    assert change.change.value > 80
    assert (change.verdict, change.reason) == (
        ("worse", "") if reason is None else ("cannot tell", reason)
    )


def test_a_percentile_that_became_infinite_is_worse_and_the_other_way_round_better() -> None:
    """Whether or not p99 had an upper limit before."""
    rows = queue("M/M/1", 0.5, 1000, 1)
    lost = np.arange(len(rows)) % 20 == 0
    failing = records(rows.scheduled / 1e9, rows.latency(), rows.window / 1e9, lost)
    runs = [saved.run([saved.case(one, records=one)]) for one in (rows, failing)]
    gate = Gate("p99", 0.1)
    for (base, new), verdict in ((runs, "worse"), (runs[::-1], "better")):
        found = compare(base, new, [gate])
        change = found.cases[0].changes["p99"]
        assert (change.verdict, found.worse) == (verdict, verdict == "worse")
        assert "cannot tell" not in gate_text(found.gates[0], {})
        told = json.loads(as_json(Compared([Block(found, (), ())], every=True)))
        p99 = told["comparisons"][0]["cases"][0]["metrics"]["p99"]
        assert (p99["percentile_base"] is None) == (verdict == "better")


# -- repeats --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sides", "changed"), [((0, 1), math.inf), ((1, 0), 0.0), ((1, 1), math.nan)]
)
def test_a_percentile_that_is_infinite_in_one_repeat_only_is_undecided(
    sides: tuple[int, int], changed: float
) -> None:
    def run(failing: int) -> Run:
        cases = []
        for repeat in range(1, 6):
            dice = np.random.default_rng(10 * failing + repeat)
            arrived = np.cumsum(dice.exponential(0.02, 2000))
            lost = (np.arange(2000) % 90 == 0) & (repeat <= failing)
            rows = records(arrived, dice.uniform(0.010, 0.011, 2000), arrived[-1], lost)
            cases.append(saved.case(rows, rate=50.0, repeat=repeat, records=rows))
        return saved.run(cases)

    found = compare(run(sides[0]), run(sides[1]), [Gate("p99", 0.1)])
    change = found.cases[0].changes["p99"]
    assert change.change.value == pytest.approx(changed, nan_ok=True)
    assert (change.verdict, change.reason) == ("cannot tell", "requests failed")
    assert not found.worse


def repeated(values: Sequence[float], spread: float = 1.02) -> Run:
    made = []
    for number, value in enumerate(values, start=1):
        p50 = Estimate(value, value / spread, None if spread == math.inf else value * spread)
        made.append(saved.case(repeat=number, summary=changed(SUMMARY, p50=p50)))
    return saved.run(made)


def test_repeats_are_one_case() -> None:
    run = repeated([0.01, 0.011, 0.012])
    (found,) = compare(run, run).cases
    assert len(found.pair.base) == 3
    assert found.key.test == "test_it.py::test_load[torchserve-rate50-buffer50]"
    assert found.changes["p50"].base == pytest.approx((0.01 * 0.011 * 0.012) ** (1 / 3))


@pytest.mark.parametrize(
    ("base", "new", "spread", "verdict"),
    [
        # Each run is sure of itself, but they differ by more than the change.
        ([0.010, 0.014, 0.009], [0.012, 0.016, 0.011], 1.02, "cannot tell"),
        ([0.01] * 3, [0.01] * 3, 1.2, "cannot tell"),
        (
            [0.0100, 0.0101, 0.0099, 0.0100, 0.0102],
            [0.0120, 0.0122, 0.0121, 0.0119, 0.0120],
            1.02,
            "worse",
        ),
        # Each run is too short for an upper limit, but they are alike.
        ([0.02, 0.021, 0.0205, 0.02], [0.04, 0.041, 0.0405, 0.04], math.inf, "worse"),
    ],
)
def test_repeats_count_by_what_varies_between_them(
    base: Sequence[float], new: Sequence[float], spread: float, verdict: str
) -> None:
    gate = Gate("p50", 0.05)
    there = compare(repeated(base, spread), repeated(new, spread), [gate])
    change = there.cases[0].changes["p50"]
    assert change.verdict == verdict
    assert there.worse == (verdict == "worse")
    assert not compare(repeated(new, spread), repeated(base, spread), [gate]).worse
    if spread == 1.2:  # runs alike, each unsure: the runs' own intervals are the wider ones
        assert change.change.high == pytest.approx(math.exp(math.sqrt(2 / 3) * math.log(1.2)))


# -- what belongs together ------------------------------------------------------------------------


def test_the_share_beyond_is_told_with_the_percentile_of_all_repeats() -> None:
    dice = np.random.default_rng(1)
    times = dice.uniform(0.01, 0.02, (2, 100)) * np.array([[1.0], [4.0]])
    base, new = (
        saved.run([
            saved.case(rows := steady(factor * one), repeat=repeat, records=rows)
            for repeat, one in enumerate(times, 1)
        ])
        for factor in (1.0, 1.5)
    )  # fmt: skip
    (case,) = compare(base, new).cases
    change = case.changes["p95"]
    pooled = np.sort(times.ravel())[189]  # of 200
    assert change.percentile == pytest.approx(pooled, rel=1e-6)
    assert change.base < 0.8 * pooled
    assert change.beyond == pytest.approx((1.5 * times > pooled).mean())
    assert quantity("time", pooled) in beyond_text(change)


def test_a_key_has_no_repeat_and_pairs_come_in_the_order_of_their_rates() -> None:
    assert key_of(saved.case(repeat=2)) == key_of(saved.case(repeat=1)) == key_of(PLAIN)
    assert key_of(saved.case(rate=5.0)) != key_of(PLAIN)
    cases = [saved.case(rate=rate, server=server) for rate in (100.0, 5.0, 20.0)
             for server in ("torchserve", "toy")]  # fmt: skip
    pairs = match(saved.run(cases), saved.run(cases[::-1]))
    assert [(pair.key.rate, pair.key.kind) for pair in pairs] == [
        (rate, kind) for rate in (5.0, 20.0, 100.0) for kind in ("torchserve", "toy")
    ]


def texts(base: Run, new: Run) -> list[tuple[str, str]]:
    return [(one.about, one.text) for one in differences(base, new)]


SENT = Workload("a1" * 32, "b2" * 32, 30.0, 1.0, 10.0)
STREAMED = StreamedAnswers("openai", "usage", 10)
PARTS = ("server", "generator", "workload", "streamed")  # of a case


def altered(case: CaseResult, name: str, value: Any) -> CaseResult:
    """Return a case with another value of a field of its own, or of the part that has it."""
    if name in {field.name for field in dataclasses.fields(case)}:
        return dataclasses.replace(case, **{name: value})
    (part,) = (part for part in PARTS if hasattr(getattr(case, part), name))
    changed_part = dataclasses.replace(getattr(case, part), **{name: value})
    return dataclasses.replace(case, **{part: changed_part})


@pytest.mark.parametrize(
    ("name", "value", "about", "base", "new"),
    [
        ("seed", 7, "workload", "seed 0", "seed 7"),
        ("duration", 60.0, "workload", "2 s", "60 s"),
        ("workers", 1, "workload", "10 workers", "1 worker"),
        ("streams", 4, "workload", "1 worker to a connection", "4 workers to a connection"),
        ("transport", "http/2", "workload", "over http/1.1", "over http/2"),
        ("input_source", "images", "workload", "inputs random numbers", "inputs images"),
        ("weights_sha256", "1" * 64, "weights", "sha256 000000000000", "sha256 111111111111"),
        ("implementation", "TorchServe 2", "implementation", "TorchServe 1.0", "TorchServe 2"),
        ("threads", 4, "workload", "server threads 1", "server threads 4"),
        ("cpus", (0, 1), "workload", "server CPUs 0", "server CPUs 0-1"),
        (
            "options",
            {"batch_size": "8", "a": "b"},
            "workload",
            "server options not set",
            "server options a=b, batch_size=8",
        ),
        ("arrivals", "gamma:4", "workload", "poisson arrivals", "gamma:4 arrivals"),
        ("schedule_sha256", "c3" * 32, "workload", "a1a1a1", "c3c3c3"),
        ("requests_sha256", "d4" * 32, "workload", "b2b2b2", "d4d4d4"),
        ("timeout", 5.0, "workload", "timeout 30 s", "timeout 5 s"),
        ("warmup", 0.0, "workload", "warm-up 1 s", "warm-up 0 s"),
        ("drain", 2.5, "workload", "drain 10 s", "drain 2.5 s"),
        ("counted", "events", "workload", "tokens by usage", "tokens by events"),
    ],
)
def test_what_differs_is_told(name: str, value: Any, about: str, base: str, new: str) -> None:
    sent = SENT if hasattr(SENT, name) else None
    case = saved.case(workload=sent, streamed=STREAMED)
    sides = saved.run([case]), saved.run([altered(case, name, value)])
    ((found, text),) = texts(*sides)
    assert found == about
    of_base, _, of_new = text.partition(" in BASE, ")
    assert base in of_base
    assert new in of_new
    assert of_new.endswith(" in NEW")
    assert not sent or notes(*sides) == ()


OTHER = dataclasses.replace(SENT, schedule_sha256="9" * 64)
BROKEN = dataclasses.replace(PLAIN, verdict="invalid", invalid_reason="41 {late}")
NAME = "test_it.py::test_load[torchserve-rate50-buffer50]"


@pytest.mark.parametrize(
    ("base", "new", "found"),
    [
        ([PLAIN, saved.case(rate=5.0)], [PLAIN], [("unmatched", f"{NAME.replace('50', '5', 1)} "
                                                   "(model adder): only in BASE")]),
        ([PLAIN], [BROKEN], [("unmatched", f"{NAME}: its measurement is invalid in NEW: "
                              "41 {late}")]),
        ([BROKEN], [BROKEN], [("unmatched", f"{NAME}: its measurement is invalid in BASE and NEW: "
                               "41 {late}")]),
        # Another seed is told once, and of many cases in one line.
        ([saved.case(workload=SENT)], [saved.case(workload=OTHER, seed=7)],
         [("workload", "seed 0 in BASE, seed 7 in NEW")]),
        ([PLAIN, saved.case(rate=5.0)], [saved.case(seed=1), saved.case(rate=5.0, seed=1)],
         [("workload", "seed 0 in BASE, seed 1 in NEW (2 cases)")]),
        # What an earlier version did not save is unknown.
        ([PLAIN], [saved.case(workload=SENT)], []),
    ],
)  # fmt: skip
def test_differences_in_words(
    base: Sequence[CaseResult], new: Sequence[CaseResult], found: Sequence[tuple[str, str]]
) -> None:
    runs = saved.run(base), saved.run(new)
    assert texts(*runs) == found
    if BROKEN in new:
        assert match(*runs) == ()
    for sides in (runs, runs[::-1]):
        known = [any(case.workload for case in side.cases) for side in sides]
        said = " ".join(notes(*sides))
        assert ("timeout and warm-up" in said) == (known[0] != known[1])
        assert known[0] == known[1] or (" NEW " if known[0] else " BASE ") in said


def test_renamed_tests_and_turns_differ() -> None:
    renamed = dataclasses.replace(PLAIN, nodeid="test_it.py::test_other[x]")
    assert [about for about, _ in texts(saved.run([PLAIN]), saved.run([renamed]))] == [
        "unmatched", "unmatched",
    ]  # fmt: skip
    turns = saved.run([PLAIN], interleaved=True)
    assert texts(saved.run([PLAIN]), turns)[0][0] == "workload"


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"system": "Linux 6.8.0-48-generic"}, True),
        ({"system": "Darwin 6.1.0"}, False),
        ({"memory": 8 * 2**30 - 40 * 2**20}, True),  # the kernel keeps a little more
        ({"memory": 16 * 2**30}, False),
        ({"cpu": " AMD  EPYC 7B13 "}, True),
        ({"cpu": "AMD EPYC 9B14"}, False),
        ({"memory": None}, True),
        ({"cpu": None, "memory": "much"}, True),  # not known
        ({"cores": 8}, False),
    ],
)
def test_what_makes_another_machine(changes: dict[str, Any], same: bool) -> None:
    base = saved.run([saved.case()])
    new = saved.run([saved.case()], machine={**saved.MACHINE, **changes})
    for sides in ((base, new), (new, base)):
        assert [one.about for one in differences(*sides)] == ([] if same else ["machine"])
    for about, text in texts(base, new):
        assert "2 processors" in text, about
        assert ("8 processors" in text) == ("cores" in changes)
    said = " ".join(notes(base, new))
    assert ("6.8.0-48-generic" in said) == ("6.8.0-48-generic" in str(changes))


def test_a_renamed_trace_is_the_same_workload_and_a_changed_one_is_not() -> None:
    def run(name: str, digest: str) -> Run:
        generator = dataclasses.replace(saved.case().generator, arrivals=f"trace:{name}@recorded")
        sent = dataclasses.replace(SENT, schedule_sha256=digest)
        return saved.run([saved.case(generator=generator, workload=sent)])

    assert texts(run("monday.csv", "1" * 64), run("tuesday.csv", "1" * 64)) == []
    ((about, text),) = texts(run("monday.csv", "1" * 64), run("monday.csv", "2" * 64))
    assert about == "workload"
    assert "trace:monday.csv@recorded" in text
    # Without a digest there is only the name.
    old = dataclasses.replace(run("monday.csv", "").cases[0], workload=None)
    assert texts(saved.run([old]), run("monday.csv", "2" * 64)) == []
    assert texts(saved.run([old]), run("tuesday.csv", "2" * 64))[0][0] == "workload"


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        (("http://127.0.0.1:4001", "http://127.0.0.1:4002"), ("http://127.0.0.1:4001", "name=")),
        (("triton", "http://127.0.0.1:4002"), ("triton", "name=")),
        (("triton", "vllm"), ("triton",)),
    ],
)
def test_a_server_elsewhere_is_named(kinds: tuple[str, str], words: tuple[str, ...]) -> None:
    def case(kind: str) -> CaseResult:
        made = saved.case(name="test_it", nodeid="a.py::test_it")
        url = kind if "://" in kind else "http://127.0.0.1:1"
        server = dataclasses.replace(made.server, kind=kind, base_url=url)
        return dataclasses.replace(made, server=server)

    text = near(case(kinds[1]), [case(kinds[0])])
    assert all(word in text for word in words)
    assert ("name=" in text) == ("name=" in words)
    ((_, first), (_, second)) = texts(saved.run([case(kinds[0])]), saved.run([case(kinds[1])]))
    assert [kinds[0] in one for one in (first, second)] == [False, True]


def test_a_renamed_test_is_offered_the_closest() -> None:
    others = [saved.case(name=name, nodeid=f"a.py::{name}")
              for name in ("test_classify_all", "test_classify", "test_embed")]  # fmt: skip
    text = near(saved.case(name="test_clasify", nodeid="a.py::test_clasify"), others)
    assert text.index("test_classify ") < text.index("test_classify_all")  # the closest first
    assert "test_embed" not in text
    cell = "[toy-rate10-buffer10]"
    others = [saved.case(name=f"test_search{cell}", nodeid=f"a.py::test_search{cell}")]
    assert near(saved.case(name=f"test_chat{cell}", nodeid=f"a.py::test_chat{cell}"), others) == ""
    assert near(saved.case(name="zzz", nodeid="zzz"), others) == ""


# -- gates and words ------------------------------------------------------------------------------


def test_gates_are_read() -> None:
    assert parse_gates(" p99.9 : 12.5 % , SUCCESS_RATE:1% and memory_peak:5%") == (
        Gate("p999", 0.125), Gate("success_rate", 0.01), Gate("memory", 0.05),
    )  # fmt: skip
    assert str(Gate("p999", 0.125)) == "p99.9:12.5%"
    (of_class,) = parse_gates("ttft.p99 {first turn} : 10%")
    assert of_class == Gate("ttft.p99", 0.1, "first turn")
    assert str(of_class) == "ttft.p99{first turn}:10%"


@pytest.mark.parametrize(
    ("text", "column", "part"),
    [
        ("p99", 3, "METRIC:NUMBER%"),
        ("", 0, "expected a metric"),
        ("p99:10", 6, "METRIC:NUMBER%"),
        ("p99:-1%", 4, "METRIC:NUMBER%"),
        ("p99:10ms", 6, "METRIC:NUMBER%"),
        ("p99:1e999%", 4, "too large"),
        ("p98:10%", 0, "did you mean p9"),
        ("max:10%", 0, "compared by max"),
        ("throughput:100%", 11, "cannot get worse by 100 %"),
        ("success_rate:200%", 13, "cannot get worse by 100 %"),
        ("memory{chat}:10%", 6, "not about a class"),
    ],
)
def test_bad_gates_are_explained(text: str, column: int, part: str) -> None:
    for before in ("", "p50:1%,", "p50:1% and "):
        with pytest.raises(SLOSyntaxError, match=re.escape(part)) as caught:
            parse_gates(before + text)
        caret = str(caught.value).split("\n")[2]
        assert caret == "  " + " " * (len(before) + column) + "^"


def test_changes_in_words() -> None:
    ratios_in_words = {
        1.0: "0 %", 1.004: "+0.4 %", 1.16: "+16 %", 0.5: "-50 %", 9.99: "+899 %", 12.34: "×12.3",
        1e7: "×1e+07", math.inf: "∞", math.nan: "-", 0.99996: "0 %",
    }  # fmt: skip
    assert {one: percent_change(one) for one in ratios_in_words} == ratios_in_words
    points = {0.0: "0 pp", -0.0025: "-0.25 pp", 0.053: "+5.3 pp", math.nan: "-"}
    assert {one: point_change(one) for one in points} == points


# -- false alarms and power -----------------------------------------------------------------------

LOADS = (0.3, 0.5, 0.7, 0.8)
GATES = (Gate("p99", 0.10), Gate("p95", 0.10), Gate("p50", 0.05))


@pytest.fixture
def shown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what requests show: it is the same whichever the gate, and takes most of the time."""
    kept: dict[tuple[int, ...], tuple[object, Mapping[str, Shift]]] = {}

    def shifts(base: Repeats, new: Repeats, _: object) -> Mapping[str, Shift]:
        key = tuple(map(id, (*base, *new)))
        if key not in kept:
            kept[key] = (base, new), request_shifts(base, new)  # with them, ids stay their own
        return kept[key][1]

    monkeypatch.setattr("pytest_servebench.analysis.compare.request_shifts", shifts)


def alarms(pairs: Sequence[tuple[Run, Run]], gates: Sequence[Gate] = GATES) -> Counter[str]:
    """Return how often each gate fails, each as the only one."""
    return Counter(gate.metric for runs in pairs for gate in gates if compare(*runs, [gate]).worse)


@pytest.mark.slow
@pytest.mark.usefixtures("shown_once")
def test_identical_queues_are_seldom_called_worse() -> None:
    """The arrivals are drawn anew for each side of half of the pairs."""
    assert TAIL == 0.01
    pairs = [
        pair_of_runs(LAWS[seed % 3], LOADS[seed // 3 % 4], 1000, seed, common=seed % 2 == 0)
        for seed in range(24)
    ]
    assert max(alarms(pairs).values(), default=0) <= 1


@pytest.mark.slow
@pytest.mark.usefixtures("shown_once")
def test_identical_queues_are_seldom_called_worse_in_the_long_run() -> None:
    """Neither with each gate as the only one, nor with all of twelve cases at once.

    A gate that fails 5 in 100 pairs is found out 9 times in 10; ``benchmarks/parts/gates.py``
    holds each to 1 in 100, with more pairs and more kinds of traffic.
    """
    alone, together = Counter[str](), 0
    for seed in range(12):
        pairs = [
            pair_of_runs(LAWS[number % 3], LOADS[number // 3], 1000, 12 * seed + number,
                         common=seed % 2 == 0)
            for number in range(12)
        ]  # fmt: skip
        alone.update(alarms(pairs))
        sides = [
            [dataclasses.replace(pair[side].cases[0], nodeid=f"a.py::t[{number}]")
             for number, pair in enumerate(pairs)]
            for side in range(2)
        ]  # fmt: skip
        together += compare(saved.run(sides[0]), saved.run(sides[1]), GATES).worse
    assert max(alone.values(), default=0) <= 3
    assert together <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "load", "slower", "gate", "least", "pairs"),
    [
        ("M/M/1", 0.3, 1.25, Gate("p50", 0.05), 0.8, 15),
        ("lognormal", 0.3, 1.25, Gate("p95", 0.10), 0.8, 15),
        ("M/M/1", 0.3, 1.25, Gate("p95", 0.10), 0.5, 60),
        ("lognormal", 0.3, 1.25, Gate("p99", 0.10), 0.5, 60),
    ],
)
def test_slower_servers_are_found(
    kind: Kind, load: float, slower: float, gate: Gate, least: float, pairs: int
) -> None:
    runs = [pair_of_runs(kind, load, 1250, seed, slower=slower) for seed in range(pairs)]
    assert alarms(runs, [gate])[gate.metric] >= least * pairs


# -- the machine's speed --------------------------------------------------------------------------


def at_speed(factor: float, p50: float, *, cpu: float = 50.0, **changes: Any) -> CaseResult:
    """Return a case on a machine that takes ``factor`` times as long; p50 within 2 %, seconds."""
    found = changed(SUMMARY, p50=Estimate(p50, 0.98 * p50, 1.02 * p50))
    generator = calm_generator(cpu_seconds=0.01 * factor, **changes)
    return saved.case(
        summary=found, resources=Resources(cpu, None, None, 1e8, None), generator=generator
    )


GATE = Gate("p50", 0.05)


@pytest.mark.parametrize(
    ("factor", "p50", "verdict", "reason"),
    [
        (1.25, 0.0125, "cannot tell", "the machine was 25 % slower in NEW"),
        (0.8, 0.0080, "cannot tell", "the machine was 25 % faster in NEW"),
        # The server became slower by as much as the machine became faster.
        (0.8, 0.0100, "cannot tell", "the machine was 25 % faster in NEW"),
        (1.25, 0.0150, "worse", ""),
    ],
)
def test_what_the_machine_explains_is_not_the_servers(
    factor: float, p50: float, verdict: str, reason: str
) -> None:
    base, new = at_speed(1.0, 0.010), at_speed(factor, p50, cpu=50.0 * factor)
    found = only(base, new, [GATE])
    change = found.changes["p50"]
    assert found.slowdown == pytest.approx(factor)
    assert change.change.value == pytest.approx(p50 / 0.010)  # shown as it was
    assert (change.verdict, change.reason) == (verdict, reason)
    assert fails(GATE, change) == (verdict == "worse")
    assert change.surely_worse_by == pytest.approx(min(p50 / 0.010, p50 / 0.010 / factor) - 1)
    assert not fails(Gate("p50", 0.3), change)
    assert found.changes["cpu"].verdict == "cannot tell"
    assert found.changes["memory"].machine.slower == 1
    for other, said in ((new, True), (base, False)):
        lines = comparison_lines(compare(saved.run([base]), saved.run([other])))
        text = " ".join(map(plain_text, lines))
        assert (f"{factor:g} times the CPU time per request" in text) == said
        assert "…" not in text


@pytest.mark.parametrize(
    ("changes", "versions"),
    [
        ({"pacing": "event loop"}, {}),
        ({"priority": "SCHED_FIFO 1"}, {}),
        ({}, {"pytest-servebench": "9.9"}),
        ({"received_bytes": 10**6}, {}),
        ({"received_bytes": None}, {}),
        ({"reconnections": 100}, {}),
    ],
)
def test_another_generator_measures_no_machine(
    changes: Mapping[str, Any], versions: Mapping[str, str]
) -> None:
    base, new = at_speed(1.0, 0.010), at_speed(1.25, 0.0125, **changes)
    of_new = saved.run([new], versions={"pytest-servebench": "0.1.0", **versions})
    (case,) = compare(saved.run([base]), of_new, [GATE]).cases
    assert case.slowdown is None
    assert case.changes["p50"].verdict == "worse"


@pytest.mark.parametrize("side", ["BASE", "NEW"])
def test_a_comparison_says_that_other_programs_slowed_a_server_down(side: str) -> None:
    def run(share: float) -> Run:
        resources = Resources(50.0, None, None, 1e8, None, others_share=share)
        return saved.run([saved.case(summary=SUMMARY, resources=resources)])

    base, new = (run(0.6 if one == side else 0.01) for one in ("BASE", "NEW"))
    found = compare(base, new)
    (told,) = [note for note in comparison_notes(found) if "other programs" in note]
    assert told.startswith(f"{side}: ")
    assert "60 %" in told
    assert "1 of 1 case" in told
