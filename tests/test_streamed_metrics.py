"""Metrics of streamed answers: what each is, that they stand everywhere, and nowhere else."""

import dataclasses
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.analysis.compare import compare
from pytest_servebench.errors import OptionError
from pytest_servebench.load import quantities
from pytest_servebench.load.classes import Classes
from pytest_servebench.load.records import Outcome, Records
from pytest_servebench.measure.capacity_plan import Plan, SearchSettings
from pytest_servebench.measure.capacity_run import CapacityRun
from pytest_servebench.metrics import COMPARED, METRICS
from pytest_servebench.objectives.capacity import capacity_limits
from pytest_servebench.objectives.gates import parse_gates
from pytest_servebench.objectives.goodput import good, with_goodput
from pytest_servebench.objectives.limits import of_each_request
from pytest_servebench.objectives.slo import judge, parse_slo
from pytest_servebench.report.case_details import case_text
from pytest_servebench.report.comparison_formats import as_bmf
from pytest_servebench.report.comparison_text import Block, Compared
from pytest_servebench.report.markdown import markdown
from pytest_servebench.report.page import page
from pytest_servebench.report.plot_frame import Frame
from pytest_servebench.report.plots import draw_plots
from pytest_servebench.report.streamed import stream_facts
from pytest_servebench.report.terminal import report_lines
from pytest_servebench.runs.results import CaseResult, StreamedAnswers
from pytest_servebench.runs.run_json import from_dict
from pytest_servebench.stats.classes import class_figures
from pytest_servebench.stats.summary import summarize
from pytest_servebench.text.tables import plain_text
from simulation import batching, saved
from simulation.cases import case, mm1_records, records
from tests.test_lateness import MAX_LAG, late, measured, verdicts
from tests.test_limits import as_limit
from tests.test_schema import SCHEMA

MS = 1_000_000
STREAMED = [name for name, one in METRICS.items() if one.of_streams]


def answers(*events: list[int], tokens: list[int], sent: int = 0) -> Records:
    """Return requests that arrive 1 s apart, with the times of their events in ms from then."""
    n = len(events)
    arrivals = np.arange(n, dtype=np.float64)
    rows = records(arrivals, np.array([(one or [5])[-1] / 1e3 for one in events]), float(n))
    offsets = np.cumsum([0, *map(len, events)])
    times = np.concatenate([
        arrived + np.array(one, dtype=np.int64) * MS
        for arrived, one in zip(rows.scheduled, events, strict=True)
    ])  # fmt: skip
    rows = batching.streamed(rows, offsets, times, np.array(tokens))
    return dataclasses.replace(rows, sent=rows.sent + sent * MS)


# ttft 40, 10, 20, none, 30; gaps 10 10 40, 20 20, none, none, 30
FIVE = answers([40, 50, 60, 100], [10, 30, 50], [20], [], [30, 60], tokens=[7, 3, 1, 0, 2], sent=4)
EXPECTED = {
    "ttft": [40, 10, 20, np.nan, 30],
    "ttft_sent": [36, 6, 16, np.nan, 26],
    "tpot": [10, 20, np.nan, np.nan, 30],
    "stall": [40, 20, np.nan, np.nan, 30],
}
STEADY_CASE = case(mm1_records(50, 100, 200, seed=1), 50.0)
FAILED = dataclasses.replace(
    FIVE, outcome=np.array([Outcome.OK] * 4 + [Outcome.BAD_RESPONSE], dtype=np.uint8)
)


def gaps(rows: Records) -> list[float]:
    found = quantities.sample(rows, "itl")
    assert found is not None
    return [round(1e3 * value, 6) for value in found.values.tolist()]


@pytest.mark.parametrize("name", EXPECTED)
def test_each_quantity_is_what_it_says(name: str) -> None:
    values = 1e3 * quantities.seconds(FIVE, name)
    assert values == pytest.approx(np.array(EXPECTED[name]), nan_ok=True)
    found = quantities.sample(FIVE, name)
    assert found is not None
    assert 1e3 * found.values == pytest.approx([x for x in EXPECTED[name] if not np.isnan(x)])
    # A failed request is infinitely slow, whatever it has received.
    assert quantities.seconds(FAILED, name)[4] == np.inf


