"""Free ports, and whose a listening port is."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable

import psutil

from pytest_servebench.load.limits import own_limit
from pytest_servebench.load.target import Target, explained
from pytest_servebench.system.sockets import sockets_of

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Return ``count`` different ports that are free on 127.0.0.1 now.

    Another program may take one before the server does: callers try again on fresh ports.
    """
    with contextlib.ExitStack() as stack:
        # All are held at once, so that no port is given out twice.
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def listens(pids: Iterable[int], port: int) -> bool:
    """Tell whether one of these processes listens on ``port``.

    An answer on the port alone does not tell: where a server lost the race for it, a foreign
    program answers.
    """
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            for connection in sockets_of(psutil.Process(pid), "tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    return True
    return False


def accepts(target: Target, timeout: float) -> bool:
    """Tell whether somebody accepts connections there within ``timeout`` seconds."""
    try:
        return refusal(target, timeout) is None
    except OSError:
        return False


def refusal(target: Target, timeout: float) -> str | None:
    """Return why no connection is accepted there within ``timeout`` seconds; ``None`` if one is.

    Raises:
        OSError: a limit of this machine is in the way, so that nothing is known of the server.
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
    except UnicodeError:  # of the codec for names
        return f"{target.host!r} cannot be a host's name"
