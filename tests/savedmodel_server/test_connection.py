"""A connection by itself: what it does with a client that stalls, or does not read."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from pytest_servebench.servers.savedmodel_server.http import STALL_LIMIT, Connection, Server
from pytest_servebench.servers.savedmodel_server.rest import RestApi
from pytest_servebench.servers.savedmodel_server.workers import Workers
from tests.savedmodel_server.test_rest import FakeModel

GET = b"GET /v1/models/fake HTTP/1.1\r\n\r\n"


class FakeTransport(asyncio.Transport):
    """Remembers what is done with it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.reading = True
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
def server() -> Iterator[Server]:
    loop = asyncio.new_event_loop()
    yield Server(RestApi(FakeModel()), Workers(0), loop)
    loop.close()


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def connection(server: Server, transport: FakeTransport) -> Connection:
    connection = server.connection()
    connection.connection_made(transport)
    return connection


def test_a_client_that_does_not_read_is_not_read_from(
    connection: Connection, transport: FakeTransport
) -> None:
    connection.data_received(GET)
    assert len(transport.written) == 1
    connection.pause_writing()
    for _ in range(200):
        if transport.reading:
            connection.data_received(GET)
    assert len(transport.written) == 1
    assert not transport.reading
    connection.resume_writing()
    assert transport.reading
    waiting = len(transport.written) - 1
    assert 0 < waiting < 200


def test_many_requests_in_one_piece_are_no_recursion(
    connection: Connection, transport: FakeTransport
) -> None:
    connection.pause_writing()
    connection.data_received(GET * 5000)
    connection.resume_writing()
    assert len(transport.written) == 5000


@pytest.mark.parametrize(
    ("sent", "ends"),
    [
        (b"", False),
        (GET, False),
        (GET + b"\r\n", False),
        (b"G", True),
        (b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", True),
        (GET + GET[:-1], True),
    ],
)
def test_requests_that_stop_arriving_are_given_up(
    server: Server,
    connection: Connection,
    transport: FakeTransport,
    monkeypatch: pytest.MonkeyPatch,
    sent: bytes,
    ends: bool,
) -> None:
    if sent:
        connection.data_received(sent)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + STALL_LIMIT - 1)
    server.sweep()
    assert not transport.aborted
    monkeypatch.setattr(time, "monotonic", lambda: now + STALL_LIMIT + 1)
    server.sweep()
    assert transport.aborted is ends
