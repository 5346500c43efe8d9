"""The page of a run."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_servebench.commands.cli import main
from pytest_servebench.report.case_details import case_text
from pytest_servebench.report.page.cases import anchors, figure_table
from pytest_servebench.report.page.clauses import clause_view
from pytest_servebench.runs.results import ClauseResult, LogPart, Run, ServerDeath
from simulation import saved
from tests.conftest import RunBench
from tests.pages import check, page_text, plain_run
from tests.report import made_runs
from tests.results import RESULTS, saved_run
from tests.sample import SAMPLE

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
            "the measurement cannot decide the SLO",
            "Which server for which load?",
            "What was measured",
            "All cases",
        )
    ]
    assert places == sorted(places)


def test_servers_that_died_stand_before_the_answer(tmp_path: Path) -> None:
    death = ServerDeath(
        "toy", "Toy 1.0", "test_it.py::test_load[toy-rate5]", "<b>killed</b>", "servers/toy/a.log"
    )
    run = saved.run([saved.case()], deaths=(death,), not_measured=2)
    for name in ("a.log", "b.log"):
        path = tmp_path / "servers" / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"first of {name}\n" + "more\n" * 30 + f"<i>last of {name}</i>\n")
    text = check(page_text(run, tmp_path)).text
    assert text.index("<i>last of a.log</i>") < text.index("What was measured")
    assert "first of a.log" not in text
    assert "b.log" not in text
    told = "Toy 1.0 died: <b>killed</b>; found in toy-rate5; log: servers/toy/a.log"
    answered = text.index("How fast does TorchServe answer?")
    assert text.index(told) < answered
    assert text.index("But Toy 1.0 died once under test", answered) < text.index("Each case")
    assert "not measured: 2 selected cases" in text


def test_nothing_needs_attention_where_all_passed(tmp_path: Path) -> None:
    run = saved.run([saved.case()])
    assert "Needs attention" not in page_text(run, tmp_path)


def test_a_case_shows_its_drawings_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    run = saved.busy_run(3000)
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
    assert f"failed ({one.summary.outcomes['error_status']})" in found.text


@pytest.mark.parametrize("made", [made_runs.overloaded_run, made_runs.nothing_ok_run, plain_run])
def test_figures_of_a_case_are_those_of_the_text(made: Callable[[], Run]) -> None:
    for case in made().cases:
        lines = [line.strip() for line in case_text(case, "server", 200)]
        rows = [(label, row) for label, row in figure_table(case) if label != "95 % interval"]
        assert rows
        for label, row in rows:
            (line,) = [one for one in lines if one.startswith(label)]
            shown = line.removeprefix(label).split()
            assert shown == [one.text for one in row if one.text]


def test_clauses_have_bound_value_interval_and_verdict(tmp_path: Path) -> None:
    run = made_runs.run([made_runs.case(made_runs.TORCHSERVE, 100.0, error_share=0.05)])
    text = check(page_text(run, tmp_path)).text
    for one in run.cases[0].clauses:
        assert one.clause in text
        assert one.message in text
    assert "50 ms" in text
    assert "∞" in text


def gated_run() -> Run:
    """Return two rates whose p50 has a gate, beside their SLOs."""
    text = "p50:20% against main"
    figures = "15.4 ms against 5.3 ms: +190 % (95 % interval +148 % to +191 %)"
    gate = ClauseResult(text, "p50", 0.2, 0.0154, None, None, "failed",
                        f"{text}: broken: it got worse: {figures}", "gate")  # fmt: skip
    cases = [made_runs.case(made_runs.TORCHSERVE, rate, slo=False) for rate in (20.0, 100.0)]
    return made_runs.run(
        [dataclasses.replace(one, clauses=(gate,), verdict="failed") for one in cases]
    )


def test_a_gate_is_shown_as_a_change_and_not_as_a_latency(tmp_path: Path) -> None:
    html = check(page_text(gated_run(), tmp_path))
    assert "+20 %" in html.text
    assert "15.4 ms against 5.3 ms: +190 % (95 % interval +148 % to +191 %)" in html.text
    assert "200 ms" not in html.text
    shapes = [name for text in html.attributes("class") for name in text.split()]
    assert "line" in shapes  # drawings there are, without a bound
    assert not {"bound", "bound-mark", "limit-at"} & set(shapes)


@pytest.mark.parametrize(
    ("metric", "text", "bound"),
    [
        ("p999", "p99.9:12.5% against main", "+12.5 %"),
        ("throughput", "throughput:5% against main", "-5 %"),
        ("success_rate", "success_rate:2% against main", "-2 points"),
        ("unheard_of", "unheard_of:2% against main", "+2 %"),
    ],
)
def test_a_gates_bound_is_what_it_allows(metric: str, text: str, bound: str) -> None:
    allowed = float(text.partition(":")[2].partition("%")[0]) / 100
    why = "no baseline: it has no valid case"
    shown = clause_view(
        ClauseResult(text, metric, allowed, None, None, None, "failed", f"{text}: {why}", "gate")
    )
    assert (shown.bound, shown.value, shown.comparison) == (bound, "-", why)


@pytest.mark.slow
def test_a_failed_case_quotes_what_was_logged_while_it_ran(tmp_path: Path) -> None:
    (tmp_path / "servers").mkdir()
    lines = [f"\x1b[31m<line {number}>" for number in range(1, 101)]
    (tmp_path / "servers" / "a.log").write_text("\n".join(lines) + "\n")
    (tmp_path / "servers" / "b.log").write_text("quiet\n")
    (tmp_path / "secret.log").write_text("<out of the directory>\n" * 9)

    def page(*parts: LogPart) -> str:
        case = dataclasses.replace(made_runs.case(rate=100.0, error_share=0.5), logs=parts)
        assert case.verdict == "failed"
        return check(page_text(made_runs.run([case]), tmp_path)).text

    calm = dataclasses.replace(made_runs.case(slo=False), logs=(LogPart("servers/a.log", 0, 9),))
    assert "&lt;line" not in page_text(made_runs.run([calm]), tmp_path)
    silent = LogPart("servers/b.log", 1, 0)
    text = page(LogPart("servers/a.log", 40, 30), silent, LogPart("servers/gone.log", 0, 5))
    assert "servers/a.log: lines 51 to 70, written while this case ran" in text
    assert "?[31m<line 51>" in text
    assert "<line 70>" in text
    for absent in ("<line 50>", "<line 71>", "b.log", "gone.log"):
        assert absent not in text
    assert "servers/b.log: nothing was logged while this case ran" in page(silent)
    for outside in ("secret.log", "../secret.log", "servers/../secret.log", "/etc/passwd"):
        assert "of the directory" not in page(LogPart(outside, 0, 5))
    for damaged in (
        LogPart("servers/a.log", -5, 10), LogPart("servers/a.log", 0, 10**30),
        LogPart("servers/\0", 0, 5), LogPart("servers/" + "a" * 300, 0, 5),
    ):  # fmt: skip
        assert "<line" not in page(damaged)


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
    assert "are missing for all cases" in text
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
    assert "are missing for 1 of 2 cases" in text


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


# -- in a run, and again --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_page_made_again_equals_the_first(
    run_bench: RunBench, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = """
        def pytest_servebench_update_report(config, report):
            report["commit"] = "<b>abc</b>"
            report["cases"][0]["team"] = "green & blue"
    """
    result = run_bench("--servebench-page=true", "--servebench-slo=p99<1ms", conftest=hook)
    directory, _ = saved_run()
    path = directory / "report.html"
    shown = f"servebench_results/{directory.name}/report.html"
    result.stdout.fnmatch_lines([f"servebench: page {shown}"])
    first = path.read_text()
    found = check(first)
    assert "<b>abc</b>" in found.text
    assert "green & blue" in found.text
    path.unlink()
    elsewhere = Path("elsewhere")
    shutil.move(directory, elsewhere)
    capsys.readouterr()
    assert main(["report", str(elsewhere)]) == 0
    assert capsys.readouterr().out.strip() == str(elsewhere / "report.html")
    assert (elsewhere / "report.html").read_text() == first
    assert (elsewhere / "metrics_summary.txt").is_file()
    assert list((elsewhere / "plots").glob("*.svg"))
    assert main(["report", str(elsewhere), "--output", "other.html"]) == 0
    assert Path("other.html").read_text() == first


def test_no_page_is_made_where_none_is_wanted(run_bench: RunBench) -> None:
    result = run_bench("--servebench-page=false")
    assert not (RESULTS / "latest/report.html").exists()
    assert "report.html" not in result.stdout.str()


def test_a_run_without_records_can_be_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "page.html"
    assert main(["report", str(SAMPLE), "--output", str(output)]) == 0
    assert "none were saved" in check(output.read_text()).text
    assert sorted(SAMPLE.iterdir()) == [SAMPLE / "run.json"]
    assert main(["report", str(SAMPLE), "--output", str(tmp_path / "no" / "p.html")]) == 2
    assert "--output" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "nothing")]) == 2


def test_a_file_of_pytest_benchmark_gets_a_page_beside_it(tmp_path: Path) -> None:
    data = saved.plain(saved.run([saved.case()]))
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(data))
    assert main(["report", str(path)]) == 0
    check((tmp_path / "bench.html").read_text())
    assert sorted(one.name for one in tmp_path.iterdir()) == ["bench.html", "bench.json"]


@pytest.mark.slow
def test_commands_import_no_templates() -> None:
    code = (
        "import sys, pytest_servebench.commands.cli, pytest_servebench.report; "
        "sys.exit('jinja2' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_named_server_by_url_shows_its_address(tmp_path: Path) -> None:
    case = made_runs.case(attached=True)
    info = dataclasses.replace(case.server, implementation="chat", base_url="http://127.0.0.1:8000")
    named = dataclasses.replace(
        case, server=dataclasses.replace(info, threads=None, workers=None, title="chat")
    )
    text = check(page_text(made_runs.run([named]), tmp_path)).text
    assert "chat at http://127.0.0.1:8000, TensorFlow Serving REST" in " ".join(text.split())
    assert "fairness" not in text  # the settings stand with the only server
