"""The language of gates, such as ``p99:10%``: how much a metric may get worse.

::

    expression = gate { ("," | "and") gate }
    gate       = metric ["{" class "}"] ":" number "%"

With a class, such as ``ttft.p99{chat}:10%``, a gate is about its requests alone, as an SLO's clause
is. The number is a percentage of the base's value; for shares of requests (``success_rate``,
``drop_rate``, ``error_rate``), which are percentages themselves, it is percentage points.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pytest_servebench.errors import OptionError
from pytest_servebench.metrics import COMPARED, METRICS
from pytest_servebench.objectives.reader import Reader, written

_COLON: Final = re.compile(":")
_PERCENT: Final = re.compile("%")
_SHAPE: Final = "expected METRIC:NUMBER%, such as p99:10%"


@dataclass(frozen=True)
class Gate:
    """How much one metric may get worse.

    Attributes:
        metric: a key of :data:`~pytest_servebench.metrics.COMPARED`.
        threshold: a fraction of the base's value, or a difference of shares.
        request_class: the class of requests that it is about; empty: all requests.
    """

    metric: str
    threshold: float
    request_class: str = ""

    @property
    def written(self) -> str:
        """Return metric and class, as expressions have them."""
        return written(METRICS[self.metric], self.request_class)

    def __str__(self) -> str:
        return f"{self.written}:{100 * self.threshold:g}%"


def parse_gates(text: str) -> tuple[Gate, ...]:
    """Return the gates of an expression, at least one.

    Raises:
        SLOSyntaxError: it cannot be parsed; the message shows where, and what was expected.
    """
    return _Reader("gate", text, tuple(COMPARED.values())).clauses()


def check_thresholds(gates: Sequence[Gate], option: str) -> None:
    """Refuse two thresholds for one metric: which of them counts would depend on their order.

    Raises:
        OptionError: a metric has several; the message begins with ``option``.
    """
    named = Counter(gate.written for gate in gates)
    for gate in gates:
        if named[gate.written] > 1:
            raise OptionError(f"{option}={gate}: {gate.written} has several thresholds; give one")


class _Reader(Reader[Gate]):
    def clause(self) -> Gate:
        metric, request_class = self.metric()
        if self.take(_COLON) is None:
            self.refuse(_SHAPE)
        number = self.number(_SHAPE)
        at = self.at - len(number)
        if self.take(_PERCENT) is None:
            self.refuse(_SHAPE)
        threshold = float(number) / 100
        if threshold >= 1 and (metric.larger_is_better or metric.is_share):
            self.refuse(f"{metric.written} cannot get worse by 100 % or more; give less", at)
        if math.isinf(threshold):
            self.refuse("the number is too large", at)
        return Gate(metric.name, threshold, request_class)
