"""Where requests go: TCP over IPv4 or IPv6, a Unix socket, and TLS on top of them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import quote, unquote, urlsplit

from pytest_servebench.load.limits import own_limit
from pytest_servebench.load.tls import Tls

EXAMPLES: Final = (
    "give http://HOST:PORT, https://HOST:PORT, http://[::1]:PORT "
    "or http+unix://%2Fpath%2Fof%2Fsocket"
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_NEXT_ADDRESS: Final = 1.0  # seconds per address, if there are others
_VERIFIED: Final = Tls()
_P = TypeVar("_P", bound=asyncio.BaseProtocol)


@dataclass(frozen=True)
class Target:
    """The address of a server.

    Attributes:
        host: name or address; of a Unix socket, the name to send as ``Host``.
        port: TCP port; 0 for a Unix socket.
        unix_socket: path of a Unix socket, instead of host and port.
        path: prefix of each request's path, such as ``"/api"``; without a trailing slash.
        tls: TLS settings; ``None``: no TLS.
    """

    host: str
    port: int
    unix_socket: str | None = None
    path: str = ""
    tls: Tls | None = None

    @classmethod
    def parse(cls, url: str, tls: Tls = _VERIFIED) -> Target:
        """Read scheme, address and path of a URL; ``tls`` applies to ``https``.

        Raises:
            ValueError: it is not the URL of a server; the message says why, and what to give.
        """
        try:
            parts = urlsplit(url.strip())
            port = parts.port
        except ValueError as error:
            raise ValueError(f"{error}; {EXAMPLES}") from None
        if parts.username is not None or parts.password is not None:
            raise ValueError(f"a URL with a user or password is not supported; {EXAMPLES}")
        if parts.query or parts.fragment:
            raise ValueError(
                "a query or fragment after the address belongs in the requests: "
                f'HttpRequest("GET", "/path?query"); {EXAMPLES}'
            )
        path = parts.path.rstrip("/")
        if not path.isascii() or not path.isprintable() or " " in path:
            raise ValueError(f"its path is not quoted: write {quote(path)!r}; {EXAMPLES}")
        if parts.scheme == "http+unix":
            if not (link := unquote(parts.netloc)):
                raise ValueError(f"the socket's path is missing; {EXAMPLES}")
            return cls(host="localhost", port=0, unix_socket=link, path=path)
        if parts.scheme not in _DEFAULT_PORTS:
            raise ValueError(f"the scheme is neither http nor https; {EXAMPLES}")
        if not parts.hostname:
            raise ValueError(f"the host is missing; {EXAMPLES}")
        if port == 0:
            raise ValueError(f"port 0 is not valid; {EXAMPLES}")
        return cls(
            host=parts.hostname,
            port=port or _DEFAULT_PORTS[parts.scheme],
            path=path,
            tls=tls if parts.scheme == "https" else None,
        )

    @property
    def url(self) -> str:
        """Return the address as a URL, with the prefix of each request's path."""
        if self.unix_socket is not None:
            return "http+unix://" + quote(self.unix_socket, safe="") + self.path
        return f"{'http' if self.tls is None else 'https'}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """Return what goes into the ``Host`` header."""
        if self.unix_socket is not None:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def tls_name(self) -> str | None:
        """Return the name for which the certificate must be valid; ``None`` without TLS."""
        return None if self.tls is None else self.tls.server_name or self.host

    def full_path(self, path: str) -> str:
        """Return the whole path of a request for ``path``, which may be empty."""
        return self.path + path or "/"


def explained(error: Exception) -> str:
    """Return the message of a connection error, with the remedy if there is one."""
    text = getattr(error, "verify_message", "") or getattr(error, "strerror", None) or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"certificate verify failed: {text} (trust it with --servebench-tls-ca=FILE, or any "
            "certificate with --servebench-tls-verify=false; if it was issued for another name: "
            "--servebench-tls-server-name=NAME)"
        )
    return str(text)


class Dialer:
    """Opens connections to one target; its name is looked up once, before the load."""

    def __init__(self, target: Target, loop: asyncio.AbstractEventLoop) -> None:
        """Prepare to open connections in ``loop``; ``OptionError`` for unusable certificates."""
        self._target = target
        self._loop = loop
        self._ssl = None if target.tls is None else target.tls.context()
        self._addresses: list[str] = []
        self._failure = ""
        self._worked = ""  # the address of the last connection

    async def look_up(self) -> None:
        """Look up the host's addresses; if there are none, every connection will fail."""
        if self._target.unix_socket is not None:
            return
        try:
            found = await self._loop.getaddrinfo(
                self._target.host, self._target.port, type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError) as error:
            self._failure = f"{self._target.host}: {getattr(error, 'strerror', None) or error}"
            return
        self._addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))

    async def open(self, make: Callable[[], _P]) -> _P:
        """Return a new connection's protocol, made by ``make``.

        Raises:
            OSError: no address accepts a connection, or TLS failed. The error is that of the
                address that has worked before, if any: another one, such as ``::1`` without IPv6,
                says nothing about the server. Else it is that of the last address that this
                machine could try.
        """
        target = self._target
        if target.unix_socket is not None:
            return (await self._loop.create_unix_connection(make, target.unix_socket))[1]
        name = target.tls_name
        failures: dict[str, OSError] = {}
        for address in list(self._addresses):
            opening = self._loop.create_connection(
                make, address, target.port, ssl=self._ssl, server_hostname=name
            )
            # An address that never replies must not keep the next one from being tried.
            limit = _NEXT_ADDRESS if address != self._addresses[-1] else None
            try:
                _, protocol = await asyncio.wait_for(opening, limit)
            except (OSError, TimeoutError) as error:
                # As text: the exception would keep this call's frame alive.
                failures[address] = ConnectionError(
                    explained(error) or f"{address}: no connection within {limit:g} s"
                )
                failures[address].errno = getattr(error, "errno", None)
                continue
            # The next connection tries first what worked.
            self._addresses.remove(address)
            self._addresses.insert(0, address)
            self._worked = address
            return protocol
        try:
            raise self._most_telling(failures)
        finally:
            failures.clear()  # the error has this frame, and would live as long as itself

    def _most_telling(self, failures: Mapping[str, OSError]) -> OSError:
        if self._worked in failures:
            return failures[self._worked]
        tried = [one for one in failures.values() if own_limit(one) is None]
        return (tried or [*failures.values()] or [ConnectionError(self._failure)])[-1]
