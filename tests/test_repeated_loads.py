"""A test that gives its loads their rate, in several cases, sends each of them several times."""

from types import SimpleNamespace

import pytest

from pytest_servebench.plugin.cells import Cell
from pytest_servebench.plugin.repeated_loads import SentValues
from tests.conftest import RunBench

CELLS = [Cell(buffer, 1, 1, rate) for rate in (1.0, 5.0) for buffer in (10, 50)]


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ([{"rate": 5.0}], ["rates=[5]"]),
        ([{"rate": 4.0, "buffer_size": 0}], ["rates=[4]", "buffer_sizes=[0]"]),
        ([{"rate": 40.0}, {"rate": 20.0}], ["rates=[20]"]),
        ([{}], []),
        ([{"rate": 4.0}, {}], []),  # each case has a load of its own
        ([{"duration": 4.0}], []),
    ],
)
def test_what_is_the_same_in_all_cases(own: list[dict[str, float]], told: list[str]) -> None:
    sent = SentValues()
    for cell in CELLS:
        for one in own:
            fields = {"rate": cell.rate, "buffer_size": cell.buffer_size, "rows": 1} | one
            sent.add("test_it.py::test_it", cell, SimpleNamespace(**fields))
    lines = sent.repeated()
    assert len(lines) == len(told)
    assert all(part in line for part, line in zip(told, lines, strict=True))
    # A selection of one case has nothing twice.
    alone = SentValues()
    alone.add("test_it", CELLS[0], CELLS[1])
    assert alone.repeated() == []


def test_the_end_of_a_session_says_so(run_bench: RunBench) -> None:
    result = run_bench(
        "--servebench-rates=40,80",
        test="def test_it(model_server, poisson_load): poisson_load(model_server, rate=60)",
    )
    result.assert_outcomes(passed=2)
    (line,) = [one for one in result.outlines if "sent the same loads" in one]
    assert all(
        part in line for part in ("test_it.py::test_it", "2 rates (40 and 80)", "rates=[60]")
    )
