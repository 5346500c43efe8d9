"""HTTP/1.1 on a connection: reading requests, having them answered, writing answers in order."""

import asyncio
import http
import logging
import time
import zlib
from collections import deque
from dataclasses import dataclass, field
from typing import cast

import httptools

from pytest_servebench.servers.savedmodel_server.rest import Reply, RestApi, html_error
from pytest_servebench.servers.savedmodel_server.workers import Workers

# The real server knows no limits but the last one.
MAX_HEAD = 64 * 1024
MAX_BODY = 100 * 1024 * 1024  # as sent, and after it is unzipped
# A request that stops arriving is given up after this many seconds; idle connections never are.
STALL_LIMIT = 30.0
_MAX_PIPELINED = 64
_METHODS = {"GET", "POST", "HEAD", "PUT", "DELETE"}
# How long a client that was refused may go on sending before its connection is cut.
_LINGER_SECONDS = 2.0

_log = logging.getLogger(__name__)


@dataclass
class _Request:
    method: str = ""
    target: bytes = b""
    version: str = "1.1"
    keep_alive: bool = True
    gzip: bool = False
    expects_continue: bool = False
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0
    refusal: Reply | None = None


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._request: _Request | None = None
        self._in_head = False
        self._head_size = 0
        self._waiting: deque[_Request] = deque()
        self._busy = False
        self._answering = False
        self._closing = False
        self._lingering = False
        self._writable = True
        self._last_read = 0.0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the new connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Forget the connection; a model that runs for it runs on, and its answer is dropped."""
        self._transport = None
        self._closing = True
        self._waiting.clear()
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came in."""
        if self._closing:
            return
        self._last_read = time.monotonic()
        if self._in_head or self._request is None:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Nothing to upgrade to: the request was read, and is answered as if it had not asked.
            self._parser = httptools.HttpRequestParser(self)
            rest = data[upgrade.args[0] :]
            if rest:
                self.data_received(rest)
        except httptools.HttpParserError:
            self._refuse(html_error(400, "Bad Request"))
        else:
            if self._in_head and self._head_size > MAX_HEAD:
                self._refuse(html_error(431, "Request Header Fields Too Large"))

    def eof_received(self) -> bool:
        """Go on writing what is being answered, if anything is."""
        if self._busy or self._waiting:
            self._stop_reading()
            return True
        return False

    def pause_writing(self) -> None:
        """Answer nothing more to a client that does not read."""
        self._writable = False

    def resume_writing(self) -> None:
        """Go on."""
        self._writable = True
        self._answer_next()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Start a request."""
        self._request = _Request()
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        """Take the target, or a piece of it."""
        if self._request is not None:
            self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        request = self._request
        if request is None:
            return
        lowered = name.lower()
        if lowered == b"content-encoding":
            request.gzip = b"gzip" in value
        elif lowered == b"expect":
            request.expects_continue = value.strip().lower() == b"100-continue"
        elif lowered == b"content-length" and value.isdigit() and int(value[:20]) > MAX_BODY:
            request.refusal = html_error(413, "Request Entity Too Large")

    def on_headers_complete(self) -> None:
        """Decide what can be decided before the body comes."""
        request = self._request
        if request is None:
            return
        self._in_head = False
        self._head_size = 0
        request.method = self._parser.get_method().decode("latin-1")
        request.version = self._parser.get_http_version()
        request.keep_alive = self._parser.should_keep_alive()
        if request.refusal is None and request.method not in _METHODS:
            request.refusal = html_error(501, "Not Implemented")
        if request.refusal is not None:
            self._refuse(request.refusal)
        elif request.expects_continue and self._transport is not None and not self._busy:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        request = self._request
        if request is None or self._closing:
            return
        request.chunks.append(body)
        request.size += len(body)
        if request.size > MAX_BODY:
            self._refuse(html_error(413, "Request Entity Too Large"))

    def on_message_complete(self) -> None:
        """Have the request answered once those before it have been."""
        request, self._request = self._request, None
        if request is None or self._closing:
            return
        self._waiting.append(request)
        if len(self._waiting) >= _MAX_PIPELINED and self._transport is not None:
            self._transport.pause_reading()
        self._answer_next()

    # Answering.

    def _answer_next(self) -> None:
        if self._answering:  # an answer that came at once: the loop below continues
            return
        self._answering = True
        while self._waiting and not self._busy and self._writable and self._transport is not None:
            request = self._waiting.popleft()
            if len(self._waiting) == _MAX_PIPELINED - 1 and not self._closing:
                self._transport.resume_reading()
            self._busy = True
            self._server.answer(self, request)
        self._answering = False
        answered = not self._busy and not self._waiting
        if self._closing and answered and not self._lingering and self._transport is not None:
            # The client has closed its side, and has all its answers.
            self._transport.close()

    def finish(self, request: _Request, reply: Reply) -> None:
        """Write a request's answer. Called on the event loop."""
        self._busy = False
        transport = self._transport
        if transport is None:
            return
        keep = request.keep_alive and not reply.close
        transport.write(_response(request, reply, keep=keep))
        if not keep:
            # An answer that closes drops what came after its request.
            self._waiting.clear()
            self._closing = True
            if request.refusal is None:
                transport.close()
            else:
                # The client may still be sending, and would lose the answer to a reset if its
                # connection were closed under it: keep reading for a while, and discard it.
                self._lingering = True
                transport.write_eof()
                transport.resume_reading()
                self._server.cut_later(transport)
        self._answer_next()

    def _refuse(self, reply: Reply) -> None:
        """Answer, after the requests before it, a request that is not read to its end."""
        if self._closing:
            return
        request = self._request or _Request()
        request.refusal = reply
        self._request = None
        self._in_head = False
        self._stop_reading()
        self._waiting.append(request)
        self._answer_next()

    def _stop_reading(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.pause_reading()

    def close_if_stalled(self, now: float) -> None:
        """End the connection if a request began to arrive and then nothing more came."""
        if (
            self._transport is not None
            and not self._busy
            and self._request is not None
            and now - self._last_read > STALL_LIMIT
        ):
            self._transport.abort()


class Server:
    """What all connections share."""

    def __init__(self, api: RestApi, workers: Workers, loop: asyncio.AbstractEventLoop) -> None:
        self._api = api
        self._workers = workers
        self._loop = loop
        self.connections: set[Connection] = set()

    def connection(self) -> Connection:
        """Return the protocol for a new connection."""
        return Connection(self)

    def sweep(self) -> None:
        """End stalled connections."""
        now = time.monotonic()
        for connection in tuple(self.connections):
            connection.close_if_stalled(now)

    def answer(self, connection: Connection, request: _Request) -> None:
        """Have a request answered, and pass the answer to its connection."""
        if request.refusal is not None:
            connection.finish(request, request.refusal)
            return
        path = request.target.decode("utf-8", "surrogateescape")
        if not self._api.takes_time(request.method, path):
            connection.finish(request, self._reply(request, path))
            return

        def job() -> None:
            reply = self._reply(request, path)
            self._loop.call_soon_threadsafe(connection.finish, request, reply)

        # All of it, JSON too: a large body must not hold up other connections.
        self._workers.submit(job)

    def _reply(self, request: _Request, path: str) -> Reply:
        try:
            return self._api.answer(request.method, path, _body(request))
        except Exception:
            _log.exception("%s %s failed", request.method, path)
            return html_error(500, "Internal Server Error")

    def cut_later(self, transport: asyncio.Transport) -> None:
        """End a connection soon, whatever its client does."""
        self._loop.call_later(_LINGER_SECONDS, transport.abort)


def _body(request: _Request) -> bytes:
    body = request.chunks[0] if len(request.chunks) == 1 else b"".join(request.chunks)
    return _unzip(body) if request.gzip else body


def _unzip(body: bytes) -> bytes:
    """Return the body unzipped; if that fails, there is no body, as on the real server."""
    unzipper = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        plain = unzipper.decompress(body, MAX_BODY)
    except zlib.error:
        return b""
    return plain if unzipper.eof else b""


def _response(request: _Request, reply: Reply, *, keep: bool) -> bytes:
    reason = (
        http.HTTPStatus(reply.status).phrase if reply.status != 499 else "Client Closed Request"
    )
    head = (
        f"HTTP/{'1.0' if request.version == '1.0' else '1.1'} {reply.status} {reason}\r\n"
        f"Content-Type: {reply.content_type}\r\n"
    )
    if not keep and request.version != "1.0":
        head += "Connection: close\r\n"
    elif keep and request.version == "1.0":
        head += "Connection: keep-alive\r\n"
    head += f"Content-Length: {len(reply.body)}\r\n\r\n"
    return head.encode("latin-1") + (b"" if request.method == "HEAD" else reply.body)
