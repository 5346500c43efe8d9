"""What is said of a bad result besides the server."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pytest_servebench.objectives.hints import hints
from pytest_servebench.objectives.slo import failure_message
from pytest_servebench.report.attention import doubts, server_troubles
from pytest_servebench.report.markdown import markdown
from simulation.cases import SEEN, UNSEEN, case, steady
from simulation.saved import run
from tests.pages import page_text

CALM = case(steady(np.full(100, 0.005)))


@pytest.mark.parametrize(
    ("host", "server", "said"),
    [
        (100.0, 20.0, "hardly with this server"),
        (97.0, None, "not this server"),
        (97.0, 150.0, ""),  # by the server itself
        (80.0, 20.0, ""),
        (None, 20.0, ""),
    ],
)
def test_a_machine_that_others_had_is_told(
    host: float | None, server: float | None, said: str
) -> None:
    known = UNSEEN if server is None else dataclasses.replace(SEEN, cpu_mean=server)
    resources = dataclasses.replace(known, host_cpu_mean=host)
    result = dataclasses.replace(CALM, resources=resources, verdict="failed")
    found = hints(result)
    assert bool(found) is bool(said)
    assert said in "".join(found)
    assert all("measure again" in text for text in found)
    assert all(text in failure_message(result, ()) for text in found)
    two = [dataclasses.replace(result, nodeid=f"f.py::{test}[r5]", name=f"{test}[r5]")
           for test in ("test_a", "test_b")]  # fmt: skip
    told = doubts(run(two))
    assert len(told) == len(found)  # together
    assert all(text.endswith(": test_a[r5], test_b[r5]") for text in told)
    assert markdown(run(two)).count("⚠️ **doubtful**") == len(found)
    assert server_troubles(run(two)) == []  # everything was measured
    passed = dataclasses.replace(result, verdict="passed")
    assert doubts(run([passed])) == []


def test_the_page_shows_them_as_a_doubt(tmp_path: Path) -> None:
    resources = dataclasses.replace(SEEN, cpu_mean=20.0, host_cpu_mean=100.0)
    text = page_text(
        run([dataclasses.replace(CALM, resources=resources, verdict="inconclusive")]), tmp_path
    )
    assert "doubtful" in text
    assert "other work slowed it down" in text
    assert "incomplete" not in text
