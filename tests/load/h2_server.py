"""A server of HTTP/2 built on h2, in a thread: what it does with a request is the test's to say."""

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    PingAckReceived,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.settings import SettingCodes

FIELDS = [(b":status", b"200"), (b"content-type", b"application/grpc")]
TRAILERS = [(b"grpc-status", b"0")]


class Peer(asyncio.Protocol):
    """One connection of the server; ``h2`` refuses what a client may not do."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.bodies: dict[int, bytes] = {}
        self.asked: dict[int, dict[bytes, bytes]] = {}
        self.answers: dict[int, bytes] = {}
        self.loop = asyncio.get_running_loop()
        self.requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.server.peers.append(self)
        self.h2.initiate_connection()
        self.h2.update_settings(dict(self.server.settings))
        self.flush()

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        try:
            for event in self.h2.receive_data(data):
                self.take(event)
        except Exception as error:  # h2's, for what a client may not do
            self.server.complaints.append(f"{type(error).__name__}: {error}")
            self.transport.abort()
            return
        self.flush()

    def take(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self.asked[event.stream_id] = dict(event.headers)
            self.bodies[event.stream_id] = b""
        elif isinstance(event, DataReceived):
            self.bodies[event.stream_id] += event.data or b""
            if event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            self.requests += 1
            self.server.requests += 1
            self.server.behave(self, event.stream_id, self.bodies.pop(event.stream_id))
        elif isinstance(event, PingAckReceived):
            self.goaway(self.h2.highest_inbound_stream_id)
        elif isinstance(event, StreamReset):
            self.server.resets[event.error_code] += 1
            self.answers.pop(event.stream_id, None)
        elif isinstance(event, WindowUpdated):
            for stream in list(self.answers):
                self.send_rest(stream)

    def answer(self, stream: int, body: bytes) -> None:
        """Answer as the client's windows allow."""
        self.h2.send_headers(stream, FIELDS)
        self.answers[stream] = body
        self.send_rest(stream)

    def send_rest(self, stream: int) -> None:
        while body := self.answers[stream]:
            window = self.h2.local_flow_control_window(stream)
            size = min(window, self.h2.max_outbound_frame_size, len(body))
            if size <= 0:
                return
            self.h2.send_data(stream, body[:size])
            self.answers[stream] = body[size:]
        del self.answers[stream]
        self.h2.send_headers(stream, TRAILERS, end_stream=True)

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        def done() -> None:
            if not self.transport.is_closing():
                do()
                self.flush()

        self.loop.call_later(seconds, done)

    def retire(self) -> None:
        """Announce the end, and what was taken once the client must have heard of it."""
        self.goaway(2**31 - 1)
        self.h2.ping(bytes(8))

    def goaway(self, last: int) -> None:
        """Announce the end, and remain able to answer what is on its way."""
        payload = last.to_bytes(4, "big") + bytes(4)
        self.flush()
        self.transport.write(b"\0\0\x08\x07\0\0\0\0\0" + payload)


Behaviour = Callable[[Peer, int, bytes], None]


@dataclass
class Server:
    behave: Behaviour
    settings: Mapping[SettingCodes | int, int]
    port: int = 0
    requests: int = 0
    peers: list[Peer] = field(default_factory=list)
    resets: Counter[int] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)


@contextmanager
def serving(
    behave: Behaviour,
    settings: Mapping[SettingCodes | int, int] | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    path: str | None = None,
) -> Iterator[Server]:
    """Serve until the end of the block; a client that breaks a rule fails it."""
    server = Server(behave, settings or {})
    loop = asyncio.new_event_loop()
    ready, end = threading.Event(), asyncio.Event()

    async def run() -> None:
        def make() -> Peer:
            return Peer(server)

        if path is not None:
            listener = await loop.create_unix_server(make, path)
        else:
            listener = await loop.create_server(make, "127.0.0.1", 0, ssl=tls)
            server.port = listener.sockets[0].getsockname()[1]
        ready.set()
        await end.wait()
        listener.close()
        for peer in server.peers:
            peer.transport.abort()
        await asyncio.sleep(0)

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield server
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(10)
        loop.close()
    assert server.complaints == []


def echo(peer: Peer, stream: int, body: bytes) -> None:
    peer.answer(stream, body)
