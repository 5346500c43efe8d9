"""The page of a run, and that of a comparison."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_servebench.cli import main
from pytest_servebench.comparability import differences
from pytest_servebench.compare import compare
from pytest_servebench.evaluation import evaluate
from pytest_servebench.gates import parse_gates
from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.report.page import comparison_page, page
from pytest_servebench.report.page.answer import answer
from pytest_servebench.report.page.cases import anchors
from pytest_servebench.report.page.theme import DARK, LEAST, LIGHT, contrast, shade
from pytest_servebench.report.page.thinning import in_flight, thinned
from pytest_servebench.report.plot_series import colours, tinted
from pytest_servebench.results import CaseResult, ClauseResult, Run
from tests import saved
from tests.conftest import RunBench
from tests.pages import busy_run, check, page_text
from tests.report import made_runs

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}\u202eevil\u2066"
SHOWN = EVIL.replace("\u202e", "?").replace("\u2066", "?")


# -- what is on it --------------------------------------------------------------------------------


def test_every_case_is_on_the_page_with_a_drill_down_a_row_and_a_cell(tmp_path: Path) -> None:
    run = made_runs.overloaded_run(8.0)
    found = check(page_text(run, tmp_path))
    names = anchors(run.cases)
    assert len(set(names)) == len(run.cases)
    drills = [one["id"] for one in found.named("details")]
    assert sorted(drills) == sorted(names)
    assert sorted(found.attributes("data-case")) == sorted(names)
    cells = [one["href"][1:] for one in found.named("a") if one.get("class") == "cell"]
    assert sorted(cells) == sorted(names)
    for case in run.cases:
        assert case.nodeid in found.text
    for text in ("savedmodel-server 0.1.0 (TensorFlow 2.21.0)", "AMD EPYC 7B13", "1 thread"):
        assert text in found.text


def test_what_is_invalid_stands_before_the_answer_and_the_rest(tmp_path: Path) -> None:
    text = check(page_text(made_runs.overloaded_run(8.0), tmp_path)).text
    places = [
        text.index(words)
        for words in (
            "41 of 150 arrivals were more than 5 ms late",
            "the SLO is broken",
            "the SLO cannot be decided",
            "Which server for which load?",
            "What was measured",
            "All cases",
        )
    ]
    assert places == sorted(places)


def test_nothing_needs_attention_where_all_passed(tmp_path: Path) -> None:
    run = saved.run([saved.case()])
    assert "Needs attention" not in page_text(run, tmp_path)


def test_a_case_shows_its_drawings_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    run = busy_run(3000)
    one = run.cases[-1]
    found = check(page_text(dataclasses.replace(run, cases=(one,)), tmp_path))
    for title in (
        "Latency of each request", "Latency by percentile", "Distribution of latency",
        "Queue wait and service time", "Requests in flight", "Arrivals and successes",
        "CPU, % of one processor", "Memory, MB resident", "Lag of the load generator",
    ):  # fmt: skip
        assert title in found.text
    successes = one.summary.outcomes["ok"]
    assert re.search(rf"\d+ of {successes} successes are drawn", found.text)
    assert f"dropped: the buffer was full ({one.summary.outcomes['dropped']})" in found.text
    assert f"failed ({one.summary.outcomes['http_error']})" in found.text


def test_clauses_have_bound_value_interval_and_verdict(tmp_path: Path) -> None:
    run = made_runs.run([made_runs.case(made_runs.TORCHSERVE, 100.0, error_share=0.05)])
    text = check(page_text(run, tmp_path)).text
    for one in run.cases[0].clauses:
        assert one.clause in text
        assert one.message in text
    assert "50 ms" in text
    assert "∞" in text


def test_a_failed_case_quotes_its_servers_log(tmp_path: Path) -> None:
    logs = tmp_path / "servers"
    for name, line in (("torchserve", "first"), ("torchserve-2", "second"), ("torchserve2", "no")):
        (logs / name).mkdir(parents=True)
        (logs / name / "server.log").write_text(f"{line} server: \x1b[31m<b>out of memory</b>\n")
    case = made_runs.case(made_runs.TORCHSERVE, 100.0, error_share=0.5)
    assert case.verdict == "failed"
    text = check(page_text(made_runs.run([case]), tmp_path)).text
    assert "first server: ?[31m<b>out of memory</b>" in text
    assert "second server" in text
    assert "no server" not in text
    calm = made_runs.case(made_runs.TORCHSERVE, slo=False)
    assert "out of memory" not in page_text(made_runs.run([calm]), tmp_path)


# -- hostile texts --------------------------------------------------------------------------------


def hostile_case() -> CaseResult:
    case = made_runs.case(made_runs.TORCHSERVE, 20.0)
    server = dataclasses.replace(
        case.server, title=f"t{EVIL}", implementation=f"i{EVIL}", base_url=f"u{EVIL}",
        protocol=f"p{EVIL}", kind=f"k{EVIL}",
    )  # fmt: skip
    clause = ClauseResult(f"c{EVIL}", "p99", 0.05, 0.06, 0.055, 0.07, "failed", f"m{EVIL}")
    return dataclasses.replace(
        case, name=f"n{EVIL}[x{EVIL}]", nodeid=f"d{EVIL}::n", server=server, clauses=(clause,),
        verdict="failed", failures={f"b{EVIL}": 3}, model=f"o{EVIL}", input_source=f"s{EVIL}",
    )  # fmt: skip


def test_texts_from_outside_are_shown_as_texts(tmp_path: Path) -> None:
    run = made_runs.run([hostile_case(), made_runs.invalid(hostile_case())])
    run = dataclasses.replace(
        run, name=f"r{EVIL}", machine={"cpu": f"q{EVIL}", "cores": EVIL},
        versions={f"v{EVIL}": f"w{EVIL}"},
    )  # fmt: skip
    report = run.to_dict()
    report[f"e{EVIL}"] = f"f{EVIL}"
    report["nested"] = {"g": [f"h{EVIL}"]}
    report["cases"][0][f"y{EVIL}"] = f"z{EVIL}"
    text = page(run, tmp_path, report)
    found = check(text)
    for letter in "tipnodcmbsrqvwefyz":
        assert letter + SHOWN in found.text, letter
    assert not found.named("img")
    assert "\u202e" not in text
    assert "\u2066" not in text


def test_hostile_runs_make_a_page_of_their_comparison(tmp_path: Path) -> None:
    run = made_runs.run([hostile_case()])
    run = dataclasses.replace(run, name=EVIL)
    text = comparison_page([(compare(run, run), differences(run, run), ())], tmp_path, [tmp_path])
    found = check(text)
    assert SHOWN in found.text
    assert not found.named("img")


# -- size -----------------------------------------------------------------------------------------


def test_72000_requests_make_less_than_3_mb(tmp_path: Path) -> None:
    run = busy_run(6000)
    assert sum(case.summary.arrivals for case in run.cases) > 70_000
    text = page_text(run, tmp_path)
    check(text)
    assert len(text.encode()) < 3e6


def test_hundreds_of_cases_share_the_drawings_points(tmp_path: Path) -> None:
    run = busy_run(1500)
    many = tuple(
        dataclasses.replace(case, name=f"test_{index}[{case.name}]")
        for index in range(20)
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


# -- what is missing ------------------------------------------------------------------------------


def without_records(run: Run) -> Run:
    cases = (
        dataclasses.replace(case, records=None, records_file=f"records/{index}.npz")
        for index, case in enumerate(run.cases)
    )
    return dataclasses.replace(run, cases=tuple(cases))


def test_missing_records_are_named_and_the_figures_stay(tmp_path: Path) -> None:
    run = without_records(made_runs.overloaded_run(8.0))
    text = check(page_text(run, tmp_path)).text
    assert "are not there for all cases" in text
    assert "records/3.npz is missing" in text
    assert "Latency by percentile" in text
    assert "Latency of each request" not in text


def test_damaged_records_are_named(tmp_path: Path) -> None:
    run = without_records(made_runs.one_rate_run())
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "0.npz").write_bytes(b"no zip file")
    records = made_runs.one_rate_run().cases[1].records
    assert records is not None
    records.save(tmp_path / "records" / "1.npz")
    text = check(page_text(run, tmp_path)).text
    assert "records/0.npz cannot be read" in text
    assert "are not there for 1 of 2 cases" in text


@pytest.mark.parametrize(
    "made",
    [
        made_runs.single_run,
        made_runs.nothing_ok_run,
        made_runs.no_arrivals_run,
        made_runs.attached_run,
        made_runs.all_attached_run,
        made_runs.all_invalid_run,
        made_runs.hostile_run,
        lambda: made_runs.run([]),
    ],
)
@pytest.mark.parametrize("records", [True, False])
def test_unusual_runs_have_a_page(made: Callable[[], Run], records: bool, tmp_path: Path) -> None:
    run = made() if records else without_records(made())
    found = check(page_text(run, tmp_path))
    assert len(found.named("details")) == len(run.cases)


def test_repeats_and_several_tests_are_told_apart(tmp_path: Path) -> None:
    cases = [saved.case(repeat=number) for number in (1, 2)]
    other = dataclasses.replace(saved.case(), name="test_b[x]", nodeid="b.py::test_b[x]")
    found = check(page_text(saved.run([*cases, other]), tmp_path))
    assert "50/s, buffer 50 #2" in found.text
    assert "test_b" in found.text


# -- the answer -----------------------------------------------------------------------------------


def sentences(run: Run) -> list[str]:
    return answer(run.cases, evaluate(run.cases))


def test_the_answer_names_the_better_server_with_its_uncertainty() -> None:
    low, high = sentences(made_runs.overloaded_run())
    assert low.startswith("At 10 requests/s, TensorFlow Serving did better than TorchServe (")
    assert re.search(r"p50 [\d.]+ ms \(95 % interval [\d.]+ ms to [\d.]+ ms\) against", low)
    assert high.startswith("At 200 requests/s")
    assert "but it broke its SLO in 2 of 2 cases" in high


def test_the_answer_does_not_choose_within_noise() -> None:
    case = saved.case()
    twin = saved.case(server="toy")
    assert sentences(saved.run([case, twin])) == [
        "At 50 requests/s, nothing that was measured separates TorchServe and Toy beyond noise."
    ]


def test_the_answer_for_one_server_tells_how_far_it_kept_its_slo() -> None:
    def judged(rate: float, verdict: Any) -> CaseResult:
        clause = ClauseResult("p99<50ms", "p99", 0.05, 0.02, 0.01, 0.03, verdict, "")
        return saved.case(rate=rate, clauses=(clause,), verdict=verdict)

    kept = [judged(10, "passed"), judged(20, "passed")]
    broken = judged(40, "failed")
    assert sentences(saved.run(kept))[0] == (
        "TorchServe kept every SLO at all rates up to 20 requests/s."
    )
    assert sentences(saved.run([*kept, broken]))[0] == (
        "TorchServe kept every SLO up to 20 requests/s; at 40 requests/s it broke p99<50ms."
    )
    assert sentences(saved.run([broken]))[0] == "TorchServe broke p99<50ms at 40 requests/s."
    assert sentences(made_runs.all_invalid_run()) == [
        "No measurement is valid: nothing can be said about the servers."
    ]
    assert sentences(saved.run([])) == ["Nothing was measured."]


def test_colours_stand_out_in_both_themes() -> None:
    palette = colours(["toy", "a", "b", "c", "d"])
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for colour in palette.values():
        for number in range(4):
            found = shade(tinted(colour, number))
            assert contrast(found.light, LIGHT) >= LEAST
            assert contrast(found.dark, DARK) >= LEAST
    assert shade(palette["torchserve"]).light == palette["torchserve"].lower()


# -- in a run, and again --------------------------------------------------------------------------


def results_of(path: Path) -> Path:
    return (path / "servebench_results" / "latest").resolve()


def test_a_page_made_again_equals_the_first(
    run_bench: RunBench, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = """
        def pytest_servebench_update_report(config, report):
            report["commit"] = "<b>abc</b>"
            report["cases"][0]["team"] = "green & blue"
    """
    result = run_bench("--servebench-page=true", "--servebench-slo=p99<1ms", conftest=hook)
    directory = results_of(pytester.path)
    path = directory / "report.html"
    shown = f"servebench_results/{directory.name}/report.html"
    result.stdout.fnmatch_lines([f"servebench: page {shown}"])
    first = path.read_text()
    found = check(first)
    assert "<b>abc</b>" in found.text
    assert "green & blue" in found.text
    path.unlink()
    elsewhere = pytester.path / "elsewhere"
    shutil.move(directory, elsewhere)
    capsys.readouterr()
    assert main(["report", str(elsewhere)]) == 0
    assert capsys.readouterr().out.strip() == str(elsewhere / "report.html")
    assert (elsewhere / "report.html").read_text() == first
    assert (elsewhere / "metrics_summary.txt").is_file()
    assert list((elsewhere / "plots").glob("*.svg"))
    assert main(["report", str(elsewhere), "--output", "other.html"]) == 0
    assert Path("other.html").read_text() == first


def test_no_page_is_made_where_none_is_wanted(
    run_bench: RunBench, pytester: pytest.Pytester
) -> None:
    result = run_bench("--servebench-page=false")
    assert not (results_of(pytester.path) / "report.html").exists()
    assert "report.html" not in result.stdout.str()


def test_a_run_without_records_can_be_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "page.html"
    assert main(["report", str(saved.SAMPLE), "--output", str(output)]) == 0
    assert "none were saved" in check(output.read_text()).text
    assert sorted(saved.SAMPLE.iterdir()) == [saved.SAMPLE / "run.json"]
    assert main(["report", str(saved.SAMPLE), "--output", str(tmp_path / "no" / "p.html")]) == 2
    assert "a directory that exists" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "nothing")]) == 2


def test_a_file_of_pytest_benchmark_gets_a_page_beside_it(tmp_path: Path) -> None:
    data = saved.plain(saved.run([saved.case()]))
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(data))
    assert main(["report", str(path)]) == 0
    check((tmp_path / "bench.html").read_text())
    assert sorted(one.name for one in tmp_path.iterdir()) == ["bench.html", "bench.json"]


def test_importing_the_plugin_costs_no_templates() -> None:
    code = (
        "import sys, pytest_servebench.plugin, pytest_servebench.cli, pytest_servebench.report; "
        "sys.exit('jinja2' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- comparisons ----------------------------------------------------------------------------------


def compared(tmp_path: Path, *arguments: str, records: bool = True) -> tuple[int, str]:
    for name, slower in (("base", 1.0), ("new", 1.6)):
        run = saved.queue_run(name, slower=slower, seed=1, number=1500)
        path = saved.save(run, tmp_path)
        if records:
            (path.parent / "records").mkdir()
            data = json.loads(path.read_text())
            for index, case in enumerate(data["servebench"]["cases"]):
                case["records_file"] = f"records/{index}.npz"
                rows = saved.queue(
                    "M/M/1", case["rate"] * 0.005, np.random.default_rng(index), number=1500,
                    service=0.005, slower=slower,
                )  # fmt: skip
                rows.save(path.parent / "records" / f"{index}.npz")
            path.write_text(json.dumps(data))
    page_path = tmp_path / "comparison.html"
    status = main(
        ["compare", "base", "new", "--results", str(tmp_path), "--html", str(page_path), *arguments]
    )
    return status, page_path.read_text() if page_path.exists() else ""


def test_a_comparison_says_first_what_got_slower(tmp_path: Path) -> None:
    status, text = compared(tmp_path, "--fail", "p50:10%")
    assert status == 1
    found = check(text)
    assert "FAILED: p50:10%" in found.text
    assert found.text.index("FAILED") < found.text.index("Each case")
    rows = re.findall(r'<th scope="row" class="left"><a href="#(pair-1-\d+)">([^<]*)</a>', text)
    assert "torchserve" in rows[0][1]
    assert "the gate's threshold, +10 %" in found.text
    charts = [one for one in found.named("svg") if one.get("class") == "chart"]
    assert len(charts) == 4
    assert "Where records are missing" not in found.text


def test_a_comparison_without_records_joins_the_known_percentiles(tmp_path: Path) -> None:
    _, text = compared(tmp_path, records=False)
    assert "Where records are missing" in check(text).text


def test_a_comparison_tells_refusals_and_what_was_allowed(tmp_path: Path) -> None:
    base = saved.queue_run("base", number=300)
    other = dataclasses.replace(base, name="other", machine={**base.machine, "cpu": "Other <b>"})
    for run in (base, other):
        saved.save(run, tmp_path)
    output = tmp_path / "page.html"
    common = ["compare", "base", "other", "--results", str(tmp_path), "--html", str(output)]
    assert main(common) == 2
    refused = check(output.read_text()).text
    assert "These runs cannot be compared." in refused
    assert "Other <b>" in refused
    assert "--allow machine" in refused
    assert "Each metric" not in refused
    assert main([*common, "--allow", "machine"]) == 0
    allowed = check(output.read_text()).text
    assert "Not the same on both sides, and allowed" in allowed
    assert "Each metric" in allowed


def test_several_new_runs_have_a_block_each(tmp_path: Path) -> None:
    runs = [saved.queue_run(name, number=300) for name in ("base", "one", "two")]
    gates = parse_gates("p99:10%")
    found = [(compare(runs[0], one, gates), (), ()) for one in runs[1:]]
    text = check(comparison_page(found, tmp_path, [tmp_path, tmp_path])).text
    assert "one and two against base" in text
    assert text.count("Each metric") == 2


def test_identical_runs_have_no_change_in_the_middle(tmp_path: Path) -> None:
    run = saved.queue_run("base", number=300)
    text = comparison_page([(compare(run, run), (), ())], tmp_path, [tmp_path])
    places = {int(place) for place in re.findall(r'class="at" cx="(\d+)"', text)}
    assert places == {160}
    assert "nothing worse" in html.unescape(text)


def test_a_page_of_a_comparison_that_cannot_be_written_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved.save(saved.queue_run("base", number=300), tmp_path)
    arguments = ["compare", "base", "base", "--results", str(tmp_path)]
    assert main([*arguments, "--html", str(tmp_path / "no" / "page.html")]) == 2
    assert "--html" in capsys.readouterr().err
