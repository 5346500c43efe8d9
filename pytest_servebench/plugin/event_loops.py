"""Detect servers in the caller's event loop, which is blocked during a load."""

import sys
from pathlib import Path
from typing import Final

import psutil

from pytest_servebench.load.target import Target
from pytest_servebench.servers.ports import sockets_of

_REMEDIES: Final = {
    "asyncio": "await asyncio.to_thread({}, server, …)",
    "trio": "await trio.to_thread.run_sync(functools.partial({}, server, …))",
}


def running_loop() -> str | None:
    """Return whose event loop runs in this thread, ``"asyncio"`` or ``"trio"``, or ``None``."""
    # A running loop's library has been imported.
    asyncio, trio = sys.modules.get("asyncio"), sys.modules.get("trio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        return "asyncio"
    return "trio" if trio is not None and trio.lowlevel.in_trio_run() else None


def blocked(target: Target, fixture: str) -> str | None:
    """Return why a server at ``target`` cannot respond while this thread waits, and what to do.

    That is the case if this thread runs an event loop and this process listens at ``target``: the
    server is probably in the loop. Else ``None``: many tests run inside a loop (of a notebook or a
    browser driver) that has nothing to do with the server.

    Args:
        target: where the load is to go.
        fixture: that sends it.
    """
    loop = running_loop()
    if loop is None or not _listens(target):
        return None
    return (
        f"{fixture} was called in a running event loop ({loop}), and the server at {target.url} "
        "is in this process: it cannot respond while the load blocks the loop. Call it in "
        f"another thread: {_REMEDIES[loop].format(fixture)}."
    )


def _listens(target: Target) -> bool:
    """Return whether this process listens at ``target``; true if that is unknown."""
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
