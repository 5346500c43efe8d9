"""Figures of each class of requests, as text."""

import math
from typing import Final

from pytest_servebench.metrics import LATENCY, METRICS, SUCCESS_RATE, TPOT, TTFT
from pytest_servebench.report.figures import Percentile, interval, percentile
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.stats.estimates import ClassFigures
from pytest_servebench.text.numbers import percent
from pytest_servebench.text.quantity import quantity
from pytest_servebench.text.safe import clean, counted

_SHOWN: Final = [
    METRICS[f"{times.prefix}{one}"] for times in (LATENCY, TTFT, TPOT) for one in ("p50", "p99")
]


def class_facts(case: CaseResult) -> list[tuple[str, str]]:
    """Return label and text of each class, with 95 % intervals; nothing if requests had none.

    A percentile of which a class has too few requests is in brackets, as in the table.
    """
    return [(f"class {clean(one.name)}", _text(one, case.summary.arrivals)) for one in case.classes]


def _text(one: ClassFigures, arrivals: int) -> str:
    own = one.summary
    parts = [f"{counted(own.arrivals, 'request')} ({percent(own.arrivals / max(arrivals, 1))} %)"]
    if own.arrivals:
        ends = interval(own.estimates.get(SUCCESS_RATE.name)) or (0.0, 1.0)
        within = " to ".join(percent(end, 2) for end in ends)
        parts.append(f"{percent(own.success_rate)} % ok, {within}")
        parts += [
            f"{metric.written} {_time(percentile(own, metric.name))}"
            for metric in _SHOWN
            if metric.name in own.estimates
        ]
    return "; ".join(parts)


def _time(known: Percentile) -> str:
    value = quantity("time", math.inf if known.value is None else known.value)
    text = value if known.resolved else f"({value})"
    if known.low is None or known.high is None:  # all failed
        return text
    return f"{text}, {quantity('time', known.low)} to {quantity('time', known.high)}"
