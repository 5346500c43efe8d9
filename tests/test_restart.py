"""A server that dies costs its own case, and not those that come after it."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_servebench.errors import ServerDiedError, ServerStartError
from pytest_servebench.runs.results import ServerDeath
from pytest_servebench.runs.run_names import read_run
from pytest_servebench.servers.shared import MOST_DEATHS, SharedServer, SharedServers
from tests.conftest import RunBench
from tests.results import RESULTS
from tests.test_kept_up_to_date import ENDS

KILLING_TEST = """
from tests.toy import kill

held = []

def test_load(model_server, poisson_load, rate):
    held.append((model_server, model_server.base_url))
    case = poisson_load(model_server)
    assert case.summary.success_rate == 1
    if rate == KILLED_AT:
        kill(model_server)

def test_what_was_held():
    servers, urls = zip(*held)
    assert len(set(map(id, servers))) == 1
    assert len(set(urls)) == STARTS
"""


def killing(rate: int, starts: int) -> str:
    return KILLING_TEST.replace("KILLED_AT", str(rate)).replace("STARTS", str(starts))


def restarts(result: pytest.RunResult) -> int:
    return result.stdout.str().count("ServerRestartedWarning: toy was restarted")


def logs() -> list[str]:
    (servers,) = RESULTS.glob("2*/servers")
    return sorted(path.relative_to(servers).as_posix() for path in servers.rglob("*.log"))


def test_the_next_case_gets_a_new_server(run_bench: RunBench) -> None:
    result = run_bench("--servebench-rates=40,50,60", test=killing(40, starts=2))
    result.assert_outcomes(passed=4)
    assert restarts(result) == 1
    result.stdout.fnmatch_lines(
        ["*test_load?toy-rate50-buffer10?", "*toy was restarted for this test: *status -9*"]
    )
    assert logs() == ["toy/2/toy.log", "toy/toy.log"]  # the dead one's is still there
    run = read_run("latest")
    assert all((one.server.rest_memory or 0) > 1e6 for one in run.cases)
    (death,) = run.deaths
    assert death == ServerDeath(
        kind="toy",
        implementation="toy 1.0",
        test="test_it.py::test_load[toy-rate40-buffer10]",
        reason="the toy server ended with status -9; its log ends:",
        log_file="servers/toy/toy.log",
    )
    assert run.not_measured == 0
    result.stdout.fnmatch_lines(["toy 1.0 died: the toy server ended with status -9*"])


def test_without_a_next_case_nothing_is_started(run_bench: RunBench) -> None:
    result = run_bench("--servebench-rates=40,50", test=killing(50, starts=1))
    result.assert_outcomes(passed=3)
    assert logs() == ["toy/toy.log"]


def test_a_server_that_was_asked_for_within_the_test_is_started_again(run_bench: RunBench) -> None:
    # The toy server under the name that the fixture asks for.
    conftest = """
from pytest_servebench.plugin.setups import Setup
from pytest_servebench.plugin.state import session_of
from tests.toy import ToyKind

def pytest_runtest_setup(item):
    session = session_of(item.config)
    session.known._setups["torchserve"] = Setup(ToyKind("torchserve"))
    session.model().artifacts["torchserve"] = __file__
"""
    test = """
from tests.toy import kill

def test_load(request, poisson_load, rate):
    server = request.getfixturevalue("torchserve")
    poisson_load(server)
    if rate == 40:
        kill(server)
"""
    result = run_bench("--servebench-rates=40,50", test=test, conftest=conftest)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*torchserve was restarted for this test: *status -9*"])


@pytest.mark.slow
def test_servers_that_take_turns_are_started_again_too(run_bench: RunBench) -> None:
    result = run_bench(
        "--servebench-servers=toy,toy2", "--servebench-interleave", "--servebench-rates=40,50",
        test=KILLING_TEST.replace("rate == KILLED_AT", "rate == 40 and model_server.kind == 'toy'")
        .partition("def test_what")[0],
    )  # fmt: skip
    result.assert_outcomes(passed=4)
    assert restarts(result) == 1


def test_a_server_that_dies_over_and_over_is_given_up(
    run_bench: RunBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_FAULT", "dies")
    result = run_bench("--servebench-rates=100,110,120,130,140")
    result.assert_outcomes(failed=MOST_DEATHS, errors=5 - MOST_DEATHS)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_load?toy-rate140-buffer10?*",
            "*ServerDiedError: toy 1.0 ended 3 times in this session and is not restarted again*"
            "status 3*",
            "*giving up*",  # the end of its log
        ]
    )
    messages = result.stdout.str().partition("short test summary")[0]  # some CI shows all twice
    assert messages.count("ended 3 times") == 5 - MOST_DEATHS
    assert len(logs()) == MOST_DEATHS
    result.stdout.fnmatch_lines(
        ["servebench: no case was measured; server logs are in servebench_results/2*/servers"]
    )


def test_cases_that_a_death_costs_are_counted(run_bench: RunBench) -> None:
    test = """
