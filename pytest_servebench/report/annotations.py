"""Remarks on the lines of a pull request, as GitHub Actions reads them from the job's output.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_servebench.report.attention import reasons
from pytest_servebench.results import CaseResult

_LEVELS = {"failed": "error", "invalid": "error", "inconclusive": "warning"}


def workflow_commands(cases: Sequence[CaseResult], lines: Mapping[str, int]) -> Iterator[str]:
    """Yield a workflow command for each case that is not simply good.

    Args:
        cases: results.
        lines: node id to the line of its test, from 1; one that is missing is left out.
    """
    for case in cases:
        if case.verdict not in _LEVELS:
            continue
        place = [f"file={_property(case.nodeid.partition('::')[0])}"]
        if case.nodeid in lines:
            place.append(f"line={lines[case.nodeid]}")
        place.append(f"title={_property(f'{case.verdict}: {case.name}')}")
        message = _message("\n".join(reasons(case)))
        yield f"::{_LEVELS[case.verdict]} {','.join(place)}::{message}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
