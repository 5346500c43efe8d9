"""``find_capacity``: searches on simulated queues, and on the toy server."""

import dataclasses
import math
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_servebench.errors import InvalidMeasurementError, ServebenchError, ServerDiedError
from pytest_servebench.load.classes import Classes
from pytest_servebench.load.draws import schedule
from pytest_servebench.load.records import Outcome, Records
from pytest_servebench.measure import capacity_run
from pytest_servebench.measure.capacity_run import CapacityRun
from pytest_servebench.measure.case_runner import Case
from pytest_servebench.measure.traffic import Traffic
from pytest_servebench.objectives.capacity_answers import judge_probes
from pytest_servebench.plugin import capacity_fixture
from pytest_servebench.plugin.progress import Progress
from pytest_servebench.runs.capacity import CAPACITY_KEY, CapacityLimit
from pytest_servebench.runs.results import CaseResult, ServerInfo
from pytest_servebench.runs.run_json import read_file
from pytest_servebench.stats.classes import class_figures
from pytest_servebench.stats.summary import summarize
from simulation import cases
from simulation.capacities import capacity, probe_cases
from simulation.queues import waits
from tests.conftest import RunBench
from tests.results import RESULTS, saved_run
from tests.test_outcomes import RERUN
from tests.test_schema import VALIDATOR

Simulate = Callable[..., None]
Change = Callable[[CaseResult], CaseResult]

SERVICE_RATE = 400.0
TRUE = SERVICE_RATE - math.log(10) / 0.05  # the rate at which 10 % of the requests take 50 ms
GENERATOR = {"at": 150, "error": InvalidMeasurementError}
AT_ONCE = {"at": 50}  # before any probe is measured
TEST = """
import pytest

@pytest.mark.slo("p90<50ms"{more})
@pytest.mark.servebench(capacity_range=(50, 5000), capacity_precision="100%")
def test_capacity(model_server, find_capacity):
    capacity = find_capacity(model_server)
    {body}
"""


LOAD = """
def test_load(model_server, poisson_load):
    poisson_load(model_server)
"""


def searching(body: str = "", more: str = "") -> str:
    return TEST.format(body=body or "pass", more=f", {more!r}" if more else "")


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch) -> Simulate:
    """Return what replaces loads by simulated M/M/1 queues, and their time by a clock of ours."""

    def replace(
        at: float = math.inf,
        error: type[BaseException] = ServerDiedError,
        service_rate: float = SERVICE_RATE,
        after: int = 0,
        change: Change = lambda made: made,
        queue: bool = False,
    ) -> None:
        """Raise ``error`` from the rate ``at`` on, or at the probe ``after``; change the others.

        Without ``queue``, no queue is fitted to the probes, which takes time.
        """
        now, number = 0.0, 0

        def run(case: Case, server: Any, info: ServerInfo, sent: Traffic, watch: Any) -> CaseResult:
            nonlocal now, number
            number += 1
            now += case.load.duration + 0.5
            if case.load.rate >= at or number == after:
                raise error("it gave up")
            rows = mm1(case, service_rate)
            made = cases.case(rows, case.load.rate)
            return change(dataclasses.replace(
                made, name=case.name, nodeid=case.nodeid, label=case.label, server=info,
                records=rows, seed=case.load.seed,
            ))  # fmt: skip

        monkeypatch.setattr(capacity_fixture, "run_case", run)
        monkeypatch.setattr(capacity_fixture._Search, "_rest", lambda *_: None)
        if not queue:
            monkeypatch.setattr(capacity_run, "with_queue", lambda search, *_: search.capacity())
        monkeypatch.setattr(
            capacity_fixture, "CapacityRun",
            lambda limits, settings, lag: CapacityRun(limits, settings, lag, lambda: now),
        )  # fmt: skip

    return replace


def mm1(case: Case, service_rate: float) -> Records:
    times = schedule(case.load) / 1e9
    dice = np.random.default_rng(case.load.seed)
    served = dice.exponential(1 / service_rate, len(times))
    return cases.records(times, waits(times, served) + served, case.load.duration)


def found() -> dict[str, Any]:
    (one,) = saved_run()[1]["servebench"]["capacities"]
    return dict(one)


