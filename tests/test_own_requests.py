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
from tests.conftest import TEST_FILE, RunBench
from tests.load.test_misbehaving import serving
from tests.results import saved_case, saved_cases


@pytest.fixture
def echo() -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers with what it was sent; its URL, and the requests it saw."""
    seen: list[bytes] = []

    def behave(link: socket.socket) -> None:
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                if not (part := link.recv(65536)):
                    return
                data += part
            head, _, data = data.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            while len(data) < length:
                data += link.recv(65536)
            body, data = data[:length], data[length:]
            seen.append(head + b"\r\n\r\n" + body)
            link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (length, body))

    with serving(behave) as port:
        yield f"http://127.0.0.1:{port}", seen


def loading(
    url: str,
    further: str = "",
    *,
    request: str = 'HttpRequest("POST", "/", body=b"x")',
    check: str = "",
) -> str:
    """Return a test that loads a URL, written as Python; ``check`` is the body of a check."""
    further += ", check=check" if check else ""
    return f"""
import itertools
from pytest_servebench import BadResponseError, HttpRequest

turn = itertools.count()

def check(request, answer):
    {check or "pass"}

def test_load(poisson_load):
    poisson_load({url}, requests=[{request}]{further})
"""


def test_own_requests_to_any_url(run_bench: RunBench, echo: Any) -> None:
    url, seen = echo
    result = run_bench(
        test=f"""
        from pytest_servebench import HttpRequest

        def test_load(poisson_load):
            requests = [
                HttpRequest("PUT", "/items/1?x=y", (("X-Key", "k"),), b"one"),
                HttpRequest("POST", "/items", (), b"two"),
            ]
            def check(request, answer):
                assert answer.body == request.body
            case = poisson_load({url!r}, requests=requests, check=check)
            assert case.result.summary.success_rate == 1
        """
    )
    result.assert_outcomes(passed=1)
    assert {one.split(b" HTTP")[0] for one in seen} == {b"PUT /items/1?x=y", b"POST /items"}
    assert any(b"\r\nX-Key: k\r\n" in one and one.endswith(b"one") for one in seen)
    case = saved_case()
    server = case["server"]
    assert server["base_url"] == url
    assert (server["start_seconds"], server["rest_memory"], server["rest_measure"]) == (None,) * 3
    assert "cpu_per_request" not in case["summary"]["estimates"]
    assert case["model"] == "own requests"
    assert case["failures"] == {}


NAMED = """
import pytest
from pytest_servebench import HttpRequest

@pytest.mark.parametrize("name", ["one", "two"])
def test_load(poisson_load, name):
    poisson_load({url!r}, requests=[HttpRequest("POST", "/")], name=name)
