"""Comparing servers: points where there is a difference, and none for noise."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.analysis.evaluation import Compared, Evaluation, evaluate
from pytest_servebench.report.answer import answer
from pytest_servebench.runs.results import CaseResult, Resources
from simulation.cases import SEEN, UNSEEN, case, mm1_records, steady, with_cost
from tests.examples import examples


def server(kind: str, title: str, implementation: str) -> dict[str, Any]:
    return {"kind": kind, "title": title, "implementation": implementation}


TORCHSERVE = server("torchserve", "TorchServe", "TorchServe 0.12.0")
EMBEDDED = server("tensorflow_serving", "TensorFlow Serving", "savedmodel-server 0.1.0")
OTHER = server("other", "Other", "other 1")


def cell(
    about: dict[str, Any],
    milliseconds: float,
    rate: float = 10.0,
    *,
    n: int = 200,
    failed: int = 0,
    buffer_size: int = 50,
    resources: Resources = SEEN,
    seed: int = 0,
) -> CaseResult:
    """Return a case whose latencies vary by some 20 % around ``milliseconds``."""
    latency = milliseconds / 1e3 * np.random.default_rng(seed).lognormal(0, 0.2, n)
    return case(
        steady(latency, rate, failed), rate, buffer_size=buffer_size, resources=resources, **about
    )


def point(evaluation: Evaluation, metric: str, rate: float = 10.0) -> Compared:
    (found,) = [one for one in evaluation.points if (one.metric, one.rate) == (metric, rate)]
    return found


# -- points ---------------------------------------------------------------------------------------


def test_the_faster_server_gets_the_points() -> None:
    found = evaluate([cell(EMBEDDED, 10), cell(TORCHSERVE, 7, seed=1)])
    assert point(found, "p50").winner == "torchserve"
    assert point(found, "p95").winner == "torchserve"
    assert point(found, "throughput").winner is None
    assert point(found, "success_rate").winner is None
    assert found.totals == {"tensorflow_serving": 0, "torchserve": 2}
    assert found.undecided == 4
    assert found.servers == {"tensorflow_serving": "TensorFlow Serving", "torchserve": "TorchServe"}


@pytest.mark.slow
def test_noise_gives_no_points() -> None:
    """Two runs of one server: none of many comparisons may have a winner more than rarely."""
    won = decided = 0
    for seed in range(60):
        pair = [
            case(mm1_records(50, 100, 400, 2 * seed + k), 50.0, **about)
            for k, about in enumerate((EMBEDDED, TORCHSERVE))
        ]
        found = evaluate(pair)
        won += sum(found.totals.values())
        decided += len(found.points)
    assert decided == 360
    assert won <= 4


def test_p99_is_compared_where_there_are_requests_enough() -> None:
    many = evaluate([cell(EMBEDDED, 10, n=3000), cell(TORCHSERVE, 7, n=3000, seed=1)])
    assert point(many, "p99").winner == "torchserve"
    few = evaluate([cell(EMBEDDED, 10, n=15), cell(TORCHSERVE, 5, n=15, seed=1)])
    assert point(few, "p95").winner is None
    assert point(few, "p95").reason == "15 requests are too few for p95, which needs 130"
    assert point(few, "p50").winner == "torchserve"


def test_failing_fast_wins_nothing() -> None:
    found = evaluate([cell(EMBEDDED, 10), cell(TORCHSERVE, 1, failed=160)])
    assert point(found, "p50").winner == "tensorflow_serving"
    assert point(found, "throughput").winner == "tensorflow_serving"
    assert point(found, "success_rate").winner == "tensorflow_serving"
    assert found.totals["torchserve"] == 0


def test_less_cpu_for_less_work_is_no_point() -> None:
    idle = dataclasses.replace(SEEN, cpu_mean=22.0)
    found = evaluate([cell(EMBEDDED, 10), cell(TORCHSERVE, 10, failed=120, resources=idle)])
    assert point(found, "cpu_per_request").winner is None
    fair = evaluate([cell(EMBEDDED, 10), cell(TORCHSERVE, 10, resources=idle)])
    assert point(fair, "cpu_per_request").winner == "torchserve"


@pytest.mark.parametrize(("factor", "wins"), [(1.0, False), (1.04, False), (1.06, True), (2, True)])
def test_memory_needs_a_margin(factor: float, wins: bool) -> None:
    assert SEEN.memory_peak is not None
    more = dataclasses.replace(SEEN, memory_peak=SEEN.memory_peak * factor)
    found = evaluate([cell(EMBEDDED, 10, resources=more), cell(TORCHSERVE, 10)])
    assert point(found, "memory").winner == ("torchserve" if wins else None)


@pytest.mark.parametrize(
    ("factor", "half", "reason"),
    [
        (0.5, 0.1, ""),
        (0.5, 0.4, "within noise"),
        (0.96, 0.001, "less than 5% apart"),
        (0.94, 0.001, ""),
        (0.94, 0.028, ""),  # both at once, not added up
    ],
)
def test_cpu_must_differ_beyond_its_interval_and_by_a_margin(
    factor: float, half: float, reason: str
) -> None:
    def taking(about: dict[str, Any], cpu: float) -> CaseResult:
        one = cell(about, 10, resources=dataclasses.replace(SEEN, cpu_mean=cpu))
        return dataclasses.replace(one, summary=with_cost(one.summary, cpu, half))

    both = evaluate([taking(EMBEDDED, 20.0), taking(TORCHSERVE, 20.0 * factor)])
    found = point(both, "cpu_per_request")
    assert (found.winner, found.reason) == (None if reason else "torchserve", reason)


def test_what_cannot_be_seen_gives_no_points() -> None:
    found = evaluate([cell(EMBEDDED, 10, resources=UNSEEN), cell(TORCHSERVE, 10)])
    for metric in ("cpu_per_request", "memory"):
        assert point(found, metric).winner is None
        assert point(found, metric).values["tensorflow_serving"] is None


def test_of_three_the_best_must_beat_both() -> None:
    close = evaluate([cell(EMBEDDED, 7), cell(TORCHSERVE, 7.05, seed=1), cell(OTHER, 20, seed=2)])
    assert point(close, "p50").winner is None
    clear = evaluate([cell(EMBEDDED, 7), cell(TORCHSERVE, 12, seed=1), cell(OTHER, 20, seed=2)])
    assert point(clear, "p50").winner == "tensorflow_serving"


def test_repeats_count_as_one_cell() -> None:
    slow = [cell(EMBEDDED, ms, seed=k) for k, ms in enumerate((10, 11, 12))]
    fast = [cell(TORCHSERVE, ms, seed=k) for k, ms in enumerate((6, 7, 8))]
    found = evaluate([*slow, *fast])
    assert point(found, "p50").winner == "torchserve"
    # One repeat that was as slow as the other server: the difference is not repeatable.
    found = evaluate([*slow, *fast, cell(TORCHSERVE, 11)])
    assert point(found, "p50").winner is None


# -- what takes part ------------------------------------------------------------------------------


def test_invalid_cases_are_left_out_with_a_note() -> None:
    late = dataclasses.replace(cell(TORCHSERVE, 1), invalid_reason="the generator was late")
    found = evaluate([cell(EMBEDDED, 10), late])
    assert found.points == ()
    assert found.notes == (
        "test_load[torchserve-rate10-buffer50] is left out: its measurement is invalid",
        "rate 10, buffer 50: no valid case of TorchServe",
    )


def test_a_single_server_has_nothing_to_win_against() -> None:
    found = evaluate([cell(EMBEDDED, 10, rate) for rate in (1.0, 10.0)])
    assert found.points == ()
    assert found.totals == {"tensorflow_serving": 0}


def test_no_case_at_all() -> None:
    found = evaluate([])
    assert (found.points, found.totals) == ((), {})


def test_cells_of_different_tests_do_not_meet() -> None:
    one, other = cell(EMBEDDED, 10), cell(TORCHSERVE, 7)
    other = dataclasses.replace(other, nodeid=other.nodeid.replace("test_load", "test_else"))
    assert evaluate([one, other]).points == ()
    assert evaluate([one, other]).notes == ()  # nobody is missing: they may be one server
    small = dataclasses.replace(one, nodeid=one.nodeid.replace("]", "-small]"))
    large = dataclasses.replace(one, nodeid=one.nodeid.replace("]", "-large]"))
    rival = cell(TORCHSERVE, 7)
    rival = dataclasses.replace(rival, nodeid=rival.nodeid.replace("]", "-small]"))
    assert {frozenset(row.values) for row in evaluate([small, large, rival]).points} == {
        frozenset({"tensorflow_serving", "torchserve"})
    }


def test_servers_meet_whose_names_pytest_escapes() -> None:
    cases = []
    for name, milliseconds in (("altes Gerät", 10), ("neues Gerät", 7)):
        escaped = name.replace("ä", r"\xe4")
        nodeid = f"test_it.py::test_load[{escaped}-rate10-buffer50]"
        one = cell(server(name, name, name), milliseconds)
        cases.append(dataclasses.replace(one, nodeid=nodeid))
    found = evaluate(cases)
    assert point(found, "p50").winner == "neues Gerät"
    assert found.notes == ()


# -- more than two servers ------------------------------------------------------------------------


def test_more_than_two_servers_are_ranked_with_ties() -> None:
    cases = [
        cell(EMBEDDED, 7, n=3000),
        cell(TORCHSERVE, 7, n=3000, seed=1),
        cell(OTHER, 10, n=3000, seed=2, resources=UNSEEN),
    ]
    found = evaluate(cases)
    p50 = point(found, "p50")
    assert (p50.winner, p50.unbeaten) == (None, ("tensorflow_serving", "torchserve"))
    assert set(p50.pairs) == {("tensorflow_serving", "other"), ("torchserve", "other")}
    # What is unknown of one server is compared among the others.
    assert point(found, "cpu_per_request").unbeaten == ("tensorflow_serving", "torchserve")
    first, second, last = found.ranking()
    assert (first.unbeaten, first.among) == (second.unbeaten, second.among) == (6, 6)
    assert (last.kind, last.unbeaten, last.among) == ("other", 2, 4)
    assert found.beats["torchserve", "other"] == 2
    (text,) = answer(cases, found)
    assert "TensorFlow Serving and TorchServe were unbeaten in 6 of 6 comparisons: p50" in text
    assert "then Other (2 of 4)" in text
    assert text.endswith("No difference beyond noise in throughput, success rate, CPU and memory.")


def test_a_server_may_be_unknown_where_the_others_differ() -> None:
    large = dataclasses.replace(SEEN, memory_peak=800e6)
    busy = dataclasses.replace(SEEN, cpu_mean=90.0)
    cases = [cell(OTHER, 10, resources=UNSEEN), cell(EMBEDDED, 10, resources=large)]
    for third, first, words in (
        (SEEN, "torchserve", "TorchServe was unbeaten in 6 of 6 comparisons: peak memory"),
        (busy, "other", "Other was unbeaten in 4 of 4 comparisons; then"),
    ):
        every = [*cases, cell(TORCHSERVE, 10, resources=third)]
        found = evaluate(every)
        assert found.ranking()[0].kind == first
        assert words in answer(every, found)[0]


def test_a_server_that_fails_in_every_repeat_is_beaten_and_not_one_that_fails_once() -> None:
    cases = []
    for one, milliseconds, failures in (
        (EMBEDDED, 10, (300, 300, 300)),
        (TORCHSERVE, 10.1, (0, 30, 0)),  # slower each time, though by less than noise
        (OTHER, 10, (0, 0, 0)),
    ):
        for repeat, failed in enumerate(failures, 1):
            made = cell(one, milliseconds, n=500, failed=failed, seed=repeat)
            name = made.nodeid.replace("buffer50", f"buffer50-repeat{repeat}")
            cases.append(dataclasses.replace(made, name=name, nodeid=name))
    found = point(evaluate(cases, interleaved=True), "p95")
    assert found.values["torchserve"] != np.inf
    assert found.pairs == (("other", "tensorflow_serving"),)


def test_equal_servers_are_all_alike() -> None:
    cases = [cell(one, 7, seed=n) for n, one in enumerate((EMBEDDED, TORCHSERVE, OTHER))]
    found = evaluate(cases)
    assert "no measured difference between the 3 servers" in answer(cases, found)[0]
    assert not any(one.pairs for one in found.points)
    assert {one.share for one in found.ranking()} == {1.0}


# -- words ----------------------------------------------------------------------------------------


def test_the_answer_for_low_and_for_high_load() -> None:
    cases = [
        cell(EMBEDDED, 9.8, 1.0, n=100),
        cell(EMBEDDED, 9.8, 5.0),
        cell(EMBEDDED, 9.8),
        cell(TORCHSERVE, 7.1, 1.0, n=100),
        cell(TORCHSERVE, 12, 5.0),
        cell(TORCHSERVE, 30),
    ]
    low, high = answer(cases, evaluate(cases))
    assert low.startswith("At 1 request/s, TorchServe did better in 1 of 6 comparisons (p50), ")
    assert "TensorFlow Serving in none: p50 " in low
    assert low.endswith("Not enough was measured to compare p95.")
    assert high.startswith("At 10 requests/s, TensorFlow Serving did better in 2 of 6 comparisons")
    assert high.endswith("No difference beyond noise in throughput, success rate, CPU and memory.")


def test_of_servers_with_as_many_points_the_answer_tells_which() -> None:
    cases = [
        cell(EMBEDDED, 10, resources=dataclasses.replace(SEEN, memory_peak=1e6)),
        cell(TORCHSERVE, 7, n=100),
    ]
    (text,) = answer(cases, evaluate(cases))
    assert "each did better in 1 of 6 comparisons, TensorFlow Serving in memory and" in text
    assert "TorchServe in p50." in text


def test_the_answer_names_the_buffer_of_its_figures() -> None:
    cases = [
        cell(EMBEDDED, 10, buffer_size=5),
        cell(EMBEDDED, 10, buffer_size=50),
        cell(TORCHSERVE, 10, buffer_size=5),
        cell(TORCHSERVE, 7, buffer_size=50),
    ]
    assert ": with buffer 50, p50 7" in answer(cases, evaluate(cases))[0]


# -- what holds always ----------------------------------------------------------------------------


@st.composite
def any_cases(draw: st.DrawFn) -> list[CaseResult]:
    """Return cases of two servers, in some of the cells one of them missing or invalid."""
    found = []
    for about in (EMBEDDED, TORCHSERVE):
        for rate in (1.0, 20.0):
            if not draw(st.booleans() | st.just(True)):
                continue
            one = cell(
                about,
                draw(st.sampled_from([1, 5, 50])),
                rate,
                n=draw(st.sampled_from([1, 15, 150])),
                failed=draw(st.sampled_from([0, 0, 1])),
                resources=draw(st.sampled_from([SEEN, UNSEEN, Resources(9.0, 9.0, 1e6, 2e6, 9.0)])),
                seed=draw(st.integers(0, 3)),
            )
            reason = draw(st.sampled_from([None, None, None, "late"]))
            found.append(dataclasses.replace(one, invalid_reason=reason))
    return found


def swapped(cases: Sequence[CaseResult]) -> list[CaseResult]:
    """Return the cases with the two servers' names exchanged."""
    names = {EMBEDDED["kind"]: TORCHSERVE, TORCHSERVE["kind"]: EMBEDDED}
    found = []
    for one in cases:
        about = names[one.server.kind]
        nodeid = one.nodeid.replace(one.server.kind, about["kind"])
        info = dataclasses.replace(one.server, **about)
        found.append(dataclasses.replace(one, server=info, nodeid=nodeid))
    return found