def test_gaps_are_those_within_an_answer() -> None:
    assert gaps(FIVE) == [10, 10, 40, 20, 20, 30]
    # Five gaps in four successes: a failed request has as many as one of them, rounded.
    assert gaps(FAILED) == [10, 10, 40, 20, 20, np.inf]


def test_what_no_answer_tells_is_not_known() -> None:
    single = answers([5], [6], tokens=[9, 9])
    for name in ("itl", "tpot", "stall"):
        assert quantities.sample(single, name) is None
        # Not even where some fail: nothing is known of those that did not.
        one_lost = dataclasses.replace(single, outcome=np.array([0, 4], dtype=np.uint8))
        assert Outcome(one_lost.outcome[0]) is Outcome.OK
        assert quantities.sample(one_lost, name) is None
    assert quantities.sample(single, "ttft") is not None
    plain = mm1_records(50, 100, 200, seed=1)
    assert not any(quantities.sample(plain, name) for name in EXPECTED)
    assert not set(STREAMED) & set(summarize(plain, 50.0).estimates)
    unknown = answers([5, 9], tokens=[-1])
    assert quantities.sample(unknown, "tpot") is None
    assert not {"output_rate", "output_tokens"} & set(summarize(unknown, 1.0).estimates)


def test_of_output_that_came_in_one_read_no_times_between_tokens_are_known() -> None:
    assert FIVE.streams is not None
    streams = dataclasses.replace(FIVE.streams, bunched=np.array([3, 1, 0, 0, 1], dtype=np.int32))
    rows = dataclasses.replace(FIVE, streams=streams)
    for name in ("tpot", "stall"):
        found = 1e3 * quantities.seconds(rows, name)
        assert found == pytest.approx([np.nan, 20, np.nan, np.nan, np.nan], nan_ok=True)
    assert gaps(rows) == [20, 20]
    assert not np.isnan(quantities.seconds(rows, "ttft")[0])
    streams = dataclasses.replace(streams, bunched=np.array([3, 2, 0, 0, 1], dtype=np.int32))
    buffered = dataclasses.replace(FIVE, streams=streams)
    assert not any(quantities.sample(buffered, name) for name in ("itl", "tpot", "stall"))


def test_what_needs_all_numbers_of_tokens_is_not_known_where_some_are_unknown() -> None:
    rows = answers([40, 50], [10, 30], [], tokens=[7, -1, -1])
    assert not {"output_rate", "output_tokens", "tpot.p50"} & set(summarize(rows, 1.0).estimates)
    lost = dataclasses.replace(rows, outcome=np.array([0, 4, 0], dtype=np.uint8))
    assert summarize(lost, 1.0).estimates["output_tokens"].value == pytest.approx(7)
    told = StreamedAnswers("openai", "usage", events=4, uncounted=1)
    ((_, text),) = stream_facts(dataclasses.replace(STEADY_CASE, streamed=told))
    for part in ("1 answers", "include_usage", "tokenizer="):
        assert part in text


def test_how_long_the_end_of_an_answer_lay_unread_is_not_taken_off_its_first_token() -> None:
    punctual = dataclasses.replace(FIVE, unread={0: 0.03}).without_lag(MAX_LAG)
    assert punctual.first_token.tolist() == FIVE.first_token.tolist()
    assert punctual.done[0] == FIVE.done[0] - 30 * MS


@given(st.lists(st.lists(st.integers(0, 500), max_size=9), min_size=1, max_size=20), st.data())
def test_quantities_agree_with_each_other(spans: list[list[int]], data: st.DataObject) -> None:
    events = [np.cumsum(one).tolist() for one in spans]
    rows = answers(*events, tokens=[len(one) for one in events])
    lost = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    rows = dataclasses.replace(
        rows, outcome=np.where(lost, Outcome.TIMEOUT, Outcome.OK).astype(np.uint8)
    )
    stall, tpot, first, sent = (quantities.seconds(rows, name) for name in
                                ("stall", "tpot", "ttft", "ttft_sent"))  # fmt: skip
    last, several = rows.latency(), rows.ok & ~np.isnan(stall)
    assert (tpot[several] <= stall[several] + 1e-9).all()
    assert (first[several] <= last[several] + 1e-9).all()
    assert np.array_equal(first, sent, equal_nan=True)
    found = quantities.sample(rows, "itl")
    if found is not None and several.any():
        longest = found.values[np.isfinite(found.values)].max()
        assert longest == pytest.approx(stall[several].max())
        assert set(found.request[np.isfinite(found.values)]) == set(np.flatnonzero(several))
        assert set(found.request[np.isinf(found.values)]) == set(np.flatnonzero(lost))


