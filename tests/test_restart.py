"""A server that dies costs its own case, and not those that come after it."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_servebench.errors import ServerDiedError
from pytest_servebench.servers.shared import MOST_DEATHS, SharedServers
from tests.conftest import RunBench

KILLING_TEST = """
import os, signal, time

held = []

def test_load(model_server, poisson_load, rate):
    held.append((model_server, model_server.base_url))
    case = poisson_load(model_server)
    assert case.summary.success_rate == 1
    if rate == KILLED_AT:
        (pid,) = model_server.pids()
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

def test_what_was_held():
    servers, urls = zip(*held)
    assert len(set(map(id, servers))) == 1
    assert len(set(urls)) == STARTS
"""


def killing(rate: int, starts: int) -> str:
    return KILLING_TEST.replace("KILLED_AT", str(rate)).replace("STARTS", str(starts))


def restarts(result: pytest.RunResult) -> int:
    return result.stdout.str().count("ServerRestartedWarning: toy was started again")


def test_the_next_case_gets_a_new_server(run_bench: RunBench, pytester: pytest.Pytester) -> None:
    result = run_bench("--servebench-rates=40,50,60", test=killing(40, starts=2))
    result.assert_outcomes(passed=4)
    assert restarts(result) == 1
    result.stdout.fnmatch_lines(
        ["*test_load?toy-rate50-buffer10?", "*toy was started again for this test: *status -9*"]
    )
    logs = sorted(path.name for path in pytester.path.glob("servebench_results/2*/servers/*"))
    assert logs == ["toy", "toy-2"]  # the dead one's log is still there


def test_without_a_next_case_nothing_is_started(
    run_bench: RunBench, pytester: pytest.Pytester
) -> None:
    result = run_bench("--servebench-rates=40,50", test=killing(50, starts=1))
    result.assert_outcomes(passed=3)
    assert len(list(pytester.path.glob("servebench_results/2*/servers/*"))) == 1


def test_servers_that_take_turns_are_started_again_too(run_bench: RunBench) -> None:
    result = run_bench(
        "--servebench-servers=toy,toy2", "--servebench-interleave", "--servebench-rates=40,50",
        test=KILLING_TEST.replace("rate == KILLED_AT", "rate == 40 and model_server.kind == 'toy'")
        .partition("def test_what")[0],
    )  # fmt: skip
    result.assert_outcomes(passed=4)
    assert restarts(result) == 1


def test_a_server_that_dies_over_and_over_is_given_up(
    run_bench: RunBench, monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester
) -> None:
    monkeypatch.setenv("TOY_FAULT", "dies")
    result = run_bench("--servebench-rates=100,110,120,130,140")
    result.assert_outcomes(failed=MOST_DEATHS, errors=5 - MOST_DEATHS)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_load?toy-rate140-buffer10?*",
            "*ServerDiedError: toy 1.0 ended 3 times in this session and is not started again*"
            "status 3*",
            "*giving up*",  # the end of its log
        ]
    )
    assert result.stdout.str().count("ended 3 times") == 5 - MOST_DEATHS
    assert len(list(pytester.path.glob("servebench_results/2*/servers/*"))) == MOST_DEATHS


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

    servers = SharedServers(start, keep=False)
    for turn in range(1, MOST_DEATHS + 1):
        # Each turn as where other servers' cases come in between: the fixture is made anew.
        with servers.running("a") as a, servers.running("b") as b:
            assert servers.death("a") is None
            started[-2].dead = True  # the one of kind a
            death = servers.death("a")
            assert death is not None
            assert servers.death("b") is None
            if turn < MOST_DEATHS:
                servers.revive("a", death)
                assert a.current is started[-1]
                assert b.current is started[-2]
            else:
                with pytest.raises(ServerDiedError, match=r"3 times.*not started again"):
                    servers.revive("a", death)
    assert all(one.stopped for one in started)
    assert servers.death("a") is None  # nobody holds it
