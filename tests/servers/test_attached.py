"""A server that already runs is checked before it is measured, and each doubt has its own words."""

import dataclasses
import json
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from pytest_servebench.errors import OptionError, ServerDiedError, ServerStartError
from pytest_servebench.load.target import Target
from pytest_servebench.load.tls import Tls
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import HttpRequest
from pytest_servebench.servers import probe
from pytest_servebench.servers.attached import any_server, checked_target
from pytest_servebench.servers.base import RunningServer, ServerKind, ServerSettings
from pytest_servebench.servers.first_prediction import check_mismatch
from pytest_servebench.servers.ports import free_ports
from pytest_servebench.servers.tensorflow_serving import TensorFlowServing
from pytest_servebench.servers.torchserve import TorchServe
from tests.load.test_misbehaving import serving

KINDS: Final[dict[str, Callable[..., ServerKind]]] = {
    "tensorflow_serving": TensorFlowServing,
    "torchserve": TorchServe,
}
RIGHT = b'{"predictions": [[6.5, 4.0]]}'
BAD_KEY = b"""{
  "code": 400, "type": "InvalidKeyException",
  "message": "Token Authorization failed. Token either incorrect, expired, or not provided"
}"""
TOKEN = "cKjqMB8i"


Asked = list[tuple[str, str | None]]


@contextmanager
def answering_in_turn(
    answers: Sequence[tuple[int, bytes]], states: Iterable[str] = ()
) -> Iterator[tuple[str, Asked]]:
    """Serve one answer after the other, the last for ever; ``states`` of the model likewise.

    Give the URL, and the path and authorization of each request.
    """
    turns, told = iter(answers), iter(states)
    requests: Asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.path, self.headers["Authorization"]))
            self.say(*next(turns, answers[-1]))

        def do_GET(self) -> None:
            state = next(told, None)
            versions = [{"version": "1", "state": state}]
            text = json.dumps({"model_version_status": versions} if state else {"error": "no"})
            self.say(200 if state else 404, text.encode())

        def say(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:
            server.shutdown()
            thread.join()


def answering(status: int, body: bytes) -> AbstractContextManager[tuple[str, Asked]]:
    return answering_in_turn([(status, body)])


Attach = Callable[..., RunningServer]


@pytest.fixture
def attach(model: ServedModel, settings: ServerSettings, run_dir: Path) -> Attach:
    def attach(kind: str, url: str, **changes: object) -> RunningServer:
        options = {name: changes.pop(name) for name in ("model", "token") if name in changes}
        chosen = KINDS[kind](url=url, **options)
        changed = dataclasses.replace(settings, **changes)  # type: ignore[arg-type]
        assert chosen.attached
        server = chosen.start(dataclasses.replace(model, artifacts={}), changed, run_dir)
        check_mismatch(server)  # as each load of the model's inputs does
        return server

    return attach


both = pytest.mark.parametrize(
    ("kind", "title"), [("tensorflow_serving", "TensorFlow Serving"), ("torchserve", "TorchServe")]
)


def option(kind: str, key: str) -> str:
    return f"--servebench-server-option={kind}.{key}"


@both
def test_attaches(attach: Attach, kind: str, title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, RIGHT) as (url, requests):
        server = attach(kind, f"{url}/")
        assert server.kind == kind
        assert server.implementation == f"attached {title} at {url}"
        assert server.base_url == url
        assert (server.pids(), list(server.log_files)) == ([], [])
        server.check_alive()
        server.stop()
        server.check_alive()  # it is not ours to stop
        assert len(requests) == 1
    server.check_alive()  # not looked at again so soon
    monkeypatch.setattr("pytest_servebench.servers.attached._LOOK_INTERVAL", 0)
    with pytest.raises(ServerDiedError, match=f"{title} at {url} does not accept.*refused"):
        server.check_alive()


def test_not_attached_without_url() -> None:
    assert not any(kind().attached for kind in KINDS.values())


def test_names_of_the_model(attach: Attach) -> None:
    with answering(200, RIGHT) as (url, requests):
        attach("tensorflow_serving", url)
        attach("tensorflow_serving", url, model="other")
        attach("torchserve", url, model="other", token=TOKEN)
    assert requests == [
        ("/v1/models/tiny:predict", None),
        ("/v1/models/other:predict", None),
        ("/predictions/other", f"Bearer {TOKEN}"),
    ]


@pytest.mark.parametrize("choice", ["", "/versions/7", "/labels/canary", "/versions/7:predict"])
def test_a_url_that_names_the_model(attach: Attach, choice: str) -> None:
    with answering(200, RIGHT) as (url, requests):
        server = attach("tensorflow_serving", f"{url}/v1/models/my%20model{choice}")
        assert server.base_url == url
    assert requests == [(f"/v1/models/my%20model{choice.partition(':')[0]}:predict", None)]


@both
@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b'{"predictions": [[7.5, 4.0]]}', "differs from the model's by up to 1 .*weights"),
        (200, b'{"predictions": [[6.5]]}', r"has shape \(1,\), the model's has \(2,\)"),
        (200, b"<html>It works!</html>", "not answer .* with a prediction.*is not JSON.*It works"),
        (200, b'{"outputs": [[6.5, 4.0]]}', 'no "predictions"'),
        (404, b"<HTML><TITLE>404 Not Found</TITLE></HTML>", "answers with a web page; is this"),
        (
            404,
            b'{"error": "Servable not found for request: Latest(tiny)"}',
            "no model with this name",
        ),
        (400, b'{"error": "Expecting tensor size: 784 but got: 4"}', "first input.*size: 784"),
        (503, b"", "cannot predict the model's first input.*status 503"),
    ],
)
def test_refuses(
    attach: Attach, kind: str, title: str, status: int, body: bytes, reason: str
) -> None:
    with (
        answering(status, body) as (url, _),
        pytest.raises(ServerStartError, match=reason) as caught,
    ):
        attach(kind, url, start_timeout=0.3 if status in (400, 503) else 30)
    assert str(caught.value).startswith(f"{title} at {option(kind, 'url')}={url} ")
    if "no model with this name" in reason:
        assert option(kind, "model") in str(caught.value)


