"""Servers' display names in reports and comparisons."""

from collections.abc import Iterable

from pytest_servebench.runs.results import CapacityResult, CaseResult
from pytest_servebench.runs.run_json import CaseHeading
from pytest_servebench.text.safe import clean


def server_titles(cases: Iterable[CaseResult | CapacityResult | CaseHeading]) -> dict[str, str]:
    """Return kind to title, in the order of running; a title that two kinds share gets the kind."""
    titles: dict[str, str] = {}
    for case in cases:
        titles.setdefault(case.server.kind, clean(case.server.title) or clean(case.server.kind))
    shared = list(titles.values())
    return {
        kind: f"{title} ({clean(kind)})" if shared.count(title) > 1 else title
        for kind, title in titles.items()
    }