"""


def test_servers_by_url_have_names_and_are_compared(run_bench: RunBench, echo: Any) -> None:
    url, _ = echo
    result = run_bench(test=NAMED.format(url=url))
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


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("'http://127.0.0.1:1', name=' '", "(URL, name=' '): the name is empty; give one"),
        ("'http://127.0.0.1:1', name='toy'", "(URL, name='toy'): a kind of server has this name"),
        ("model_server, name='x'", "(server, name='x'): toy already has a name; omit name="),
    ],
)
def test_names_that_cannot_be(run_bench: RunBench, call: str, words: str) -> None:
    test = TEST_FILE.replace("poisson_load(model_server)", f"poisson_load({call})")
    result = run_bench(test=test)
    result.assert_outcomes(failed=1)
    assert f"OptionError: poisson_load{words}" in result.stdout.str()


def test_an_answer_that_fails_its_check_is_a_bad_response(run_bench: RunBench, echo: Any) -> None:
    url, _ = echo
    result = run_bench(
        "--servebench-slo=success_rate>=99%",
        test=loading(repr(url), check='raise BadResponseError("not what I ordered")'),
    )
    result.assert_outcomes(failed=1)
    case = saved_case()
    number = case["summary"]["outcomes"]["bad_response"]
    assert number == case["summary"]["arrivals"]
    assert case["failures"] == {"bad_response: not what I ordered": number}
    result.stdout.fnmatch_lines([f"*{number} x bad_response: not what I ordered*"])


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


def test_arrivals_that_are_none(run_bench: RunBench, echo: Any) -> None:
    url, _ = echo
    result = run_bench(test=loading(repr(url), ", arrivals=5"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*OptionError: poisson_load(arrivals=*5 is not an arrival*"])


def test_a_hook_that_says_false(run_bench: RunBench, echo: Any) -> None:
    url, _ = echo
    result = run_bench(
        conftest="""
        def pytest_servebench_check_answer(answer):
            return b"?" in answer.body
        """,
        test=loading(repr(url)),
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*x bad_response: the check returned False*"])


@pytest.mark.parametrize(
    ("slo", "wrong", "word"),
    [
        ((), "True", "broken"),  # nothing but wrong answers
        (("--servebench-slo=success_rate>=60%",), "True", "broken"),
        (("--servebench-slo=success_rate>=10%",), "next(turn) % 2", "met"),
        (("--servebench-slo=error_rate<=40%",), "True", "broken"),
        (("--servebench-slo=error_rate<=90%",), "next(turn) % 2", "met"),
        ((), "next(turn) % 2", "inconclusive"),
    ],
)
def test_wrong_answers_speak_for_those_that_were_not_checked(
    run_bench: RunBench, echo: Any, slo: tuple[str, ...], wrong: str, word: str
) -> None:
    url, _ = echo
    result = run_bench(
        *slo, "--servebench-rates=200", "--servebench-check-answers=12",
        test=loading(repr(url), check=f"assert not ({wrong}), 'not what I ordered'"),
    )  # fmt: skip
    outcome = {"broken": "failed", "met": "passed", "inconclusive": "passed"}[word]
    result.assert_outcomes(**{outcome: 1}, warnings=int(word == "inconclusive"))
    (clause,) = (one for one in saved_case()["clauses"] if "right" in one["clause"])
    assert clause["message"].startswith(f"right answers: {word}: ")
    assert " of the 12 answers checked are wrong" in clause["message"]
    assert f"{saved_case()['answers_checked']}" == "12"


@pytest.mark.parametrize("options", [(), ("--servebench-model=",)])
def test_a_url_without_requests_asks_for_them_and_not_for_a_model(
    run_bench: RunBench, echo: Any, options: tuple[str, ...]
) -> None:
    test = f"def test_load(poisson_load):\n    poisson_load({echo[0]!r})\n"
    result = run_bench(*options, test=test)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*poisson_load(URL, requests=*HttpRequest*hook pytest_servebench_requests*"]
    )
    result.stdout.no_fnmatch_line("*give module:callable*")


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("{url!r} + '/api/'", "/api"),
        ("Url({url!r} + '/api/v%31')", "/api/v%31"),
        ("urllib.parse.urlsplit({url!r} + '/api')", "/api"),
    ],
)
def test_a_url_of_any_library_with_a_path_that_requests_are_below(
    run_bench: RunBench, echo: Any, given: str, path: str
) -> None:
    url, seen = echo
    result = run_bench(
        test=f"""
        import urllib.parse

        from pytest_servebench import HttpRequest

        class Url:  # as yarl's, furl's, httpx's
            def __init__(self, text):
                self.text = text

            def __str__(self):
                return self.text

        def test_load(poisson_load):
            requests = [HttpRequest("GET", path) for path in ("/items?x=y", "/", "")]
            poisson_load({given.format(url=url)}, requests=requests)
        """
    )
    result.assert_outcomes(passed=1)
    asked = {one.split(b" ")[1].decode() for one in seen}
    assert asked == {f"{path}/items?x=y", f"{path}/", path or "/"}
    assert saved_case()["server"]["base_url"] == url + path


def test_checks_see_the_headers_of_answers(run_bench: RunBench) -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nSet-Cookie: a\r\nset-cookie: b\r\n"
        b"X-Long: one\r\n two\r\nContent-Length: 2\r\n\r\n{}"
    )

    def behave(link: socket.socket) -> None:
        while link.recv(65536):
            link.sendall(answer)

    with serving(behave) as port:
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


def test_a_new_connection_for_each_request_is_asked_for(run_bench: RunBench, echo: Any) -> None:
    url, seen = echo
    test = loading(repr(url), request='HttpRequest("GET", "/")')
    run_bench("--servebench-keep-alive=false", test=test).assert_outcomes(passed=1)
    assert all(b"\r\nConnection: close\r\n" in one for one in seen)
    case = saved_case()
    assert case["generator"]["reconnections"] == case["summary"]["arrivals"]
    assert case["workload"]["keep_alive"] is False


def test_answers_beyond_a_limit_of_the_user(run_bench: RunBench, echo: Any) -> None:
    run_bench(
        "--override-ini=servebench_max_body=1kB",
        test=loading(repr(echo[0]), request='HttpRequest("POST", "/", body=b"x" * 1001)'),
    )
    (reason,) = saved_case()["failures"]
    assert "1000 bytes" in reason
    assert "--servebench-max-body" in reason


@pytest.mark.parametrize(
    "given", ["object()", "b'http://127.0.0.1:1'", "None", "__import__('pathlib').Path('/a')"]
)
def test_what_is_neither_a_server_nor_a_url_is_refused(run_bench: RunBench, given: str) -> None:
    result = run_bench(test=loading(given))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*OptionError: poisson_load(*neither a running server nor a URL*"])


def test_a_url_where_nobody_listens(run_bench: RunBench) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    brief = "--servebench-start-timeout=0.3"
    result = run_bench(brief, test=loading(repr(url)))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [f"*ServerStartError: server at {url} *refused (*0* s, {brief}). Is it *"]
    )
    result.stdout.no_fnmatch_line("*ServerDiedError*")
    named = run_bench(brief, test=loading(repr(url), ", name='mine'"))
    named.stdout.fnmatch_lines([f"*ServerStartError: mine at {url} *: connection refused*"])


def test_a_url_that_is_none(run_bench: RunBench) -> None:
    result = run_bench(
        test="""
        def test_load(poisson_load):
            poisson_load("localhost:80", requests=[])
        """
    )
    result.stdout.fnmatch_lines(["*poisson_load(URL)=localhost:80: the scheme is neither*"])


def test_hooks_give_requests_and_check_answers(run_bench: RunBench) -> None:
    result = run_bench(
        conftest="""
        from pytest_servebench import BadResponseError, HttpRequest

        def pytest_servebench_requests(item, server):
            if item.get_closest_marker("own"):
                body = b'{"instances": [[1.5, 2, 3]]}'
                return [HttpRequest("POST", "/v1/models/adder:predict", body=body)]

        def pytest_servebench_check_answer(item, server, request, answer):
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
        """,
    )
    result.assert_outcomes(passed=2, warnings=1)


@pytest.mark.parametrize("process", ["constant", "ramp:0.5,2"])
def test_arrivals_by_option(run_bench: RunBench, process: str) -> None:
    run_bench(f"--servebench-arrivals={process}").assert_outcomes(passed=1)
    generator = saved_case()["generator"]
    assert generator["arrivals"] == process
    assert generator["arrivals_plausible"]


def test_arrivals_by_marker_and_by_call(run_bench: RunBench) -> None:
    Path("morning.csv").write_text("".join(f"{i * 0.01}\n" for i in range(500)))
    result = run_bench(
        test="""
        import pytest
        from pytest_servebench import Gamma

        @pytest.mark.servebench(arrivals="trace:morning.csv@recorded")
        def test_marker(model_server, poisson_load):
            case = poisson_load(model_server)
            assert case.result.generator.arrivals.endswith("morning.csv@recorded")
            assert case.result.summary.arrivals == 30
            assert case.result.summary.offered_rate == pytest.approx(100)

        def test_call(model_server, poisson_load):
            case = poisson_load(model_server, arrivals=Gamma(4.0))
            assert case.result.generator.arrivals == "gamma:4"
        """
    )
    result.assert_outcomes(passed=2)


def test_a_trace_that_ends_before_the_case_is_an_error(run_bench: RunBench) -> None:
    Path("short.csv").write_text("0\n0.1\n")
    result = run_bench("--servebench-arrivals=trace:short.csv@recorded")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*short.csv ends after 0.2 s as recorded*--servebench-duration*"])


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
    assert "give a list of HttpRequest, such as [HttpRequest(" in str(caught.value)


def test_requests_may_be_a_generator_and_must_be_some() -> None:
    assert len(of_requests(HttpRequest("GET", f"/{i}") for i in range(3)).requests) == 3
    with pytest.raises(OptionError, match="give at least one HttpRequest"):
        of_requests([])
