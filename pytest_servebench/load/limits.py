"""Limits of this machine that the generator meets: open files, local ports, memory for sockets."""

from __future__ import annotations

import errno
import resource
from collections.abc import Mapping
from typing import Final

from pytest_servebench.errors import OptionError

_BESIDE_CONNECTIONS: Final = 64
"""Files that the generator may have open beside its connections."""

_REMEDIES: Final[Mapping[str, tuple[str, str]]] = {
    "EMFILE": (
        "the generator had no open files left",
        "Allow it more (ulimit -n), or fewer connections (--servebench-worker-threads)",
    ),
    "ENFILE": (
        "the machine had no open files left",
        "Allow more (sysctl fs.file-max), or use fewer connections (--servebench-worker-threads)",
    ),
    "EADDRNOTAVAIL": (
        "the machine had no local ports left",
        "Allow more (sysctl net.ipv4.ip_local_port_range), wait for those of earlier connections "
        "(a minute), lower the rate, or let the server keep its connections. If no request at all "
        "was sent, this machine may have no address of the kind that the server's is (IPv6)",
    ),
    "ENOBUFS": (
        "the system had no buffers left for sockets",
        "Allow more (sysctl net.core.wmem_max, net.ipv4.tcp_mem), or use fewer connections "
        "(--servebench-worker-threads)",
    ),
    "ENOMEM": (
        "the system had no memory left for sockets",
        "Give the machine or its container more memory, or use fewer connections "
        "(--servebench-worker-threads)",
    ),
}  # fmt: skip
_NAMES: Final = {getattr(errno, name): name for name in _REMEDIES}


def own_limit(error: OSError) -> str | None:
    """Return which of this machine's limits an error of connecting is, such as ``"EMFILE"``.

    ``None`` where it tells of the server, or of the way there.
    """
    return _NAMES.get(error.errno) if error.errno is not None else None


def exhausted(failures: Mapping[str, int]) -> str | None:
    """Return what connections failed by, and the remedy; ``None`` where none did.

    Args:
        failures: name of a limit, as :func:`own_limit` gives it, to how many connections failed.
    """
    if not failures:
        return None
    worst = max(failures, key=lambda name: failures[name])
    what, remedy = _REMEDIES[worst]
    number = sum(failures.values())
    names = ", ".join(sorted(failures))
    connections = "one connection" if number == 1 else f"{number:,} connections"
    return f"{connections} could not be opened because {what} ({names}). {remedy}."


def check_open_files(workers: int) -> None:
    """Tell whether a process of this user may have as many connections.

    Raises:
        OptionError: it may not, even if it asks for all that it may have.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and workers + _BESIDE_CONNECTIONS > hard:
        raise OptionError(
            f"--servebench-worker-threads={workers}: the generator needs "
            f"{workers + _BESIDE_CONNECTIONS:,} open files, and this system allows it {hard:,} "
            f"(ulimit -Hn): give {max(hard - _BESIDE_CONNECTIONS, 1):,} at most, or raise the "
            "limit (/etc/security/limits.conf; docker run --ulimit nofile=…)."
        )


def raise_open_files(workers: int) -> None:
    """Let this process have as many connections, where the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = workers + _BESIDE_CONNECTIONS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
