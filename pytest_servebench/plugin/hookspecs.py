"""Hooks for users and other plugins: server kinds, requests, results and the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_servebench.protocols.base import Request
    from pytest_servebench.runs.results import CapacityResult, CaseResult
    from pytest_servebench.servers.base import RunningServer, ServerKind


@pytest.hookspec
def pytest_servebench_server_kinds(config: pytest.Config) -> Sequence[ServerKind]:  # type: ignore[empty-body]
    """Return additional server kinds; a name that is already taken is an error."""


@pytest.hookspec(firstresult=True)
def pytest_servebench_requests(
    item: pytest.Item, server: RunningServer
) -> Sequence[Request] | None:
    """Return the requests of a case, to replace the model's predictions; ``None``: no opinion.

    Each arrival takes one of them at random. ``poisson_load(server, requests=…)`` takes precedence.
    """


@pytest.hookspec
def pytest_servebench_check_answer(
    item: pytest.Item, server: RunningServer, request: Request, answer: Any
) -> bool | None:
    """Raise ``BadResponseError`` if an answer is wrong; called after the load for a sample.

    It is called for successful answers only, of the request's kind: an HttpAnswer, for example.
    Returning ``False`` does the same without a reason. Responses are also compared with the model's
    predictions.
    """


@pytest.hookspec
def pytest_servebench_case_finished(config: pytest.Config, result: CaseResult) -> None:
    """Receive the result of one case, after its load and before its SLOs are judged.

    Also called for each probe of ``find_capacity``, whose result says so (``result.probe``).
    """


@pytest.hookspec
def pytest_servebench_search_finished(config: pytest.Config, result: CapacityResult) -> None:
    """Receive what a search of ``find_capacity`` found, before clauses on the capacity are judged.

    Also called if the server died in the search, or the generator was the limit
    (``result.state``).
    """


@pytest.hookspec
def pytest_servebench_update_report(config: pytest.Config, report: dict[str, Any]) -> None:
    """Modify the JSON report in place before it is written."""
