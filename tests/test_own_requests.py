"""A user's own requests, checks and arrivals, and servers of which only the URL is known."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.errors import BadResponseError, OptionError
from pytest_servebench.load.target import Target
from pytest_servebench.measure.traffic import of_requests
from pytest_servebench.protocols.base import HttpAnswer, HttpRequest
from pytest_servebench.protocols.torchserve import TorchServeRest
from pytest_servebench.servers.ports import free_ports
from tests.conftest import RunBench
from tests.load import h2_server
from tests.load.test_misbehaving import answering, requests_of, serving
from tests.results import saved_case, saved_cases


@pytest.fixture
def echo() -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers with what it was sent; its URL, and the requests it saw."""
    seen: list[bytes] = []

    def behave(link: socket.socket) -> None:
        for request in requests_of(link):
            seen.append(request)
            body = request.partition(b"\r\n\r\n")[2]
            link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with serving(behave) as port:
        yield f"http://127.0.0.1:{port}", seen


# What the tests here have in common; ``{}`` is a URL.
HEAD = """
import itertools
import urllib.parse
import pytest
from pytest_servebench import BadResponseError, Gamma, HttpRequest

URL = {!r}
POST = [HttpRequest("POST", "/", body=b"x")]
"""


def test_own_requests_to_any_url_and_their_check(run_bench: RunBench, echo: Any) -> None:
    url, seen = echo
    result = run_bench(
        test=HEAD.format(url)
        + """
def test_right(poisson_load):
    requests = [
        HttpRequest("PUT", "/items/1?x=y", (("X-Key", "k"),), b"one"),
        HttpRequest("POST", "/items", (), b"two"),
    ]
    def check(request, answer):
        assert answer.body == request.body
    case = poisson_load(URL, requests=requests, check=check)
    assert case.result.summary.success_rate == 1

@pytest.mark.slo("success_rate>=99%")
def test_wrong(poisson_load):
    def check(request, answer):
        raise BadResponseError("not what I ordered")
    poisson_load(URL, requests=POST, check=check)
"""
    )
    result.assert_outcomes(passed=1, failed=1)
    asked = {one.split(b" HTTP")[0] for one in seen}
    assert asked == {b"PUT /items/1?x=y", b"POST /items", b"POST /"}
    assert any(b"\r\nX-Key: k\r\n" in one and one.endswith(b"one") for one in seen)
    right, wrong = saved_cases()
    server = right["server"]
    assert server["base_url"] == url
    assert (server["start_seconds"], server["rest_memory"], server["rest_measure"]) == (None,) * 3
    assert "cpu_per_request" not in right["summary"]["estimates"]
    assert right["model"] == "own requests"
    assert right["failures"] == {}
    number = wrong["summary"]["outcomes"]["bad_response"]
    assert number == wrong["summary"]["arrivals"]
    assert wrong["failures"] == {"bad_response: not what I ordered": number}
    result.stdout.fnmatch_lines([f"*{number} x bad_response: not what I ordered*"])


NAMED = """
@pytest.mark.parametrize("name", ["one", "two"])
def test_load(poisson_load, name):
    poisson_load(URL, requests=POST, name=name)
"""


def test_servers_by_url_have_names_and_are_compared(run_bench: RunBench, echo: Any) -> None:
    url, _ = echo
    result = run_bench(test=HEAD.format(url) + NAMED)
    result.assert_outcomes(passed=2)
    text = result.stdout.str()
    for name in ("one", "two"):
        assert f"{name} at {url}, HTTP" in text
        assert result.stdout.lines.count(name) == 1  # in the table
    assert "rate 40, buffer 10" in text.partition("overall evaluation")[2]
    servers = [case["server"] for case in saved_cases()]
    assert [(one["title"], one["kind"], one["base_url"]) for one in servers] == [
        ("one", "one", url),
        ("two", "two", url),
    ]


