"""A load in which nothing succeeded is not green, and says why."""

import itertools
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pytest_servebench.load.runner import LoadResult
from pytest_servebench.measure.traffic import check_answers, of_requests
from pytest_servebench.protocols.base import HttpAnswer, HttpRequest
from pytest_servebench.system.foreign_code import first_line
from simulation.cases import steady
from tests.conftest import RunBench
from tests.load.test_misbehaving import Behaviour, answering, serving
from tests.results import saved_case

pytestmark = pytest.mark.usefixtures("own_process")

TEST = """
import pytest
from pytest_servebench import HttpRequest

{mark}
def test_load(poisson_load):
    poisson_load("http://127.0.0.1:{port}", requests=[HttpRequest("GET", "/")], name="mine")
"""


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def http2(link: socket.socket) -> None:
    """Begin as a gRPC server does: with a frame of settings, whatever it is asked."""
    link.recv(65536)
    link.sendall(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00")


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (answering(answer("403 Forbidden", b"no")), ["status 403", "Authorization"]),
        (answering(answer("418 I'm a teapot")), ["status 418"]),
        (http2, ["bad_response", "not HTTP"]),
    ],
)
def test_no_success_fails_without_an_slo(
    run_bench: RunBench, behaviour: Behaviour, words: list[str]
) -> None:
    with serving(behaviour) as port:
        result = run_bench(test=TEST.format(port=port, mark=""))
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert all(word in text for word in words)
    assert "not used" not in text
    case = saved_case()
    assert case["verdict"] == "failed"
    (clause,) = case["clauses"]
    assert all(word in clause["message"] for word in words)


@pytest.mark.slow
@pytest.mark.parametrize("expected", ["cpu<1000%", "p50<1s"])
def test_an_slo_on_something_else_does_not_save_it(run_bench: RunBench, expected: str) -> None:
    with serving(answering(answer("404 Not Found"))) as port:
        result = run_bench(f"--servebench-slo={expected}", test=TEST.format(port=port, mark=""))
    result.assert_outcomes(failed=1)
    assert "status 404" in result.stdout.str()


def test_who_asks_for_failures_gets_them(run_bench: RunBench) -> None:
    mark = "@pytest.mark.slo('error_rate>=99%')"
    with serving(answering(answer("429 Too Many Requests"))) as port:
        result = run_bench("--servebench-rates=400", test=TEST.format(port=port, mark=mark))
    result.assert_outcomes(passed=1)
    text = result.stdout.str()
    assert "not used" not in text
    assert "BadIsAskedWarning: error_rate>=99%: " in text
    assert "give error_rate<=" in text


@pytest.mark.slow
def test_a_part_that_failed_is_a_warning(run_bench: RunBench) -> None:
    answers = [answer("200 OK"), answer("200 OK"), answer("503 Service Unavailable")]
    with serving(answering(*answers)) as port:
        result = run_bench(test=TEST.format(port=port, mark=""))
        result.assert_outcomes(passed=1, warnings=1)
        assert "FailedRequestsWarning" in result.stdout.str()
        assert "status 503" in result.stdout.str()
        asked = run_bench("--servebench-slo=success_rate>=5%", test=TEST.format(port=port, mark=""))
        assert "FailedRequestsWarning" not in asked.stdout.str()


def test_a_hint_that_asks_is_followed_by_no_full_stop(run_bench: RunBench) -> None:
    with serving(answering(answer("404 Not Found"), answer("200 OK"))) as port:
        result = run_bench(test=TEST.format(port=port, mark=""))
    text = " ".join(result.stdout.str().split())
    assert "are path and method right? No SLO" in text


def test_a_load_without_arrivals_is_an_error(run_bench: RunBench) -> None:
    test = TEST.format(port=1, mark="@pytest.mark.servebench(rates=[0.001], duration=0.5)")
    with serving(answering(answer("200 OK"))) as port:
        result = run_bench(test=test.replace("127.0.0.1:1", f"127.0.0.1:{port}"))
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert all(word in text for word in ("0.001/s", "0.5 s", "--servebench-duration"))
    assert "not used" not in text


# -- checks that do what they like --------------------------------------------------------------


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class DeadlyError(Exception):
    def __str__(self) -> str:
        raise SystemExit

    __repr__ = __str__


class Own(BaseException):
    pass


def checked(check: Callable[[HttpRequest, HttpAnswer], None], answers: int = 3) -> Any:
    load = LoadResult(
        records=steady(np.zeros(5)), payloads=np.zeros(5, np.uint32),
        answers=dict.fromkeys(range(answers), b""), heads={}, failures={},
        pauses=np.zeros(0), start=0, generator=None,  # type: ignore[arg-type]
    )  # fmt: skip
    return check_answers(load, of_requests([HttpRequest("GET", "/")]).checked_by(check))


@pytest.mark.parametrize(
    "raised",
    [
        MuteError(), DeadlyError(), Own("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(),
        StopIteration(), AssertionError(MuteError()), MemoryError(),
        ExceptionGroup("g", [MuteError()]),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_whatever_a_check_raises_is_a_wrong_answer(raised: BaseException) -> None:
    def check(request: HttpRequest, answer: HttpAnswer) -> None:
        raise raised

    found = checked(check)
    assert (found.answers, found.wrong) == (3, 3)
    assert found.records.counts()["bad_response"] == 3
    (reason,) = found.failures
    assert type(raised).__name__ in reason or isinstance(raised, AssertionError)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_a_check_interrupts(number: signal.Signals) -> None:
    class Ended(BaseException):
        pass

    def end(*_: object) -> None:
        raise Ended

    def check(request: HttpRequest, answer: HttpAnswer) -> None:
        os.kill(os.getpid(), number)
        raise AssertionError("too late")

    before = signal.signal(number, end)
    try:
        with pytest.raises(Ended):
            checked(check)
        assert signal.getsignal(number) is end
    finally:
        signal.signal(number, before)


def test_what_differs_in_each_answer_is_not_kept_without_end() -> None:
    number = itertools.count()

    def check(request: HttpRequest, answer: HttpAnswer) -> None:
        raise AssertionError(f"answer {next(number)}\nand more" + "x" * 10_000)

    assert sum(checked(check).failures.values()) == 3
    assert all(len(reason) < 1000 for reason in checked(check).failures)


def test_first_lines() -> None:
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(ValueError("")) == ""
    assert "RuntimeError" in first_line(MuteError())
    assert "SystemExit" in first_line(DeadlyError())


@pytest.mark.parametrize("body", ["pass", "assert False", "pytest.skip('no')"])
def test_an_slo_without_a_load_is_warned_of(run_bench: RunBench, body: str) -> None:
    test = f"""
import pytest

@pytest.mark.slo("p50<1us")
def test_plain():
    {body}
"""
    result = run_bench(test=test)
    warned = "sent no load" in result.stdout.str()
    assert warned == (body == "pass")
    assert result.parseoutcomes().get("warnings", 0) == warned