def test_tokens_count_inside_the_window_and_of_successes() -> None:
    found = summarize(FAILED, 1.0).estimates
    assert found["output_rate"].value == pytest.approx((7 + 3 + 1) / 5)
    assert found["output_tokens"].value == pytest.approx(11 / 4)
    assert "input_tokens" not in found
    # Half of the events of an answer came after the window: half of its tokens count.
    late_end = dataclasses.replace(answers([900, 990, 1010, 1020], tokens=[8]), window=1000 * MS)
    assert summarize(late_end, 1.0).estimates["output_rate"].value == pytest.approx(4.0)


# -- limits of single requests and goodput ---------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "allowed", "broken"),
    [
        ("ttft.p99<30ms", 0.01, [0, 4]),
        ("ttft.p90<=30ms", 0.1, [0, 4]),
        ("TTFT_sent.p50<20ms", 0.5, [0, 4]),
        ("tpot.p90<20ms", 0.1, [1, 4]),
        ("stall.p99<40ms", 0.01, [0, 4]),
        ("e2e.p99<50ms", 0.01, [0, 1, 4]),
        ("itl.p99<1s", None, []),
        ("ttft.mean<1s", None, []),
        ("output_rate>=5/s", None, []),
    ],
)
def test_a_clause_on_streamed_answers_as_a_limit(
    text: str, allowed: float | None, broken: list[int]
) -> None:
    assert as_limit(text, FAILED) == (allowed, broken)


def test_goodput_keeps_all_limits_at_once() -> None:
    clauses = parse_slo("ttft.p99<35ms, tpot.p90<25ms, ttft.p50<1ms, goodput>=0.1/s")
    limits = of_each_request(clauses)
    assert [str(one.clause) for one in limits] == ["ttft.p99<35ms", "tpot.p90<25ms"]
    assert np.flatnonzero(good(FIVE, limits)).tolist() == [1, 2, 3]
    found = with_goodput(recorded(FIVE), clauses, MAX_LAG).summary.estimates["goodput"]
    assert found.value == pytest.approx(3 / 5)


@pytest.mark.parametrize(
    ("tokens", "limit", "verdict"),
    [
        ([7, 3], "tpot.p90<25ms", "passed"),
        ([7, -1], "tpot.p90<25ms", "inconclusive"),
        ([7, -1], "tpot.p90{a}<25ms", "passed"),
        ([7, -1], "tpot.p90{b}<25ms", "inconclusive"),
        ([1, 1], "tpot.p90<25ms", "inconclusive"),
    ],
)
def test_goodput_is_not_known_where_nobody_knows_who_kept_a_limit(
    tokens: list[int], limit: str, verdict: str
) -> None:
    kinds = Classes(("a", "b"), np.arange(2, dtype=np.uint32))
    rows = answers([40, 50], [10, 30], tokens=tokens)
    rows = dataclasses.replace(rows, classes=kinds)
    figures = class_figures(rows, 1.0, MAX_LAG)
    result = dataclasses.replace(recorded(rows), classes=figures)
    clauses = parse_slo(f"{limit}, goodput>=0.01/s, goodput>=1%")
    found = judge(clauses, with_goodput(result, clauses, MAX_LAG))
    assert [one.verdict for one in found[1:]] == [verdict] * 2
    assert all((limit in one.message) == (verdict == "inconclusive") for one in found[1:])


