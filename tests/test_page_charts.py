"""What the page's drawings hold, and how large they make it."""

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.report.axes import grouped, linear, rates, slower
from pytest_servebench.report.page.case_charts import case_charts
from pytest_servebench.report.page.cases import figure_table
from pytest_servebench.report.page.chart import WIDTH, Chart
from pytest_servebench.report.page.sweep_charts import sweep_charts
from pytest_servebench.report.page.theme import DARK, LEAST, LIGHT, contrast, shade
from pytest_servebench.report.page.thinning import in_flight, thinned
from pytest_servebench.report.series import colours, make_series, tinted
from pytest_servebench.runs.results import CaseResult, ClauseResult
from simulation import cases, saved
from simulation.cases import steady
from tests.pages import check, page_text
from tests.report import made_runs


def test_72000_requests_make_less_than_3_mb(tmp_path: Path) -> None:
    run = saved.busy_run(6000)
    assert sum(case.summary.arrivals for case in run.cases) > 70_000
    text = page_text(run, tmp_path)
    check(text)
    assert len(text.encode()) < 3e6


@pytest.mark.slow
def test_hundreds_of_cases_share_the_drawings_points(tmp_path: Path) -> None:
    run = saved.busy_run(1500)
    many = tuple(
        dataclasses.replace(
            case, name=f"test_{index}[{case.name}]", nodeid=f"it.py::test_{index}[{case.name}]"
        )
        for index in range(15)
        for case in run.cases
    )
    few = len(page_text(run, tmp_path)) / len(run.cases)
    assert len(page_text(dataclasses.replace(run, cases=many), tmp_path)) / len(many) < 0.7 * few


def test_thinned_points_keep_the_slowest_and_the_fastest() -> None:
    dice = np.random.default_rng(1)
    time, value = np.sort(dice.random(50_000)), dice.lognormal(size=50_000)
    chosen = thinned(time, value, 1000)
    assert len(chosen) <= 1100
    assert value[chosen].max() == value.max()
    assert value[chosen].min() == value.min()
    for part in np.array_split(np.arange(50_000), 20):
        assert value[part].max() in value[chosen]
    assert np.median(value[chosen]) == pytest.approx(np.median(value), rel=0.1)


def test_few_points_are_all_drawn() -> None:
    values = np.arange(10.0)
    assert thinned(values, values, 10).tolist() == list(range(10))


def test_in_flight_counts_what_was_inside() -> None:
    def column(*values: int) -> Any:
        return np.array(values, dtype=np.int64)

    ok, lost, late = Outcome.OK, Outcome.DROPPED, Outcome.UNFINISHED
    records = Records(
        scheduled=column(0, 10, 20, 30), enqueued=column(0, 10, 20, 30),
        dequeued=column(0, 25, NEVER, NEVER), sent=column(0, 25, NEVER, NEVER),
        first_byte=column(24, 39, NEVER, NEVER), done=column(25, 40, 20, NEVER),
        outcome=np.array([ok, ok, lost, late], dtype=np.uint8),
        status=np.zeros(4, dtype=np.int16), window=50,
    )  # fmt: skip
    time, inside, worked = in_flight(records, 5)
    assert (time * 1e9).round().tolist() == [0, 10, 20, 30, 40]
    assert inside.tolist() == [1, 2, 2, 2, 1]
    assert worked.tolist() == [1, 1, 1, 1, 0]


def test_colours_stand_out_in_both_themes() -> None:
    palette = colours(["toy", "a", "b", "c", "d"])
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for colour in palette.values():
        for number in range(4):
            found = shade(tinted(colour, number))
            assert contrast(found.light, LIGHT) >= LEAST
            assert contrast(found.dark, DARK) >= LEAST
    assert shade(palette["torchserve"]).light == palette["torchserve"].lower()


# -- what a drawing says of little ----------------------------------------------------------------


def titled(case: CaseResult, cores: int | None = 2) -> dict[str, Chart]:
    return {one.title: one for one in case_charts(case, case.records, cores, 1000)}


