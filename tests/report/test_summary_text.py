import pytest
from hypothesis import given

from pytest_servebench.load.records import Outcome
from pytest_servebench.report.summary_text import summary_text
from pytest_servebench.runs.results import Run
from pytest_servebench.text.safe import display_width
from tests.report import made_runs
from tests.report.test_terminal import ANY_RUN, RUNS, SLOW


@pytest.mark.parametrize("make", RUNS, ids=lambda make: make.__name__)
def test_lines_are_printable_and_fit(make: object) -> None:
    text = summary_text(make())  # type: ignore[operator]
    assert text.endswith("\n")
    for line in text.split("\n"):
        assert display_width(line) <= 100, line
        assert line.isprintable() or not line
    text.encode()


@SLOW
@given(ANY_RUN)
def test_any_result_can_be_written(made: Run) -> None:
    text = summary_text(made)
    assert all(display_width(line) <= 100 for line in text.split("\n"))
    text.encode()


def test_everything_is_in_it() -> None:
    made = made_runs.overloaded_run()
    text = summary_text(made)
    for case in made.cases:
        assert case.nodeid in text
        for clause in case.clauses:
            assert clause.clause in text
    for outcome in Outcome:
        assert outcome.label in text
    for part in ("p99.9", "queue wait", "service time", "generator lag", "dispersion", "lag-1",
                 "95 % interval", "peak 426 MB", "worst 31.2 ms", "numpy"):  # fmt: skip
        assert part in " ".join(text.split()), part


def test_a_verdict_without_slos_says_so() -> None:
    assert "passed (no SLO was set)" in summary_text(made_runs.single_run())
