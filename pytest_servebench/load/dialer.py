"""Opening connections to a target."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from pytest_servebench.load.limits import own_limit
from pytest_servebench.load.target import Target, explained, is_final

_NEXT_ADDRESS: Final = 1.0  # seconds per address, if there are others
_P = TypeVar("_P", bound=asyncio.BaseProtocol)


class DialError(ConnectionError):
    """A connection could not be opened.

    Attributes:
        final: whether the next one will fail, too.
    """

    def __init__(self, message: str, *, final: bool = False, errno: int | None = None) -> None:
        super().__init__(message)
        self.final = final
        self.errno = errno


class Dialer:
    """Opens connections to one target; its name is looked up once, before the load."""

    def __init__(
        self, target: Target, loop: asyncio.AbstractEventLoop, *, alpn: str | None = None
    ) -> None:
        """Prepare to open connections in ``loop``; ``OptionError`` for unusable certificates.

        ``alpn`` is the name of the protocol to offer within TLS, if any.
        """
        self._target = target
        self._loop = loop
        self._ssl = None if target.tls is None else target.tls.context()
        if self._ssl is not None and alpn is not None:
            self._ssl.set_alpn_protocols([alpn])
        self._addresses: list[str] = []
        self._unknown = "", False  # why there are no addresses, and whether that is final
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
            reason = f"{self._target.host}: {getattr(error, 'strerror', None) or error}"
            self._unknown = reason, is_final(error)
            return
        self._addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))

    async def open(self, make: Callable[[], _P]) -> _P:
        """Return a new connection's protocol, made by ``make``.

        Raises:
            DialError: no address accepts a connection, or TLS failed. The error is that of the
                address that has worked before, if any: another one, such as ``::1`` without IPv6,
                says nothing about the server. Else it is that of the last address that this
                machine could try.
            OSError: the Unix socket accepts none.
        """
        target = self._target
        if target.unix_socket is not None:
            return (await self._loop.create_unix_connection(make, target.unix_socket))[1]
        name = target.tls_name
        failures: dict[str, DialError] = {}
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
                failures[address] = DialError(
                    explained(error) or f"{address}: no connection within {limit:g} s",
                    final=is_final(error),
                    errno=getattr(error, "errno", None),
                )
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

    def _most_telling(self, failures: Mapping[str, DialError]) -> DialError:
        if self._worked in failures:
            return failures[self._worked]
        tried = [one for one in failures.values() if own_limit(one) is None]
        if tried or failures:
            return (tried or [*failures.values()])[-1]
        reason, final = self._unknown
        return DialError(reason, final=final)