def test_a_search_finds_the_capacity_and_saves_it(
    run_bench: RunBench, simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(queue=True)
    shown_live: list[str] = []

    def load(self: Progress, name: str, number: str) -> AbstractContextManager[None]:
        shown_live.append(number)
        return nullcontext()

    monkeypatch.setattr(Progress, "load", load)
    body = "assert capacity.at_least(100) and capacity.low < capacity.value < capacity.high"
    result = run_bench("--junitxml=junit.xml", test=searching(body, "capacity>=100/s"))
    result.assert_outcomes(passed=1)
    directory, run = saved_run()
    data = run["servebench"]
    VALIDATOR.validate(data)
    one = found()
    assert one["state"] == "found"
    assert one["low"] < TRUE < one["high"]
    assert one["expected"] == pytest.approx(TRUE, rel=0.1)
    assert one["seconds"] <= 180 + 13.5
    assert (one["lowest"], one["highest"], one["limiting"]) == (50, 5000, "p90<50ms")
    assert (one["verdict"], one["test_outcome"]) == ("passed", "passed")
    # Its probes are cases of their own, and none of them counts as a case.
    assert [case["label"] for case in data["probes"]] == [each["label"] for each in one["probes"]]
    seeds = {case["seed"] for case in data["probes"]}
    assert len(seeds) == len(data["probes"])
    assert min(seeds) > one["seed"] + 100  # those of repeats are in between
    assert all((directory / case["records_file"]).is_file() for case in data["probes"])
    assert any(case["verdict"] == "failed" for case in data["probes"])
    assert data["cases"] == []
    assert data["not_measured"] == 0
    assert shown_live[1].startswith("1/1, probe 2, 100/s, search ")
    assert shown_live[1].endswith(" left")
    # The benchmark has the latencies of the probe that is nearest.
    extra = run["benchmarks"][0]["extra_info"]
    assert extra[CAPACITY_KEY] == one
    rates = {abs(each["rate"] - one["value"]): each["label"] for each in one["probes"]}
    assert extra["servebench"]["label"] == rates[min(rates)]
    assert read_file(directory / "run.json")[0].capacities[0].value == one["value"]
    assert 'name="servebench.capacity.value"' in Path("junit.xml").read_text()
    shown = result.stdout.str()
    assert f"{one['value']:.0f}" in shown
    assert "InconclusiveWarning" not in shown
    assert "fixture was not used" not in shown


def marked(keyword: str) -> str:
    """Return a search with another keyword of its marker, or another range."""
    test = searching()
    if keyword.startswith("capacity_range"):
        test = test.replace("capacity_range=(50, 5000)", "")
    return test.replace("servebench(", f"servebench({keyword}, ").replace(", ,", ",")


LOADED = "import pytest\n@pytest.mark.servebench({})" + LOAD
WRONG_RANGES = (
    ("(1, 2, 3)", "give the lowest and the highest rate"),
    ("7", "give the lowest and the highest rate"),
    ("'1..2..3'", "give the lowest and the highest rate"),
    ("(5, 1)", "the first rate must be below the second"),
    ("('a', 'b')", "'a': not a number; give requests per second above 0"),
    ("(0, 5)", "0: give requests per second above 0"),
    ("(True, 5)", "True: not a number"),
)

SEARCHES = (
    ("pass", "capacity>=400/s", "capacity>=400/s: broken"),
    (
        "capacity.check('capacity>=100/s'); assert capacity.at_least(capacity.value)", "",
        "interval contains the bound",
    ),
    ("assert not capacity.at_least(capacity.low * 1.01)", "", "interval contains the bound"),
    (
        """with pytest.raises(Exception, match="the marker slo"):
        capacity.check('p90<5ms')
    assert capacity.at_least(400)""", "", "<capacity 3",
    ),
)  # fmt: skip


@pytest.mark.slow
def test_what_a_test_makes_of_a_capacity(run_bench: RunBench, simulate: Simulate) -> None:
    simulate()
    bodies = (
        searching(body, more).replace("test_capacity", f"test_{number}")
        for number, (body, more, _) in enumerate(SEARCHES)
    )
    result = run_bench(test="".join(bodies))
    outcomes = [one["test_outcome"] for one in saved_run()[1]["servebench"]["capacities"]]
    assert outcomes == ["failed"] * len(SEARCHES)
    _, *parts = re.split(r"^_+ test_\d", result.stdout.str(), flags=re.MULTILINE)
    for part, (_, _, words) in zip(parts, SEARCHES, strict=True):
        assert words in " ".join(part.split())


@pytest.mark.parametrize(
    ("trouble", "test", "state", "outcome", "words"),
    [
        ({"service_rate": 1e6}, searching(), "above_range", "passed", "--servebench-capacity"),
        ({"service_rate": 30}, searching(), "below_range", "passed", "even the lowest"),
        ({"at": 150}, searching(), "server_died", "failed", "ServerDiedError: it gave up"),
        (GENERATOR, searching("", "capacity>=160/s"), "generator_limited", "failed", "InvalidMeas"),
        (GENERATOR, searching("assert capacity.at_least(30)"), "generator_limited", "passed", "1"),
        (AT_ONCE, searching(), "server_died", "failed", "ServerDiedError: it gave up"),
        (GENERATOR | AT_ONCE, searching(), "generator_limited", "passed", "could not make 50/s"),
    ],
)  # fmt: skip
def test_every_end_of_a_search_is_told(
    trouble: dict[str, Any], test: str, state: str, outcome: str, words: str,
    run_bench: RunBench, simulate: Simulate,
) -> None:  # fmt: skip
    simulate(**trouble)
    shown = " ".join(run_bench(test=test).stdout.str().split())
    one = found()
    assert (one["state"], one["test_outcome"]) == (state, outcome)
    assert words in shown
    assert one["reason"][:50] in shown
    directory, run = saved_run()
    assert bool(run["servebench"]["probes"]) is (trouble.get("at") != 50)
    assert read_file(directory / "run.json")[0].capacities[0].state == state


def beside_others(made: CaseResult) -> CaseResult:
    return dataclasses.replace(
        made, resources=dataclasses.replace(made.resources, others_share=0.5)
    )


def refused(made: CaseResult) -> CaseResult:
    assert made.records is not None
    nothing = np.full_like(made.records.outcome, Outcome.ERROR_STATUS)
    rows = dataclasses.replace(
        made.records, outcome=nothing, status=np.full_like(made.records.status, 404)
    )
    failures = {"error_status: status 404": len(nothing)}
    return dataclasses.replace(
        made, records=rows, failures=failures, summary=summarize(rows, made.rate)
    )


def by_few_workers(made: CaseResult) -> CaseResult:
    few = made.rate > TRUE
    generator = dataclasses.replace(made.generator, all_workers_busy=0.9, too_few_workers=few)
    return dataclasses.replace(made, generator=generator)


def with_wrong(wrong: int) -> Change:
    return lambda made: dataclasses.replace(made, answers_checked=64, answers_wrong=wrong)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "outcome", "verdict", "words"),
    [
        (beside_others, "passed", "passed", "without them: search again while nothing else runs"),
        (by_few_workers, "passed", "passed", "raise --servebench-worker-threads: test_capacity["),
        (refused, "failed", "failed", "x error_status: status 404; 404 is Not Found: are path"),
        (with_wrong(64), "failed", "failed", "right answers: broken"),
        (with_wrong(6), "passed", "inconclusive", "the SLO requires 90 %"),
        (with_wrong(1), "passed", "passed", "1 passed"),
    ],
)
def test_what_the_probes_show_besides_their_times(
    change: Change, outcome: str, verdict: str, words: str, run_bench: RunBench, simulate: Simulate
) -> None:
    simulate(change=change)
    result = run_bench(test=searching("capacity.at_least(50)"))
    shown = " ".join(result.stdout.str().split())
    assert words in shown
    assert "--servebench-capacity-range" not in shown
    one = found()
    assert (one["test_outcome"], one["verdict"]) == (outcome, verdict)
    directory, run = saved_run()
    VALIDATOR.validate(run["servebench"])
    assert read_file(directory / "run.json")[0].capacities[0].verdict == verdict


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [
        ("p99<50ms", "failed"),
        ("success_rate>=99%", "failed"),
        ("error_rate<1%", "failed"),
        ("drop_rate<1%", "inconclusive"),
        # Wrong answers may all be of another class, or all of this one.
        ("p99{chat}<50ms", "inconclusive"),
        ("success_rate{chat}>=99%", "inconclusive"),
    ],
)
def test_right_answers_are_required_by_limits_that_a_wrong_one_breaks(
    limit: str, verdict: str
) -> None:
    probes = tuple(map(with_wrong(6), probe_cases()))
    limits = (CapacityLimit(limit, 0.01),)
    (clause,) = judge_probes(capacity(probes=probes, limits=limits, limiting=limit), probes)
    assert clause.verdict == verdict


