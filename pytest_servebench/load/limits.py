"""Limits of this machine that the generator can hit: open files, local ports, socket memory."""

import errno
import math
import resource
from collections.abc import Mapping
from typing import Final

from pytest_servebench.errors import OptionError

JOURNAL: Final = "journal"
"""The space for streamed answers, as the name of a limit."""

_BESIDE_CONNECTIONS: Final = 64
"""Files that the generator may have open besides its connections."""

_REMEDIES: Final[Mapping[str, tuple[str, str]]] = {
    "EMFILE": (
        "the generator ran out of file descriptors",
        "Raise the limit (ulimit -n), or use fewer connections (--servebench-worker-threads)",
    ),
    "ENFILE": (
        "the machine ran out of file descriptors",
        "Raise the limit (sysctl fs.file-max), or use fewer connections "
        "(--servebench-worker-threads)",
    ),
    "EADDRNOTAVAIL": (
        "the machine ran out of local ports",
        "Widen the range (sysctl net.ipv4.ip_local_port_range), wait a minute until the ports of "
        "earlier connections are free again, lower the rate, or let the server keep connections "
        "alive. If no request was sent at all, this machine may lack an address of the server's "
        "family (IPv6)",
    ),
    "ENOBUFS": (
        "the system ran out of socket buffers",
        "Raise the limits (sysctl net.core.wmem_max, net.ipv4.tcp_mem), or use fewer connections "
        "(--servebench-worker-threads)",
    ),
    "ENOMEM": (
        "the system ran out of memory for sockets",
        "Give the machine or its container more memory, or use fewer connections "
        "(--servebench-worker-threads)",
    ),
}  # fmt: skip
_NAMES: Final = {getattr(errno, name): name for name in _REMEDIES}


def own_limit(error: OSError) -> str | None:
    """Return which of this machine's limits made a connection fail, such as ``"EMFILE"``.

    ``None`` if the server or the network made it fail.
    """
    return _NAMES.get(error.errno) if error.errno is not None else None


def exhausted(failures: Mapping[str, int]) -> str | None:
    """Return which limit was hit, and the remedy; ``None`` if none was.

    Args:
        failures: number of failed connections by limit, as :func:`own_limit` names it; or of
            answers for which there was no space, by :data:`JOURNAL`.
    """
    if not failures:
        return None
    if lost := failures.get(JOURNAL):
        answers = "one streamed answer" if lost == 1 else f"{lost:,} streamed answers"
        return (
            f"{answers} could not be kept: there was no space left. Free space in /dev/shm and in "
            "the directory for temporary files (or set TMPDIR to another), or lower "
            "--servebench-rates or --servebench-duration."
        )
    worst = max(failures, key=lambda name: failures[name])
    what, remedy = _REMEDIES[worst]
    number = sum(failures.values())
    names = ", ".join(sorted(failures))
    connections = "one connection" if number == 1 else f"{number:,} connections"
    return f"{connections} could not be opened because {what} ({names}). {remedy}."


def check_open_files(workers: int, streams: int = 1) -> None:
    """Check that a process of this user may open the connections of that many workers.

    Args:
        workers: of the load.
        streams: how many of them share a connection.

    Raises:
        OptionError: the hard limit on open files is too low.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = math.ceil(workers / streams) + _BESIDE_CONNECTIONS
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise OptionError(
            f"--servebench-worker-threads={workers}: the generator needs {needed:,} open files, "
            f"but this system allows only {hard:,} (ulimit -Hn): give at most "
            f"{max(hard - _BESIDE_CONNECTIONS, 1) * streams:,}, or raise the "
            "limit (/etc/security/limits.conf; docker run --ulimit nofile=…)."
        )


def raise_open_files(workers: int) -> None:
    """Raise the soft limit on open files for that many connections, as far as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = workers + _BESIDE_CONNECTIONS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
