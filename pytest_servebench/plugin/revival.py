"""A server that has died is started anew for the test that needs it next."""

from __future__ import annotations

import pytest

from pytest_servebench.errors import ServebenchError
from pytest_servebench.plugin.own_warnings import tell
from pytest_servebench.plugin.state import PROGRESS, fail, session_of
from pytest_servebench.servers.shared import ServerRestartedWarning


def revive(item: pytest.Item, kind: str) -> None:
    """Start the server of a kind anew if a test before this one has lost it, and warn of that.

    Where it cannot be started, the test fails. An attached server is not ours to start.
    """
    session = session_of(item.config)
    death = session.servers.death(kind)
    if death is None or session.kind(kind).attached:
        return
    with item.config.stash[PROGRESS].shown(f"starting {kind} again"):
        try:
            session.servers.revive(kind)
        except ServebenchError as error:
            fail(error)
    reason = str(death).partition("\n")[0]
    tell(item, ServerRestartedWarning(f"{kind} was started again for this test: {reason}"))
