"""Servers' display names in reports and comparisons."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from pytest_servebench.text.safe import clean


class _Titled(Protocol):
    @property
    def kind(self) -> str: ...

    @property
    def title(self) -> str: ...


class _HasServer(Protocol):
    @property
    def server(self) -> _Titled: ...


def server_titles(cases: Iterable[_HasServer]) -> dict[str, str]:
    """Return kind to title, in the order of running; a title shared by two kinds adds the kind."""
    titles: dict[str, str] = {}
    for case in cases:
        titles.setdefault(case.server.kind, clean(case.server.title) or clean(case.server.kind))
    shared = list(titles.values())
    return {
        kind: f"{title} ({clean(kind)})" if shared.count(title) > 1 else title
        for kind, title in titles.items()
    }