def test_the_machine_is_left_out_where_its_processors_are_not_known(tmp_path: Path) -> None:
    run = saved.busy_run(300)
    title = "CPU, % of one processor"
    for cores, curves in ((2, {"line", "line-host"}), (None, {"line"})):
        chart = titled(run.cases[0], cores)[title]
        assert {one.css for one in chart.paths} == curves
        assert {one.shape for one in chart.legend} == curves
    unknown = dataclasses.replace(run, machine={"cpu": "AMD EPYC 7B13"})
    assert title in check(page_text(unknown, tmp_path)).text


def test_a_drawing_refuses_other_numbers_of_places_and_heights() -> None:
    chart = Chart("a", "b", linear(0.0, 1.0), linear(0.0, 1.0))
    with pytest.raises(ValueError, match="0 heights for 2 places"):
        chart.line([0.0, 1.0], [], "line")
    with pytest.raises(ValueError, match="1 heights for 2 places"):
        chart.area([0.0, 1.0], [0.0, 0.0], [1.0], "band")


def test_a_sample_that_is_alone_is_drawn_as_a_point() -> None:
    series = {"time": [0.5], "cpu": [40.0], "memory": [5e8], "host_cpu": [30.0]}
    case = saved.case(resources=dataclasses.replace(cases.SEEN, series=series))
    for title in ("CPU, % of one processor", "Memory, MB resident"):
        lines = [one.d for one in titled(case)[title].paths if one.css.startswith("line")]
        assert lines
        assert all(one.endswith("h0") for one in lines)


def test_nothing_is_said_of_successes_where_there_are_none() -> None:
    (case,) = made_runs.nothing_ok_run().cases[:1]
    assert case.summary.outcomes.get("ok", 0) == 0
    charts = titled(case)
    latency = charts["Latency of each request, ms"]
    assert "slowest success" not in latency.description
    assert "dot" not in [one.shape for one in latency.legend]
    assert latency.note == "No request succeeded."
    assert charts["Queue wait and service time, ms"].message == "No request succeeded."
    assert "0 ms" not in charts["Queue wait and service time, ms"].description
    percentiles = charts["Latency by percentile, ms"]
    assert percentiles.message == "No request succeeded."


def test_there_is_no_band_in_the_legend_where_all_percentiles_are_infinite() -> None:
    rows = steady(np.full(20, 0.01), 50.0, failed=19)
    case = saved.case(rows)
    title = "Latency by percentile, ms"
    joined = titled(case)[title]
    assert "failed" in joined.message
    chart = titled(dataclasses.replace(case, records=rows))[title]
    assert [one.shape for one in chart.legend] == ["line"]
    assert "band" not in {one.css for one in chart.paths}
    assert chart.note == "19 failed requests rank as infinitely slow: the curve ends before."


def test_there_is_a_band_in_the_legend_where_there_is_one_in_the_drawing() -> None:
    chart = titled(saved.busy_run(300).cases[0])["Latency by percentile, ms"]
    assert "band" in {one.css for one in chart.paths}
    assert [one.shape for one in chart.legend[:2]] == ["line", "band"]


def test_an_axis_of_rates_has_a_length_also_at_zero() -> None:
    axis = rates([0.0])
    assert axis.first < axis.last
    assert axis.place([0.0]).tolist() == [0.5]


def test_many_rates_have_round_ticks() -> None:
    few = rates([1.1, 2.2, 70.7])
    assert [text for _, text in few.ticks] == ["1.1", "2.2", "70.7"]
    many = rates([round(5 * 1.15**step, 1) for step in range(30)])
    assert [text for _, text in many.ticks] == ["10", "30", "100", "300"]


def test_thousands_stand_apart_from_five_digits_on() -> None:
    texts = ["1000", "24000", "144951.5", "0.000012345", "-100000", "1.5M"]
    assert [grouped(text) for text in texts] == [
        "1000", "24\u202f000", "144\u202f951.5", "0.000012345", "-100\u202f000", "1.5M",
    ]  # fmt: skip
    assert [text for _, text in linear(0, 30_000, 3).ticks] == [
        "0", "10\u202f000", "20\u202f000", "30\u202f000",
    ]  # fmt: skip


