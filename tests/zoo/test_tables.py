"""The zoo's tables of a run."""

from dataclasses import replace

import pytest

from pytest_servebench.runs.results import Run
from pytest_servebench.runs.run_names import read_run
from tests.sample import SAMPLE
from zoo.tables import tables


@pytest.fixture(scope="module")
def run() -> Run:
    return read_run(SAMPLE)


def test_a_row_for_each_server_in_both_tables(run: Run) -> None:
    (case,) = run.cases[:1]
    known = replace(case.server, title="First", start_seconds=2.0, rest_memory=150e6)
    other = replace(known, kind="other", title="Second | of two", start_seconds=None)
    dropped = {**case.summary.outcomes, "dropped": case.summary.arrivals // 4}
    cases = (
        replace(case, server=known),
        replace(case, server=replace(known, start_seconds=4.0)),  # a repeat
        replace(case, server=other, summary=replace(case.summary, outcomes=dropped)),
    )
    first, second = tables(replace(run, cases=cases)).split("\n\n")[:2]
    rows = [[cell.strip() for cell in line[2:-2].split(" | ")] for line in first.splitlines()]
    assert rows[0][:3] == ["server", "ready, s", "at rest, MB"]
    assert [row[0].partition(":")[0] for row in rows[2:]] == ["First", "Second \\| of two"]
    assert [row[1:3] for row in rows[2:]] == [["3.00", "150"], ["-", "150"]]
    assert "40/s" in second
    p50 = case.summary.estimates["p50"].value
    assert p50 is not None
    assert all(f"| {p50 * 1e3:.3g}"[:5] in line for line in second.splitlines()[2:])
    assert [" 25.0 % dropped" in line for line in second.splitlines()[2:]] == [False, True]
