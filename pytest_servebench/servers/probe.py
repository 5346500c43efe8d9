"""Single requests outside of measurements, with hard limits on time and size.

The request is sent as a load would send it. A socket's timeout limits each read: a server that
sends one byte at a time, or one ``100 Continue`` after the other, could go on forever. So an
exchange runs in its own thread, and its connection is shut down when time is up.
"""

import contextlib
import http.client
import socket
import threading
from typing import Any, Final, overload

from pytest_servebench.load.target import Target, explained, is_final
from pytest_servebench.load.transports.refusals import SPEAKS_HTTP2, is_http2
from pytest_servebench.protocols.base import (
    Headers,
    HttpAnswer,
    HttpRequest,
    Request,
    check_address,
)
from pytest_servebench.protocols.grpc import GrpcAnswer, GrpcRequest
from pytest_servebench.servers.no_answer import NoAnswerError, too_long
from pytest_servebench.servers.transport_call import TransportCall

MOST_BYTES: Final = 16 * 2**20
_CHUNK: Final = 65_536
_GRPC: Final = "give its port for HTTP, or its gRPC API with grpc://HOST:PORT"
_FAREWELL: Final = 1.0  # seconds for the thread to notice that its connection is gone


@overload
def ask(
    where: Target | str, request: HttpRequest, timeout: float, *, most: int = ...
) -> HttpAnswer: ...
@overload
def ask(
    where: Target | str, request: GrpcRequest, timeout: float, *, most: int = ...
) -> GrpcAnswer: ...
@overload
def ask(where: Target | str, request: Request, timeout: float, *, most: int = ...) -> Any: ...
def ask(where: Target | str, request: Request, timeout: float, *, most: int = MOST_BYTES) -> Any:
    """Send one request over a fresh connection, past any proxy, to a target or a URL.

    Redirects are not followed.

    Args:
        where: the server.
        request: what to send.
        timeout: seconds for everything: name lookup, connection, handshake, headers and body.
        most: most bytes of the decoded body.

    Returns:
        the answer, in the form of the request's own answers: an HttpAnswer, for example.

    Raises:
        NoAnswerError: no connection, no complete answer in time, a too long one, or not in the
            request's protocol.
        OptionError: the address is one of another protocol than the request's.
    """
    target = Target.parse(where) if isinstance(where, str) else where
    check_address(request, target)
    exchange: _Exchange | TransportCall
    if isinstance(request, HttpRequest) and request.transport == HttpRequest.transport:
        exchange = _Exchange(target, request, timeout, most)
    else:
        exchange = TransportCall(target, request, timeout, most)
    thread = threading.Thread(target=exchange.run, name="servebench-ask", daemon=True)
    thread.start()
    try:
        thread.join(timeout)
        late = thread.is_alive()
    finally:  # also if the user interrupts
        exchange.cut()
    if late:
        thread.join(_FAREWELL)
        raise NoAnswerError(exchange.lateness())
    if isinstance(exchange.outcome, NoAnswerError):
        raise exchange.outcome
    return exchange.outcome


class _Exchange:
    """One request and its answer, which another thread may cut short."""

    def __init__(self, target: Target, request: HttpRequest, timeout: float, most: int) -> None:
        self._target = target
        self._request = request
        self._timeout = timeout
        self._most = most
        self._lock = threading.Lock()
        self._cut = False
        self._opened: list[socket.socket] = []
        self._received = 0
        self.outcome: HttpAnswer | NoAnswerError = NoAnswerError("no answer")

    def run(self) -> None:
        try:
            self.outcome = self._answer()
        except NoAnswerError as error:
            self.outcome = error
        except Exception as error:  # none may be lost in a thread
            self.outcome = self._no_answer(error)

    def cut(self) -> None:
        """Shut the connection down, which ends all waits on it."""
        with self._lock:
            self._cut = True
            for link in self._opened:
                with contextlib.suppress(OSError):
                    link.shutdown(socket.SHUT_RDWR)
                link.close()
            self._opened.clear()

    def lateness(self) -> str:
        """Return what to say when time is up."""
        part = f" (got {self._received:,} bytes)" if self._received else ""
        return (
            f"no {'complete ' if self._received else ''}answer within {self._timeout:.3g} s{part}"
        )

    def _answer(self) -> HttpAnswer:
        request = self._request
        with self._connected() as link:
            link.sendall(request.prepared(self._target, keep_alive=False))
            response = http.client.HTTPResponse(link, method=request.method)
            response.begin()
            body = bytearray()
            while part := response.read(_CHUNK):
                body += part
                self._received = len(body)
                if self._received > self._most:
                    raise too_long(self._most)
            if response.length:  # which read() with a size leaves unsaid
                raise http.client.IncompleteRead(bytes(body))
            return HttpAnswer(response.status, bytes(body), Headers(response.getheaders()))

    def _connected(self) -> socket.socket:
        target = self._target
        if target.unix_socket is None:
            link = socket.create_connection((target.host, target.port), self._timeout)
        else:
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            link.settimeout(self._timeout)
            link.connect(target.unix_socket)
        with self._lock:
            if self._cut:
                link.close()
                raise TimeoutError
            self._opened.append(link.dup())  # as TLS takes over the original descriptor
        if target.tls is None:
            return link
        return target.tls.context().wrap_socket(link, server_hostname=target.tls_name)

    def _no_answer(self, error: Exception) -> NoAnswerError:
        if isinstance(error, TimeoutError):
            return NoAnswerError(self.lateness())
        if isinstance(error, http.client.RemoteDisconnected):
            return NoAnswerError("it closed the connection without an answer")
        if isinstance(error, http.client.IncompleteRead):
            return NoAnswerError("it closed the connection in the middle of its answer")
        if isinstance(error, socket.gaierror | UnicodeError):
            return NoAnswerError(f"{self._target.host}: {explained(error)}", final=is_final(error))
        if isinstance(error, OSError) and error.strerror:
            return NoAnswerError(explained(error), final=is_final(error))
        said = f"the answer is not HTTP ({type(error).__name__})"
        if isinstance(error, http.client.BadStatusLine):
            begun = str(error.args[0]).encode("latin-1")
            said = f"{SPEAKS_HTTP2}; {_GRPC}" if is_http2(begun) else said
        return NoAnswerError(said, final=True)