def test_goodput_of_independent_limits_is_the_product_of_closed_forms() -> None:
    dice, n = np.random.default_rng(1), 20_000
    first, each = dice.exponential(0.1, n), dice.exponential(0.02, n)
    arrivals = np.sort(dice.uniform(0, 1000, n))
    rows = records(arrivals, first + 10 * each, 1000.0)
    steps = np.column_stack([first, *[each] * 10]).cumsum(axis=1) * 1e9
    times = (rows.scheduled[:, np.newaxis] + steps.astype(np.int64)).ravel()
    rows = batching.streamed(rows, np.arange(n + 1) * 11, times)
    clauses = parse_slo("ttft.p99<200ms, tpot.p90<30ms")
    found = with_goodput(recorded(rows), clauses, MAX_LAG).summary.estimates["goodput_share"]
    expected = -np.expm1(-2.0) * -np.expm1(-1.5)
    assert found.value == pytest.approx(expected, rel=0.02)
    assert found.low is not None
    assert found.high is not None
    assert found.low < expected < found.high


def recorded(rows: Records) -> CaseResult:
    return dataclasses.replace(measured(rows, 1.0), records=rows)


# -- lateness --------------------------------------------------------------------------------------


def batch(slower: float = 1.0, seed: int = 1, number: int = 800) -> Records:
    server = batching.Server(fixed=0.010 * slower)
    return batching.run(server, 0.5, number, seed)


def test_the_generators_lag_is_taken_off_the_first_token_only() -> None:
    rows = batch()
    lag = np.where(np.random.default_rng(1).random(len(rows)) < 0.05, 0.060, 1e-4)
    streams = rows.streams
    assert streams is not None
    shift = np.repeat((lag * 1e9).astype(np.int64), np.diff(streams.offsets))
    rows = dataclasses.replace(
        late(rows, lag), streams=dataclasses.replace(streams, times=streams.times + shift)
    )
    punctual = rows.without_lag(MAX_LAG)
    assert (punctual.first_token <= rows.first_token).all()
    assert (punctual.first_token >= rows.scheduled).all()
    changed = summarize(rows, 1.0, MAX_LAG).without_lag
    assert {"ttft.p50", "ttft.mean"} < set(changed)
    assert not {"itl.p50", "tpot.p50", "stall.p99", "ttft_sent.p50"} & set(changed)


def test_late_reading_is_taken_off_what_it_may_have_lengthened() -> None:
    rows = dataclasses.replace(FIVE, late_reading=np.array([0.015, 0, 0, 0, 0.1]))
    punctual = rows.without_lag(MAX_LAG)
    assert gaps(punctual) == [0, 0, 25, 20, 20, 0]
    for name, first, last in (
        ("stall", 25, 0), ("tpot", 45 / 6, 0), ("ttft", 25, 4), ("ttft_sent", 21, 0),
    ):  # fmt: skip
        found = 1e3 * quantities.seconds(punctual, name)
        assert found[[0, 4]] == pytest.approx([first, last])
        assert found[1] == pytest.approx(EXPECTED[name][1])
    # The bound lies between what was seen and what may have been.
    rows = batch()
    result = measured(dataclasses.replace(rows, late_reading=np.full(len(rows), 0.02)), 1.0)
    stall = result.summary.estimates["stall.p50"].value
    assert stall is not None
    assert verdicts(result, f"stall.p50<{stall - 0.01}s, stall.p50<1s") == ["invalid", "passed"]


# -- where they stand ------------------------------------------------------------------------------


CASE = case(batch(), 1.0)


@pytest.mark.parametrize("name", STREAMED)
def test_every_metric_is_judged_by_the_name_that_it_is_written_with(name: str) -> None:
    unit = "s" if METRICS[name].kind == "time" else ""
    sign = ">" if METRICS[name].larger_is_better else "<"
    (clause,) = parse_slo(f"{METRICS[name].written}{sign}9{unit}")
    assert clause.metric == name
    (found,) = judge([clause], CASE)
    reading = METRICS[name].read(CASE)
    if name == "input_tokens":
        assert "streamed" in reading.unknown
    else:
        assert (found.value, reading.unknown) == (reading.value, "")
        assert reading.low is not None
        assert reading.value is not None
        assert reading.low <= reading.value


@pytest.mark.parametrize("alias", ["p50", "p99.9", "mean"])
def test_e2e_is_the_latency(alias: str) -> None:
    assert parse_slo(f"e2e.{alias}<1s") == parse_slo(f"{alias}<1s")
    assert parse_gates(f"E2E.{alias}:10%") == parse_gates(f"{alias}:10%")


