"""Event loops that the calling thread runs, and that cannot run while it waits for a load."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

import psutil

from pytest_servebench.load.target import Target
from pytest_servebench.system.sockets import sockets_of

_REMEDIES: Final = {
    "asyncio": "await asyncio.to_thread(poisson_load, server, …)",
    "trio": "await trio.to_thread.run_sync(functools.partial(poisson_load, server, …))",
}


def running_loop() -> str | None:
    """Return whose event loop this thread runs, ``"asyncio"`` or ``"trio"``, or ``None``."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        # Not imported for this: who runs it has done so.
        trio = sys.modules.get("trio")
        return "trio" if trio is not None and trio.lowlevel.in_trio_run() else None
    return "asyncio"


def blocked(target: Target) -> str | None:
    """Return why a server at ``target`` cannot answer while this thread waits, and what to do.

    That is where this thread runs an event loop and a socket of this process listens there: who
    accepts from it is likely to be in the loop. ``None`` if there is no such thing: many a test is
    run from within a loop (a notebook's, a browser driver's) that its server is not in.
    """
    loop = running_loop()
    if loop is None or not _listens(target):
        return None
    return (
        f"poisson_load was called in a running event loop ({loop}), and the server at {target.url} "
        "is in this process: it cannot answer while the loop waits for the load. Call it from "
        f"another thread: {_REMEDIES[loop]}."
    )


def _listens(target: Target) -> bool:
    """Tell whether a socket of this process listens at ``target``; if that is unknown, it does."""
    try:
        connections = sockets_of(psutil.Process(), "unix" if target.unix_socket else "inet")
    except (psutil.Error, OSError):
        return True
    if target.unix_socket:
        path = Path(target.unix_socket).absolute()
        return any(one.laddr and Path(str(one.laddr)).absolute() == path for one in connections)
    return any(
        one.status == psutil.CONN_LISTEN and one.laddr.port == target.port for one in connections
    )
