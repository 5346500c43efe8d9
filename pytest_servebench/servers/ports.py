"""Free ports, and which process listens on a port."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

import psutil

from pytest_servebench.load.limits import own_limit
from pytest_servebench.load.target import Target, explained

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Return ``count`` different ports that are free on 127.0.0.1 now.

    Another program may take one before the server does: callers retry with new ports.
    """
    with contextlib.ExitStack() as stack:
        # All are held at once: no port is returned twice.
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def sockets_of(process: psutil.Process, kind: str) -> list[Any]:
    """Return a process's sockets of one psutil kind: ``tcp``, ``inet`` or ``unix``.

    Raises:
        psutil.Error: the process has ended, or we may not inspect it.
    """
    # psutil 6 renamed it; the old name warns.
    read = getattr(process, "net_connections", None) or process.connections
    return list(read(kind))


def listens(pids: Iterable[int], port: int) -> bool | None:
    """Return whether one of these processes listens on ``port``; ``None`` if they may not be seen.

    An answer on the port alone is not enough: if the server lost the race for it, another program
    answers.
    """
    hidden = False
    for pid in pids:
        try:
            connections = sockets_of(psutil.Process(pid), "tcp")
        except psutil.Error as error:
            hidden |= isinstance(error, psutil.AccessDenied)
            continue
        if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections):
            return True
    return None if hidden else False


def listening(pids: Iterable[int]) -> list[tuple[str, int]]:
    """Return the addresses and ports on which these processes listen, as far as we may see."""
    found: set[tuple[str, int]] = set()
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            connections = sockets_of(psutil.Process(pid), "tcp")
            found |= {tuple(c.laddr) for c in connections if c.status == psutil.CONN_LISTEN}
    return sorted(found, key=lambda place: place[::-1])


def is_public(address: str) -> bool:
    """Return whether other machines may reach what listens at an IP address."""
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return not (mapped or parsed).is_loopback


def is_reached(place: tuple[str, int], port: int) -> bool:
    """Return whether what listens there gets connections to a port of 127.0.0.1."""
    return place[1] == port and place[0].removeprefix("::ffff:") in (LOOPBACK, "0.0.0.0", "::")


def shown(place: tuple[str, int]) -> str:
    """Return an address and a port as in a URL."""
    address, port = place
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def accepts(target: Target, timeout: float) -> bool:
    """Return whether the target accepts connections within ``timeout`` seconds."""
    try:
        return refusal(target, timeout) is None
    except OSError:
        return False


def refusal(target: Target, timeout: float) -> str | None:
    """Return why the target accepts no connection within ``timeout`` seconds, else ``None``.

    Raises:
        OSError: this machine hit a limit, which says nothing about the server.
    """
    try:
        if target.unix_socket is not None:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(timeout)
                link.connect(target.unix_socket)
            return None
        with socket.create_connection((target.host, target.port), timeout=timeout):
            return None
    except OSError as error:
        if own_limit(error) is not None:
            raise
        return explained(error).lower()
    except UnicodeError:  # from the codec for host names
        return f"{target.host!r} is not a valid host name"
