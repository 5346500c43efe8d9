"""Hooks for others: register a kind of server, see a result, change the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_servebench.results import CaseResult
    from pytest_servebench.servers.base import ServerKind


@pytest.hookspec
def pytest_servebench_server_kinds(config: pytest.Config) -> Sequence[ServerKind]:  # type: ignore[empty-body]
    """Return further kinds of server; a name that is already taken is an error."""


@pytest.hookspec
def pytest_servebench_case_finished(config: pytest.Config, result: CaseResult) -> None:
    """See the result of one case, after its load and before its SLOs are judged."""


@pytest.hookspec
def pytest_servebench_update_report(config: pytest.Config, report: dict[str, Any]) -> None:
    """Add to or change the JSON report in place, before it is written."""
