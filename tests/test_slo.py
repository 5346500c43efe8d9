"""SLOs: the language, the verdicts, and what people are told."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_servebench.errors import SLOSyntaxError
from pytest_servebench.load.records import Outcome
from pytest_servebench.metrics import METRICS
from pytest_servebench.objectives.slo import failure_message, judge, overall, parse_slo
from pytest_servebench.objectives.slo_grammar import Clause
from pytest_servebench.runs.results import CaseResult, ClauseResult
from simulation.cases import UNSEEN, case, mm1_records, queue, records, steady
from tests.examples import examples

FIFTEEN = case(steady(np.linspace(0.004, 0.006, 15), 1.0), 1.0)
MANY = case(mm1_records(50, 100, 3000, seed=1), 50)


def one(text: str, result: CaseResult) -> ClauseResult:
    (found,) = judge(parse_slo(text), result)
    return found


# -- language -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "metric", "operator", "bound", "relative"),
    [
        ("p99<50ms", "p99", "<", 0.05, False),
        ("p99.9 <= 0.2s", "p999", "<=", 0.2, False),
        ("p999<1s", "p999", "<", 1.0, False),
        ("P50 < 50 MS", "p50", "<", 0.05, False),
        ("mean<300us", "mean", "<", 300e-6, False),
        ("mean<300µs", "mean", "<", 300e-6, False),  # micro sign
        ("mean<300μs", "mean", "<", 300e-6, False),  # Greek mu
        ("cpu>5%", "cpu", ">", 5.0, False),
        ("drop_rate>=5%", "drop_rate", ">=", 0.05, False),
        ("max<1.5e-3s", "max", "<", 0.0015, False),
        ("throughput>=9.5", "throughput", ">=", 9.5, False),
        ("throughput>=9.5/s", "throughput", ">=", 9.5, False),
        ("throughput>=9.5 req/s", "throughput", ">=", 9.5, False),
        ("throughput>=9.5rps", "throughput", ">=", 9.5, False),
        ("throughput>=95%", "throughput", ">=", 0.95, True),
        ("success_rate>=99%", "success_rate", ">=", 0.99, False),
        ("success_rate>=0.99", "success_rate", ">=", 0.99, False),
        ("drop_rate<1%", "drop_rate", "<", 0.01, False),
        ("error_rate<=.5%", "error_rate", "<=", 0.005, False),
        ("cpu<80%", "cpu", "<", 80.0, False),
        ("cpu_mean<80%", "cpu", "<", 80.0, False),
        ("cpu_peak<150%", "cpu_peak", "<", 150.0, False),
        ("memory<500MB", "memory", "<", 500e6, False),
        ("memory_peak<500mb", "memory", "<", 500e6, False),
        ("memory<512MiB", "memory", "<", 512 * 2.0**20, False),
        ("memory_mean<1.5GB", "memory_mean", "<", 1.5e9, False),
    ],
)
def test_clauses(text: str, metric: str, operator: str, bound: float, relative: bool) -> None:
    (clause,) = parse_slo(text)
    assert clause == Clause(metric, operator, bound, relative)  # type: ignore[arg-type]
    assert str(clause) == "".join(text.split())


def test_clauses_on_a_class_of_requests() -> None:
    clauses = parse_slo("TTFT.p99 { further  turns } < 300 ms, throughput{a, b and c}>=95%")
    assert list(map(str, clauses)) == [
        "TTFT.p99{further turns}<300ms",
        "throughput{a, b and c}>=95%",
    ]
    assert clauses == (
        Clause("ttft.p99", "<", 0.3, request_class="further turns"),
        Clause("throughput", ">=", 0.95, relative=True, request_class="a, b and c"),
    )


def test_several_clauses() -> None:
    clauses = parse_slo(" p50<5ms,p99 < 50ms and throughput>=9.5 AND cpu<80% ")
    assert " ".join(map(str, clauses)) == "p50<5ms p99<50ms throughput>=9.5 cpu<80%"


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 0, "expected a metric"),
        ("p50<<3ms", 3, "one of < <= > >="),
        ("p50=3ms", 3, "one of < <= > >="),
        ("p50==3ms", 3, "one of < <= > >="),
        ("p50", 3, "one of < <= > >="),
        ("p50<", 4, "expected a number"),
        ("p50<-3ms", 4, "expected a number"),
        ("p50<nan", 4, "expected a number"),
        ("p50<50", 6, "give a unit: 50ms or 50s"),
        ("p50<50 and p99<9ms", 6, "give a unit: 50ms or 50s"),
        ("p50 < 5min", 7, "p50 has no unit 'min'; expected us, µs, ms or s"),
        ("p50<5%", 5, "p50 has no unit '%'"),
        ("memory<500", 10, "give a unit: 500MB or 500MiB"),
        ("cpu<80", 6, "give a unit: 80%"),
        ("success_rate>=99", 14, "give 99% or 0.99"),
        ("drop_rate<120%", 10, "at most 100%"),
        ("drop_rate<120", 10, "at most 100%"),
        ("p98<3ms", 0, "there is no metric 'p98'"),
        ("p50<1s, sucess_rate>1%", 8, "did you mean success_rate?"),
        ("p50<3ms,", 8, "expected a metric"),
        ("p50<3ms p99<4ms", 8, "expected ',' or 'and'"),
        ("p50<1e999s", 4, "too large"),
        ("p50<3ms\x07", 7, "expected ',' or 'and'"),
        ("ttft.p99>300ms", 8, "give ttft.p99<300ms"),
        ("goodput<=20/s", 7, "of goodput, larger is better"),
        ("capacity<150/s", 8, "give capacity>150/s"),
        ("cpu_per_request>=1ms", 15, "give cpu_per_request<=1ms"),
        ("p99{chat<3ms", 4, "name of a class of requests and '}'"),
        ("p99{ }<3ms", 3, "name a class of requests"),
        ("cpu{chat}<80%", 3, "the server's processes, not about a class"),
        ("capacity{chat}>1/s", 8, "a whole load, not about a class"),
    ],
)
def test_errors_point_at_the_character(text: str, column: int, words: str) -> None:
    with pytest.raises(SLOSyntaxError) as caught:
        parse_slo(text)
    first, shown, caret, *known = str(caught.value).split("\n")
    assert words in first
    assert shown == "  " + text.replace("\x07", "?")
    assert caret == "  " + " " * column + "^"
    assert bool(known) == any(asked in first for asked in ("a metric", "no metric"))
    assert all(" p99.9," in line and " success_rate," in line for line in known)


@examples(300)
@example("p50<" + "9" * 5000 + "s")
@example("p50<1e-999s")
@example("p50<٣ms")
@example("p50<3ms\r\nand p50<3ms")
@given(
    st.text() | st.text("p5099.<>=msandbcrute_%/, {}") | st.from_regex(r"\A[a-z0-9_]+[<>]=?.*\Z")
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        clauses = parse_slo(text)
    except SLOSyntaxError:
        return
    assert clauses
    assert parse_slo(",".join(str(clause) for clause in clauses)) == clauses


@st.composite
def any_clause(draw: st.DrawFn) -> Clause:
    metric = draw(st.sampled_from(sorted(METRICS)))
    highest = 1.0 if METRICS[metric].kind == "share" else 1e12
    relative = bool(METRICS[metric].share_of_load) and draw(st.booleans())
    bound = draw(st.floats(0, highest))
    operator = draw(st.sampled_from(["<", "<=", ">", ">="]))
    about = METRICS[metric]
    of_class = not (about.of_server or about.of_search) and draw(st.booleans())
    clause = Clause(metric, operator, bound, relative, "a, b" if of_class else "")  # type: ignore[arg-type]
    return parse_slo(clause.other_way)[0] if clause.asks_for_bad else clause


@given(st.lists(any_clause(), min_size=1, max_size=4), st.sampled_from([",", " and ", " , "]))
def test_clauses_round_trip(clauses: list[Clause], between: str) -> None:
    assert parse_slo(between.join(str(clause) for clause in clauses)) == tuple(clauses)


# -- verdicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("p50<0.01ms", "failed"),
        ("p50<100ms", "passed"),
        ("p50<5ms", "inconclusive"),
        ("p99<50ms", "inconclusive"),
        ("p99<1ms", "failed"),
        ("mean<10ms", "passed"),
        ("max<6ms", "failed"),
        ("max<=6ms", "passed"),
        ("throughput>=95%", "inconclusive"),
        ("throughput>=100%", "passed"),
        ("throughput>=50%", "passed"),
        ("throughput>=5", "failed"),
        ("success_rate>=95%", "inconclusive"),
        ("success_rate>=70%", "passed"),
        ("success_rate>=100%", "passed"),
        ("drop_rate<=0%", "passed"),
        ("drop_rate<1%", "inconclusive"),
        ("error_rate<40%", "passed"),
        ("cpu<80%", "passed"),
        ("cpu_peak<80%", "failed"),
        ("memory<500MB", "failed"),
        ("memory_mean<500MB", "passed"),
    ],
)
def test_fifteen_requests_of_about_5_ms(text: str, verdict: str) -> None:
    assert one(text, FIFTEEN).verdict == verdict


def test_few_requests_are_told_how_many_it_takes() -> None:
    message = one("p99<50ms", FIFTEEN).message
    assert "15 requests are too few for p99, which needs 662: 662 s at 1/s" in message
    message = one("success_rate>=95%", FIFTEEN).message
    assert "73 without a miss would: 73 s at 1/s" in message


def test_a_bound_within_the_interval_is_told_how_long_it_takes() -> None:
    median = MANY.summary.estimates["p50"]
    assert median.value is not None
    found = one(f"p50<{median.value * 1.03:.6f}s", MANY)
    assert found.verdict == "inconclusive"
    assert "the interval contains the bound; about" in found.message
    assert "too close to it" in one(f"p50<{median.value * 1.0001:.6f}s", MANY).message


def test_failed_requests_break_percentiles_and_max() -> None:
    result = case(steady(np.full(200, 0.005), failed=40))
    assert one("p50<10ms", result).verdict == "passed"
    for text in ("p90<10ms", "max<10s", "mean<10s"):
        found = one(text, result)
        assert (found.verdict, found.value) == ("failed", None)
        assert "40 of 200 requests failed" in found.message


def test_one_failed_request_denies_that_none_fails() -> None:
    result = case(steady(np.full(15, 0.005), failed=1))
    assert one("success_rate>=100%", result).verdict == "failed"
    assert one("error_rate<=0", result).verdict == "failed"
    assert one("drop_rate<=0", result).verdict == "passed"


def test_share_of_the_load_is_not_the_luck_of_the_schedule() -> None:
    # 8 arrivals a second came where 10 were asked for; each was answered.
    result = case(steady(np.full(240, 0.005), 8.0), 10.0)
    found = one("throughput>=95%", result)
    assert found.verdict == "passed"
    assert found.bound == pytest.approx(7.6)
    assert "95 % of the schedule's arrivals" in found.message
    assert one("throughput>=9.5", result).verdict == "failed"


def test_an_attached_servers_cpu_is_not_known() -> None:
    result = dataclasses.replace(FIFTEEN, resources=UNSEEN)
    for text in ("cpu<80%", "cpu_peak<80%", "memory<1GB", "memory_mean<1GB"):
        found = one(text, result)
        assert (found.verdict, found.value) == ("inconclusive", None)
        assert "not visible" in found.message


def test_without_a_request_nothing_is_known() -> None:
    empty = case(records(np.empty(0), np.empty(0), 1.0))
    every = "p50<1s,max<1s,mean<1s,success_rate>1%,drop_rate<1%,throughput>=95%,throughput>=1/s"
    assert {found.verdict for found in judge(parse_slo(every), empty)} == {"inconclusive"}


def test_results_without_our_estimates_can_be_judged() -> None:
    known = FIFTEEN.summary.estimates
    few = {name: known[name] for name in ("p50", "throughput", "success_rate")}
    result = dataclasses.replace(
        FIFTEEN, summary=dataclasses.replace(FIFTEEN.summary, estimates=few)
    )
    assert one("drop_rate<50%", result).verdict == "passed"
    assert one("error_rate<1%", result).verdict == "inconclusive"
    assert one("throughput>=50%", result).verdict == "passed"
    assert one("p99<1s", result).verdict == "inconclusive"


def test_a_bound_far_above_everything_that_was_seen_is_decided() -> None:
    """Where the interval is open, the ceiling is the upper end that the clause shows."""
    result = case(queue("M/M/1", 0.5, 2000, 1, service=0.005), 100)
    p99 = result.summary.estimates["p99"]
    assert (p99.high, p99.value is not None, p99.ceiling is not None) == (None, True, True)
    assert p99.ceiling is not None
    far, beyond, within = (
        one(f"p99<{bound:.9f}s", result)
        for bound in (2 * p99.ceiling, 1.01 * p99.ceiling, 0.99 * p99.ceiling)
    )
    assert [far.verdict, beyond.verdict, within.verdict] == ["passed", "passed", "inconclusive"]
    assert far.high == within.high == p99.ceiling
    (least,) = judge((Clause("p99", ">", 1e-6),), result)
    assert least.verdict == "passed"
    # A file of an earlier version has none.
    known = {**result.summary.estimates, "p99": dataclasses.replace(p99, ceiling=None)}
    earlier = dataclasses.replace(
        result, summary=dataclasses.replace(result.summary, estimates=known)
    )
    assert one("p99<100s", earlier).verdict == "inconclusive"


ORDER = {"failed": 0, "inconclusive": 1, "passed": 2}


@examples(60)
@given(
    st.sampled_from(["p50", "p90", "p99", "p99.9", "mean", "max"]),
    st.lists(st.floats(1e-4, 1), min_size=2, max_size=6).map(sorted),
    st.sampled_from([FIFTEEN, MANY, case(steady(np.linspace(0.01, 0.5, 40), failed=3))]),
)
def test_a_wider_bound_is_never_judged_worse(
    metric: str, bounds: list[float], result: CaseResult
) -> None:
    clauses = [parse_slo(f"{metric}<{bound:.9f}s")[0] for bound in bounds]
    words = [found.verdict for found in judge(clauses, result)]
    assert [ORDER[word] for word in words] == sorted(ORDER[word] for word in words)
    turned = [dataclasses.replace(clause, operator=">=", text="") for clause in clauses]
    contrary = [found.verdict for found in judge(turned, result)]
    assert [2 - ORDER[word] for word in contrary] == [ORDER[word] for word in words]


@examples(40)
@given(any_clause(), st.sampled_from([FIFTEEN, case(steady(np.full(20, 0.3), failed=20))]))
def test_any_clause_gets_a_verdict_in_one_line(clause: Clause, result: CaseResult) -> None:
    clause = dataclasses.replace(clause, request_class="", text="")  # the cases have no classes
    (found,) = judge([clause], result)
    assert found.verdict in ORDER
    assert found.message.startswith(str(clause))
    assert "\n" not in found.message
    assert "nan" not in found.message
    assert all(end is None or math.isfinite(end) for end in (found.value, found.low, found.high))


def test_overall_is_the_worst() -> None:
    found = judge(parse_slo("p50<1s,p99<50ms,p50<1us"), FIFTEEN)
    assert overall(found) == "failed"
    assert overall(found[:2]) == "inconclusive"
    assert overall(found[:1]) == "passed"
    assert overall(()) == "passed"


# -- words ----------------------------------------------------------------------------------------


def test_failure_message_lists_every_clause() -> None:
    lost = np.arange(15) == 3
    arrivals = np.arange(15.0)
    rows = records(arrivals, np.full(15, 0.005), 15.0, lost, Outcome.TIMEOUT)
    result = case(rows, 1.0)
    clauses = parse_slo("p50<1s,p99<50ms,p50<0.01ms,memory<500MB")
    text = failure_message(result, judge(clauses, result))
    lines = text.split("\n")
    for fact in ("p50<0.01ms: broken: 5 ms", "5 ms to 5 ms", "15 req", "10 µs", "4.99 ms", "499 "):
        assert fact in lines[0]
    for fact in ("memory<500MB: broken: 520 MB", "500 MB by 20 MB (4 %)"):
        assert fact in lines[1]
    assert lines[2].startswith("p99<50ms: inconclusive: ")
    assert lines[3].startswith("p50<1s: met: 5 ms")
    assert lines[4] == "test_load[torchserve-rate1-buffer50]: 2 broken, 1 inconclusive, 1 met"
    for fact in ("TorchServe 0.12.0", "1 requests/s", "15 s", "buffer 50", "14 ok, 1 timeout"):
        assert fact in lines[5]