def test_a_limit_on_a_class_of_which_nothing_succeeds_fails() -> None:
    """No lower rate would keep it."""

    def failing(made: CaseResult) -> CaseResult:
        rows = made.records
        assert rows is not None
        number = np.arange(len(rows), dtype=np.uint32) % 2
        outcome = np.where(number, Outcome.BAD_RESPONSE, rows.outcome).astype(rows.outcome.dtype)
        rows = dataclasses.replace(
            rows, outcome=outcome, classes=Classes.of(number, ("chat", "broken"))
        )
        figures = class_figures(rows, made.rate, math.inf)
        failures = {"bad_response: cut off": int(number.sum())}
        return dataclasses.replace(made, records=rows, classes=figures, failures=failures)

    probes = tuple(map(failing, probe_cases()))
    for limit, broken in (("p99{broken}<50ms", True), ("p99{chat}<50ms", False)):
        limits = (CapacityLimit(limit, 0.01),)
        clauses = judge_probes(capacity(probes=probes, limits=limits, limiting=limit), probes)
        assert [(one.verdict, one.request_class) for one in clauses] == [
            ("failed", "broken")
        ] * broken
        assert all("class broken succeeded" in one.message for one in clauses)
        assert all("x bad_response: cut off" in one.message for one in clauses)


