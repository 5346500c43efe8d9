"""Restart a server that has died, for the next test that needs it."""

import pytest

from pytest_servebench.errors import ServebenchError
from pytest_servebench.plugin.own_warnings import tell
from pytest_servebench.plugin.state import PROGRESS, fail, session_of
from pytest_servebench.servers.shared import ServerRestartedWarning


def revive(item: pytest.Item, kind: str) -> None:
    """Restart the server of a kind if it died in an earlier test, and warn about it.

    If it cannot be started, the test fails. Attached servers are not ours to restart.
    """
    session = session_of(item.config)
    death = session.servers.death(kind)
    if death is None or session.known.attached(kind):
        return
    with item.config.stash[PROGRESS].shown(f"restarting {kind}"):
        try:
            session.servers.revive(kind)
        except ServebenchError as error:
            fail(error)
    reason = str(death).partition("\n")[0]
    tell(item.warn, ServerRestartedWarning(f"{kind} was restarted for this test: {reason}"))
