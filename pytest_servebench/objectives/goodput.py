"""Goodput: how many requests a second met every limit that the SLOs set for a single request.

It depends on the SLOs, so it is computed when a case is judged, not with its other figures.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from pytest_servebench.errors import SLOSyntaxError
from pytest_servebench.load.records import Records
from pytest_servebench.objectives.limits import BoolArray, Limit, of_each_request
from pytest_servebench.objectives.slo_grammar import Clause, parse_slo
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.stats.counted import counted
from pytest_servebench.stats.estimates import Summary
from pytest_servebench.stats.summary import alike_for

_NAMES = ("goodput", "goodput_share")


def slo_clauses(result: CaseResult) -> tuple[Clause, ...]:
    """Return the SLO clauses by which a case was judged, except unreadable ones."""
    found: list[Clause] = []
    for one in result.clauses:
        if one.sort == "slo":
            with contextlib.suppress(SLOSyntaxError):
                found += parse_slo(one.clause)
    return tuple(found)


def hidden_limits(result: CaseResult, clauses: Iterable[Clause]) -> tuple[Limit, ...]:
    """Return those limits on single requests of which it is unknown which requests kept them.

    Args:
        result: of the case.
        clauses: further clauses by which it will be judged.
    """
    limits, records = of_each_request((*slo_clauses(result), *clauses)), result.records
    return tuple(one for one in limits if records is None or not one.is_known(records))


def with_goodput(result: CaseResult, clauses: Iterable[Clause], max_lag: float) -> CaseResult:
    """Return a case with its goodput under these clauses and those that it was judged by.

    Without limits on the time of single requests, or without records, it is returned as it is.

    Args:
        result: of the case.
        clauses: further clauses by which it will be judged.
        max_lag: lateness of the generator, seconds, beyond which an arrival is late.
    """
    limits = of_each_request((*slo_clauses(result), *clauses))
    records = result.records
    if not limits or records is None or not all(one.is_known(records) for one in limits):
        return result
    punctual = records.without_lag(max_lag) if result.summary.without_lag else records
    classes = result.classes
    if records.classes is not None:
        alike = alike_for(records)
        classes = tuple(
            dataclasses.replace(
                one,
                summary=_with_goodput(
                    one.summary, limits,
                    records.of_class(one.name, alike), punctual.of_class(one.name, alike),
                ),
            )
            for one in result.classes
        )  # fmt: skip
    summary = _with_goodput(result.summary, limits, records, punctual)
    return dataclasses.replace(result, summary=summary, classes=classes)


def _with_goodput(
    summary: Summary, limits: Sequence[Limit], records: Records, punctual: Records
) -> Summary:
    found = dict(zip(_NAMES, counted(records, good(records, limits)), strict=True))
    without_lag = dict(summary.without_lag)
    if without_lag:
        at_best = counted(punctual, good(punctual, limits))
        without_lag |= dict(zip(_NAMES, at_best, strict=True))
    return dataclasses.replace(
        summary, estimates={**summary.estimates, **found}, without_lag=without_lag
    )


def good(records: Records, limits: Iterable[Limit]) -> BoolArray:
    """Return which requests succeeded inside the window and met all limits; shape ``(n,)``."""
    met = records.completed.copy()
    for limit in limits:
        met &= ~limit.broken_by(records)
    return np.asarray(met)
