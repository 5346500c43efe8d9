"""Loads over HTTP/2 against a server of another's making: sharing, limits, and ends."""

import asyncio
import gc
import socket
import ssl
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from pytest_servebench.load.records import NEVER
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.target import Target
from pytest_servebench.load.tls import Tls
from pytest_servebench.load.transports import TRANSPORTS, transport_factory
from pytest_servebench.load.transports.base import Terms
from pytest_servebench.load.transports.http2 import transport as http2_transport
from pytest_servebench.load.transports.http2.connection import Connection
from pytest_servebench.load.transports.http2.prepared import Fields, grpc_message, prepared
from pytest_servebench.load.transports.http2.transport import Http2
from tests.load.h2_server import Behaviour, Peer, Server, echo, serving
from tests.load.http2_wire import ASKED, Caller, goaway, settings
from tests.load.in_process import Made, make_load
from tests.load.test_misbehaving import REQUEST as HTTP1_REQUEST
from tests.load.test_misbehaving import assert_all, read_request
from tests.load.test_misbehaving import serving as serving_bytes
from tests.load.test_transports import certificate

__all__ = ["certificate"]

REQUEST = prepared(ASKED, grpc_message(b"abc"))


def load(server: Server | int, streams: int = 1, **changes: object) -> Made:
    port = server if isinstance(server, int) else server.port
    terms = changes.pop("terms", Terms(streams=streams))
    spec = {
        "target": Target("127.0.0.1", port), "requests": (REQUEST,), "rate": 120.0,
        "duration": 0.25, "buffer_size": 100, "workers": 4, "seed": 1, "warmup": 0.0,
        "timeout": 5.0, "drain": 2.0, "transport": "grpc", "terms": terms, **changes,
    }  # fmt: skip
    return make_load(LoadSpec(**spec))  # type: ignore[arg-type]


@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_spec_knows_whether_its_workers_share_connections(
    transport: str, keep_alive: bool
) -> None:
    terms = Terms(keep_alive=keep_alive, streams=3)
    spec = LoadSpec(
        target=Target("h", 1), requests=(), rate=1.0, buffer_size=0, duration=1.0, workers=9,
        transport=transport, terms=terms,
    )  # fmt: skip
    loop = asyncio.new_event_loop()
    made = transport_factory(transport)(spec.target, terms, loop, lambda _: False)
    loop.close()
    assert spec.streams == (3 if made.shared else 1)


def late(seconds: float) -> Behaviour:
    def behave(peer: Peer, stream: int, body: bytes) -> None:
        peer.later(seconds, lambda: peer.answer(stream, body))

    return behave


@pytest.mark.parametrize("streams", [1, 4])
def test_messages_of_any_size_come_back_whole(streams: int) -> None:
    messages = [grpc_message(bytes([size % 251]) * size)
                for size in (0, 16_379, 16_380, 65_530, 65_531, 1_000_000)]  # fmt: skip
    requests = tuple(prepared(ASKED, message) for message in messages)
    with serving(echo) as server:
        result = load(server, streams, requests=requests, samples=1000)
    assert_all(result, "ok")
    for index, body in result.answers.items():
        assert body == messages[result.payloads[index]]
        assert Fields.of_head(result.heads[index]).trailers == ((b"grpc-status", b"0"),)
    assert set(result.records.status.tolist()) == {0}


def test_the_server_is_told_of_the_deadline_and_of_nothing_else() -> None:
    with serving(echo) as server:
        assert_all(load(server, timeout=2.5), "ok")
        assert_all(load(server, transport="http/2"), "ok")
    asked = [dict(fields) for peer in server.peers for fields in peer.asked.values()]
    own = {name.encode(): value.encode() for name, value in ASKED}
    assert {fields.pop(b"grpc-timeout", None) for fields in asked} == {b"2500000u", None}
    assert all(fields == own for fields in asked)


