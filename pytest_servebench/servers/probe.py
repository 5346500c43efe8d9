"""Single HTTP requests outside of measurements, with hard limits on time and size.

The request is sent as a load would send it. A socket's timeout limits each read: a server that
sends one byte at a time, or one ``100 Continue`` after the other, could go on forever. So an
exchange runs in its own thread, and its connection is shut down when time is up.
"""

import contextlib
import http.client
import socket
import ssl
import threading
from typing import Final

from pytest_servebench.load.target import Target, explained
from pytest_servebench.protocols.answers import excerpt
from pytest_servebench.protocols.base import Headers, HttpAnswer, HttpRequest

MOST_BYTES: Final = 16 * 2**20
_CHUNK: Final = 65_536
_FAREWELL: Final = 1.0  # seconds for the thread to notice that its connection is gone


class NoAnswerError(Exception):
    """There was no answer, or not in HTTP; the message says why.

    Attributes:
        final: whether a retry is pointless, as this cannot be the server's address.
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


def describe(answer: HttpAnswer) -> str:
    """Return an answer's status and the beginning of its body, for an error message."""
    return f"status {answer.status}: {excerpt(answer.body)!r}"


def ask(
    where: Target | str, request: HttpRequest, timeout: float, *, most: int = MOST_BYTES
) -> HttpAnswer:
    """Send one request over a fresh connection, past any proxy, to a target or a URL.

    Redirects are not followed.

    Args:
        where: the server.
        request: what to send.
        timeout: seconds for everything: name lookup, connection, handshake, headers and body.
        most: most bytes of the decoded body.

    Raises:
        NoAnswerError: no connection, no complete answer in time, a too long one, or not HTTP.
    """
    target = Target.parse(where) if isinstance(where, str) else where
    exchange = _Exchange(target, request, timeout, most)
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
    if isinstance(exchange.outcome, HttpAnswer):
        return exchange.outcome
    raise exchange.outcome


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
                    raise NoAnswerError(
                        f"its answer is longer than {self._most:,} bytes; "
                        "--servebench-max-body=SIZE allows more",
                        final=True,
                    )
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
        if isinstance(error, socket.gaierror | UnicodeError):  # the latter from the codec for names
            for_good = getattr(error, "errno", None) != socket.EAI_AGAIN
            return NoAnswerError(f"{self._target.host}: {explained(error)}", final=for_good)
        if isinstance(error, OSError) and error.strerror:
            return NoAnswerError(explained(error), final=isinstance(error, ssl.SSLError))
        return NoAnswerError(f"the answer is not HTTP ({type(error).__name__})", final=True)
