"""A single call of gRPC over the load's own transport: bounded, and answered or told why not."""

import gc
import socket
import threading
import time
import warnings
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest

from pytest_servebench.load.target import Target
from pytest_servebench.load.tls import Tls
from pytest_servebench.load.transports.http2 import frames as f
from pytest_servebench.load.transports.http2.prepared import grpc_message
from pytest_servebench.protocols.base import HttpRequest, Request
from pytest_servebench.protocols.grpc import GrpcRequest
from pytest_servebench.protocols.http2 import Http2Request
from pytest_servebench.servers.no_answer import NoAnswerError
from pytest_servebench.servers.ports import free_ports
from pytest_servebench.servers.probe import ask
from tests.certificates import self_signed
from tests.load import test_misbehaving
from tests.load.http2_wire import LAST, headers, number, settings
from tests.load.test_transports import certificate

from .grpc_services import failing, serving
from .test_probe import no_thread_is_left

__all__ = ["certificate"]  # a fixture

ECHO = "/test.Echo/Say"


def echo(message: bytes, context: Any) -> bytes:
    context.send_initial_metadata((("asked", dict(context.invocation_metadata()).get("x", "")),))
    context.set_trailing_metadata((("left", f"{context.time_remaining():.0f}"),))
    return message


@pytest.mark.parametrize("size", [0, 10, 100_000, 5_000_000])
def test_an_answer(size: int) -> None:
    with no_thread_is_left(), serving({ECHO: lambda m, c: echo(m, c) * 2}) as port:
        sent = bytes(range(250)) * (min(size, 2_000_000) // 250)
        answer = ask(f"grpc://127.0.0.1:{port}", GrpcRequest(ECHO, sent, (("x", "7"),)), 30)
    assert (answer.status, answer.message == sent * 2) == (0, True)
    assert (answer.metadata["asked"], answer.trailers["left"]) == ("7", "30")


def test_tls_and_unix_sockets(certificate: Path, tmp_path: Path) -> None:
    call = GrpcRequest(ECHO, b"abc")
    path = tmp_path / "s"
    with serving({ECHO: echo}, certificate=certificate, socket=path) as port:
        trusted = Target.parse(f"grpcs://localhost:{port}", Tls(ca_file=str(certificate)))
        for target in (trusted, Target.parse(f"grpc+unix://{quote(str(path), safe='')}")):
            assert ask(target, call, 30).message == b"abc"
        with pytest.raises(NoAnswerError, match="certificate verify failed") as no:
            ask(f"grpcs://localhost:{port}", call, 30)
        assert no.value.final


@pytest.mark.parametrize(("code", "final"), [(socket.EAI_NONAME, True), (socket.EAI_AGAIN, False)])
@pytest.mark.parametrize("request_", [GrpcRequest(ECHO), HttpRequest("GET", "/")])
def test_a_host_that_is_not_found(
    request_: Request, code: int, final: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(NoAnswerError, match=r"^no-such-host\.invalid: no such name") as no:
        ask(f"{request_.scheme}://no-such-host.invalid:1", request_, 30)
    assert no.value.final == final


def test_a_call_within_tls_leaves_nothing_open(certificate: Path) -> None:
    with serving({ECHO: echo}, certificate=certificate) as port:
        target = Target.parse(f"grpcs://localhost:{port}", Tls(ca_file=str(certificate)))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            ask(target, GrpcRequest(ECHO, b"abc"), 30)
            gc.collect()
    assert [str(one.message) for one in told] == []


@pytest.mark.parametrize(
    ("subject", "host", "name", "accepted"),
    [
        ("/CN=x/subjectAltName=DNS:localhost", "localhost", None, True),
        ("/CN=x/subjectAltName=IP:127.0.0.1", "127.0.0.1", None, True),
        ("/CN=x/subjectAltName=DNS:localhost", "127.0.0.1", None, False),
        ("/CN=x/subjectAltName=DNS:other", "localhost", None, False),
        ("/CN=x/subjectAltName=DNS:other", "localhost", "other", True),
        ("/CN=x/subjectAltName=DNS:*.a.example", "localhost", "b.a.example", True),
        ("/CN=x/subjectAltName=DNS:*.a.example", "localhost", "c.b.a.example", False),
        ("/CN=localhost/subjectAltName=DNS:other", "localhost", None, False),
        ("/CN=localhost", "localhost", None, True),
    ],
)
def test_certificates_are_accepted_as_grpcio_accepts_them(
    tmp_path: Path, subject: str, host: str, name: str | None, accepted: bool
) -> None:
    file = self_signed(tmp_path, subject)
    options = [] if name is None else [("grpc.ssl_target_name_override", name)]
    trusted = grpc.ssl_channel_credentials(file.read_bytes())
    with serving({ECHO: echo}, certificate=file) as port:
        with grpc.secure_channel(f"{host}:{port}", trusted, options) as channel:
            call = channel.unary_unary(ECHO)
            with nullcontext() if accepted else pytest.raises(grpc.RpcError):
                assert call(b"abc", timeout=30) == b"abc"
        target = Target.parse(f"grpcs://{host}:{port}", Tls(ca_file=str(file), server_name=name))
        with (
            nullcontext()
            if accepted
            else pytest.raises(NoAnswerError, match="certificate verify failed")
        ):
            assert ask(target, GrpcRequest(ECHO, b"abc"), 30).message == b"abc"


def test_a_certificate_that_has_expired(tmp_path: Path) -> None:
    file = self_signed(tmp_path, "/CN=x/subjectAltName=DNS:localhost", expired=True)
    with serving({ECHO: echo}, certificate=file) as port:
        target = Target.parse(f"grpcs://localhost:{port}", Tls(ca_file=str(file)))
        with pytest.raises(NoAnswerError, match=r"has expired \(renew it.*-tls-verify=false") as no:
            ask(target, GrpcRequest(ECHO, b"abc"), 30)
        assert no.value.final
        careless = Target.parse(f"grpcs://localhost:{port}", Tls(verify=False))
        assert ask(careless, GrpcRequest(ECHO, b"abc"), 30).message == b"abc"


@pytest.mark.parametrize("shown", [True, False])
def test_a_server_that_wants_a_certificate_of_its_clients(certificate: Path, shown: bool) -> None:
    own = Tls(ca_file=str(certificate), cert_file=str(certificate) if shown else None)
    with serving({ECHO: echo}, certificate=certificate, ask_for_one=True) as port:
        target = Target.parse(f"grpcs://localhost:{port}", own)
        if shown:
            assert ask(target, GrpcRequest(ECHO, b"abc"), 30).message == b"abc"
        else:
            with pytest.raises(NoAnswerError, match="--servebench-tls-cert"):
                ask(target, GrpcRequest(ECHO, b"abc"), 30)


def test_compressed_answers() -> None:
    with serving({ECHO: echo}, compression=grpc.Compression.Gzip) as port:
        answer = ask(f"grpc://127.0.0.1:{port}", GrpcRequest(ECHO, bytes(10**5)), 30)
        assert (answer.message, answer.metadata["grpc-encoding"]) == (bytes(10**5), "gzip")
        with pytest.raises(NoAnswerError, match=r"99,999 bytes.*--servebench-max-body") as no:
            ask(f"grpc://127.0.0.1:{port}", GrpcRequest(ECHO, bytes(10**5)), 30, most=99_999)
    assert no.value.final


def test_the_limit_of_an_answer_is_its_messages() -> None:
    with serving({ECHO: echo}) as port:
        for most in (50_000, 49_999):
            with nullcontext() if most == 50_000 else pytest.raises(NoAnswerError, match="49999"):
                ask(f"grpc://127.0.0.1:{port}", GrpcRequest(ECHO, bytes(50_000)), 30, most=most)


@pytest.mark.parametrize("code", ["NOT_FOUND", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL"])
def test_an_error(code: str) -> None:
    with serving({ECHO: failing(code, "why é")}) as port:
        answer = ask(f"grpc://127.0.0.1:{port}", GrpcRequest(ECHO), 30)
    assert (answer.status, answer.details) == (grpc.StatusCode[code].value[0], "why é")
    assert f"({code}): 'why é'" in answer.described


def test_no_answer() -> None:
    (port,) = free_ports(1)
    with pytest.raises(NoAnswerError) as no:
        ask(Target("127.0.0.1", port, scheme="grpc"), GrpcRequest(ECHO), 5)
    assert not no.value.final
    wait = threading.Event()
    # As a call, the server would be told of the deadline, and could answer at the same moment.
    fields = (("Content-Type", "application/grpc"), ("TE", "trailers"))
    request = Http2Request("POST", ECHO, fields, grpc_message(b""))
    with no_thread_is_left(), serving({ECHO: lambda m, _: m * wait.wait(10)}) as port:
        begun = time.monotonic()
        with pytest.raises(NoAnswerError, match=r"within 0\.3 s") as no:
            ask(f"http://127.0.0.1:{port}", request, 0.3)
        assert time.monotonic() - begun < 5
        wait.set()


@pytest.mark.parametrize(
    ("answer", "words", "final"),
    [
        (b"", "before an answer", False),
        (number(f.RST_STREAM, 1, 2), "INTERNAL_ERROR", False),
        (headers(1, (":status", "200")), "in the middle of an answer", False),
        (headers(1, (":status", "200"), flags=LAST), "not gRPC", True),
    ],
)
def test_a_server_that_may_still_be_starting_is_asked_again(
    answer: bytes, words: str, final: bool
) -> None:
    def behave(link: socket.socket) -> None:
        link.sendall(settings())
        while b"application/grpc" not in link.recv(65536):
            pass
        link.sendall(answer)
        link.shutdown(socket.SHUT_WR)
        while link.recv(65536):
            pass

    with (
        test_misbehaving.serving(behave) as port,
        pytest.raises(NoAnswerError, match=words) as no,
    ):
        ask(f"grpc://127.0.0.1:{port}", GrpcRequest(ECHO), 30)
    assert no.value.final == final


def test_a_server_that_never_speaks() -> None:
    def mute(link: socket.socket) -> None:
        with suppress(OSError):
            while link.recv(65536):
                pass

    with (
        no_thread_is_left(),
        test_misbehaving.serving(mute) as port,
        pytest.raises(NoAnswerError, match=r"within 0\.3 s"),
    ):
        ask(f"grpc://127.0.0.1:{port}", GrpcRequest(ECHO), 0.3)


def in_http1(link: socket.socket) -> None:
    link.recv(65536)
    link.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def test_the_other_protocol_is_named() -> None:
    with test_misbehaving.serving(in_http1) as port:
        for request, scheme, remedy in (
            (GrpcRequest(ECHO), "grpc", "http://"),
            (Http2Request("GET", "/"), "http", "HttpRequest"),
        ):
            with pytest.raises(NoAnswerError, match=rf"HTTP/1\.1.*{remedy}") as no:
                ask(f"{scheme}://127.0.0.1:{port}", request, 10)
            assert no.value.final
    with serving({ECHO: echo}) as port:
        with pytest.raises(NoAnswerError, match=r"HTTP/2.*grpc://") as no:
            ask(f"http://127.0.0.1:{port}", HttpRequest("GET", "/"), 10)
        assert no.value.final
        # gRPC is HTTP/2.
        headers = (("Content-Type", "application/grpc"), ("TE", "trailers"), ("X", "7"))
        request = Http2Request("POST", ECHO, headers, grpc_message(b"abc"))
        answer = ask(f"http://127.0.0.1:{port}", request, 10)
    assert (answer.status, answer.body) == (200, grpc_message(b"abc"))
    assert (answer.headers["Asked"], answer.headers["grpc-status"]) == ("7", "0")