@pytest.mark.slow
@pytest.mark.parametrize(("streams", "connections"), [(1, 8), (3, 3), (8, 1), (100, 1)])
@pytest.mark.parametrize("warmup", [0.0, 0.4])
def test_connections_are_shared_by_so_many_workers(
    streams: int, connections: int, warmup: float
) -> None:
    with serving(late(0.1)) as server:
        result = load(server, streams, workers=8, warmup=warmup)
    assert_all(result, "ok")
    assert len(server.peers) == connections
    assert result.connections == (0 if warmup else connections)


def test_no_more_calls_than_the_server_allows_and_none_is_called_sent_before() -> None:
    at_once, most = 0, 0

    def behave(peer: Peer, stream: int, body: bytes) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)

        def end() -> None:
            nonlocal at_once
            at_once -= 1
            peer.answer(stream, body)

        peer.later(0.03, end)

    with serving(behave, {SettingCodes.MAX_CONCURRENT_STREAMS: 2}) as server:
        result = load(server, 8, workers=8, duration=0.5)
    assert_all(result, "ok")
    assert most == 2
    assert result.resent == 0
    sent, done = result.records.sent, result.records.done
    open_at = [int(((sent <= time) & (done > time)).sum()) for time in sent]
    assert max(open_at) <= 2
    assert (sent - result.records.dequeued).max() > 0.02


def test_a_call_that_was_never_sent_has_no_stamp_and_says_so() -> None:
    with serving(late(60), {SettingCodes.MAX_CONCURRENT_STREAMS: 1}) as server:
        result = load(server, 4, timeout=0.2, rate=80.0, workers=20)
    assert_all(result, "timeout")
    failures = dict(result.failures)
    assert failures.pop("timeout: no answer in time") == (result.records.sent != NEVER).sum()
    held = failures.pop("timeout: not sent in time: the server allows no more requests at once")
    # A call of which the connection ended just before its deadline was opening another one.
    between = failures.pop("timeout: no connection in time", 0)
    assert failures == {}
    assert held + between == (result.records.sent == NEVER).sum()
    assert server.resets[ErrorCodes.CANCEL] == server.requests


@pytest.mark.parametrize("more", [0, 1])
def test_the_limit_of_a_message_is_that_of_the_body_without_its_prefix(more: int) -> None:
    with serving(echo) as server:
        request = prepared(ASKED, grpc_message(bytes(40_000 + more)))
        result = load(server, terms=Terms(max_body=40_000), requests=(request,))
    assert_all(result, "bad_response" if more else "ok")
    assert all("40000 bytes of body (--servebench-max-body)" in why for why in result.failures)


def test_a_call_that_the_server_resets_after_its_deadline_is_late() -> None:
    def behave(peer: Peer, stream: int, body: bytes) -> None:
        def reset() -> None:
            if not peer.h2.streams[stream].closed:
                server.requests -= 1
                peer.h2.reset_stream(stream, ErrorCodes.CANCEL)

        peer.later(1.0, reset)

    with serving(behave) as server:
        result = load(server, timeout=1.0, workers=30)  # looked after every 50 ms
    assert_all(result, "timeout")
    assert set(result.failures) == {"timeout: no answer in time"}
    assert server.requests < len(result.records)  # else the client was always the first


@pytest.mark.parametrize("streams", [1, 4])
def test_connections_that_age_lose_no_call(streams: int) -> None:
    def behave(peer: Peer, stream: int, body: bytes) -> None:
        peer.later(0.01, lambda: peer.answer(stream, body))
        if peer.requests == 5:
            peer.retire()

    with serving(behave) as server:
        result = load(server, streams, rate=400.0, duration=0.5, buffer_size=1000)
    assert_all(result, "ok")
    assert len(server.peers) > 10
    assert result.resent == 0


def test_calls_above_the_last_that_the_server_takes_are_sent_again() -> None:
    def behave(peer: Peer, stream: int, body: bytes) -> None:
        if stream <= 9:
            peer.later(0.01, lambda: peer.answer(stream, body))
        elif stream == 11:
            peer.goaway(9)

    with serving(behave) as server:
        result = load(server, 4, rate=400.0)
    assert_all(result, "ok")
    assert result.resent >= len(server.peers) - 2 > 0


