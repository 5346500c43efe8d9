"""The server of :mod:`.stream_server` over HTTP/2."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset

from simulation.stream_server import Stamps, play


class Http2Link(asyncio.Protocol):
    """One connection."""

    def __init__(self, stamps: Stamps, transport: asyncio.Transport) -> None:
        """Take a connection, and add a row to ``stamps`` for each request."""
        self._stamps = stamps
        self.transport = transport
        self.h2 = H2Connection(H2Configuration(client_side=False))
        self.h2.initiate_connection()
        self._bodies: dict[int, bytes] = {}
        self.streams: dict[int, Stream] = {}

    def flush(self) -> None:
        """Write what there is."""
        self.transport.write(self.h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        """Read requests."""
        now = time.monotonic_ns()
        for event in self.h2.receive_data(data):
            if isinstance(event, RequestReceived):
                self._bodies[event.stream_id] = b""
            elif isinstance(event, DataReceived):
                self._bodies[event.stream_id] += event.data or b""
                size = event.flow_controlled_length or 0
                self.h2.acknowledge_received_data(size, event.stream_id)
            elif isinstance(event, StreamReset):
                self.streams.pop(event.stream_id, None)
            elif isinstance(event, StreamEnded):
                self._answer(event.stream_id, now)
        self.flush()

    def _answer(self, number: int, now: int) -> None:
        """Answer as the script says."""
        script: dict[str, Any] = json.loads(self._bodies.pop(number))
        written: list[int] = []
        self._stamps.append((now, written))
        stream = self.streams[number] = Stream(self, number)
        fields = [(":status", str(script["status"])), ("content-type", "text/event-stream")]
        if script["length"] is not None:
            fields.append(("content-length", str(script["length"])))
        last = len(script["writes"]) - 1 if script["end"] == "whole" else None
        play(stream, [
            (script["head"], partial(stream.begin, fields)),
            *((at, partial(stream.write, text.encode("latin-1"), ends=place == last))
              for place, (at, text) in enumerate(script["writes"])),
        ], script["end"], written)  # fmt: skip


class Stream:
    """One stream of a connection."""

    def __init__(self, link: Http2Link, number: int) -> None:
        self._link = link
        self._number = number

    def is_closing(self) -> bool:
        """Return whether the client has reset it, or the connection has ended."""
        return self._number not in self._link.streams or self._link.transport.is_closing()

    def begin(self, fields: list[tuple[str, str]]) -> None:
        """Write the head."""
        self._link.h2.send_headers(self._number, fields)
        self._link.flush()

    def write(self, data: bytes, *, ends: bool) -> None:
        """Write a part of the body."""
        self._link.h2.send_data(self._number, data, end_stream=ends)
        self._link.flush()

    def close(self) -> None:
        """Close the connection."""
        self._link.transport.close()

    def abort(self) -> None:
        """Reset the stream."""
        self._link.h2.reset_stream(self._number, ErrorCodes.INTERNAL_ERROR)
        self._link.flush()