@pytest.mark.slow
@pytest.mark.parametrize("raises", ["", "; raise ValueError('mine')"])
def test_a_hook_is_told_what_a_search_found(
    run_bench: RunBench, simulate: Simulate, raises: str
) -> None:
    simulate(at=150)
    hook = """
def pytest_servebench_search_finished(config, result):
    print("told", result.name, result.state, len(result.clauses), result.low)"""
    result = run_bench("-s", test=searching("", "capacity>=1/s"), conftest=hook + raises)
    one = found()
    told = f"told {one['name']} server_died 0 {one['low']}"
    assert told in result.stdout.str()
    assert ("mine" in result.stdout.str()) is bool(raises)
    assert one["test_outcome"] == "failed"


@pytest.mark.slow
def test_an_interrupted_search_keeps_its_probes(run_bench: RunBench, simulate: Simulate) -> None:
    simulate(after=3, error=KeyboardInterrupt)
    shown = run_bench(test=searching(), interrupted=True).stdout.str()
    assert "2 probes of a search that was interrupted: 50.0/s passed" in shown
    assert len(read_file(saved_run()[0] / "run.json")[0].probes) == 2
    run = saved_run()[1]["servebench"]
    assert [case["rate"] for case in run["probes"]] == [50, 100]
    assert run["capacities"] == []
    assert not run["finished"]


@pytest.mark.slow
def test_a_search_that_fails_keeps_its_label_and_a_missing_one_is_told(
    run_bench: RunBench, simulate: Simulate
) -> None:
    simulate(after=3, error=ServebenchError)
    twice = "with pytest.raises(BaseException): find_capacity(model_server)"
    twice = searching("find_capacity(model_server)").replace(
        "capacity = find_capacity(model_server)", twice
    )
    run_bench(test=twice)
    labels = [case["label"] for case in saved_run()[1]["servebench"]["probes"]]
    assert labels[:3] == ["probe1-rate50", "probe2-rate100", "2-probe1-rate50"]
    assert found()["label"] == "2"
    simulate()
    run_bench("--servebench-save=base", test=searching("find_capacity(model_server, label='b')"))
    gated = ("--servebench-baseline=base", "--servebench-max-regression=capacity:50%")
    shown = run_bench(*gated, test=searching()).stdout.str()
    assert "did not search for the capacity of" in shown
    assert "::b" in shown