@examples(60)
@given(any_cases())
def test_swapping_the_servers_swaps_the_points(cases: list[CaseResult]) -> None:
    found, mirrored = evaluate(cases), evaluate(swapped(cases))
    other = {"torchserve": "tensorflow_serving", "tensorflow_serving": "torchserve"}
    assert {other[kind]: total for kind, total in found.totals.items()} == mirrored.totals
    assert [(row.metric, row.rate, row.winner) for row in found.points] == [
        (row.metric, row.rate, other.get(row.winner or "")) for row in mirrored.points
    ]


@examples(60)
@given(any_cases(), st.randoms())
def test_the_order_of_cases_does_not_matter(cases: list[CaseResult], random: object) -> None:
    shuffled = list(cases)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    found, other = evaluate(cases), evaluate(shuffled)
    assert dict(found.totals) == dict(other.totals)
    assert {(row.metric, row.rate, row.winner) for row in found.points} == {
        (row.metric, row.rate, row.winner) for row in other.points
    }


@examples(60)
@given(any_cases())
def test_points_add_up_and_texts_are_whole(cases: list[CaseResult]) -> None:
    found = evaluate(cases)
    assert sum(found.totals.values()) + found.undecided == len(found.points)
    for row in found.points:
        assert (row.winner is None) == bool(row.reason)
    for text in (*answer(cases, found), *found.notes):
        assert "None" not in text
        assert "nan" not in text
        assert "  " not in text
