"""A single request is bounded in time and size, whatever the server does."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count, repeat
from pathlib import Path

import pytest

from pytest_servebench.load.target import Target
from pytest_servebench.load.tls import Tls
from pytest_servebench.protocols.base import HttpRequest
from pytest_servebench.servers.no_answer import NoAnswerError
from pytest_servebench.servers.ports import free_ports
from pytest_servebench.servers.probe import ask
from tests.load.test_misbehaving import serving
from tests.load.test_transports import certificate, tls_port

__all__ = ["certificate", "tls_port"]  # fixtures

GET = HttpRequest("GET", "/")
HEAD = b"HTTP/1.1 200 OK\r\n"


def sending(parts: Iterator[bytes]) -> Callable[[socket.socket], None]:
    """Return a server that reads a request and sends ``parts`` until nobody listens any more."""

    def behave(link: socket.socket) -> None:
        link.recv(65536)
        with suppress(OSError):
            for part in parts:
                link.sendall(part)

    return behave


def slowly(text: bytes) -> Iterator[bytes]:
    """Give ``text`` and then a byte at a time for ever, each of them soon enough for a read."""
    pause = threading.Event()
    yield text
    for _ in count():
        pause.wait(0.02)
        yield b"x"


@contextmanager
def no_thread_is_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "servebench-ask":
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(lambda: slowly(b""), id="a status a byte at a time"),
        pytest.param(lambda: slowly(HEAD + b"X-Long: "), id="a header a byte at a time"),
        pytest.param(lambda: slowly(HEAD + b"\r\n"), id="a body a byte at a time"),
        pytest.param(
            lambda: slowly(HEAD + b"Content-Length: 9999999\r\n\r\n"), id="a body of a length"
        ),
        pytest.param(
            lambda: slowly(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;"), id="a chunk's head"
        ),
        pytest.param(lambda: repeat(b"HTTP/1.1 100 Continue\r\n\r\n"), id="endless 100 Continue"),
    ],
)
def test_time_is_up(parts: Callable[[], Iterator[bytes]]) -> None:
    with no_thread_is_left(), serving(sending(parts())) as port:
        with pytest.raises(NoAnswerError, match=r"no (complete )?answer within 0\.4 s") as caught:
            ask(f"http://127.0.0.1:{port}", GET, 0.4)
        assert not caught.value.final


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(chain([HEAD + b"\r\n"], repeat(65536 * b"x")), id="a body without end"),
        pytest.param(
            chain([HEAD + b"Transfer-Encoding: chunked\r\n\r\n"], repeat(b"3\r\nabc\r\n")),
            id="chunks without end",
        ),
        pytest.param(
            chain([HEAD + b"Content-Length: 99999999999\r\n\r\n"], repeat(bytes(65536))),
            id="a length beyond the memory",
        ),
    ],
)
def test_too_long(parts: Iterator[bytes]) -> None:
    with no_thread_is_left(), serving(sending(parts)) as port:
        with pytest.raises(
            NoAnswerError, match=r"longer than 300,000 bytes.*--servebench-max-body"
        ) as caught:
            ask(f"http://127.0.0.1:{port}", GET, 30, most=300_000)
        assert caught.value.final


def test_headers_without_end() -> None:
    parts = chain([HEAD], (b"X-%d: y\r\n" % number for number in count()))
    with (
        no_thread_is_left(),
        serving(sending(parts)) as port,
        pytest.raises(NoAnswerError, match="not HTTP"),
    ):
        ask(f"http://127.0.0.1:{port}", GET, 30)


def test_redirects_are_answers() -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
    with serving(sending(iter([answer]))) as port:
        assert ask(f"http://127.0.0.1:{port}", GET, 10).status == 302


def test_a_connection_that_ends_within_the_answer() -> None:
    with (
        serving(sending(iter([HEAD + b"Content-Length: 10\r\n\r\nabc"]))) as port,
        pytest.raises(NoAnswerError, match="closed the connection in the middle"),
    ):
        ask(f"http://127.0.0.1:{port}", GET, 10)


def test_nobody_is_there() -> None:
    with pytest.raises(NoAnswerError, match="Connection refused") as caught:
        ask(f"http://127.0.0.1:{free_ports(1)[0]}", GET, 10)
    assert not caught.value.final


def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    got: list[bytes] = []

    def behave(link: socket.socket) -> None:
        while not b"".join(got).endswith(b"\r\n\r\nbody"):
            got.append(link.recv(65536))
        link.sendall(HEAD + b"Content-Length: 2\r\n\r\nok")

    request = HttpRequest("POST", "/a/../b%2Fc?d=%41", (("X-Own", "1"),), b"body")
    with serving(behave) as port:
        assert ask(f"http://127.0.0.1:{port}", request, 10).body == b"ok"
    head, _, body = b"".join(got).partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert head.startswith(b"POST /a/../b%2Fc?d=%41 HTTP/1.1\r\n")
    assert {b"host: 127.0.0.1:%d" % port, b"x-own: 1", b"content-length: 4"} <= set(lines)
    assert b"authorization" not in head.lower()
    assert body == b"body"


def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "With Capitals.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    with serving(sending(iter([HEAD + b"Content-Length: 2\r\n\r\nok"])), listener):
        target = Target("localhost", 0, unix_socket=str(path))
        assert ask(target.url, GET, 10).body == b"ok"


def test_tls(tls_port: int, certificate: Path) -> None:
    url = f"https://localhost:{tls_port}"
    assert ask(Target.parse(url, Tls(ca_file=str(certificate))), GET, 10).status == 200
    anybody = Target.parse(f"https://127.0.0.1:{tls_port}", Tls(verify=False))
    assert ask(anybody, GET, 10).status == 200
    named = Tls(ca_file=str(certificate), server_name="localhost")
    assert ask(Target.parse(f"https://127.0.0.1:{tls_port}", named), GET, 10).status == 200
    with pytest.raises(NoAnswerError, match=r"verify failed.*--servebench-tls-ca") as no:
        ask(url, GET, 10)
    assert no.value.final
    with pytest.raises(NoAnswerError, match="certificate verify failed"):
        ask(Target.parse(f"https://127.0.0.1:{tls_port}", Tls(ca_file=str(certificate))), GET, 10)