NOT_A_SERVER = "*neither a running server nor a URL*"
REFUSED = {  # what is given to poisson_load, and what is said of it
    "'http://127.0.0.1:1', name=' '": "(URL, name=' '): the name is empty; give one*",
    "'http://127.0.0.1:1', name='toy'": "(URL, name='toy'): a kind of server has this name*",
    "model_server, name='x'": "(server, name='x'): toy already has a name; omit name=*",
    "URL, requests=POST, arrivals=5": "(arrivals=*5 is not an arrival*",
    "object(), requests=POST": NOT_A_SERVER,
    "b'http://127.0.0.1:1', requests=POST": NOT_A_SERVER,
    "None, requests=POST": NOT_A_SERVER,
    "__import__('pathlib').Path('/a'), requests=POST": NOT_A_SERVER,
    "'localhost:80', requests=[]": "(URL)=localhost:80: the scheme is none of*",
}


def test_what_no_load_can_be_made_of_is_named(run_bench: RunBench) -> None:
    test = HEAD.format("http://127.0.0.1:1") + "\n".join(
        f"def test_{index}(model_server, poisson_load):\n    poisson_load({call})"
        for index, call in enumerate(REFUSED)
    )
    result = run_bench("--tb=line", test=test)
    result.assert_outcomes(failed=len(REFUSED))
    result.stdout.fnmatch_lines(
        [f"*OptionError: poisson_load{words}" for words in REFUSED.values()]
    )


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ("async def check(*_): raise BadResponseError", "coroutine and has not run"),
        ("def check(*_): yield", "generator and has not run"),
        ("def check(*_): return False", "the check returned False"),
        ("import numpy\n\ndef check(*_): return numpy.zeros(2).any()", "returned False"),
        ("def check(*_): return True", ""),
    ],
)
def test_a_check_that_does_not_raise(check: str, words: str) -> None:
    space: dict[str, Any] = {"BadResponseError": BadResponseError}
    exec(check, space)
    answer = HttpAnswer(200, b"")
    checked = of_requests([HttpRequest("GET", "/")]).checked_by(space["check"])
    if not words:
        checked.check(0, answer)
        return
    with pytest.raises(BadResponseError, match=words):
        checked.check(0, answer)


WRONG = {  # objective and which answers are wrong to what is told
    ("", "True"): "broken",  # nothing but wrong answers
    ("success_rate>=60%", "True"): "broken",
    ("success_rate>=10%", "next(turn) % 2"): "met",
    ("error_rate<=40%", "True"): "broken",
    ("error_rate<=90%", "next(turn) % 2"): "met",
    ("", "next(turn) % 2"): "inconclusive",
}


@pytest.mark.slow
def test_wrong_answers_speak_for_those_that_were_not_checked(
    run_bench: RunBench, echo: Any
) -> None:
    test = HEAD.format(echo[0]) + "".join(
        f"""
@pytest.mark.slo({slo!r})
def test_{index}(poisson_load, turn=itertools.count()):
    def check(request, answer):
        assert not ({wrong}), "not what I ordered"
    poisson_load(URL, requests=POST, check=check)
""".replace("@pytest.mark.slo('')", "")
        for index, (slo, wrong) in enumerate(WRONG)
    )
    result = run_bench("--servebench-rates=200", "--servebench-check-answers=12", test=test)
    result.assert_outcomes(failed=3, passed=3, warnings=1)
    for case, word in zip(saved_cases(), WRONG.values(), strict=True):
        (clause,) = (one for one in case["clauses"] if "right" in one["clause"])
        assert clause["message"].startswith(f"right answers: {word}: ")
        assert " of the 12 answers checked are wrong" in clause["message"]
        assert case["answers_checked"] == 12
        assert case["test_outcome"] == ("failed" if word == "broken" else "passed")


def test_a_url_without_requests_asks_for_them_and_not_for_a_model(
    run_bench: RunBench, echo: Any
) -> None:
    test = f"def test_load(poisson_load):\n    poisson_load({echo[0]!r})\n"
    result = run_bench("--servebench-model=", test=test)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*poisson_load(URL, requests=*HttpRequest*hook pytest_servebench_requests*"]
    )
    result.stdout.no_fnmatch_line("*give module:callable*")


