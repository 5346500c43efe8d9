"""The language of service-level objectives, such as ``p99<50ms and success_rate>=99%``.

::

    expression = clause { ("," | "and") clause }
    clause     = metric ("<" | "<=" | ">" | ">=") number [unit]

=============================================  ====================================================
metric                                         unit
=============================================  ====================================================
p50, p90, p95, p99, p99.9, mean, max           us, µs, ms or s; needed. A failed request is
                                               infinitely slow
throughput                                     /s, req/s, rps or none; or % of the offered load
success_rate, drop_rate, error_rate            %, or none for a fraction. Errors are the arrivals
                                               that were neither dropped nor succeeded
cpu (mean over the window), cpu_peak           % of one processor; needed
memory (peak resident memory), memory_mean     B, kB, MB, GB (powers of 1000), KiB, MiB, GiB (of
                                               1024); needed
=============================================  ====================================================

Upper and lower case are one. Spaces may stand anywhere between the parts.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Final, Literal, NoReturn, cast

from pytest_servebench.errors import SLOSyntaxError
from pytest_servebench.text.quantity import Kind

Operator = Literal["<", "<=", ">", ">="]

METRICS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "p50": "latency",
        "p90": "latency",
        "p95": "latency",
        "p99": "latency",
        "p999": "latency",
        "mean": "latency",
        "max": "latency",
        "throughput": "throughput",
        "success_rate": "share",
        "drop_rate": "share",
        "error_rate": "share",
        "cpu": "cpu",
        "cpu_peak": "cpu",
        "memory": "memory",
        "memory_mean": "memory",
    }
)
"""Metrics by the names that results use, and what they measure."""

_WRITTEN: Final = MappingProxyType({"p999": "p99.9"})
_ALIASES: Final = MappingProxyType(
    {"p99.9": "p999", "cpu_mean": "cpu", "memory_peak": "memory"} | {name: name for name in METRICS}
)
_SHOWN: Final = [_WRITTEN.get(name, name) for name in METRICS]

_RELATIVE: Final = "%"
_UNITS: Final[Mapping[Kind, Mapping[str, Decimal]]] = MappingProxyType(
    {
        "latency": {
            "us": Decimal("1e-6"),
            "µs": Decimal("1e-6"),  # micro sign
            "μs": Decimal("1e-6"),  # Greek mu
            "ms": Decimal("1e-3"),
            "s": Decimal(1),
        },
        "throughput": {
            "": Decimal(1),
            "/s": Decimal(1),
            "req/s": Decimal(1),
            "requests/s": Decimal(1),
            "rps": Decimal(1),
            "%": Decimal("0.01"),
        },
        "share": {"": Decimal(1), "%": Decimal("0.01")},
        "cpu": {"%": Decimal(1)},
        "memory": {
            "b": Decimal(1),
            "kb": Decimal(1000),
            "mb": Decimal(1000**2),
            "gb": Decimal(1000**3),
            "kib": Decimal(1024),
            "mib": Decimal(1024**2),
            "gib": Decimal(1024**3),
        },
    }
)
_HINTS: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        "latency": "us, µs, ms or s",
        "throughput": "/s, req/s, rps, or % of the offered load",
        "share": "% or, for a fraction, none",
        "cpu": "% (of one processor)",
        "memory": "B, kB, MB, GB, KiB, MiB or GiB",
    }
)

_SPACE: Final = re.compile(r"\s*")
_METRIC: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[0-9]+)?")
_OPERATOR: Final = re.compile(r"[<>]=?(?![<>=])")
_NUMBER: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3}(?![0-9]))?")
_AND: Final = re.compile(r"and(?![A-Za-z0-9_])", re.IGNORECASE)
_UNIT: Final = re.compile(r"%|[A-Za-zµμ]*(?:/\s*[A-Za-zµμ]+)?")


@dataclass(frozen=True)
class Clause:
    """One condition on one metric.

    Two clauses are equal if they say the same, however they are written; ``str()`` gives a text
    which :func:`parse_slo` reads back as an equal clause.

    Attributes:
        metric: a key of :data:`METRICS`, such as ``"p999"``.
        operator: ``<``, ``<=``, ``>`` or ``>=``.
        bound: in seconds, 1/s, percent of a processor, bytes, or as a fraction.
        relative: whether the bound of a throughput is a fraction of the offered load.
        text: as it was written, without spaces.
    """

    metric: str
    operator: Operator
    bound: float
    relative: bool = False
    text: str = field(default="", compare=False)

    @property
    def kind(self) -> Kind:
        """Return what the metric measures."""
        return METRICS[self.metric]

    def __str__(self) -> str:
        if self.text:
            return self.text
        unit = {"latency": "s", "throughput": "/s", "share": "", "cpu": "%", "memory": "B"}
        bound = Decimal(repr(self.bound))
        shown = bound / _UNITS["throughput"][_RELATIVE] if self.relative else bound
        ending = _RELATIVE if self.relative else unit[self.kind]
        return f"{_WRITTEN.get(self.metric, self.metric)}{self.operator}{shown}{ending}"


def parse_slo(text: str) -> tuple[Clause, ...]:
    """Return the clauses of an SLO expression, one at least.

    Raises:
        SLOSyntaxError: it cannot be read; the message shows where, and what was expected.
    """
    reader = _Reader(text)
    clauses = [reader.clause()]
    while reader.separator():
        clauses.append(reader.clause())
    return tuple(clauses)


class _Reader:
    """Reads an expression from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _take(self, pattern: re.Pattern[str]) -> str | None:
        self._skip()
        match = pattern.match(self._text, self._at)
        if match is None:
            return None
        self._at = match.end()
        return match[0]

    def separator(self) -> bool:
        """Read what stands between two clauses; tell whether anything does."""
        self._skip()
        if self._at == len(self._text):
            return False
        if self._text[self._at] == ",":
            self._at += 1
            return True
        if self._take(_AND) is None:
            self._refuse("expected ',' or 'and' and another clause, or the end")
        return True

    def clause(self) -> Clause:
        self._skip()
        start = self._at
        metric = self._metric()
        operator = self._take(_OPERATOR)
        if operator is None:
            self._refuse("expected one of < <= > >=")
        number = self._take(_NUMBER)
        if number is None:
            self._refuse(f"expected a number, 0 or more; units of {self._name(metric)}: "
                         f"{_HINTS[METRICS[metric]]}")  # fmt: skip
        bound, relative = self._bound(metric, number)
        return Clause(
            metric, cast(Operator, operator), bound, relative,
            text="".join(self._text[start : self._at].split()),
        )  # fmt: skip

    def _metric(self) -> str:
        self._skip()
        start = self._at
        word = self._take(_METRIC)
        if word is None:
            self._refuse("expected a metric")
        known = _ALIASES.get(word.lower())
        if known is None:
            close = difflib.get_close_matches(word.lower(), list(_ALIASES), n=1)
            guess = f"; did you mean {_WRITTEN.get(close[0], close[0])}?" if close else ""
            self._refuse(f"there is no metric '{self._clean(word)}'{guess}", start)
        return known

    def _bound(self, metric: str, number: str) -> tuple[float, bool]:
        kind = METRICS[metric]
        end_of_number = self._at
        start = end_of_number - len(number)
        self._skip()
        unit_at = self._at
        unit = ""
        if _AND.match(self._text, self._at) is None:
            unit = self._take(_UNIT) or ""
        if not unit:
            self._at = unit_at = end_of_number
        factor = _UNITS[kind].get("".join(unit.split()).lower())
        if factor is None and not unit:
            example = {"latency": f"{number}ms or {number}s", "cpu": f"{number}%"}
            self._refuse(f"give a unit: {example.get(kind, f'{number}MB or {number}MiB')}", unit_at)
        if factor is None:
            self._refuse(f"{self._name(metric)} has no unit '{self._clean(unit)}'; "
                         f"expected {_HINTS[kind]}", unit_at)  # fmt: skip
        bound = float(Decimal(number) * factor)
        if not math.isfinite(bound):
            self._refuse("the number is too large", start)
        if kind == "share" and bound > 1:
            percent = f"{number}% or {float(number) / 100:g}" if not unit else "at most 100%"
            self._refuse(f"a share of requests is at most 1; give {percent}", start)
        return bound, kind == "throughput" and unit == _RELATIVE

    @staticmethod
    def _name(metric: str) -> str:
        return _WRITTEN.get(metric, metric)

    @staticmethod
    def _clean(text: str) -> str:
        """Replace what would break a line, one character by one."""
        return "".join(one if one.isprintable() else "?" for one in text)

    def _refuse(self, problem: str, at: int | None = None) -> NoReturn:
        text = self._clean(self._text)
        raise SLOSyntaxError(
            f"SLO '{text}': {problem}\n"
            f"  {text}\n"
            f"  {' ' * (self._at if at is None else at)}^\n"
            f"Metrics: {', '.join(_SHOWN)}."
        )
