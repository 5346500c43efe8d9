"""Facts about streamed answers, and how they were read, as text."""

import math
from collections.abc import Mapping
from typing import Final

from pytest_servebench.load.streams import Counted
from pytest_servebench.metrics import METRICS, Metric
from pytest_servebench.runs.results import CaseResult, StreamedAnswers
from pytest_servebench.stats.estimates import Estimate
from pytest_servebench.text.quantity import quantity
from pytest_servebench.text.safe import clean

_COUNTED: Final[Mapping[Counted, str]] = {
    "usage": "tokens as the server counts them (usage)",
    "tokenizer": "tokens as the test's tokenizer counts them",
    "events": "tokens unknown: each event with output counts as one",
    "tool": "tokens as the tool counted them",
}
_REMEDY: Final = {
    "openai": ' (put "stream_options": {"include_usage": true} into the requests, or give '
    "tokenizer=)",
}
_UNCOUNTED: Final[Mapping[Counted, str]] = {
    "usage": ' (put "stream_options": {"include_usage": true} into every request, or into none and '
    "give tokenizer=)",
    "tokenizer": " (give tokenizer= with every request)",
    "events": "",
    "tool": "",
}


def stream_facts(case: CaseResult) -> list[tuple[str, str]]:
    """Return labels and texts; nothing if answers were not streamed."""
    known = case.summary.estimates
    found = [
        (metric.title, _estimate(metric, known[metric.name]))
        for metric in METRICS.values()
        if metric.of_streams and metric.times is None and metric.name in known
    ]
    return found if case.streamed is None else [*found, ("streamed", _text(case.streamed))]


def _estimate(metric: Metric, known: Estimate) -> str:
    value, low, high = (quantity(metric.kind, math.inf if end is None else end)
                        for end in (known.value, known.low, known.high))  # fmt: skip
    return f"{value}, 95 % interval {low.partition(' ')[0]} to {high}"


def _text(known: StreamedAnswers) -> str:
    parts = [clean(known.format), f"{known.events:,} events with output"]
    parts.append(_COUNTED[known.counted])
    if known.counted == "events":
        parts[-1] += _REMEDY.get(known.format, " (tokenizer= counts them)")
    if known.uncounted:
        parts.append(
            f"{known.uncounted:,} answers with an unknown number of tokens, so no output rate or "
            "TPOT" + _UNCOUNTED[known.counted]
        )
    if known.bunched:
        parts.append(
            f"{known.bunched:,} of them in one read with the event before, so the gap is unknown"
        )
    if known.merged:
        parts.append(
            f"{known.merged:,} reads without their own time, as answers had more than are kept"
        )
    return "; ".join(parts)
