"""What page and plots draw of streamed answers."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pytest_servebench.analysis.evaluation import evaluate
from pytest_servebench.load import quantities
from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.metrics import POINTS, STREAMED_POINTS
from pytest_servebench.objectives.goodput import with_goodput
from pytest_servebench.objectives.slo import judge, parse_slo
from pytest_servebench.report import scatter, timelines
from pytest_servebench.report.answer import answer
from pytest_servebench.report.page.stream_charts import stream_charts
from pytest_servebench.report.panels import GOODPUT, panels
from pytest_servebench.report.plot_frame import Frame, drawing
from pytest_servebench.report.plot_streams import draw_streams
from pytest_servebench.report.series import colours, make_series
from pytest_servebench.runs.results import CaseResult, StreamedAnswers
from simulation import saved
from simulation.cases import case, mm1_records
from tests.test_streamed_metrics import FAILED, FIVE, answers, batch


def judged(rows: Records, slo: str, rate: float = 1.0, server: str = "toy") -> CaseResult:
    """Return a streamed case with its goodput and clauses."""
    one = dataclasses.replace(saved.case(rows, server=server, rate=rate), records=rows)
    clauses = parse_slo(slo)
    one = with_goodput(one, clauses, 0.001)
    return dataclasses.replace(one, clauses=tuple(judge(clauses, one)))


def test_a_request_stands_where_its_times_are_and_a_failed_one_at_the_rim() -> None:
    dropped = dataclasses.replace(
        FAILED, outcome=np.array([0, 0, 0, Outcome.DROPPED, Outcome.BAD_RESPONSE], dtype=np.uint8)
    )
    one = judged(dropped, "ttft.p99<30ms, ttft.p50<1ms, tpot.p90<15ms, stall.p90<900s")
    found = scatter.first_and_further(one, dropped)
    assert found.x == pytest.approx([40, 10])
    assert found.y == pytest.approx([10, 20])
    assert found.undefined == 1  # of one token
    assert [(lost.shape, rim.tolist()) for lost, rim in zip(found.lost, found.rims, strict=True)] \
        == [("drop", [np.inf]), ("error", [30.0])]  # fmt: skip
    assert [bound.clause for bound in found.x_bounds] == ["ttft.p99<30ms"]
    assert [bound.clause for bound in found.y_bounds] == ["tpot.p90<15ms"]
    # 10 ms and 20 ms a token; 40 and 10; only the answer of one token keeps both.
    assert found.note.startswith("1 of 5 requests kept")
    stalls = scatter.stalls(one, dropped)
    assert stalls.x == pytest.approx([0.060, 1.010])
    assert stalls.y == pytest.approx([40, 20])
    assert "stall.p90<900s" in stalls.note  # too far above to be drawn


@pytest.mark.parametrize("number", [1, 40, 100_000])
def test_however_many_requests_there_are_few_points_and_none_is_forgotten(number: int) -> None:
    dice = np.random.default_rng(1)
    rows = answers([40, 60], tokens=[2])
    base = scatter.first_and_further(judged(rows, "p99<1s"), rows)
    one = dataclasses.replace(base, x=dice.lognormal(5, 1, number), y=dice.lognormal(3, 1, number))
    x, y = scatter.axes_of([one])
    dots = scatter.dots(one, x, y)
    assert sum(len(found.x) for found in dots) <= min(number, 3000)
    assert [found.level for found in dots] == sorted({found.level for found in dots})
    for values, axis, places in (
        (one.x, x, [found.x for found in dots]), (one.y, y, [found.y for found in dots]),
    ):  # fmt: skip
        together, exact = np.concatenate(places), axis.place(values)
        if number <= 40:
            assert np.sort(together) == pytest.approx(np.sort(exact), abs=0.02)
        assert together.min() == pytest.approx(exact.min(), abs=0.02)
        assert together.max() == pytest.approx(exact.max(), abs=0.02)


def test_token_by_token_there_are_a_usual_request_a_slow_one_and_those_that_went_wrong() -> None:
    events = [[10 + k, 20 + k, 30 + k] for k in range(200)]
    events[150] = [160, 900, 910]
    rows = answers(*events, tokens=[3] * 200, sent=4)
    outcome = rows.outcome.copy()
    outcome[7] = Outcome.TIMEOUT
    done = rows.done.copy()
    done[7] = NEVER
    found = timelines.timelines(dataclasses.replace(rows, outcome=outcome, done=done))
    assert [one.label.split(";")[0] for one in found] == [
        "median TTFT 110 ms", "p99 TTFT 208 ms", "longest stall 740 ms", "failed after 3 events",
    ]  # fmt: skip
    assert found[2].stall == pytest.approx((0.160, 0.900))
    assert [one.failed for one in found] == [False, False, False, True]
    assert all(one.sent == pytest.approx(0.004) for one in found)
    assert found[3].end == pytest.approx(found[3].events[-1])
    assert timelines.axis_of(found).holds(0.910)
    # One that is chosen for two reasons is there once.
    (single,) = timelines.timelines(answers([40, 60], tokens=[2]))
    assert single.label.split(";")[0] == "slowest TTFT 40 ms, longest stall 20 ms"
    nothing = dataclasses.replace(FIVE, outcome=np.full(5, Outcome.TIMEOUT, dtype=np.uint8))
    assert [one.failed for one in timelines.timelines(nothing)] == [True]
    assert timelines.timelines(mm1_records(50, 100, 200, seed=1)) == []


def test_each_answer_has_its_longest_gap() -> None:
    assert FIVE.streams is not None
    assert FIVE.streams.stalls().tolist() == [2, 4, -1, -1, 8]
    rows = batch()
    assert rows.streams is not None
    events = np.split(rows.streams.times, rows.streams.offsets[1:-1])
    longest = [max(np.diff(one), default=np.nan) / 1e9 for one in events]
    assert quantities.seconds(rows, "stall") == pytest.approx(longest, nan_ok=True)


def test_charts_of_answers_that_failed_or_tell_no_gaps_say_so() -> None:
    lost = dataclasses.replace(FIVE, outcome=np.full(5, Outcome.TIMEOUT, dtype=np.uint8))
    single = answers([5], [6], tokens=[9, 9])
    uncounted = answers([5, 9], [6], tokens=[-1, -1])
    nothing = answers([], [], tokens=[0, 0])
    few = "2 answers of fewer than two tokens or reads"
    for rows, words, reason in (
        (lost, "succeeded", "No request succeeded"), (single, few, ""),
        (nothing, few, "No success had output"),
    ):  # fmt: skip
        charts = {one.title: one for one in stream_charts(judged(rows, "p99<1s"), rows, 1000)}
        for title in ("TPOT against TTFT of each request, ms", "Longest stall of each answer, ms"):
            assert words in charts[title].message
        assert reason in charts["Time to first token of each request, ms"].note
        assert bool(charts[timelines.TITLE].message) is (rows is nothing)
    told = scatter.first_and_further(judged(uncounted, "p99<1s"), uncounted)
    assert "Left out: 2 answers of an unknown number of tokens." in told.note
    assert len(scatter.stalls(judged(uncounted, "p99<1s"), uncounted).x) == 1
    assert not stream_charts(case(mm1_records(50, 100, 200, seed=1)), mm1_records(50, 100, 200, 1),
                             1000)  # fmt: skip


def test_goodput_stands_against_the_rate_where_requests_have_limits() -> None:
    slow, fast = (judged(batch(), f"ttft.p99<{ms}ms, tpot.p90<30ms") for ms in (20, 400))
    assert GOODPUT in panels([slow])
    assert GOODPUT not in panels([case(batch(), 1.0)])  # no limits
    shown = [panel.metric for panel in panels([slow])]
    assert "tpot.p90" in shown  # as the SLO names it
    assert "ttft.p90" not in shown
    assert GOODPUT not in panels([judged(mm1_records(50, 100, 200, seed=1), "p99<1s")])
    points = [GOODPUT.point(one) for one in (slow, fast)]
    assert all(point is not None and point.low is not None for point in points)
    values = [point.value for point in points if point is not None]
    assert values[0] < values[1]


@pytest.mark.slow
def test_plots_of_two_servers_have_a_row_each_with_axes_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [  # of different rates, and all of them are shown where there is room
        judged(batch(slower, rate), "ttft.p99<300ms, tpot.p90<30ms", float(rate), server)
        for server, slower, rates in (("toy", 1.0, (1, 2, 3)), ("torchserve", 1.5, (2, 3, 4)))
        for rate in rates
    ]
    figures: dict[Path, Frame] = {}

    def keep(frame: Frame, path: Path) -> list[Path]:
        figures[path] = frame
        return [path]

    monkeypatch.setattr(Frame, "save", keep)
    series = make_series(cases, colours(["toy", "torchserve"]))
    with drawing():
        files = draw_streams(saved.run(cases), tmp_path, series, Path())
    first, stalls, tokens = (figures[path].figure.axes for path in files)
    assert len({ax.get_xlim() + ax.get_ylim() for ax in first}) == 1
    assert len({ax.get_ylim() for ax in stalls}) == 1
    titles = [f"Toy, {rate}/s" for rate in (1, 2, 3)]
    titles += [f"TorchServe, {rate}/s" for rate in (2, 3, 4)]
    assert [ax.get_title(loc="left") for ax in first] == titles
    assert [ax.get_title(loc="left") for ax in tokens] == titles


def test_servers_get_points_for_their_streams_and_only_where_there_are_any() -> None:
    fast, slow = (
        saved.case(batch(slower, seed, 2000), server=server, rate=1.0)
        for server, slower, seed in (("toy", 1.0, 1), ("torchserve", 1.5, 2))
    )
    plain = [saved.case(mm1_records(50, 100, 400, seed=k), server=server, rate=50.0)
             for k, server in enumerate(("toy", "torchserve"))]  # fmt: skip
    found = evaluate([fast, slow, *plain])
    assert found.headings is STREAMED_POINTS
    assert evaluate(plain).headings is POINTS
    won = {one.metric: one.winner for one in found.points if one.rate == 1.0}
    assert won["ttft.p50"] == won["tpot.p50"] == "toy"
    assert len(found.points) == len(STREAMED_POINTS) + len(POINTS)
    first, last = answer([fast, slow, *plain], found)
    assert "ttft.p50" in first
    assert "ttft" not in last
    # Tokens of one are not those of the other.
    apart = evaluate([
        dataclasses.replace(fast, streamed=StreamedAnswers("openai", "events", 9)),
        dataclasses.replace(slow, streamed=StreamedAnswers("openai", "usage", 9)),
    ])  # fmt: skip
    won = {one.metric: one.winner for one in apart.points}
    assert (won["ttft.p50"], won["tpot.p50"]) == ("toy", None)
    assert "counted by events and usage" in " ".join(apart.notes)
    (_, told) = answer([fast], evaluate([fast]))
    assert "ttft.p99" in told
    assert "tpot.p50" in told


def test_a_bound_is_drawn_where_the_figures_of_some_case_make_room_for_it() -> None:
    slow = answers([800, 900, 990], tokens=[3])
    quick, other = (
        scatter.first_and_further(judged(rows, "ttft.p99<1500ms"), rows) for rows in (FIVE, slow)
    )
    assert "Too far above to be drawn: ttft.p99<1500ms." in quick.note
    assert not other.note.startswith("Too far")
    for shown, holds in (([quick], False), ([other], True), ([quick, other], True)):
        x, _ = scatter.axes_of(shown)
        assert x.holds(1500) is holds