def test_a_url_of_any_library_with_a_path_that_requests_are_below(
    run_bench: RunBench, echo: Any
) -> None:
    url, seen = echo
    result = run_bench(
        test=HEAD.format(url)
        + """
class Url:  # as yarl's, furl's, httpx's
    def __init__(self, text):
        self.text = text

    def __str__(self):
        return self.text

URLS = [URL + "/a/", Url(URL + "/b/v%31"), urllib.parse.urlsplit(URL + "/c")]

@pytest.mark.parametrize("number", range(3))
def test_load(poisson_load, number):
    requests = [HttpRequest("GET", path) for path in ("/items?x=y", "/", "")]
    poisson_load(URLS[number], requests=requests)
"""
    )
    result.assert_outcomes(passed=3)
    paths = ["/a", "/b/v%31", "/c"]
    asked = {one.split(b" ")[1].decode() for one in seen}
    assert asked == {path + end for path in paths for end in ("/items?x=y", "/", "")}
    # Whether the server is ready is asked with the last one: no cache may know the first.
    assert seen[0].split(b" ")[1] == b"/a"
    assert [case["server"]["base_url"] for case in saved_cases()] == [url + path for path in paths]


def test_checks_see_the_headers_of_answers(run_bench: RunBench) -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nSet-Cookie: a\r\nset-cookie: b\r\n"
        b"X-Long: one\r\n two\r\nContent-Length: 2\r\n\r\n{}"
    )

    with serving(answering(answer)) as port:
        result = run_bench(
            test=f"""
            from pytest_servebench import HttpRequest

            def test_load(poisson_load):
                def check(request, answer):
                    assert answer.headers["content-type"] == "application/json"
                    assert answer.headers.get("SET-COOKIE") == "a, b"
                    assert answer.headers.pairs[1:3] == (("Set-Cookie", "a"), ("set-cookie", "b"))
                    assert dict(answer.headers)["X-Long"] == "one two"
                    assert "x-other" not in answer.headers
                requests = [HttpRequest("GET", "/")]
                poisson_load("http://127.0.0.1:{port}", requests=requests, check=check)
            """
        )
    result.assert_outcomes(passed=1)
    assert saved_case()["answers_wrong"] == 0
    assert saved_case()["answers_checked"] > 0


@pytest.mark.slow
def test_new_connections_and_a_limit_of_answers_are_asked_for(
    own_process: None, run_bench: RunBench, echo: Any
) -> None:
    url, seen = echo
    result = run_bench(
        "--servebench-keep-alive=false",
        "--override-ini=servebench_max_body=1kB",
        test=HEAD.format(url)
        + """
def test_new(poisson_load):
    poisson_load(URL, requests=[HttpRequest("GET", "/")])

def test_long(poisson_load):
    poisson_load(URL, requests=[HttpRequest("POST", "/", body=b"x" * 1001)])
""",
    )
    result.assert_outcomes(passed=1, failed=1)
    assert all(b"\r\nConnection: close\r\n" in one for one in seen)
    new, long = saved_cases()
    assert new["generator"]["reconnections"] == new["summary"]["arrivals"]
    assert new["workload"]["keep_alive"] is False
    (reason,) = long["failures"]
    assert "1000 bytes" in reason
    assert "--servebench-max-body" in reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "transport", "streams", "shown"),
    [("GrpcRequest('/p.S/M', b'abc')", "grpc", 3, "6 workers, 3 to a connection, gRPC, seed"),
     ("Http2Request('GET', '/')", "http/2", 3, "6 workers, 3 to a connection, HTTP/2, seed"),
     ("HttpRequest('GET', '/')", "http/1.1", 1, "6 connections, seed")],
)  # fmt: skip
def test_workers_share_connections_where_the_transport_lets_them(
    own_process: None, run_bench: RunBench, echo: Any, asked: str, transport: str, streams: int,
    shown: str,
) -> None:  # fmt: skip
    with h2_server.serving(h2_server.echo) as server:
        scheme = "grpc" if transport == "grpc" else "http"
        url = echo[0] if streams == 1 else f"{scheme}://127.0.0.1:{server.port}"
        result = run_bench(
            "--servebench-streams=3",
            "--servebench-worker-threads=6",
            test=HEAD.format(url)
            + f"""
from pytest_servebench import GrpcRequest, Http2Request

def test_it(poisson_load):
    poisson_load(URL, requests=[{asked}])
""",
        )  # fmt: skip
    result.assert_outcomes(passed=1)
    workload = saved_case()["workload"]
    assert (workload["streams"], workload["transport"]) == (streams, transport)
    assert shown in " ".join(result.stdout.str().split())  # whatever the terminal's width
    assert ("--servebench-streams=3 had no effect" in result.stdout.str()) == (streams == 1)
    loaded = sum(peer.requests > 1 for peer in server.peers)  # the others were asked once, before
    assert loaded == (2 if streams == 3 else 0)


