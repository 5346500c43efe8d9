"""Benchmarks without load: reports say what is known of them, and nothing else."""

import dataclasses
import json
import re
import warnings
from pathlib import Path

import pytest

from pytest_servebench.analysis.evaluation import evaluate
from pytest_servebench.commands.cli import main
from pytest_servebench.report.case_table import server_rows
from pytest_servebench.report.facts import headline
from pytest_servebench.report.page.cases import figure_table
from pytest_servebench.report.terminal import report_lines
from pytest_servebench.runs.plain_benchmarks import is_plain, plain_case
from pytest_servebench.runs.titles import server_titles
from pytest_servebench.text.tables import plain_text
from simulation import saved
from tests.pages import check, page_text, plain_entry, plain_run


def test_a_benchmark_is_told_from_a_case() -> None:
    assert all(map(is_plain, plain_run().cases))
    assert not is_plain(saved.case())


def test_its_page_has_figures_and_one_drawing_alone(tmp_path: Path) -> None:
    run = plain_run()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = page_text(run, tmp_path)
    found = check(text)
    assert len(found.named("details")) == 3
    charts = [one for one in found.named("svg") if one.get("class") == "chart"]
    assert len(charts) == 3
    for name in ("matrix", "sweeps", "evaluation"):
        assert f'id="{name}"' not in text
    for banned in (
        "failed request", "∞<", "Which server", "measured alone", "requests/s", "open-loop",
        "inputs:", "0/s", "buffer 0", "No drawings over time", "-9223372036854775808", "nan",
    ):  # fmt: skip
        assert banned not in found.text, banned
    assert "200 rounds of a benchmark, without a server and without load" in found.text
    assert "3 benchmarks without a server" in found.text
    rows = re.findall(r'<th scope="row"[^>]*><span[^>]*></span><a [^>]*>([^<]*)<', text)
    assert rows == ["test_sort", "test_fill[1]", "test_fill[2]"]


def test_its_mean_is_a_number() -> None:
    rows = dict(figure_table(plain_case(plain_entry(), "x")))
    assert list(rows) == ["latency, all requests", "95 % interval"]
    assert [one.text for one in rows["latency, all requests"][:2]] == ["200", "1.03"]


def test_a_file_beside_cases_with_load_changes_nothing_of_theirs(tmp_path: Path) -> None:
    loaded = saved.queue_run(number=300)
    mixed = dataclasses.replace(loaded, cases=(*plain_run().cases, *loaded.cases))
    assert evaluate(mixed.cases) == evaluate(loaded.cases)
    facts = dict(headline(mixed))
    assert facts.pop("no load") == "3 benchmarks without a server"
    assert facts == dict(headline(loaded))
    text = page_text(mixed, tmp_path)
    check(text)
    assert text.count('<table class="matrix">') == 1


def test_the_terminal_says_no_more_than_is_known() -> None:
    run = plain_run()
    text = "\n".join(map(plain_text, report_lines(run, verbosity=1)))
    for banned in ("failed", "∞)", " , ", "attached", "open-loop", "buffer", "plausibly", "evalua"):
        assert banned not in text, banned
    titles = server_titles(run.cases)
    rows = [row for one in server_rows(run.cases, titles, run.cases) for row in one.rows]
    assert [row[0].text.strip() for row in rows] == ["test_sort", "test_fill[1]", "test_fill[2]"]


def test_the_commands_take_such_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps({"benchmarks": [plain_entry(), plain_entry("test_fill[1]")]}))
    assert main(["report", str(path)]) == 0
    check((tmp_path / "bench.html").read_text())
    capsys.readouterr()
    assert main(["show", "-v", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "without a server and without load" in shown
    assert "overall evaluation" not in shown
