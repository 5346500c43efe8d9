"""Figures of each class of a mix of requests, as text."""

from pytest_servebench.metrics import METRICS
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.stats.estimates import ClassFigures
from pytest_servebench.text.numbers import INFINITE, compact, milliseconds, percent
from pytest_servebench.text.safe import clean, counted


def class_facts(case: CaseResult) -> list[tuple[str, str]]:
    """Return label and text of each class; nothing if requests had none.

    A percentile of which a class has too few requests is in brackets, as in the table.
    """
    return [(f"class {clean(one.name)}", _text(one, case.summary.arrivals)) for one in case.classes]


def _text(one: ClassFigures, arrivals: int) -> str:
    parts = [f"{counted(one.arrivals, 'request')} ({percent(one.arrivals / max(arrivals, 1))} %)"]
    if one.arrivals:
        parts.append(f"{percent(one.ok / one.arrivals)} % ok")
        parts += [_time(name, value, one.arrivals) for name, value in one.times.items()]
    return "; ".join(parts)


def _time(name: str, value: float | None, arrivals: int) -> str:
    shown = INFINITE if value is None else f"{compact(milliseconds(value))} ms"
    metric = METRICS[name]
    return f"{metric.written} {shown if arrivals >= metric.enough else f'({shown})'}"
