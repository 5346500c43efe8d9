"""How sessions of several turns ended, as text."""

from collections.abc import Iterable
from typing import Final

from pytest_servebench.report.series import Series
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.text.numbers import plain
from pytest_servebench.text.safe import counted

RATE: Final = (
    "rate: of sessions of several requests each; a later turn arrives a think time after the "
    "previous answer, so a slower server got fewer."
)
"""Note below a table of sessions."""


# Share of the window until as many sessions end as begin.
_MANY: Final = 0.2


def session_facts(case: CaseResult) -> list[tuple[str, str]]:
    """Return labels and texts; nothing if requests were not turns of sessions."""
    known = case.sessions
    if known is None:
        return []
    ended = [f"{known.completed} completed"]
    if known.failed:
        lost = counted(known.lost_turns, "turn") + " not asked" if known.lost_turns else ""
        ended.append(f"{known.failed} with a failed turn" + (f" ({lost})" if lost else ""))
    if known.cut:
        left = counted(known.late_turns, "turn")
        short = ": raise --servebench-duration" if known.cut > _MANY * known.begun else ""
        ended.append(f"{known.cut} still running at the end of the window ({left} not sent){short}")
    return [
        ("sessions", f"{known.begun} begun: {', '.join(ended)}"),
        ("dependent", f"{known.dependent} of {counted(case.summary.arrivals, 'request')} arrived "
                      "a think time after the previous answer, so the server's speed decided "
                      "when"),
    ]  # fmt: skip


def of_sessions(series: Iterable[Series]) -> bool:
    """Return whether the rate is of sessions: the number of requests depends on the server."""
    return any(case.sessions for one in series for case in one.cases)


def per_second(cases: Iterable[CaseResult]) -> str:
    """Return the unit after a rate of cases: ``" sessions/s"`` if all are of these, else "/s"."""
    own = [case.sessions is not None for case in cases]
    return " sessions/s" if own and all(own) else "/s"


def unit_of(cases: Iterable[CaseResult]) -> str:
    """Return what the rates of some cases count: ``"requests"``, ``"sessions"``, or both."""
    return " or ".join(dict.fromkeys(f"{case.unit}s" for case in cases)) or "requests"


def rate_text(rate: float, cases: Iterable[CaseResult]) -> str:
    """Return a rate of some cases, such as ``10 requests/s``."""
    unit = unit_of(cases)
    return f"{plain(rate)} {unit.removesuffix('s') if rate == 1 else unit}/s"