@pytest.mark.parametrize("text", ["500 tokens/s", "500tok/s", "500/s", "500"])
def test_rates_of_tokens_have_units(text: str) -> None:
    (clause,) = parse_slo(f"output_rate >= {text}")
    assert (clause.bound, clause.relative) == (500.0, False)
    assert parse_slo(str(dataclasses.replace(clause, text=""))) == (clause,)


def test_a_gate_sees_slower_tokens_and_says_so() -> None:
    base, new = (saved.run([case(batch(slower, seed=1), 1.0)]) for slower in (1.0, 1.3))
    gates = parse_gates("tpot.p50:5%, itl.p50:5%, ttft.p99:400%")
    found = compare(base, new, gates)
    assert [len(one.failed) for one in found.gates] == [1, 1, 0]
    assert {"ttft.p50", "tpot.p50"} <= set(compare(base, new).cases[0].shown)
    assert compare(base, new).worse
    (figures,) = json.loads(as_bmf(Compared([Block(found, (), ())], every=False))).values()
    assert figures["output_rate_tokens_per_second"]["value"] > 0
    assert figures["itl.p99_ms"]["value"] > 0
    # What no answer has is no statement.
    plain = saved.run([case(mm1_records(50, 100, 2000, seed=1), 50.0)])
    changes = compare(plain, plain).cases[0].changes
    assert not [name for name in changes if COMPARED[name].of_streams]


def test_it_is_saved_and_read() -> None:
    data = json.loads(json.dumps(CASE.to_dict()))
    jsonschema.validate(data, {"$ref": "#/$defs/case", "$defs": SCHEMA["$defs"]})
    assert from_dict(data).summary.estimates == CASE.summary.estimates


def test_tables_have_columns_only_for_streamed_answers() -> None:
    plain = case(mm1_records(50, 100, 2000, seed=1), 1.0)
    for cases, shown in (([CASE], True), ([plain], False), ([CASE, plain], True)):
        run = saved.run(cases)
        lines = [plain_text(one) for one in report_lines(run, width=160)]
        for text in ("\n".join(lines), markdown(run)):
            assert all((name in text) is shown for name in ("ttft.p50", "ttft.p99", "tpot.p50"))
    narrow = "\n".join(plain_text(one) for one in report_lines(saved.run([CASE]), width=80))
    assert "ttft.p99" in narrow
    text = "\n".join(case_text(CASE, "toy", 120))
    for word in ("ttft, all requests", "itl, all requests", "tokens/s"):
        assert word in text


@pytest.mark.slow
def test_plots_and_page_draw_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Frame, "save", lambda frame, path: [path])
    names = {path.stem for path in draw_plots(saved.run([CASE]), tmp_path)}
    assert {"ttft", "itl", "tpot", "stall"} < names
    plain = saved.run([case(mm1_records(50, 100, 2000, seed=1), 50.0)])
    assert not {"ttft", "itl"} & {path.stem for path in draw_plots(plain, tmp_path)}
    whole = dataclasses.replace(CASE, records=batch())
    new, before = page(saved.run([whole]), tmp_path), page(plain, tmp_path)
    for text in (
        "Time to first token p99", "ttft.p99 ms", "inter-token latency, all requests",
        "Time to first token of each request", "Streamed answers by percentile",
    ):  # fmt: skip
        assert text in new
        assert text not in before


def test_a_search_counts_what_breaks_each_limit() -> None:
    clauses = parse_slo("ttft.p90<35ms, tpot.p90<20ms")
    search = CapacityRun(capacity_limits(clauses), SearchSettings(), MAX_LAG)
    found = search._counted(FAILED, Plan(1.0, 5.0, 0.0, 0.0, "estimate"))
    assert found is not None
    # Where the time is undefined, nothing is counted: one of the four that get a token, as all five
    # arrivals do, and both answers of one token or less.
    assert [(one.arrivals, one.beyond, one.offered) for one in found] == [(4, 2, 5), (3, 2, 5)]
    with pytest.raises(OptionError, match=r"itl\.p99"):
        capacity_limits(parse_slo("itl.p99<1s"))