@pytest.mark.parametrize("outcome", ["ok", "connect_error"])
def test_refused_calls_are_sent_again_once(outcome: str) -> None:
    def behave(peer: Peer, stream: int, body: bytes) -> None:
        if outcome == "ok" and stream % 4 == 3:
            peer.answer(stream, body)
        else:
            peer.h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)

    with serving(behave) as server:
        result = load(server, 4, workers=1)
    assert_all(result, outcome)
    assert result.resent == len(result.records)


def test_a_new_connection_for_each_request() -> None:
    with serving(echo) as server:
        result = load(server, terms=Terms(keep_alive=False, streams=4))
    assert_all(result, "ok")
    assert len(server.peers) == len(result.records) == result.connections


@pytest.mark.slow
def test_late_calls_are_cancelled_and_their_connection_serves_on() -> None:
    unanswered: set[int] = set()

    def behave(peer: Peer, stream: int, body: bytes) -> None:
        # One at a time: a connection is closed with the last call on it.
        if sum(peer.server.resets.values()) == len(unanswered):
            unanswered.add(stream)
        else:
            peer.answer(stream, body)

    with serving(behave) as server:
        result = load(server, 4, timeout=0.2, duration=1.0)
    counts = result.records.counts()
    assert counts["ok"] > 5
    assert counts["timeout"] == len(unanswered) > 1
    assert counts["ok"] + counts["timeout"] == len(result.records)
    assert len(server.peers) == 1
    assert server.resets == {ErrorCodes.CANCEL: len(unanswered)}


@pytest.mark.slow
def test_a_shared_connection_that_has_gone_silent_is_left_after_one_timeout() -> None:
    def behave(peer: Peer, stream: int, body: bytes) -> None:
        if len(server.peers) > 1 or peer.requests <= 3:
            peer.answer(stream, body)

    with serving(behave) as server:
        result = load(server, 4, timeout=0.2, duration=1.0)
    counts = result.records.counts()
    assert 0 < counts["timeout"] <= 4  # those that were on it at once
    assert counts["ok"] + counts["timeout"] == len(result.records)
    assert len(server.peers) == 2


@pytest.mark.parametrize("given_up", [True, False])
def test_a_connection_on_which_the_server_is_silent_holds_no_later_call_up(
    given_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2_transport, "_PATIENCE", 0.0)
    links: list[socket.socket] = []

    def behave(link: socket.socket) -> None:
        links.append(link)
        if len(links) > 1:
            link.sendall(settings())
        while link.recv(100_000):
            pass

    async def run(port: int) -> bool:
        loop = asyncio.get_running_loop()
        transport = Http2(Target("127.0.0.1", port), Terms(streams=8), loop, lambda _: False)
        await transport.prepare()
        first = loop.create_task(transport.open(Caller()))
        while not links:
            await asyncio.sleep(0.001)
        if given_up:
            first.cancel()
        for _ in range(3):
            assert (await transport.open(Caller())).connection is not None
        first.cancel()
        await asyncio.wait([first])
        return first.cancelled()

    with serving_bytes(behave) as port:
        assert asyncio.run(run(port))
    assert len(links) == 2


@pytest.mark.slow
@pytest.mark.parametrize("streams", [1, 4])
@pytest.mark.parametrize("reached", [True, False])
def test_connections_leave_nothing_behind(reached: bool, streams: int) -> None:
    def objects() -> int:
        return sum(isinstance(one, (Connection, asyncio.Task)) for one in gc.get_objects())

    terms = Terms(keep_alive=not reached, streams=streams)
    gc.collect()
    gc.disable()
    try:
        before = objects()
        with serving(echo) as server:
            port = server.port
            if reached:
                assert_all(load(port, terms=terms), "ok")
        if not reached:
            assert_all(load(port, terms=terms), "connect_error")
        left = objects() - before
    finally:
        gc.enable()
    assert left <= 8


# -- other roads ----------------------------------------------------------------------------------


