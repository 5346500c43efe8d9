"""Single HTTP requests outside of measurements, with hard limits on time and size.

``requests`` limits each read of a socket: a server that sends one byte at a time, or one
``100 Continue`` after the other, could go on forever. So an exchange runs in its own thread, and
its connection is shut down when time is up.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, Final

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from pytest_servebench.load.target import Target, explained
from pytest_servebench.protocols.answers import excerpt
from pytest_servebench.protocols.base import Headers, HttpAnswer, HttpRequest

MOST_BYTES: Final = 16 * 2**20
_CHUNK: Final = 65_536
_FAREWELL: Final = 1.0  # seconds for the thread to notice that its connection is gone
# What the resolver says about names that it may resolve later.
_UNKNOWN_FOR_NOW: Final = {getattr(socket, "EAI_AGAIN", None)}


class NoAnswerError(Exception):
    """There was no answer, or not in HTTP; the message says why.

    Attributes:
        final: whether a retry is pointless, as this cannot be the server's address.
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        """Say why, and whether that is final."""
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
        """Fill in the outcome."""
        try:
            self.outcome = self._answer()
        except NoAnswerError as error:
            self.outcome = error
        except Exception as error:  # from three libraries; none may be lost in a thread
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
        request, target = self._request, self._target
        scheme = "https" if target.tls else "http"
        prepared = requests.Request(
            request.method,
            f"{scheme}://{target.authority}/",
            headers=dict(request.headers),
            data=request.body or None,
        ).prepare()
        path = target.full_path(request.path)
        prepared.url = f"{scheme}://{target.authority}{path}"  # as it is, not normalised
        with requests.Session() as session:
            session.trust_env = False  # no proxy, no .netrc, no certificates of the environment
            session.mount(f"{scheme}://", _Adapter(target, self._watch))
            with session.send(
                prepared,
                stream=True,
                timeout=self._timeout,
                verify=target.tls is None or target.tls.verify,
                allow_redirects=False,
            ) as response:
                parts = []
                for part in response.iter_content(_CHUNK):
                    self._received += len(part)
                    if self._received > self._most:
                        raise NoAnswerError(
                            f"its answer is longer than {self._most:,} bytes; "
                            "--servebench-max-body=SIZE allows more",
                            final=True,
                        )
                    parts.append(part)
                return HttpAnswer(
                    response.status_code, b"".join(parts), Headers(response.raw.headers.items())
                )

    def _watch(self, link: socket.socket) -> None:
        # A duplicate, as TLS takes over the original descriptor.
        with self._lock:
            if self._cut:
                raise TimeoutError
            self._opened.append(link.dup())

    def _no_answer(self, error: Exception) -> NoAnswerError:
        causes = _causes(error)
        if any(isinstance(each, (TimeoutError, requests.Timeout)) for each in causes):
            return NoAnswerError(self.lateness())
        for cause in reversed(causes):  # the innermost knows best
            if isinstance(cause, socket.gaierror):
                for_good = cause.errno not in _UNKNOWN_FOR_NOW
                return NoAnswerError(f"{self._target.host}: {explained(cause)}", final=for_good)
            if isinstance(cause, ssl.SSLError):
                return NoAnswerError(explained(cause), final=True)
            if isinstance(cause, (http.client.RemoteDisconnected, http.client.IncompleteRead)):
                part = (
                    "in the middle of its"
                    if isinstance(cause, http.client.IncompleteRead)
                    else "without an"
                )
                return NoAnswerError(f"it closed the connection {part} answer")
            if isinstance(cause, OSError) and cause.strerror:
                return NoAnswerError(explained(cause))
        said = type(causes[-1]).__name__
        return NoAnswerError(f"the answer is not HTTP ({said})", final=True)


def _causes(error: BaseException | None) -> list[BaseException]:
    """Return an error and its causes: each library wraps the errors of the next."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        inner = [each for each in (getattr(error, "reason", None), *error.args)
                 if isinstance(each, BaseException)]  # fmt: skip
        error = inner[-1] if inner else error.__cause__ or error.__context__
    return found


class _Adapter(HTTPAdapter):
    """Sends everything to one target: over TCP or a Unix socket, and with its TLS."""

    def __init__(self, target: Target, watch: Callable[[socket.socket], None]) -> None:
        super().__init__(max_retries=0)
        self._pool = _pool(target, watch)

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> urllib3.HTTPConnectionPool:
        """Return the pool of this target, whatever the URL says."""
        return self._pool

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Leave verification to the target's own TLS settings."""

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()
        super().close()


def _pool(target: Target, watch: Callable[[socket.socket], None]) -> urllib3.HTTPConnectionPool:
    if target.tls is not None:

        class Secured(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                link = super()._new_conn()
                watch(link)
                return link

            def connect(self) -> None:
                super().connect()
                self.is_verified = True  # or the user said not to; a warning would add nothing

        secure = urllib3.HTTPSConnectionPool(
            target.host,
            target.port,
            ssl_context=target.tls.context(),
            server_hostname=target.tls_name,
            cert_reqs="CERT_REQUIRED" if target.tls.verify else "CERT_NONE",
        )
        secure.ConnectionCls = Secured
        return secure

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            if target.unix_socket is None:
                link = super()._new_conn()
            else:
                link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                link.settimeout(self.timeout if isinstance(self.timeout, float) else None)
                link.connect(target.unix_socket)
            watch(link)
            return link

    plain = urllib3.HTTPConnectionPool(target.host, target.port or None)
    plain.ConnectionCls = Plain
    return plain