@both
def test_nobody_answers(attach: Attach, kind: str, title: str) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    expected = (
        f"{title} at {option(kind, 'url')}={url} does not answer POST .*: Connection refused"
        r".*--servebench-start-timeout=0\.3 .*running"
    )
    with pytest.raises(ServerStartError, match=expected):
        attach(kind, url, start_timeout=0.3)


def test_accepts_and_never_answers(attach: Attach) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ServerStartError, match=r"no answer within 0\.3 s"):
            attach("torchserve", url, start_timeout=0.3)


NOT_FOUND = b'{"error": "Servable not found for request: Latest(tiny)"}'
NO_WORKER = b'{"code": 503, "type": "ServiceUnavailableException", "message": "no worker"}'


@pytest.mark.parametrize(
    ("kind", "answers", "states"),
    [
        ("tensorflow_serving", [(404, NOT_FOUND)] * 3, ["START", "LOADING", "LOADING"]),
        ("tensorflow_serving", [(400, b"not yet"), (503, b""), (400, b"not yet")], []),
        ("tensorflow_serving", [(503, b"")], ["LOADING"]),
        ("torchserve", [(503, NO_WORKER)] * 3, []),
        ("torchserve", [(400, b"warming up"), (502, b"<html>Bad Gateway</html>"), (500, b"")], []),
    ],
)
def test_a_model_that_loads_is_waited_for(
    attach: Attach, kind: str, answers: list[tuple[int, bytes]], states: list[str]
) -> None:
    with answering_in_turn([*answers, (200, RIGHT)], states) as (url, _):
        attach(kind, url)


@pytest.mark.parametrize(
    ("kind", "status", "states", "words"),
    [
        ("tensorflow_serving", 404, ["LOADING", "AVAILABLE"], "no model with this name.*404"),
        ("tensorflow_serving", 501, ["AVAILABLE"], "is loaded.*501"),
        ("tensorflow_serving", 400, ["AVAILABLE"], "is loaded.*400.*requests="),
        ("tensorflow_serving", 503, ["START", "END"], "could not load the model.*503"),
        ("tensorflow_serving", 401, ["LOADING"], "authorization.*401"),
        ("torchserve", 403, [], "authorization.*403"),
        ("torchserve", 405, [], "405"),
    ],
)
def test_a_final_answer_ends_the_waiting(
    attach: Attach, kind: str, status: int, states: list[str], words: str
) -> None:
    with (
        answering_in_turn([(status, b"what it says")], states) as (url, _),
        pytest.raises(ServerStartError, match=f"{words}.*what it says|{words}") as caught,
    ):
        attach(kind, url, start_timeout=600)
    assert str(status) in str(caught.value)


