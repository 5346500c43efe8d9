"""Where requests go: TCP over IPv4 or IPv6, a Unix socket, and TLS on top of them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import quote, unquote, urlsplit

EXAMPLES: Final = (
    "give http://HOST:PORT, https://HOST:PORT, http://[::1]:PORT "
    "or http+unix://%2Fpath%2Fof%2Fsocket"
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_NEXT_ADDRESS: Final = 1.0  # seconds for an address, where there are others
_P = TypeVar("_P", bound=asyncio.BaseProtocol)


@dataclass(frozen=True)
class Target:
    """The address of a server.

    Attributes:
        host: name or address; of a Unix socket, the name to send as ``Host``.
        port: TCP port; 0 for a Unix socket.
        unix_socket: path of a Unix socket, in place of host and port.
        tls: whether to speak TLS.
        verify: whether the server's certificate must be valid for ``host``.
        ca_file: certificates (PEM) to trust in place of the system's.
    """

    host: str
    port: int
    unix_socket: str | None = None
    tls: bool = False
    verify: bool = True
    ca_file: str | None = None

    @classmethod
    def parse(cls, url: str, *, verify: bool = True, ca_file: str | None = None) -> Target:
        """Read scheme and address of a URL; its path is not looked at.

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
        if parts.scheme == "http+unix":
            if not (path := unquote(parts.netloc)):
                raise ValueError(f"the socket's path is missing; {EXAMPLES}")
            return cls(host="localhost", port=0, unix_socket=path)
        if parts.scheme not in _DEFAULT_PORTS:
            raise ValueError(f"the scheme is neither http nor https; {EXAMPLES}")
        if not parts.hostname:
            raise ValueError(f"the host is missing; {EXAMPLES}")
        if port == 0:
            raise ValueError(f"port 0 is no address; {EXAMPLES}")
        return cls(
            host=parts.hostname,
            port=port or _DEFAULT_PORTS[parts.scheme],
            tls=parts.scheme == "https",
            verify=verify,
            ca_file=ca_file,
        )

    @property
    def url(self) -> str:
        """Return the address as a URL without a path."""
        if self.unix_socket is not None:
            return "http+unix://" + quote(self.unix_socket, safe="")
        return f"{'https' if self.tls else 'http'}://{self.authority}"

    @property
    def authority(self) -> str:
        """Return what goes into the ``Host`` header."""
        if self.unix_socket is not None:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return how to speak TLS; ``None`` without it.

        Raises:
            ValueError: the certificates to trust cannot be read.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(
                f"{self.ca_file}: no certificates can be read from it ({error}); "
                "give a file of certificates in PEM format"
            ) from None
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def explained(error: Exception) -> str:
    """Return what an error of a connection says, with the remedy where it is known."""
    text = getattr(error, "verify_message", "") or getattr(error, "strerror", None) or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"certificate verify failed: {text} (trust it by --servebench-tls-ca=FILE, or any by "
            "--servebench-tls-verify=false)"
        )
    return str(text)


class Dialer:
    """Opens connections to one target; its name is looked up once, before the load."""

    def __init__(self, target: Target, loop: asyncio.AbstractEventLoop) -> None:
        """Prepare to open connections in ``loop``; ``ValueError`` for unusable certificates."""
        self._target = target
        self._loop = loop
        self._ssl = target.ssl_context()
        self._addresses: list[str] = []
        self._failure = ""

    async def look_up(self) -> None:
        """Find the host's addresses; that there are none is met by every connection."""
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
            OSError: there is no connection at any of the addresses; TLS's errors are such too. Its
                ``errno`` is that of the last of them.
        """
        target = self._target
        if target.unix_socket is not None:
            return (await self._loop.create_unix_connection(make, target.unix_socket))[1]
        name = target.host if self._ssl else None
        failure = ConnectionError(self._failure)
        for address in list(self._addresses):
            opening = self._loop.create_connection(
                make, address, target.port, ssl=self._ssl, server_hostname=name
            )
            # An address that swallows everything must not keep the next from being tried.
            limit = _NEXT_ADDRESS if address != self._addresses[-1] else None
            try:
                _, protocol = await asyncio.wait_for(opening, limit)
            except (OSError, TimeoutError) as error:
                # As text: the exception would keep this call's frame alive.
                failure = ConnectionError(
                    explained(error) or f"{address}: no connection within {limit:g} s"
                )
                failure.errno = getattr(error, "errno", None)
                continue
            # The next connection tries first what worked.
            self._addresses.remove(address)
            self._addresses.insert(0, address)
            return protocol
        raise failure
