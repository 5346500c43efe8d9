"""What the page answers to its question."""

import re

import numpy as np
import pytest

from pytest_servebench.analysis.evaluation import evaluate
from pytest_servebench.report.answer import answer, question
from pytest_servebench.runs.results import CaseResult, ClauseResult, Run, ServerDeath, VerdictWord
from simulation import saved
from simulation.cases import steady
from tests.report import made_runs


def sentences(run: Run) -> list[str]:
    return answer(run.cases, evaluate(run.cases), run.deaths)


def judged(rate: float, verdict: VerdictWord) -> CaseResult:
    """Return a case of TorchServe with one SLO."""
    word: VerdictWord = "passed" if verdict == "invalid" else verdict
    clause = ClauseResult("p99<50ms", "p99", 0.05, 0.02, 0.01, 0.03, word, "")
    return saved.case(rate=rate, clauses=(clause,), verdict=verdict)


def death(kind: str, test: str = "test_load[x]") -> ServerDeath:
    return ServerDeath(kind, f"{kind} 1.0", test, "ended with status 137", "")


def test_the_answer_names_the_better_server_with_its_uncertainty() -> None:
    low, high = sentences(made_runs.overloaded_run())
    start = r"At 10 requests/s, TensorFlow Serving did better in \d+ of 12 comparisons"
    assert re.match(start + r" \(p50, .*\), TorchServe in none: with buffer 10, ", low)
    assert re.search(r"p50 [\d.]+ ms \(95 % interval [\d.]+ ms to [\d.]+ ms\) against", low)
    assert high.startswith("At 200 requests/s")
    assert "but it broke its SLO in 2 of 2 cases" in high


def test_the_answer_does_not_choose_within_noise() -> None:
    case = saved.case()
    twin = saved.case(server="toy")
    (text,) = sentences(saved.run([case, twin]))
    assert re.match(r"At 50 requests/s.* no .*TorchServe and Toy.*Not enough .* p95\.$", text)


def test_the_answer_for_one_server_tells_how_far_it_kept_its_slo() -> None:
    kept = [judged(10, "passed"), judged(20, "passed")]
    broken = judged(40, "failed")
    for cases, fact in (
        (kept, r"TorchServe met every SLO at all rates up to 20 requests/s\."),
        ([*kept, broken], r"TorchServe met .* up to 20 requests/s; at 40 requests/s .* p99<50ms\."),
        ([broken], r"TorchServe broke p99<50ms at 40 requests/s\."),
    ):
        assert re.fullmatch(fact, sentences(saved.run(cases))[0])
    (text,) = sentences(made_runs.all_invalid_run())
    assert "No measurement is valid" in text
    (text,) = sentences(saved.run([]))
    assert "Nothing" in text


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        (
            {1: "inconclusive", 5: "passed", 10: "passed"},
            "met every SLO from 5 requests/s on; at 1 request/s it could not be judged on p99<50ms",
        ),
        (
            {1: "passed", 5: "inconclusive", 10: "failed", 20: "failed"},
            "met every SLO at 1 request/s; from 10 requests/s on it broke p99<50ms; at "
            "5 requests/s it could not be judged on p99<50ms",
        ),
        (
            {1: "failed", 5: "passed", 10: "passed", 20: "failed"},
            "met every SLO from 5 to 10 requests/s; at 1 and 20 requests/s it broke p99<50ms",
        ),
        ({1: "passed", 5: "invalid", 10: "passed"}, "met every SLO at 1 and 10 requests/s"),
        ({1: "failed", 5: "failed"}, "broke p99<50ms at all rates up to 5 requests/s"),
    ],
)
def test_the_answer_for_one_server_leaves_no_rate_out(
    verdicts: dict[float, VerdictWord], told: str
) -> None:
    cases = [judged(rate, verdict) for rate, verdict in verdicts.items()]
    assert sentences(saved.run(cases))[0] == f"TorchServe {told}."


def test_the_answer_tells_for_each_slo_where_it_was_broken() -> None:
    bounds = {"p99<50ms": 0.05, "p50<9ms": 0.009}
    broken = {5: (), 10: ("p99<50ms",), 20: ("p99<50ms", "p50<9ms")}
    cases = []
    for rate, slos in broken.items():
        clauses = tuple(
            ClauseResult(text, text[:3], bound, 0.02, 0.01, 0.03,
                         "failed" if text in slos else "passed", "")
            for text, bound in bounds.items()
        )  # fmt: skip
        cases.append(saved.case(rate=rate, clauses=clauses, verdict="failed" if slos else "passed"))
    met, tail, median = sentences(saved.run(cases))[0].split("; ")
    assert met == "TorchServe met every SLO at 5 requests/s"
    assert "from 10 requests/s" in tail
    assert "p99<50ms" in tail
    assert "20 requests/s" in median
    assert "p50<9ms" in median


def test_the_question_is_one_that_the_run_can_answer() -> None:
    both = [saved.case(), saved.case(server="toy")]
    assert question(both) == "Which server for which load?"
    assert question(both[:1]) == "How fast does TorchServe answer?"
    assert question([judged(5, "passed")]) == "Does TorchServe meet its SLOs?"
    several = [judged(5, "passed"), judged(10, "failed")]
    assert question(several) == "Up to which rate does TorchServe meet its SLOs?"


def test_the_answer_tells_of_servers_that_died() -> None:
    cases = [saved.case(), saved.case(server="toy")]
    dead = (death("toy"), death("other"), death("toy"))
    *_, last = sentences(saved.run(cases, deaths=dead))
    assert "Toy died 2 times and other 1.0 died once" in last
    assert "toy 1.0 died once" in sentences(saved.run([], deaths=dead[:1]))[-1]


def test_what_is_the_same_of_median_and_tail_is_said_once() -> None:
    _, text = sentences(made_runs.nothing_ok_run())
    assert re.match(r"At 20 requests/s.*: p50 and p99 infinite", text)


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
    assert "(unknown, or too few independent requests, in 1)" in text


def test_servers_without_a_common_cell_are_all_named() -> None:
    cases = [
        saved.case(rate=10.0),
        saved.case(server="toy", rate=20.0),
        made_runs.case(made_runs.TENSORFLOW_SERVING, 30.0, slo=False),
    ]
    first, *others = sentences(saved.run(cases))
    assert "the same cell" in first
    assert [text.partition(" was measured without an SLO. At ")[0] for text in others] == [
        "TorchServe", "Toy", "TensorFlow Serving",
    ]  # fmt: skip
    assert [text.partition("At ")[2].partition(" ")[0] for text in others] == ["10", "20", "30"]