def test_a_redirect_is_final_and_says_where_to(attach: Attach) -> None:
    moved = b"HTTP/1.1 307 Moved\r\nLocation: https://h/v1\r\nContent-Length: 0\r\n\r\n"
    with (
        serving(lambda link: answer_once(link, moved)) as port,
        pytest.raises(ServerStartError, match=r"redirects to https://h/v1.*status 307"),
    ):
        attach("torchserve", f"http://127.0.0.1:{port}", start_timeout=600)


@pytest.mark.parametrize("by_url", [True, False])
def test_a_server_that_is_not_up_yet_is_waited_for(
    attach: Attach, settings: ServerSettings, monkeypatch: pytest.MonkeyPatch, by_url: bool
) -> None:
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    pauses: list[float] = []
    with ExitStack() as stack:

        def pause(seconds: float) -> None:
            """Start the server while it is waited for."""
            pauses.append(seconds)
            if len(pauses) == 3:
                listener = socket.create_server(("127.0.0.1", port))
                answer = HEAD % len(RIGHT) + RIGHT
                stack.enter_context(serving(lambda link: answer_once(link, answer), listener))

        monkeypatch.setattr("pytest_servebench.servers.attached.time.sleep", pause)
        if by_url:
            any_server(url, settings).check_alive()
        else:
            attach("torchserve", url)
    assert len(pauses) == 3


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


def answer_once(link: socket.socket, answer: bytes) -> None:
    while not link.recv(65536).endswith(b"}"):
        pass
    link.sendall(answer)


POST = HttpRequest("POST", "/p", body=b"{}")


def test_own_requests_wait_for_a_server_that_loads(settings: ServerSettings) -> None:
    answers = [(503, b"loading"), (502, b""), (200, b"ok"), (503, b"late")]
    with answering_in_turn(answers) as (url, _):
        server = any_server(url, settings)
        server.await_loaded(POST, Tls())
        server.await_loaded(POST, Tls())  # not asked again
        assert probe.ask(url, POST, 10).body == b"late"


def test_own_requests_to_a_server_that_is_never_ready(settings: ServerSettings) -> None:
    with answering_in_turn([(503, b"no GPU")]) as (url, _):
        server = any_server(url, dataclasses.replace(settings, start_timeout=0.2))
        with pytest.raises(ServerStartError, match=r"503.*no GPU.*start-timeout=0\.2"):
            server.await_loaded(POST, Tls())


@pytest.mark.parametrize("status", [400, 404, 429, 500])
def test_own_requests_that_are_refused_are_the_loads_to_tell(
    settings: ServerSettings, status: int
) -> None:
    with answering_in_turn([(status, b"no")]) as (url, _):
        any_server(url, settings).await_loaded(POST, Tls())


@pytest.mark.parametrize("has_inputs", [False, True])
def test_a_model_without_inputs_that_can_be_sent_is_for_own_requests(
    model: ServedModel, settings: ServerSettings, run_dir: Path, has_inputs: bool
) -> None:
    inputs = np.full_like(model.inputs, np.nan) if has_inputs else np.zeros((0, 1), np.float32)
    bare = dataclasses.replace(
        model, inputs=inputs, outputs=model.outputs if has_inputs else inputs
    )
    with answering(500, b"never asked") as (url, requests):
        server = TorchServe(url=url).start(bare, settings, run_dir)
        server.check_alive()
        if has_inputs:
            with pytest.raises(ServerStartError, match=r"first input cannot be sent.*NaN"):
                check_mismatch(server)
        else:
            check_mismatch(server)
    assert requests == []


def test_is_not_http(attach: Attach) -> None:
    def speak(link: socket.socket) -> None:
        link.sendall(b"220 mail.example.com ESMTP\r\n")
        link.recv(65536)

    with serving(speak) as port, pytest.raises(ServerStartError, match="the answer is not HTTP"):
        attach("torchserve", f"http://127.0.0.1:{port}")


def test_name_that_does_not_resolve(attach: Attach) -> None:
    with pytest.raises(ServerStartError, match=r"http://no-such-host\.invalid:80 does not answer"):
        attach("torchserve", "http://no-such-host.invalid:80")


