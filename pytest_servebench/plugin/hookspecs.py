"""Hooks for others: kinds of server, own requests, results, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_servebench.protocols.base import HttpAnswer, HttpRequest
    from pytest_servebench.runs.results import CaseResult
    from pytest_servebench.servers.base import RunningServer, ServerKind


@pytest.hookspec
def pytest_servebench_server_kinds(config: pytest.Config) -> Sequence[ServerKind]:  # type: ignore[empty-body]
    """Return further kinds of server; a name that is already taken is an error."""


@pytest.hookspec(firstresult=True)
def pytest_servebench_requests(
    item: pytest.Item, server: RunningServer
) -> Sequence[HttpRequest] | None:
    """Return what to send in a case, in place of predictions of the model; ``None``: no opinion.

    Each arrival takes one of the requests at random. ``poisson_load(server, requests=…)`` comes
    first.
    """


@pytest.hookspec
def pytest_servebench_check_answer(
    item: pytest.Item, server: RunningServer, request: HttpRequest, answer: HttpAnswer
) -> bool | None:
    """Raise ``BadResponseError`` where a 2xx answer is wrong; called after the load, for a sample.

    Returning ``False`` says so too, without a reason. It comes on top of the
    comparison with the model's predictions.
    """


@pytest.hookspec
def pytest_servebench_case_finished(config: pytest.Config, result: CaseResult) -> None:
    """See the result of one case, after its load and before its SLOs are judged."""


@pytest.hookspec
def pytest_servebench_update_report(config: pytest.Config, report: dict[str, Any]) -> None:
    """Add to or change the JSON report in place, before it is written."""
