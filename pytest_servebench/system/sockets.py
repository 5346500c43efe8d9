"""The sockets of a process."""

from __future__ import annotations

from typing import Any

import psutil


def sockets_of(process: psutil.Process, kind: str) -> list[Any]:
    """Return a process's sockets of a kind of psutil's: ``tcp``, ``inet`` or ``unix``.

    Raises:
        psutil.Error: it has ended, or is not ours to look at.
    """
    # The name that psutil 6 gave it; the old one warns since.
    read = getattr(process, "net_connections", None) or process.connections
    return list(read(kind))
