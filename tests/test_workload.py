"""Digests of what was sent: the same for the same load, wherever it went and whoever sent it."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load.arrivals import Poisson
from pytest_servebench.load.draws import streams
from pytest_servebench.load.store import NEVER
from pytest_servebench.measure.workload import requests_digest, schedule_digest
from pytest_servebench.protocols.base import HttpRequest
from pytest_servebench.protocols.http2 import Http2Request
from tests.conftest import RunBench

REQUEST = HttpRequest(
    "POST", "/predict?version=2", (("Content-Type", "application/json"),), b'{"x": 1}'
)


def with_header(name: str, value: str) -> HttpRequest:
    return HttpRequest(REQUEST.method, REQUEST.path, (*REQUEST.headers, (name, value)),
                       REQUEST.body)  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        HttpRequest("PUT", REQUEST.path, REQUEST.headers, REQUEST.body),
        HttpRequest("POST", "/predict?version=3", REQUEST.headers, REQUEST.body),
        HttpRequest("POST", REQUEST.path, (("Content-Type", "text/plain"),), REQUEST.body),
        HttpRequest("POST", REQUEST.path, REQUEST.headers, b'{"x": 2}'),
        with_header("X-Model", "b"),
        with_header("Authorization", ""),
        Http2Request(REQUEST.method, REQUEST.path, REQUEST.headers, REQUEST.body),
    ],
)
def test_other_requests_have_other_digests(other: HttpRequest) -> None:
    assert requests_digest([other]) != requests_digest([REQUEST])
    assert requests_digest([REQUEST, other]) != requests_digest([other, REQUEST])


@pytest.mark.parametrize(
    "name",
    ["Authorization", "X-API-Key", "api_key", "Cookie", "X-Auth-Token", "X-Amz-Signature", "Host",
     "X-Request-ID", "traceparent", "Date"],
)  # fmt: skip
def test_secrets_and_what_each_run_has_of_its_own_do_not_count(name: str) -> None:
    one, other = (requests_digest([with_header(name, value)]) for value in ("1f2e", "9a8b"))
    assert one == other
    paths = [HttpRequest("GET", f"/x?{name}={value}&n=1") for value in ("1f2e", "9a8b")]
    assert requests_digest(paths[:1]) == requests_digest(paths[1:])


@pytest.mark.parametrize("name", ["max_tokens", "X-Max-Tokens", "tokenizer", "author"])
def test_what_only_sounds_like_a_secret_counts(name: str) -> None:
    one, other = (requests_digest([with_header(name, value)]) for value in ("16", "512"))
    assert one != other
    one, other = (requests_digest([HttpRequest("GET", f"/x?{name}={n}")]) for n in (16, 512))
    assert one != other


def test_the_path_of_a_prediction_is_an_address() -> None:
    moved = HttpRequest("POST", "/v2/predict", REQUEST.headers, REQUEST.body)
    assert requests_digest([moved], paths=False) == requests_digest([REQUEST], paths=False)


@given(st.lists(st.binary(max_size=9), max_size=4), st.lists(st.binary(max_size=9), max_size=4))
def test_no_two_lists_of_bodies_run_together(one: list[bytes], other: list[bytes]) -> None:
    digests = [requests_digest(HttpRequest("POST", "/", (), body) for body in bodies)
               for bodies in (one, other)]  # fmt: skip
    assert (digests[0] == digests[1]) == (one == other)


@given(st.integers(0, 2**20), st.floats(1, 500))
def test_the_last_bits_of_a_schedule_do_not_count(seed: int, rate: float) -> None:
    times = Poisson().schedule(rate, 5.0, streams(seed, rate)[0]) // 1000 * 1000 + 300
    choice = np.zeros(len(times), dtype=np.uint32)
    digest = schedule_digest(times, choice)
    assert schedule_digest(times + np.resize([1, -1, 2], len(times)), choice) == digest
    # Two conversations of one turn are not one of two turns without a pause.
    assert schedule_digest(times, choice, [NEVER, NEVER]) != schedule_digest(
        times, choice, [NEVER, 0]
    )
    if len(times):
        assert schedule_digest(times + 1000, choice) != digest
        assert schedule_digest(times, choice + 1) != digest
        assert schedule_digest(times[1:], choice[1:]) != digest


@pytest.mark.slow
def test_a_trace_is_known_by_what_it_holds(run_bench: RunBench, pytester: pytest.Pytester) -> None:
    file = pytester.path / "trace.txt"
    file.write_text("\n".join(f"{0.01 * i:.2f}" for i in range(40)))
    test = """
import pytest

@pytest.mark.servebench(duration=0.2, arrivals="trace:trace.txt@recorded")
def test_trace(model_server, poisson_load):
    poisson_load(model_server)
"""
    gate = ("--servebench-baseline=main", "--servebench-max-regression=p50:10000%")
    run_bench("--servebench-save=main", test=test)
    run = (pytester.path / "servebench_results/main/run.json").read_text()
    assert str(pytester.path) not in json.dumps(json.loads(run)["servebench"]["cases"][0])
    result = run_bench(*gate, "--servebench-on-inconclusive=warn", test=test)
    assert "cannot be compared" not in result.stdout.str()
    file.write_text("\n".join(f"{0.02 * i:.2f}" for i in range(40)))
    result = run_bench(*gate, test=test)
    result.stdout.fnmatch_lines(["*cannot be compared: workload: *trace:trace.txt*allow=workload*"])