import os, signal

def test_load(model_server, poisson_load, rate):
    if rate > 40:
        os.kill(*model_server.pids(), signal.SIGKILL)
    poisson_load(model_server)
"""
    result = run_bench("--servebench-rates=40,50,60,70,80", test=test)
    result.assert_outcomes(passed=1, failed=3, errors=1)
    run = read_run("latest")
    assert [death.log_file for death in run.deaths] == [
        "servers/toy/toy.log", "servers/toy/2/toy.log", "servers/toy/3/toy.log",
    ]  # fmt: skip
    assert run.not_measured == 4
    result.stdout.fnmatch_lines(
        ["toy 1.0 died 3 times: the toy server ended with status -9*", "not measured: 4 selected*"]
    )


class Fragile:
    """A server that dies when it is told to."""

    implementation = "fragile 1.0"
    dead = False
    stopped = 0

    def check_alive(self) -> None:
        if self.dead:
            raise ServerDiedError("fragile 1.0 ended")

    def stop(self) -> None:
        self.stopped += 1


def test_deaths_are_counted_over_the_session_and_each_kind_for_itself() -> None:
    started: list[Any] = []

    def start(kind: str) -> Any:
        started.append(Fragile())
        return started[-1]

    servers = SharedServers(start, keep=lambda: False)
    for turn in range(1, MOST_DEATHS + 1):
        # Each turn as where other servers' cases come in between: the fixture is made anew.
        with servers.running("a") as a, servers.running("b") as b:
            assert servers.new_deaths() == []
            started[-2].dead = True  # the one of kind a
            assert servers.new_deaths() == [a]
            assert servers.new_deaths() == []  # it is known
            assert servers.death("a") is not None
            assert servers.death("b") is None
            if turn < MOST_DEATHS:
                servers.revive("a")
                assert a.current is started[-1]
                assert b.current is started[-2]
                assert servers.death("a") is None
            else:
                with pytest.raises(ServerDiedError, match=r"3 times.*not restarted"):
                    servers.revive("a")
    assert all(one.stopped for one in started)
    assert servers.death("a") is None  # nobody holds it


def test_a_start_that_fails_is_no_death() -> None:
    one = Fragile()
    starts: Iterator[Any] = iter([one])

    def start(kind: str) -> Any:
        try:
            return next(starts)
        except StopIteration:
            raise ServerStartError("no port is free") from None

    servers = SharedServers(start, keep=lambda: False)
    with servers.running("a"):
        one.dead = True
        for _ in range(MOST_DEATHS - 1):
            servers.new_deaths()
            with pytest.raises(ServerStartError):
                servers.revive("a")
        servers.new_deaths()
        with pytest.raises(ServerDiedError) as given_up:
            servers.revive("a")
    facts = ("fragile 1.0", "ended 1 time,", "restarted 2 times", "not restarted", "no port is")
    assert all(fact in str(given_up.value) for fact in facts)


def test_servers_may_be_stopped_before_those_who_hold_them_let_go() -> None:
    one: Any = Fragile()
    servers = SharedServers(lambda kind: one, keep=lambda: False)
    with servers.running("a"):
        servers.stop_all()
        assert one.stopped


def test_a_server_that_tests_hold_can_be_copied() -> None:
    server = SharedServer(Fragile())  # type: ignore[arg-type]
    assert copy.copy(server) == server
    assert server.stopped == 0  # what only this kind has is still found
    with pytest.raises(AttributeError, match="current"):
        _ = SharedServer.__new__(SharedServer).current


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "interleaved"), [("raise KeyboardInterrupt", False), ("pytest.exit('enough')", True)]
)
def test_a_session_that_is_interrupted_keeps_its_tables(
    run_bench: RunBench, interleaved: bool, how: str
) -> None:
    result = run_bench(
        "--servebench-rates=40,50", *(["--servebench-interleave"] if interleaved else []),
        test=ENDS.format(how=how), interrupted=True,
    )  # fmt: skip
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    result.stdout.fnmatch_lines(["rate 40/s*", "servebench: results in *"])
