"""Loads from threads and event loops: one at a time, awaited, of servers that can answer."""

import asyncio
import sys
import threading
from pathlib import Path

import pytest

from pytest_servebench.load.target import Target
from pytest_servebench.plugin import event_loops
from tests.conftest import RunBench
from tests.processes import GENERATOR, children_with
from tests.results import RESULTS, saved_case

pytestmark = pytest.mark.usefixtures("own_process")

IN_A_LOOP = """
import asyncio
from pytest_servebench import HttpRequest

REQUESTS = [HttpRequest("GET", "/")]

async def answer(reader, writer):
    while await reader.readuntil(b"\\r\\n\\r\\n"):
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")

async def served(load):
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        return await load(f"http://127.0.0.1:{port}")

def test_load(poisson_load):
    async def load(url):
        {call}
    asyncio.run(served(load))
"""


@pytest.mark.parametrize("fixture", ["poisson_load", "find_capacity"])
def test_a_server_in_the_calling_loop_is_refused(run_bench: RunBench, fixture: str) -> None:
    call = "poisson_load(url, requests=REQUESTS, name='mine')"
    test = IN_A_LOOP.replace("{call}", call).replace("poisson_load", fixture)
    result = run_bench("--servebench-slo=p90<10s", test=test)
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert f"asyncio.to_thread({fixture}" in text
    assert "event loop" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("slo", "word"),
    [
        ("p50<1us", "broken"),
        ("success_rate<=10%", "broken"),
        pytest.param("success_rate>=90%", "met", marks=pytest.mark.slow),
    ],
)
def test_the_remedy_works_and_verdicts_reach_the_test(
    run_bench: RunBench, slo: str, word: str
) -> None:
    call = "await asyncio.to_thread(poisson_load, url, requests=REQUESTS, name='mine')"
    result = run_bench(
        f"--servebench-slo={slo}", "--servebench-rates=400",
        test=IN_A_LOOP.replace("{call}", call),
    )  # fmt: skip
    result.assert_outcomes(**{"failed" if word == "broken" else "passed": 1})
    (clause,) = saved_case()["clauses"]
    assert clause["message"].startswith(f"{slo}: {word}")
    assert (f"{slo}: broken" in result.stdout.str()) == (word == "broken")
    assert saved_case()["summary"]["success_rate"] == 1


@pytest.mark.slow
def test_a_loop_that_the_server_is_not_in_is_no_trouble(run_bench: RunBench) -> None:
    """Such as a notebook's, which runs whatever is called from it."""
    result = run_bench(
        test="""
        import asyncio

        def test_load(model_server, poisson_load):
            async def load():
                poisson_load(model_server)
            asyncio.run(load())
        """
    )
    result.assert_outcomes(passed=1)


TWO = """
import threading, time
import pytest

@pytest.mark.slo("p90<10s")
def test_load(model_server, poisson_load, find_capacity):
    def second():
        while not poisson_load.turn.taken:
            time.sleep(0.001)
        try:
            {second}(model_server)
        except BaseException as error:
            told.append(error)
    told = []
    thread = threading.Thread(target=second)
    thread.start()
    poisson_load(model_server)
    thread.join()
    assert len(told) == 1
"""


@pytest.mark.slow
@pytest.mark.parametrize("second", ["poisson_load", "find_capacity"])
def test_two_loads_at_once_are_refused(run_bench: RunBench, second: str) -> None:
    result = run_bench(test=TWO.format(second=second))
    result.assert_outcomes(failed=1)
    told = f"{second} was called while another load of this test was running"
    assert told in result.stdout.str()
    saved_case()  # the first one, whole


def test_a_refusal_that_fails_the_test_is_told_once(run_bench: RunBench) -> None:
    test = """
    import threading, time

    def test_load(model_server, poisson_load):
        thread = threading.Thread(target=lambda: poisson_load(model_server))
        thread.start()
        while not poisson_load.turn.taken:
            time.sleep(0.001)
        try:
            poisson_load(model_server)
        finally:
            thread.join()
    """
    run_bench(test=test).assert_outcomes(failed=1, errors=0)
    saved_case()


LEFT = """
import threading, time
import pytest

def begun(target):
    thread = threading.Thread(target=target)
    thread.start()
    return thread

{rest}
"""
BODY = """
@pytest.mark.servebench(duration=60)
def test_load(model_server, poisson_load):
    begun(lambda: poisson_load(model_server))
    while not poisson_load.turn.taken:
        time.sleep(0.001)

def test_next(model_server):
    assert threading.active_count() <= THREADS
"""
FIXTURE = """
@pytest.fixture
def loaded(model_server, poisson_load):
    thread = begun(lambda: poisson_load(model_server))
    while not poisson_load.turn.taken:
        time.sleep(0.001)
    yield
    thread.join()

def test_load(loaded):
    pass
"""


@pytest.mark.parametrize("error", ["", "    raise ValueError\n"])
def test_a_load_that_its_test_does_not_wait_for_is_ended(run_bench: RunBench, error: str) -> None:
    body = BODY.replace("\ndef test_next", f"{error}\ndef test_next")
    test = LEFT.format(rest=body).replace("THREADS", str(threading.active_count()))
    result = run_bench(test=test)
    result.assert_outcomes(failed=1, passed=1, errors=0, warnings=None)
    assert error or "poisson_load was still running" in result.stdout.str()
    assert not list(RESULTS.glob("2*/run.json"))
    assert not children_with(GENERATOR)


def test_a_fixture_may_wait_for_its_load_when_it_ends(run_bench: RunBench) -> None:
    run_bench(test=LEFT.format(rest=FIXTURE)).assert_outcomes(passed=1)
    assert saved_case()["verdict"] == "passed"


# -- pure ---------------------------------------------------------------------------------------


def test_sockets_of_this_process(tmp_path: Path) -> None:
    async def answer(*_: object) -> None:
        pass

    async def run() -> None:
        path = str(tmp_path / "socket")
        unix = await asyncio.start_unix_server(answer, path)
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        assert "asyncio.to_thread" in (event_loops.blocked(Target("localhost", port), "a") or "")
        assert event_loops.blocked(Target("localhost", 0, unix_socket=path), "a")
        assert not event_loops.blocked(Target("localhost", 0, unix_socket=path + "2"), "a")
        server.close()
        unix.close()
        await server.wait_closed()
        assert not event_loops.blocked(Target("localhost", port), "a")

    asyncio.run(run())
    assert event_loops.running_loop() is None


def test_trio(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lowlevel:
        @staticmethod
        def in_trio_run() -> bool:
            return True

    class Trio:
        lowlevel = Lowlevel

    monkeypatch.setitem(sys.modules, "trio", Trio)
    monkeypatch.setattr(event_loops, "_listens", lambda _: True)
    assert "trio.to_thread" in (event_loops.blocked(Target("h", 1), "a") or "")