def test_a_server_that_dies_ends_the_search(
    run_bench: RunBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_FAULT", "dies")
    result = run_bench(test=searching())
    result.assert_outcomes(failed=1)
    assert "ServerDiedError" in result.stdout.str()
    assert "giving up" in result.stdout.str()
    assert re.search(r"server died.* 50/s", found()["reason"])
    assert saved_run()[1]["servebench"]["probes"] == []


AGAIN = """
import pytest

TRIES = []

@pytest.mark.slo("p90<50ms")
@pytest.mark.servebench(capacity_range=(50, 5000))
def test_capacity(model_server, find_capacity):
    TRIES.append(1)
    if len(TRIES) > 1:
        pytest.skip("enough")
    find_capacity(model_server)
"""


@pytest.mark.parametrize("at", [50, 150])
def test_a_last_attempt_without_a_search_leaves_none(
    run_bench: RunBench, simulate: Simulate, at: float
) -> None:
    simulate(at=at)
    run_bench(test=AGAIN, conftest=RERUN).assert_outcomes(skipped=1)
    assert not list(RESULTS.glob("*/run.json"))


@pytest.mark.parametrize(
    ("arguments", "test", "words"),
    [
        ((), searching().replace('@pytest.mark.slo("p90<50ms")', ""), "the test has none"),
        ((), searching(more="mean<5ms"), "mean<5ms: find_capacity needs limits"),
        ((), searching(more="success_rate>=100%"), "success_rate>=99.9%"),
        (("--servebench-slo=cpu<80%",), searching(), "cpu<80%: find_capacity"),
        ((), searching(more="capacity>=80%"), "capacity has no unit %"),
        (("--servebench-capacity-range=9",), searching(), "--servebench-capacity-range='9'"),
        (("--servebench-capacity-precision=0",), searching(), "such as 5%"),
        (("--servebench-capacity-precision=5",), searching(), "5%"),
        (("--servebench-capacity-budget=1",), searching(), "--servebench-capacity-budget"),
        ((), marked("rates=5"), "(rates=5) has no effect: find_capacity finds the rates"),
        ((), marked("duration=5"), "within capacity_budget"),
        ((), LOADED.format("capacity_range=(1, 5)"), "only find_capacity uses it"),
        *(
            ((), marked(f"capacity_range={given}"), f"(capacity_range={given}): {words}")
            for given, words in WRONG_RANGES
        ),
        (
            (),
            f'import pytest\n@pytest.mark.slo("capacity>=9/s"){LOAD}',
            "does not use it",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_starts(
    arguments: tuple[str, ...], test: str, words: str, run_bench: RunBench
) -> None:
    result = run_bench(*arguments, test=test)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert words in " ".join(result.stderr.str().split())


@pytest.mark.parametrize(
    ("arrivals", "words"),
    [("steps:1,3", "2 times the rate"), ("trace:trace.txt@recorded", "the recorded rate")],
)
def test_arrivals_at_another_rate_are_refused(
    arrivals: str, words: str, run_bench: RunBench, simulate: Simulate
) -> None:
    simulate()
    Path("trace.txt").write_text("0\n1\n2.5\n")
    result = run_bench(test=marked(f"arrivals={arrivals!r}"))
    result.assert_outcomes(failed=1)
    assert f"arrivals '{arrivals}' come at {words}" in result.stdout.str()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("object()", "find_capacity(object object): this is neither"),
        ("'http://h:1'", "find_capacity(URL) needs requests"),
        ("'http://h:1', name=''", "find_capacity(URL, name=''): the name is empty"),
        ("'http:/h'", "find_capacity(URL)"),
        ("model_server, label='a b'", "find_capacity(label='a b')"),
        ("model_server, buffer_size=-1", "find_capacity(buffer_size=-1)"),
    ],
)
def test_wrong_arguments_are_told_by_the_fixture_s_name(
    arguments: str, words: str, run_bench: RunBench
) -> None:
    test = searching().replace("find_capacity(model_server)", f"find_capacity({arguments})")
    result = run_bench(test=test)
    result.assert_outcomes(failed=1)
    assert f"OptionError: {words}" in result.stdout.str()


@pytest.mark.slow
def test_settings_that_no_selected_test_uses_are_told(
    run_bench: RunBench, simulate: Simulate
) -> None:
    simulate()
    shared = "import pytest\npytestmark = pytest.mark.servebench(rates=5)\n" + searching()
    result = run_bench("--servebench-rates=5", "--servebench-duration=3", test=shared)
    result.assert_outcomes(passed=1)
    told = "no selected test uses poisson_load: --servebench-rates=5, --servebench-duration=3 has"
    assert told in result.stdout.str()
    gates = "--servebench-max-regression=p99:10%,capacity:10%"
    for test, name, gate in (
        (searching(), "poisson_load", "p99"), (LOAD, "find_capacity", "capacity")
    ):  # fmt: skip
        shown = run_bench(gates, "--servebench-baseline=", "--collect-only", test=test).stdout.str()
        assert f"uses {name}: --servebench-max-regression={gate}:10% has no effect" in shown


@pytest.mark.slow
def test_clauses_on_a_capacity_are_not_applied_to_loads(
    run_bench: RunBench, simulate: Simulate
) -> None:
    simulate()
    result = run_bench(
        "--servebench-slo=capacity>=100/s", "--servebench-repeats=2", test=searching() + LOAD
    )
    result.assert_outcomes(passed=4)
    run = saved_run()[1]["servebench"]
    assert [case["clauses"] for case in run["cases"]] == [[], []]
    assert "no effect" not in result.stdout.str()
    result = run_bench(
        "--servebench-slo=capacity>=9/s", "--servebench-duration=0.1",
        test=LOAD.rstrip() + ".check('capacity>=9/s')",
    )  # fmt: skip
    result.assert_outcomes(failed=1)
    assert (
        "no selected test uses find_capacity: --servebench-slo=capacity>=9/s" in result.stdout.str()
    )
    assert "find_capacity finds it" in result.stdout.str()
    assert [one["verdict"] for one in run["capacities"]] == ["passed", "passed"]
    assert len({one["value"] for one in run["capacities"]}) == 2  # of other arrivals


@pytest.mark.servers
def test_probes_are_loads_of_the_generator_and_settle_first(run_bench: RunBench) -> None:
    test = searching("assert capacity.at_least(80)").replace("(50, 5000)", "(40, 80)")
    result = run_bench(
        "--servebench-max-lag=1000", test=test.replace('"p90<50ms"', '"success_rate>=90%"')
    )
    result.assert_outcomes(passed=1)
    directory, run = saved_run()
    one = found()
    assert (one["state"], one["low"], one["high"]) == ("above_range", 80, None)
    for probe, case in zip(one["probes"], run["servebench"]["probes"], strict=True):
        rows = Records.load(directory / case["records_file"], case["summary"]["arrivals"])
        assert rows.ok.all()
        assert rows.window == pytest.approx(1e9 * (probe["settle"] + probe["seconds"]))
        assert probe["arrivals"] == (rows.scheduled >= 1e9 * probe["settle"]).sum()
    # Warm-up and start count, too.
    assert one["seconds"] > sum(each["settle"] + each["seconds"] for each in one["probes"])


@pytest.mark.slow
def test_a_capacity_is_gated_against_a_baseline(run_bench: RunBench, simulate: Simulate) -> None:
    simulate()
    run_bench("--servebench-save=base", test=searching()).assert_outcomes(passed=1)
    simulate(service_rate=200.0)
    gated = ("--servebench-baseline=base", "--servebench-max-regression=capacity:10%")
    result = run_bench(*gated, test=searching())
    result.assert_outcomes(failed=1)
    (clause,) = found()["clauses"]
    assert (clause["clause"], clause["verdict"]) == ("capacity:10% against base", "failed")
    assert "capacity:10% against base: broken" in result.stdout.str()
    # The limits are part of what is compared, and gates on loads do not concern a search.
    other = searching().replace("p90<50ms", "p90<60ms")
    result = run_bench(*gated, "--servebench-on-missing-baseline=warn", test=other)
    result.assert_outcomes(passed=1, warnings=1)
    assert "capacity with p90<60ms" in " ".join(result.stdout.str().split())
    result = run_bench(gated[0], "--servebench-max-regression=p99:10%", test=searching())
    result.assert_outcomes(passed=1)
    assert found()["clauses"] == []
