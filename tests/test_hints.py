"""What is said of a bad result besides the server."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pytest_servebench.objectives.hints import hints
from pytest_servebench.objectives.slo import failure_message
from pytest_servebench.report.attention import doubts, server_troubles
from pytest_servebench.report.markdown import markdown
from pytest_servebench.runs.results import StreamedAnswers
from simulation.cases import SEEN, case, steady
from simulation.saved import run
from tests.pages import page_text

CALM = case(steady(np.full(100, 0.005)))


@pytest.mark.parametrize(
    ("host", "others", "said"),
    [
        (40.0, 0.3, "used the server's processors"),
        (100.0, 0.05, ""),  # by the server itself
        (97.0, None, "not this server"),
        (80.0, None, ""),
        (None, None, ""),
    ],
)
def test_a_machine_that_others_had_is_told(
    host: float | None, others: float | None, said: str
) -> None:
    resources = dataclasses.replace(SEEN, host_cpu_mean=host, others_share=others)
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


@pytest.mark.parametrize(("bunched", "told"), [(0, False), (40, False), (90, True)])
def test_streams_that_are_buffered_are_told_whatever_the_verdict(bunched: int, told: bool) -> None:
    streamed = StreamedAnswers("openai", "usage", events=100, bunched=bunched)
    passed = dataclasses.replace(CALM, streamed=streamed, verdict="passed")
    found = doubts(run([passed]))
    assert len(found) == int(told)
    assert all("proxy_buffering" in text and "X-Accel-Buffering" in text for text in found)
    assert len(hints(passed)) == int(told)


def test_the_page_shows_them_as_a_doubt(tmp_path: Path) -> None:
    resources = dataclasses.replace(SEEN, others_share=0.5)
    text = page_text(
        run([dataclasses.replace(CALM, resources=resources, verdict="inconclusive")]), tmp_path
    )
    assert "doubtful" in text
    assert "and may have slowed it down" in text
    assert "used 50 % of the" in text
    assert "incomplete" not in text