def secured(certificate: Path, *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(protocols)
    return context


@pytest.mark.parametrize("streams", [1, 4])
def test_tls_chooses_http2(certificate: Path, streams: int) -> None:
    with serving(echo, tls=secured(certificate, "http/1.1", "h2")) as server:
        url = f"https://localhost:{server.port}"
        trusted = Target.parse(url, Tls(ca_file=str(certificate)))
        big = (prepared(ASKED, grpc_message(bytes(300_000))), REQUEST)
        assert_all(load(server, streams, target=trusted, requests=big), "ok")
        result = load(server, streams, target=Target.parse(url))
    assert_all(result, "connect_error")
    assert all("certificate verify failed" in reason for reason in result.failures)


@pytest.mark.parametrize("protocols", [(), ("http/1.1",)])
@pytest.mark.parametrize("streams", [1, 4])
def test_tls_without_http2_is_named(
    certificate: Path, streams: int, protocols: tuple[str, ...]
) -> None:
    with serving(echo, tls=secured(certificate, *protocols)) as server:
        target = Target.parse(f"https://localhost:{server.port}", Tls(ca_file=str(certificate)))
        result = load(server, streams, target=target)
    assert_all(result, "connect_error")
    assert all("does not offer HTTP/2" in reason for reason in result.failures)


@pytest.mark.parametrize(
    ("scheme", "said", "words"),
    [
        # A fatal alert, as of RFC 7301, 3.2, which Python's own servers do not send.
        ("https", b"\x15\x03\x03\x00\x02\x02\x78", "does not offer HTTP/2"),
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS"),
        ("grpcs", settings(), "does not speak TLS (without it: http:// or grpc://)"),
        ("grpc", b"", "grpcs://"),
    ],
)
def test_tls_on_one_side_only_is_named(scheme: str, said: bytes, words: str) -> None:
    def behave(link: socket.socket) -> None:
        link.recv(2000)
        link.sendall(said)

    with serving_bytes(behave) as port:
        result = load(port, target=Target.parse(f"{scheme}://127.0.0.1:{port}"))
    assert_all(result, "connect_error")
    assert all(words in reason for reason in result.failures)


def test_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "server.sock")
    with serving(echo, path=path):
        result = load(0, target=Target(host="localhost", port=0, unix_socket=path))
    assert_all(result, "ok")


@pytest.mark.parametrize("streams", [1, 4])
def test_a_server_of_http_1_1_is_named(streams: int) -> None:
    def behave(link: socket.socket) -> None:
        link.recv(100)
        link.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with serving_bytes(behave) as port:
        result = load(port, streams)
    assert_all(result, "connect_error")
    assert all("speaks HTTP/1.1, not HTTP/2" in reason for reason in result.failures)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_server_of_http_2_is_named_by_http_1_1(at_once: bool) -> None:
    def behave(link: socket.socket) -> None:
        if not at_once:
            read_request(link)
        link.sendall(settings((3, 100)))
        link.recv(100)

    with serving_bytes(behave) as port:
        result = load(port, transport="http/1.1", requests=(HTTP1_REQUEST,))
    assert result.records.counts()["ok"] == 0
    assert all("speaks HTTP/2" in reason for reason in result.failures)


@pytest.mark.parametrize("streams", [1, 4])
def test_nobody_listens(streams: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert_all(load(port, streams), "connect_error")


@pytest.mark.parametrize("streams", [1, 4])
def test_a_server_that_goes_away_at_once(streams: int) -> None:
    connections = []

    def behave(link: socket.socket) -> None:
        connections.append(link)
        link.sendall(settings() + goaway(0, 11, b"come back later"))
        link.recv(100_000)

    with serving_bytes(behave) as port:
        result = load(port, streams)
    assert_all(result, "connect_error")
    assert all("ENHANCE_YOUR_CALM (11): come back later" in reason for reason in result.failures)
    assert len(connections) <= len(result.records)  # it is not dialled again and again


@pytest.mark.slow
@pytest.mark.parametrize("streams", [1, 4])
def test_a_server_that_says_nothing(streams: int) -> None:
    def behave(link: socket.socket) -> None:
        while link.recv(100_000):
            pass

    with serving_bytes(behave) as port:
        result = load(port, streams, timeout=0.2)
    counts = result.records.counts()
    assert counts["timeout"] + counts["connect_error"] == len(result.records)
