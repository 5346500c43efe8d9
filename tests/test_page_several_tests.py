"""Cases of different tests are no repeats of each other, wherever they are shown."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from pytest_servebench.analysis.evaluation import evaluate
from pytest_servebench.report.answer import answer
from pytest_servebench.report.page.evaluation import evaluation_view
from pytest_servebench.report.plot_frame import Frame
from pytest_servebench.report.plots import draw_plots
from pytest_servebench.report.variants import variants
from pytest_servebench.runs.results import CaseResult, Run
from simulation import saved
from simulation.cases import SEEN, steady
from tests.pages import check, page_text

TESTS = ("test_it.py::test_a", "test_it.py::TestC::test_a", "test_it.py::test_b")
LABELS = ("test_it.py::test_a", "TestC::test_a", "test_b")


def measured(test: str, server: str, milliseconds: float, cell: str = "") -> CaseResult:
    """Return a case of a test, of which slower ones take more CPU."""
    dice = np.random.default_rng([len(test), server == "toy"])
    rows = steady(milliseconds / 1e3 * dice.lognormal(0, 0.2, 400), 50.0)
    resources = dataclasses.replace(SEEN, cpu_mean=milliseconds)
    case = saved.case(rows, server=server, resources=resources)
    cell = f"[{server}-rate50-buffer50{cell}]"
    return dataclasses.replace(
        case, name=test.rsplit("::", maxsplit=1)[-1] + cell, nodeid=test + cell
    )


def three_tests() -> Run:
    """Return a run in which TorchServe is faster in all tests but the second."""
    return saved.run([
        measured(test, server, milliseconds)
        for test, both in zip(TESTS, ((5, 8), (8, 5), (5, 8)), strict=True)
        for server, milliseconds in zip(("torchserve", "toy"), both, strict=True)
    ])  # fmt: skip


@pytest.fixture(scope="module")
def run() -> Run:
    return three_tests()


def test_the_evaluation_has_a_row_for_each_test(run: Run) -> None:
    evaluation = evaluate(run.cases)
    view = evaluation_view(evaluation, run.cases, {})
    assert view is not None
    winners = {label: row[0] for label, row in view.rows}
    assert winners == {
        f"{LABELS[0]}, rate 50, buffer 50": "TorchServe",
        f"{LABELS[1]}, rate 50, buffer 50": "Toy",
        f"{LABELS[2]}, rate 50, buffer 50": "TorchServe",
    }


def test_parameters_of_ones_own_are_told_where_nothing_else_tells_cells_apart() -> None:
    cases = [
        measured(TESTS[0], server, milliseconds, f"-{word}")
        for word in ("small", "large")
        for server, milliseconds in (("torchserve", 5), ("toy", 8))
    ]
    view = evaluation_view(evaluate(cases), cases, {})
    assert view is not None
    assert [label for label, _ in view.rows] == [
        "test_a[large], rate 50, buffer 50", "test_a[small], rate 50, buffer 50",
    ]  # fmt: skip


def test_the_answer_is_of_one_test_and_names_it(run: Run) -> None:
    (text,) = answer(run.cases, evaluate(run.cases))
    assert "in test_it.py::test_a with buffer 50, p50" in text
    assert "repeat" not in text
    assert "95 % interval" in text
    cases = [
        dataclasses.replace(one, name=f"x-repeat{number}]",
                            nodeid=one.nodeid.replace("]", f"-repeat{number}]"))
        for one in run.cases[:2] for number in (1, 2)
    ]  # fmt: skip
    (text,) = answer(cases, evaluate(cases))
    assert "(median of 2 repeats)" in text


def test_the_page_shows_each_test_alone(run: Run, tmp_path: Path) -> None:
    text = page_text(run, tmp_path)
    check(text)
    assert re.findall(r"<h3>([^<]+)</h3>", text)[:3] == list(LABELS)
    assert "50/s, buffer 50 #" not in text
    for cell in re.findall(r"<td>(<a class=\"cell\".*?)</td>", text):
        assert cell.count("<a ") == 1
    for label in LABELS:
        assert f'aria-label="Cases by rate and buffer, {label}"' in text
        assert f"{label} · p50" in text


def test_the_page_tells_cases_apart_by_parameters_of_ones_own(tmp_path: Path) -> None:
    cases = [
        measured(TESTS[0], server, milliseconds, cell)
        for cell in ("-1", "-8-repeat1", "-8-repeat2")
        for server, milliseconds in (("torchserve", 5), ("toy", 8))
    ]
    text = page_text(saved.run(cases), tmp_path)
    check(text)
    assert re.findall(r"<h3>([^<]+)</h3>", text)[:2] == ["test_a[1]", "test_a[8]"]
    assert "test_a[1] · p50" in text
    rows = re.findall(
        r'<a href="#case-[^"]+">(Toy[^<]*)<.*?<td class="left wide">([^<]+)</td>', text
    )
    assert rows == [("Toy", "test_a[1]"), ("Toy #1", "test_a[8]"), ("Toy #2", "test_a[8]")]
    (sentence,) = answer(cases, evaluate(cases))
    assert "in test_a[1] with buffer 50, p50" in sentence


def test_parameters_of_ones_own_are_no_names_where_the_rate_tells_as_much(tmp_path: Path) -> None:
    # A test that gives its own rates has no "rate10" in its id.
    cases = [
        dataclasses.replace(measured(TESTS[0], "toy", 5), nodeid=f"{TESTS[0]}[toy-{rate}-50]",
                            rate=float(rate))
        for rate in (10, 20)
    ]  # fmt: skip
    assert variants(cases) == ["test_a", "test_a"]


def test_long_parameters_of_ones_own_that_look_the_same_are_different_tests() -> None:
    start, end = "x" * 40, "y" * 40
    cases = [measured(TESTS[0], "toy", 5, f"-{start}{middle}{end}") for middle in "abb"]
    first, second, again = variants(cases)
    assert "…" in first
    assert second == again == first.removesuffix("]") + " (2)]"


def test_what_needs_attention_names_the_test(run: Run, tmp_path: Path) -> None:
    case = dataclasses.replace(run.cases[2], verdict="invalid", invalid_reason="late")
    text = page_text(
        dataclasses.replace(run, cases=(*run.cases[:2], case, *run.cases[3:])), tmp_path
    )
    assert ">TestC::test_a, 50/s, buffer 50</a>" in text


def test_equal_names_in_two_files_are_told_apart(tmp_path: Path) -> None:
    cases = [
        measured(test, "torchserve", 5.0 + number)
        for number, test in enumerate(("test_x.py::test_a", "test_y.py::test_a"))
    ]
    text = page_text(saved.run(cases), tmp_path)
    check(text)
    assert re.findall(r"<h3>([^<]+)</h3>", text)[:2] == ["test_x.py::test_a", "test_y.py::test_a"]
    # One curve through one case each, in the drawings of either test.
    swept = re.findall(r"against the offered rate\. TorchServe, buffer 50: ([^<]*)\.<", text)
    assert len(swept) == 26
    assert all(values.count(" at 50/s") == 1 for values in swept)


@pytest.mark.slow
def test_each_test_has_plots_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Frame, "save", lambda frame, path: [path])  # where, not what
    long = "test_" + "x" * 90
    cases = [measured(f"test_it.py::{name}", "toy", 5.0) for name in (f"{long}1", f"{long}2")]
    files = draw_plots(saved.run(cases), tmp_path)
    assert len(set(files)) == len(files) == 16
    assert len({path.parent for path in files}) == 2