def test_ticks_that_have_no_room_have_no_label() -> None:
    chart = Chart("", "", slower(72_000), linear(0, 1))
    assert chart.x.ticks[-1][1] == "99.999"
    shown = chart.x_ticks
    assert [text for _, text, _ in shown][:5] == ["0", "50", "90", "99", "99.9"]
    ends = [
        (place - 14 * len(text) / (1 if anchor == "end" else 2),
         place + (0 if anchor == "end" else 14 * len(text) / 2))
        for place, text, anchor in shown
    ]  # fmt: skip
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(ends))
    assert ends[-1][1] <= WIDTH


def swept(*cases: CaseResult) -> dict[str, Chart]:
    palette = colours(case.server.kind for case in cases)
    classes = {(case.server.kind, case.sizes): "k0b0" for case in cases}
    charts = sweep_charts(make_series(cases, palette), classes)
    return {chart.title.partition(",")[0]: chart for chart in charts}


def points(chart: Chart, css: str) -> list[tuple[int, int]]:
    (path,) = [one.d for one in chart.paths if one.css.split()[0] == css]
    return [(int(a), int(b)) for a, b in re.findall(r"(\d+) (\d+)", path)]


@pytest.mark.parametrize("offered", [(10.0, 20.0), (2.0, 2000.0, 24000.0)])
def test_all_that_is_offered_is_right_on_any_axis(offered: tuple[float, ...]) -> None:
    chart = swept(*(saved.case(rate=rate) for rate in offered))["Throughput"]
    drawn = points(chart, "ideal")
    places, heights = [x for x, _ in drawn], [y for _, y in drawn]
    for rate in offered:
        (x,), (y,) = chart.px([rate]), chart.py([rate])
        assert np.interp(x, places, heights) == pytest.approx(y, abs=3)


def test_the_highest_sample_is_a_dash_of_its_own() -> None:
    chart = swept(saved.case())["CPU"]
    (top,) = chart.py([cases.SEEN.cpu_peak or 0.0])
    dashes = [one.d for one in chart.paths if one.css.startswith("whisker")]
    assert any(re.fullmatch(rf"M\d+ {top}L\d+ {top}", d) for d in dashes)


def test_a_bound_a_little_above_the_figures_is_shown_with_them() -> None:
    rows = steady(np.full(400, 0.01), 50.0)
    bounds = [0.018, 0.5]
    clauses = tuple(
        ClauseResult(f"p50<{bound}s", "p50", bound, 0.01, 0.01, 0.01, "passed", "")
        for bound in bounds
    )
    chart = swept(saved.case(rows, clauses=clauses))["Latency p50"]
    assert [one.text for one in chart.labels] == ["p50<0.018s"]


def test_bounds_far_from_what_was_measured_are_told_and_not_drawn() -> None:
    clauses = tuple(
        ClauseResult(text, "p50", bound, 0.012, None, None, "passed", "")
        for text, bound in (("p50<9s", 9.0), ("p50<15ms", 0.015), ("p50<1us", 1e-6))
    )
    rows = steady(np.linspace(0.008, 0.02, 100), 50.0)
    case = saved.case(rows, clauses=clauses)
    for chart in case_charts(case, rows, 2, 1000)[:2]:
        assert (
            "Too far above to be drawn: p50<9s. Too far below to be drawn: p50<1us." in chart.note
        )
        assert chart.y.first > 1
        assert chart.y.last < 100
    assert [one.text for one in case_charts(case, rows, 2, 1000)[0].labels] == ["p50<15ms"]


def test_a_case_without_a_success_has_no_axis_of_latencies() -> None:
    case = made_runs.nothing_ok_run().cases[0]
    chart = case_charts(case, case.records, 2, 1000)[0]
    assert chart.y_ticks == []
    assert chart.height < 200
    assert chart.bottom > chart.top
    assert [one.shape for one in chart.legend] == ["error"]
    assert not [label for label, _ in figure_table(case) if label == "95 % interval"]
