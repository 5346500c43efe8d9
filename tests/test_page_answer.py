"""What the page answers to its question."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from pytest_servebench.evaluation import evaluate
from pytest_servebench.report.page.answer import answer
from pytest_servebench.results import CaseResult, ClauseResult, Run
from tests import saved
from tests.report import made_runs
from tests.simulated import steady


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


def test_the_answer_gives_the_range_of_several_cases_at_the_highest_rate() -> None:
    def measured(milliseconds: float, buffer_size: int, repeat: int | None = None) -> CaseResult:
        latency = np.random.default_rng(1).permutation(np.linspace(0.9, 1.1, 4001))
        return saved.case(
            steady(latency * milliseconds / 1e3, 50.0), buffer_size=buffer_size, repeat=repeat
        )

    _, one = sentences(saved.run([measured(10, 10)]))
    assert re.fullmatch(r"At 50 requests/s: p50 10 ms \(95 % interval .*\), p99 [\d.]+ ms.*", one)
    several = [measured(10, 10), measured(20, 50, 1), measured(30, 50, 2)]
    _, text = sentences(saved.run(several))
    assert text.startswith("At 50 requests/s (3 cases): p50 10 ms to 30 ms, p99 ")
    few = saved.case(steady(np.full(5, 0.01), 50.0), buffer_size=0)
    _, text = sentences(saved.run([*several, few]))
    assert "p50 10 ms to 30 ms" in text
    assert "(not known, or too few independent requests to tell, in 1)" in text


def test_servers_without_a_common_cell_are_all_named() -> None:
    cases = [
        saved.case(rate=10.0),
        saved.case(server="toy", rate=20.0),
        made_runs.case(made_runs.TENSORFLOW_SERVING, 30.0, slo=False),
    ]
    first, *others = sentences(saved.run(cases))
    assert first == (
        "No two servers have a valid measurement in the same cell, so that none can be preferred."
    )
    assert [text.partition(" was measured without an SLO. At ")[0] for text in others] == [
        "TorchServe", "Toy", "TensorFlow Serving",
    ]  # fmt: skip
    assert [text.partition("At ")[2].partition(" ")[0] for text in others] == ["10", "20", "30"]