def test_a_url_where_nobody_listens(run_bench: RunBench) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    brief = "--servebench-start-timeout=0.3"
    test = """
def test_load(poisson_load):
    poisson_load(URL, requests=POST)

def test_named(poisson_load):
    poisson_load(URL, requests=POST, name="mine")
"""
    result = run_bench(brief, test=HEAD.format(url) + test)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines([
        f"*ServerStartError: server at {url} *refused (*0* s, {brief}). Is it *",
        f"*ServerStartError: mine at {url} *: connection refused*",
    ])  # fmt: skip
    result.stdout.no_fnmatch_line("*ServerDiedError*")


def test_hooks_give_requests_and_check_answers(run_bench: RunBench) -> None:
    result = run_bench(
        conftest="""
        from pytest_servebench import BadResponseError, HttpRequest

        def pytest_servebench_requests(item, server):
            if item.get_closest_marker("own"):
                body = b'{"instances": [[1.5, 2, 3]]}'
                return [HttpRequest("POST", "/v1/models/adder:predict", body=body)]

        def pytest_servebench_check_answer(item, server, request, answer):
            if item.name.startswith("test_false"):
                return False
            assert answer.status == 200
            if b"6.5" not in answer.body and item.get_closest_marker("own"):
                raise BadResponseError("1.5 + 2 + 3 is 6.5")
        """,
        test="""
        import pytest

        @pytest.mark.own
        def test_own(model_server, poisson_load):
            case = poisson_load(model_server)
            assert case.result.model == "own requests"
            case.check("success_rate>=100%")

        def test_model(model_server, poisson_load):
            case = poisson_load(model_server)
            assert case.result.model == "adder"
            case.check("success_rate>=100%")

        def test_false(model_server, poisson_load):
            poisson_load(model_server)
        """,
    )
    result.assert_outcomes(passed=2, failed=1, warnings=1)
    result.stdout.fnmatch_lines(["*x bad_response: the check returned False*"])


def test_arrivals_by_option_by_marker_and_by_call(run_bench: RunBench) -> None:
    Path("morning.csv").write_text("".join(f"{i * 0.01}\n" for i in range(500)))
    Path("short.csv").write_text("0\n0.1\n")
    result = run_bench(
        "--servebench-arrivals=constant",
        test=HEAD.format("")
        + """
def test_option(model_server, poisson_load):
    poisson_load(model_server)

@pytest.mark.servebench(arrivals="ramp:0.5,2")
def test_ramp(model_server, poisson_load):
    poisson_load(model_server)

@pytest.mark.servebench(arrivals="trace:morning.csv@recorded")
def test_trace(model_server, poisson_load):
    case = poisson_load(model_server)
    assert case.result.summary.arrivals == 30
    assert case.result.summary.offered_rate == pytest.approx(100)

def test_call(model_server, poisson_load):
    poisson_load(model_server, arrivals=Gamma(4.0))

@pytest.mark.servebench(arrivals="trace:short.csv@recorded")
def test_too_short(model_server, poisson_load):
    poisson_load(model_server)
""",
    )
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["*short.csv ends after 0.2 s as recorded*--servebench-duration*"])
    found = {case["name"].partition("[")[0]: case["generator"] for case in saved_cases()}
    assert {name: one["arrivals"].rpartition("/")[2] for name, one in found.items()} == {
        "test_option": "constant", "test_ramp": "ramp:0.5,2",
        "test_trace": "trace:morning.csv@recorded", "test_call": "gamma:4",
    }  # fmt: skip
    assert found["test_option"]["arrivals_plausible"]
    assert found["test_ramp"]["arrivals_plausible"]


