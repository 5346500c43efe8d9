"""The language of service-level objectives, such as ``p99<50ms and success_rate>=99%``.

::

    expression = clause { ("," | "and") clause }
    clause     = metric ["{" class "}"] ("<" | "<=" | ">" | ">=") number [unit]

The metrics are those of ``pytest_servebench.metrics``. Times, CPU and memory need a unit; a
share without one is a fraction. Case does not matter, and spaces may stand between the parts.

With a class, such as ``ttft.p99{chat}<300ms``, a clause is about the requests of that class alone:
one of a mix, named as it is there, or ``first turn`` or ``further turns`` of sessions.

A bound is on the side that is bad: times have upper bounds, throughputs lower ones. CPU, memory and
numbers of tokens may have either, and so may shares of requests, with a warning.
"""

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Final, Literal, cast

from pytest_servebench.metrics import METRICS, Metric
from pytest_servebench.objectives.reader import AND, Reader, clean, tight, written
from pytest_servebench.text.quantity import Kind

Operator = Literal["<", "<=", ">", ">="]

_RELATIVE: Final = "%"
_EITHER_WAY: Final[tuple[Kind, ...]] = ("tokens", "cpu", "memory")
_OTHER_WAY: Final[Mapping[Operator, Operator]] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_COMPARE: Final = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_UNITS: Final[Mapping[Kind, Mapping[str, Decimal]]] = MappingProxyType(
    {
        "time": {
            # The micro sign, and the Greek letter.
            "us": Decimal("1e-6"), "µs": Decimal("1e-6"), "μs": Decimal("1e-6"),
            "ms": Decimal("1e-3"), "s": Decimal(1),
        },
        "throughput": {
            "": Decimal(1), "/s": Decimal(1), "req/s": Decimal(1), "requests/s": Decimal(1),
            "rps": Decimal(1), "%": Decimal("0.01"),
        },
        "share": {"": Decimal(1), "%": Decimal("0.01")},
        "cpu": {"%": Decimal(1)},
        "memory": {
            "b": Decimal(1),
            "kb": Decimal(1000), "mb": Decimal(1000**2), "gb": Decimal(1000**3),
            "kib": Decimal(1024), "mib": Decimal(1024**2), "gib": Decimal(1024**3),
        },
        "tokens": {"": Decimal(1), "tokens": Decimal(1)},
        "token_rate": {
            "": Decimal(1), "/s": Decimal(1), "tokens/s": Decimal(1), "tok/s": Decimal(1),
        },
    }
)  # fmt: skip
UNITS: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        "time": "us, µs, ms or s",
        "throughput": "/s, req/s, rps, or % of the offered load",
        "share": "% or, for a fraction, none",
        "cpu": "% (of one processor)",
        "memory": "B, kB, MB, GB, KiB, MiB or GiB",
        "tokens": "tokens, or none",
        "token_rate": "tokens/s, tok/s or /s",
    }
)

"""The units of each kind, for people."""

_OPERATOR: Final = re.compile(r"[<>]=?(?![<>=])")
_UNIT: Final = re.compile(r"%|[A-Za-zµμ]*(?:/\s*[A-Za-zµμ]+)?")


