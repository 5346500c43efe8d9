"""The sockets of a process."""

from __future__ import annotations

from typing import Any

import psutil


def sockets_of(process: psutil.Process, kind: str) -> list[Any]:
    """Return a process's sockets of one psutil kind: ``tcp``, ``inet`` or ``unix``.

    Raises:
        psutil.Error: the process has ended, or we may not inspect it.
    """
    # psutil 6 renamed it; the old name warns.
    read = getattr(process, "net_connections", None) or process.connections
    return list(read(kind))