# -- pure ---------------------------------------------------------------------------------------


def test_a_server_gets_the_key_that_it_wants_of_every_request() -> None:
    key = TorchServeRest("m", token="k3y-of-the-server").authorization
    target = Target("h", 1)
    bare = HttpRequest("POST", "/p", (("X-A", "b"),))
    assert b"\r\nAuthorization: Bearer k3y-of-the-server\r\n" in bare.prepared(target, key)
    own = HttpRequest("POST", "/p", (("authorization", "Bearer of-the-test"),))
    sent = own.prepared(target, key)
    assert sent.lower().count(b"authorization:") == 1
    assert b"of-the-test" in sent
    assert TorchServeRest("m").authorization == ()


def test_a_prepared_request() -> None:
    request = HttpRequest("POST", "/p", (("Accept", "*/*"),), b"body")
    assert request.prepared(Target("h", 1)) == (
        b"POST /p HTTP/1.1\r\nHost: h:1\r\nAccept: */*\r\nContent-Length: 4\r\n\r\nbody"
    )
    own_host = HttpRequest("GET", "/", (("host", "other"),))
    assert own_host.prepared(Target("h", 1)) == (
        b"GET / HTTP/1.1\r\nhost: other\r\nContent-Length: 0\r\n\r\n"
    )
    below = HttpRequest("GET", "/x?y").prepared(Target("h", 1, path="/a/b"))
    assert below.startswith(b"GET /a/b/x?y HTTP/1.1\r\nHost: h:1\r\n")


@pytest.mark.parametrize(
    "request_",
    [
        HttpRequest("GET", "no-slash"),
        HttpRequest("GET", "/two words"),
        HttpRequest("GET", "/x\r\nX-Evil: 1"),
        HttpRequest("GET", "/", (("X", "a\nb"),)),
        HttpRequest("GET", "/€"),
        HttpRequest("G ET", "/"),
        HttpRequest("GET", "/", (("Content-Length", "5"),)),
        HttpRequest("GET", "/", (("Transfer-Encoding", "chunked"),)),
        HttpRequest("HEAD", "/"),
        HttpRequest("POST", "/", (), "text"),  # type: ignore[arg-type]
        HttpRequest("POST", "/", {"X": "a dict"}),  # type: ignore[arg-type]
        "GET /",
    ],
)
def test_requests_that_cannot_be_sent(request_: Any) -> None:
    with pytest.raises(OptionError):
        of_requests([request_])


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (HttpRequest("POST", "/predict"), "requests=HttpRequest("),
        (b"body", "requests=b'body': "),
        ("GET /", "requests='GET /': "),
        ({"/": b"body"}, "requests={'/': b'body'}: "),
        (7, "requests=7: "),
        ({HttpRequest("GET", "/")}, "requests={HttpRequest("),
        ([HttpRequest("GET", "/"), "GET /"], "requests=: item 1 is 'GET /', "),
    ],
)
def test_requests_that_are_no_list_of_requests(given: Any, shown: str) -> None:
    with pytest.raises(OptionError) as caught:
        of_requests(given)
    assert str(caught.value).startswith(shown)
    assert "give a list of requests, such as [HttpRequest(" in str(caught.value)


def test_requests_may_be_a_generator_and_must_be_some() -> None:
    assert len(of_requests(HttpRequest("GET", f"/{i}") for i in range(3)).requests) == 3
    with pytest.raises(OptionError, match="give at least one HttpRequest"):
        of_requests([])