@pytest.mark.parametrize(("token", "state"), [("", "not set"), (TOKEN, "wrong or expired")])
def test_key_is_refused(attach: Attach, token: str, state: str) -> None:
    """TorchServe says 400, not 401."""
    with answering(400, BAD_KEY) as (url, _), pytest.raises(ServerStartError) as caught:
        attach("torchserve", url, token=token)
    message = str(caught.value)
    assert f"SERVEBENCH_TORCHSERVE_TOKEN is {state}" in message
    assert "key_file.json" in message
    assert TOKEN not in message


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("ServiceUnavailableException", "no worker for the model, or its queue is full"),
        ("InternalServerException", "its handler failed"),
    ],
)
def test_two_kinds_of_503(attach: Attach, kind: str, words: str) -> None:
    body = json.dumps({"code": 503, "type": kind, "message": "…"}).encode()
    with answering(503, body) as (url, _), pytest.raises(ServerStartError, match=words):
        attach("torchserve", url, start_timeout=0.3)


@pytest.mark.parametrize("token", ["two words", "line\r\nX-Evil: 1", "schlüssel"])
def test_token_that_no_header_can_carry(attach: Attach, token: str) -> None:
    with pytest.raises(OptionError, match="SERVEBENCH_TORCHSERVE_TOKEN has") as caught:
        attach("torchserve", "http://127.0.0.1:1", token=token)
    assert token not in str(caught.value)


def checked(url: str, option: str) -> Target:
    return checked_target(url, option, Tls())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:8501", "http://localhost:8501"),
        (" http://10.0.0.1:80/ ", "http://10.0.0.1:80"),
        ("HTTP://[::1]:8080", "http://[::1]:8080"),
        ("https://models.example", "https://models.example:443"),
        ("http+unix://%2Frun%2Fserver.sock", "http+unix://%2Frun%2Fserver.sock"),
        ("http://localhost:8501/serving/", "http://localhost:8501/serving"),
        ("grpc://127.0.0.1:8500", "grpc://127.0.0.1:8500"),
        ("grpcs://models.example/", "grpcs://models.example:443"),
        ("grpc+unix://%2Frun%2Fserver.sock", "grpc+unix://%2Frun%2Fserver.sock"),
        ("https://models.example/a/b", "https://models.example:443/a/b"),
    ],
)
def test_url(url: str, expected: str) -> None:
    assert checked(url, "--url").url == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("127.0.0.1:8501", "the scheme is none of http, https, grpc and grpcs"),
        ("localhost", "the scheme is none of http, https, grpc and grpcs"),
        ("", "the scheme is none of http, https, grpc and grpcs"),
        ("http+unix://", "the socket's path is missing"),
        ("https+unix://%2Frun%2Fa.sock", "the scheme is none of http, https, grpc and grpcs"),
        ("grpc+unix://", "the socket's path is missing"),
        ("grpc://localhost", "the port is missing; give grpc://localhost:PORT"),
        ("grpc://localhost:8500/a.B/C", "no path: give grpc://localhost:8500;"),
        ("http://:8501", "the host is missing"),
        ("http://[::1]:", r"the port is missing; give http://\[::1\]:PORT"),
        ("http://localhost:0", "port 0"),
        ("http://localhost:99999", "(?i)port out of range"),
        ("http://localhost:http", "(?i)port could not be cast"),
        ("http://localhost:8501/a b", "not quoted"),
        ("http://localhost:8501/größe", "not quoted"),
        ("http://[::1:8501", "(?i)invalid IPv6"),
        ("http://localhost:80?key=hunter2", "query or fragment"),
        ("http://localhost:80/a?key=hunter2", "query or fragment"),
        ("http://localhost:80#hunter2", "query or fragment"),
        ("http://me:hunter2@localhost:80", "user or password"),
    ],
)
def test_url_that_is_none(url: str, reason: str) -> None:
    option = "--servebench-server-option=torchserve.url"
    with pytest.raises(OptionError, match=reason) as caught:
        checked(url, option)
    shown = option if "hunter2" in url else f"{option}={url}"  # a secret is not repeated
    assert str(caught.value).startswith(f"{shown}: ")
    assert "hunter2" not in str(caught.value)
    assert re.search(r"give (http|grpc)://", str(caught.value))


def test_a_path_comes_before_those_of_the_protocol(attach: Attach) -> None:
    with answering(200, RIGHT) as (url, requests):
        server = attach("tensorflow_serving", f"{url}/gateway/tf/")
        assert server.base_url == f"{url}/gateway/tf"
    assert {path for path, _ in requests} == {"/gateway/tf/v1/models/tiny:predict"}


def test_a_url_of_predictions_is_told_what_is_enough(attach: Attach) -> None:
    with pytest.raises(OptionError, match=r"torchserve\.url=.*give http://h:1/a") as no:
        attach("torchserve", "http://h:1/a/predictions/adder")
    assert "/predictions is added" in str(no.value)
