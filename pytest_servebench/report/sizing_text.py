"""Models of servers and their answers, for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from pytest_servebench.metrics import METRICS
from pytest_servebench.objectives.slo_grammar import Clause
from pytest_servebench.report.sizing import (
    ServerFit,
    case_texts,
    caution_text,
    cost_of_a_million,
    rests_on,
    unchecked,
    unfit_text,
)
from pytest_servebench.sizing.answers import HighestRate, Kept, Replicas
from pytest_servebench.sizing.model import Caution, ServerModel, Unfit
from pytest_servebench.sizing.prediction import Prediction, Setting
from pytest_servebench.sizing.self_check import Held, SelfCheck
from pytest_servebench.stats.estimates import Estimate
from pytest_servebench.text.numbers import INFINITE, MISSING, percent, significant
from pytest_servebench.text.quantity import trimmed
from pytest_servebench.text.safe import counted, wrapped
from pytest_servebench.text.tables import Cell, Column, plain_text, table

_WIDTH: Final = 88
_SHOWN: Final = ("p50", "p95", "p99")
_LABEL: Final = 22  # width of the column of labels


def fit_lines(found: ServerFit) -> list[str]:
    """Return the server's name, what its model rests on, and the model's self-check."""
    lines = [found.measured.name]
    if isinstance(found.fitted, ServerModel):
        lines += wrapped("", rests_on(found.measured, found.fitted), _WIDTH, indent=2, hang=2)
    if any(one.metrics for one in found.checks):
        lines += ["", *_self_check(found.checks)]
    if (told := unchecked(found)) and isinstance(found.fitted, ServerModel):
        lines += ["", *wrapped("", told, _WIDTH, indent=2, hang=2)]
    if isinstance(found.fitted, Unfit):
        lines += ["", *wrapped("", unfit_text(found.fitted), _WIDTH, indent=2, hang=2)]
    return lines


def _self_check(checks: Sequence[SelfCheck]) -> list[str]:
    shown = [one for one in checks if one.metrics]
    names = [name for name in _SHOWN if any(name in one.metrics for one in shown)]
    columns = [Column("case", "held out", right=False), Column("busy")]
    for place, name in enumerate(names):
        spare = len(names) - place if place + 1 < len(names) else 0  # the tail matters most
        columns.append(Column(f"{METRICS[name].written}, ms", "predicted", expendable=spare))
        columns.append(Column("", "seen", expendable=spare))
    columns.append(Column("", right=False, optional=True))
    labels = case_texts(shown)
    rows = [
        [
            Cell(label),
            Cell("-" if one.load is None else f"{percent(one.load, 0)} %"),
            *(Cell(text) for name in names for text in held_texts(one.metrics.get(name), "-")),
            Cell("off" if one.missed else ""),
        ]
        for label, one in zip(labels, shown, strict=True)
    ]
    return [f"  {plain_text(line).rstrip()}" for line in table(columns, rows, _WIDTH - 2)]


def held_texts(held: Held | None, to: str = " to ") -> tuple[str, str]:
    """Return a prediction with its interval, and the measurement, in ms."""
    if held is None:
        return MISSING, MISSING
    return estimate_text(held.predicted, 1e3, to), _shown(held.measured, 1e3)


def estimate_text(estimate: Estimate, factor: float, to: str = " to ", unit: str = "") -> str:
    """Return a value with its interval, such as ``23.1 ms (19.2 to 28.4)``."""
    value, low, high = (
        _shown(end, factor) for end in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value}{unit}" if value == low == high else f"{value}{unit} ({low}{to}{high})"


def _shown(value: float | None, factor: float) -> str:
    return INFINITE if value is None else significant(value * factor)


def _time(estimate: Estimate) -> str:
    return estimate_text(estimate, 1e3, unit=" ms")


def _share(estimate: Estimate) -> str:
    return estimate_text(estimate, 100.0, unit=" %")


# -- answers --------------------------------------------------------------------------------------


def size_lines(
    model: ServerModel, rate: float | None, needed: Replicas | None, highest: HighestRate,
    replicas: int, price: float | None,
) -> list[str]:  # fmt: skip
    """Return how many replicas it takes, and which rate a number of them carries.

    Args:
        model: of the server.
        rate: the requested one, if any.
        needed: how many replicas keep the SLO at it; ``None`` without a rate.
        highest: rate at which ``replicas`` keep it.
        replicas: a number of them.
        price: of a replica an hour.
    """
    facts: list[tuple[str, str]] = []
    shown: Prediction | None = highest.prediction
    if needed is not None and rate is not None:
        facts.append((f"replicas for {trimmed(rate)}/s", _replicas_text(needed)))
        if price is not None and needed.value is not None:
            facts.append(("cost of a million", _cost_text(rate, needed, price)))
        if needed.prediction is not None:
            shown = needed.prediction
            facts.append((f"with {counted(shown.setting.replicas, 'replica')}", _brief(shown)))
    who = "one replica" if replicas == 1 else f"{replicas} replicas"
    verb = "carries" if replicas == 1 else "carry"
    facts.append((f"{who} {verb}", _highest_text(highest)))
    if price is not None and needed is None and highest.value:
        cost = cost_of_a_million(highest.value, replicas, price)
        facts.append(("cost of a million", f"{trimmed(cost)} at this rate"))
    return [*_facts(facts), *_cautions(model, [shown, highest.prediction])]


def _replicas_text(needed: Replicas) -> str:
    if needed.value is None:
        maybe = f"; {needed.low} may" if needed.low is not None else ""
        return f"no number of replicas is likely to keep {needed.limiting}{maybe}"
    high = INFINITE if needed.high is None else f"{needed.high}"
    ends = "" if needed.low == needed.high else f" ({needed.low} to {high})"
    decides = f"; {needed.limiting} decides" if needed.limiting is not None else ""
    return f"{needed.value}{ends}{decides}"


def _cost_text(rate: float, needed: Replicas, price: float) -> str:
    value, low, high = (
        INFINITE if end is None else trimmed(cost_of_a_million(rate, end, price))
        for end in (needed.value, needed.low, needed.high)
    )
    ends = "" if low == high else f" ({low} to {high})"
    return f"{value}{ends}, at {trimmed(price)} per replica and hour"


def _highest_text(highest: HighestRate) -> str:
    if highest.value is None:
        return "every rate"
    if highest.value == 0:
        return f"no rate; {highest.limiting} is broken even if requests hardly ever wait"
    low, high = (None if end is None else trimmed(end) for end in (highest.low, highest.high))
    ends = f" ({low} to {high or INFINITE})"
    decides = f"; {highest.limiting} decides" if highest.limiting is not None else ""
    return f"{trimmed(highest.value)}/s{ends}{decides}"


def _brief(prediction: Prediction) -> str:
    times = [f"{METRICS[name].written} {_time(prediction.estimates[name])}" for name in _SHOWN]
    return f"{', '.join(times)}; {percent(prediction.utilisation.value, 0)} % busy"


def whatif_lines(
    model: ServerModel, prediction: Prediction, verdicts: Iterable[tuple[Clause, Kept]]
) -> list[str]:
    """Return what a server would do at a setting.

    Args:
        model: of the server.
        prediction: the answer.
        verdicts: clauses of an SLO, and whether each is kept.
    """
    facts = [(METRICS[name].written, _time(prediction.estimates[name])) for name in _SHOWN]
    facts.append(("dropped", _share(prediction.drop_rate)))
    facts.append(("utilisation", _share(prediction.utilisation)))
    facts += [(str(clause), kept_text(kept)) for clause, kept in verdicts]
    return [*_facts(facts), *_cautions(model, [prediction])]


def kept_text(kept: Kept) -> str:
    """Return whether a prediction keeps a clause."""
    if kept.surely:
        return "kept"
    if not kept.possibly:
        return "broken"
    return f"unsure: {'likely kept' if kept.likely else 'likely broken'}"


def setting_text(setting: Setting, *, replicas: bool = True) -> str:
    """Return a question in words, with or without its number of replicas."""
    parts = [f"{trimmed(setting.rate)}/s"]
    if replicas:
        parts.append(counted(setting.replicas, "replica"))
    if not replicas or setting.replicas > 1:
        parts.append(f"{setting.routing.replace('_', '-')} routing")
    if setting.workers is not None:
        parts += [counted(setting.workers, "connection"), f"buffer {setting.buffer_size}"]
    return ", ".join(parts)


def _facts(facts: Sequence[tuple[str, str]]) -> list[str]:
    width = max(_LABEL, *(len(label) + 2 for label, _ in facts))
    return [
        line
        for label, text in facts
        for line in wrapped(label.ljust(width), text, _WIDTH, indent=2, hang=width + 2)
    ]


def _cautions(model: ServerModel, predictions: Iterable[Prediction | None]) -> list[str]:
    found: dict[Caution, float] = {}  # with the highest utilisation that it holds for
    for one in filter(None, predictions):
        for caution in one.cautions:
            found[caution] = max(found.get(caution, 0.0), one.utilisation.value or 0.0)
    return [
        line
        for caution, busy in found.items()
        for line in wrapped("! ", caution_text(caution, model, busy), _WIDTH, indent=2)
    ]
