"""The page of a comparison."""

import dataclasses
import html
import json
import re
from pathlib import Path

import pytest

from pytest_servebench.analysis.compare import compare
from pytest_servebench.commands.cli import main
from pytest_servebench.objectives.gates import parse_gates
from pytest_servebench.report.page import comparison_page
from simulation import saved
from simulation.cases import queue
from tests.pages import check


def compared(tmp_path: Path, *arguments: str, records: bool = True) -> tuple[int, str]:
    for name, slower in (("base", 1.0), ("new", 1.6)):
        run = saved.queue_run(name, slower=slower, seed=1, number=1500)
        path = saved.save(run, tmp_path)
        if records:
            (path.parent / "records").mkdir()
            data = json.loads(path.read_text())
            for index, case in enumerate(data["servebench"]["cases"]):
                case["records_file"] = f"records/{index}.npz"
                rows = queue(
                    "M/M/1", case["rate"] * 0.005, 1500, index,
                    service=0.005, slower=slower, arrivals=7,
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
    assert "known percentiles are joined" not in found.text


def test_a_comparison_without_records_joins_the_known_percentiles(tmp_path: Path) -> None:
    _, text = compared(tmp_path, records=False)
    assert "known percentiles are joined" in check(text).text


def test_a_comparison_tells_refusals_and_what_was_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = saved.queue_run("base", number=300)
    other = dataclasses.replace(base, name="other", machine={**base.machine, "cpu": "Other <b>"})
    for run in (base, other):
        saved.save(run, tmp_path)
    output = tmp_path / "page.html"
    common = ["compare", "base", "other", "--results", str(tmp_path), "--html", str(output)]
    capsys.readouterr()
    assert main(common) == 2
    printed = capsys.readouterr().out
    refused = check(output.read_text()).text
    assert "These runs cannot be compared." in refused
    assert "Other <b>" in refused
    remedy = "To compare the 4 cases they share anyway, give --allow machine"
    assert remedy in refused
    assert remedy in printed
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


def test_cases_of_several_tests_are_shown_with_their_test(tmp_path: Path) -> None:
    run = saved.queue_run("base", number=300)
    two = tuple(
        dataclasses.replace(case, name=f"{test}[rate{rate}]", nodeid=f"f.py::{test}[rate{rate}]")
        for case, test, rate in zip(run.cases, ("test_a", "test_b"), (5, 50), strict=False)
    )
    run = dataclasses.replace(run, cases=two)
    text = check(comparison_page([(compare(run, run), (), ())], tmp_path, [tmp_path])).text
    assert "test_a[rate5]" in text
    assert "test_b[rate50]" in text


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