@dataclass(frozen=True)
class Clause:
    """One condition on one metric.

    Two clauses are equal if they mean the same, however they are written; :func:`parse_slo` reads
    the text of ``str()`` as an equal clause.

    Attributes:
        metric: a key of :data:`~pytest_servebench.metrics.METRICS`, such as ``"p999"``.
        operator: ``<``, ``<=``, ``>`` or ``>=``.
        bound: in seconds, 1/s, percent of a processor, bytes, or as a fraction.
        relative: whether the bound of a throughput is a fraction of the offered load.
        request_class: the class of requests that it is about; empty: all requests.
        text: as it was written, without spaces.
    """

    metric: str
    operator: Operator
    bound: float
    relative: bool = False
    request_class: str = ""
    text: str = field(default="", compare=False)

    @property
    def kind(self) -> Kind:
        """Return what the metric measures."""
        return METRICS[self.metric].kind

    @property
    def of_search(self) -> bool:
        """Return whether it is on the result of a search, not on a case."""
        return METRICS[self.metric].of_search

    @property
    def of_streams(self) -> bool:
        """Return whether it is on streamed answers."""
        return METRICS[self.metric].of_streams

    @property
    def at_least(self) -> bool:
        """Return whether its bound is a lower one."""
        return self.operator in (">", ">=")

    @property
    def asks_for_bad(self) -> bool:
        """Return whether only a bad server meets the clause."""
        metric = METRICS[self.metric]
        return metric.kind not in _EITHER_WAY and self.at_least is not metric.larger_is_better

    @property
    def other_way(self) -> str:
        """Return it with the bound on the other side."""
        metric, _, bound = str(self).rpartition(self.operator)
        return f"{metric}{_OTHER_WAY[self.operator]}{bound}"

    def met_by(self, value: float, bound: float | None = None) -> bool:
        """Return whether a value meets the bound; ``bound`` stands for a relative one."""
        return bool(_COMPARE[self.operator](value, self.bound if bound is None else bound))

    @property
    def of_run(self) -> bool:
        """Return whether only the run itself can meet it, such as "no request fails"."""
        if self.relative:
            return self.bound == 1 and self.operator == ">="
        return self.kind == "share" and (self.operator, self.bound) in ((">=", 1.0), ("<=", 0.0))

    def __str__(self) -> str:
        if self.text:
            return self.text
        unit = {"time": "s", "throughput": "/s", "cpu": "%", "memory": "B", "token_rate": "/s"}
        bound = Decimal(repr(self.bound))
        shown = bound / _UNITS["throughput"][_RELATIVE] if self.relative else bound
        ending = _RELATIVE if self.relative else unit.get(self.kind, "")
        metric = written(METRICS[self.metric], self.request_class)
        return f"{metric}{self.operator}{shown}{ending}"


def parse_slo(text: str) -> tuple[Clause, ...]:
    """Return the clauses of an SLO expression, at least one.

    Raises:
        SLOSyntaxError: it cannot be parsed; the message shows where, and what was expected.
    """
    return _Reader("SLO", text, tuple(METRICS.values())).clauses()


class _Reader(Reader[Clause]):
    def clause(self) -> Clause:
        self.skip()
        start = self.at
        metric, request_class = self.metric()
        operator = self.take(_OPERATOR)
        if operator is None:
            self.refuse("expected one of < <= > >=")
        operator_at = self.at - len(operator)
        number = self.number(f"units of {metric.written}: {UNITS[metric.kind]}")
        bound, relative = self._bound(metric, number)
        clause = Clause(
            metric.name, cast(Operator, operator), bound, relative, request_class,
            text=tight(self.text[start : self.at]),
        )  # fmt: skip
        if clause.asks_for_bad and not metric.is_share:
            better = "larger" if metric.larger_is_better else "smaller"
            self.refuse(
                f"of {metric.written}, {better} is better, so that only a bad server would meet "
                f"this; give {clause.other_way}, or assert in the test what is meant",
                operator_at,
            )
        return clause

    def _bound(self, metric: Metric, number: str) -> tuple[float, bool]:
        kind = metric.kind
        end_of_number = self.at
        start = end_of_number - len(number)
        self.skip()
        unit_at = self.at
        unit = ""
        if AND.match(self.text, self.at) is None:
            unit = self.take(_UNIT) or ""
        if not unit:
            self.at = unit_at = end_of_number
        factor = _UNITS[kind].get("".join(unit.split()).lower())
        if metric.of_search and unit == _RELATIVE:
            self.refuse(f"{metric.written} has no unit %; expected a rate, such as 150/s", unit_at)
        if factor is None and not unit:
            example = {"time": f"{number}ms or {number}s", "cpu": f"{number}%"}
            self.refuse(f"give a unit: {example.get(kind, f'{number}MB or {number}MiB')}", unit_at)
        if factor is None:
            self.refuse(f"{metric.written} has no unit '{clean(unit)}'; "
                        f"expected {UNITS[kind]}", unit_at)  # fmt: skip
        bound = float(Decimal(number) * factor)
        if not math.isfinite(bound):
            self.refuse("the number is too large", start)
        if kind == "share" and bound > 1:
            share = float(number) / 100
            forgotten = f"; give {number}% or {share:g}" if not unit and share <= 1 else ""
            self.refuse(f"a share of requests is at most 100%{forgotten}", start)
        return bound, kind == "throughput" and unit == _RELATIVE
