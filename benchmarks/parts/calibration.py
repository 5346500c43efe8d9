"""Compare the engine with queueing models that have exact solutions.

The same runs are compared twice. Against the closed form, the difference includes sampling error.
Against the queue computed request by request from the arrivals and service times actually drawn,
it does not: what remains is added by the network path, by timers and by the engine itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import measure, plotting
from benchmarks.parts import Bar, Data
from benchmarks.parts.queue_models import MODELS, Model
from benchmarks.rounds import say
from benchmarks.settings import Settings
from pytest_servebench.load.records import Outcome, Records
from pytest_servebench.load.validity import invalid_reason
from simulation import known
from simulation.distributions import Seconds
from simulation.known_server import parse_law
from simulation.queues import fifo_waits

NAME = "calibration"
TITLE = "Queues with exact answers"
LIMIT: Final = 0.05
SECONDS: Final = 60.0
SETTLE: Final = 2.0  # seconds skipped in each run: the queue starts empty
BATCHES: Final = 25
MAX_LAG: Final = 0.010
ENOUGH: Final = 5_000
"""With fewer requests, p99 is not judged: the 1 % above it come in too few bursts to estimate its
error."""


@dataclass(frozen=True)
class _Figures:
    """One run without its start, as measured and as computed.

    ``latency`` and ``wait`` cover the served requests, ``dropped`` all arrivals; ``path_`` fields
    are those of the computed queue.
    """

    latency: Seconds
    wait: Seconds
    dropped: Seconds
    path_latency: Seconds
    path_wait: Seconds
    path_dropped: Seconds
    added: float  # mean seconds by which services took longer than drawn


def run(settings: Settings) -> Data:
    """Load a server of each model; the models run in parallel."""
    seconds = 10.0 if settings.quick else SECONDS
    runs: dict[str, list[_Figures]] = {model.name: [] for model in MODELS}
    rejected: list[str] = []
    for number in range(settings.repeats):
        for model, figures in _round(number, seconds):
            if isinstance(figures, str):
                rejected.append(f"{model.name}: {figures}")
            else:
                runs[model.name].append(figures)
        say(NAME, f"round {number + 1} of {settings.repeats}", *rejected[-1:])
    rows = [row for model in MODELS if runs[model.name] for row in _rows(model, runs[model.name])]
    return {"rows": rows, "rejected": rejected, "seconds": seconds, "repeats": settings.repeats}


def _round(number: int, seconds: float) -> list[tuple[Model, _Figures | str]]:
    """Run every model once, all in parallel: they hardly use the machine."""
    jobs = [(model, copy) for model in MODELS for copy in range(model.copies)]
    with measure.scratch() as directory:
        with ExitStack() as stack, ThreadPoolExecutor(len(jobs)) as pool:
            # All servers start before any thread does, as processes are forked here.
            servers = [
                stack.enter_context(_serve(directory, model, _seed(number, place)))
                for place, (model, _) in enumerate(jobs)
            ]
            results = list(pool.map(
                lambda job: job[1].load(
                    rate=job[0][0].rate, duration=seconds, workers=job[0][0].workers,
                    buffer_size=job[0][0].buffer_size, seed=100 * number + job[0][1],
                    timeout=30.0, drain=10.0,
                ),
                zip(jobs, servers, strict=True),
            ))  # fmt: skip
        found: list[tuple[Model, _Figures | str]] = []
        for place, ((model, _), server, result) in enumerate(
            zip(jobs, servers, results, strict=True)
        ):
            reason = invalid_reason(result.records, result.generator, result.pauses, MAX_LAG)
            drawn = server.rows[:, 2] / 1e9
            dice = parse_law(model.law, 1_000_000 + _seed(number, place))
            figures = _figures(model, result.records, drawn, dice)
            found.append((model, reason or figures))
        return found


def _seed(number: int, place: int) -> int:
    return 1_000 * (number + 1) + place


def _serve(directory: Path, model: Model, seed: int) -> Any:
    return known.serve(directory, model.servers, model.law, seed)


def _figures(model: Model, records: Records, drawn: Seconds, spare: Any) -> _Figures | str:
    """Compare a run with its queue; return why if that is impossible."""
    served = records.ok
    if not (served | (records.outcome == Outcome.DROPPED)).all():
        return f"outcomes {records.counts()}"
    if int(served.sum()) != len(drawn):
        return f"the server began {len(drawn)} services, not {int(served.sum())}"
    # A dropped request has no service time. If the computed queue accepts it, as the two may differ
    # by microseconds, its service time is drawn from the same distribution.
    services = np.array([0.0 if one else spare() for one in served])
    order = np.flatnonzero(served)[np.argsort(records.sent[served], kind="stable")]
    services[order] = drawn
    arrivals = records.scheduled / 1e9
    waits = fifo_waits(arrivals, services, model.servers, model.capacity)
    kept = arrivals >= SETTLE
    inside, let_in = kept & served, kept & ~np.isnan(waits)
    took = (records.done - records.dequeued) / 1e9
    added = took - services if model.waits_here else records.latency() - waits - services
    return _Figures(
        latency=records.latency()[inside],
        wait=((records.dequeued - records.enqueued) / 1e9)[inside],
        dropped=(~served[kept]).astype(np.float64),
        path_latency=(waits + services)[let_in],
        path_wait=waits[let_in],
        path_dropped=np.isnan(waits[kept]).astype(np.float64),
        added=float(np.mean(added[inside & let_in])),
    )


def _rows(model: Model, runs: Sequence[_Figures]) -> list[dict[str, Any]]:
    """Return a table row for each quantity of a model."""
    rows = []
    for quantity, exact in model.exact().items():
        name, share = _KINDS[quantity]
        values = [getattr(figures, name) for figures in runs]
        twins = [getattr(figures, f"path_{name}") for figures in runs]
        pooled = np.concatenate(values)
        measured = _figure(pooled, share)
        gaps = [_figure(one, share) - _figure(twin, share)
                for one, twin in zip(values, twins, strict=True)]  # fmt: skip
        without_luck = measured - _figure(np.concatenate(twins), share)
        difference, error = measured / exact - 1, 2 * _standard_error(values, share, exact) / exact
        rows.append({
            "model": model.name,
            "parameters": model.parameters,
            "quantity": quantity,
            "unit": "" if name == "dropped" else "s",
            "exact": exact,
            "measured": measured,
            "difference": difference,
            "error": error,
            "within": (
                None
                if share == 0.99 and len(pooled) < ENOUGH
                else abs(difference) <= max(LIMIT, error)
            ),
            "without_luck": without_luck / exact,
            "without_luck_error": (
                2 * float(np.std(gaps, ddof=1)) / math.sqrt(len(gaps)) / exact
                if len(gaps) > 1 else None
            ),
            "count": len(pooled),
            "runs": len(runs),
            "added": float(np.mean([figures.added for figures in runs])),
        })  # fmt: skip
    return rows


_KINDS: Final[Mapping[str, tuple[str, float | None]]] = {
    "mean wait": ("wait", None),
    "mean latency": ("latency", None),
    "p50 latency": ("latency", 0.5),
    "p99 latency": ("latency", 0.99),
    "drop rate": ("dropped", None),
}


def _figure(values: Seconds, share: float | None) -> float:
    return float(values.mean() if share is None else np.quantile(values, share))


def _standard_error(runs: Sequence[Seconds], share: float | None, exact: float) -> float:
    """Return the standard error of a figure by batch means, as neighbours are correlated.

    For a percentile, it is the error of the share of requests below the exact value, converted to
    time by the measured distribution: batches are too short for their own p99. It is at least that
    of independent requests, as correlated ones carry less information.
    """
    parts = max(4, math.ceil(BATCHES / len(runs)))
    values = [one if share is None else (one <= exact).astype(np.float64) for one in runs]
    batches = np.array([batch.mean() for one in values for batch in np.array_split(one, parts)])
    error = float(batches.std(ddof=1)) / math.sqrt(len(batches))
    if share is None:
        return error
    pooled = np.concatenate(runs)
    error = max(error, math.sqrt(share * (1 - share) / len(pooled)))
    ends = np.quantile(pooled, [max(0.0, share - 2 * error), min(1.0, share + 2 * error)])
    return float(ends[1] - ends[0]) / 4


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: this does not involve peers."""
    del data
    return {}


def bars(data: Data) -> Sequence[Bar]:
    """Compare every quantity with its exact value."""
    rows = data["rows"]
    if not rows:
        return [Bar("queues with exact answers", "not measured", "all within", None)]
    judged = [row["within"] for row in rows if row["within"] is not None]
    # The difference from the closed form includes sampling error; this one is our own.
    worst = max(rows, key=lambda row: abs(row["without_luck"]))
    beyond = abs(worst["without_luck"]) > LIMIT
    # Short runs leave too much sampling error.
    certain = not beyond or abs(worst["without_luck"]) > (worst["without_luck_error"] or 0.0)
    return [
        Bar(
            "mean wait, p50, p99 and drop rate of M/M/1, M/M/4/10, M/D/1 and M/G/1 against theory",
            f"{sum(judged)} of {len(rows)} within"
            + (f", {len(rows) - len(judged)} not judged" if len(judged) < len(rows) else ""),
            "all within 5 % or the statistical error, whichever is larger",
            False if not all(judged) else True if len(judged) == len(rows) else None,
        ),
        Bar(
            "the same against the queue computed from the drawn services",
            _percent(worst) + f" at worst ({worst['model']}, {worst['quantity']})",
            "≤ 5 %",
            not beyond if certain else None,
        ),
    ]


def section(data: Data) -> str:
    """Return the table and how to read it."""
    head = ["model", "parameters", "requests", "quantity", "exact", "measured", "difference",
            "statistical error", "within?", "without sampling error"]  # fmt: skip
    lines, last = [], ""
    for row in data["rows"]:
        first = row["model"] != last
        last = row["model"]
        lines.append([
            row["model"] if first else "",
            row["parameters"] if first else "",
            f"{row['count']:,}",
            row["quantity"],
            _value(row["exact"], row["unit"]),
            _value(row["measured"], row["unit"]),
            f"{100 * row['difference']:+.1f} %",
            f"{100 * row['error']:.1f} %",
            {True: "yes", False: "**no**", None: "too few"}[row["within"]],
            _percent(row),
        ])  # fmt: skip
    added = {row["model"]: 1e3 * row["added"] for row in data["rows"]}
    texts = [
        f"{data['repeats']} rounds of {data['seconds']:g} s, all models in parallel, without the "
        f"first {SETTLE:g} s of each run. Exact: the closed form for the distribution that the "
        "server draws from, nothing fitted. Statistical error: 2 standard errors, by batch means. "
        "Within: off by at most 5 % or that error, whichever is larger.",
        "Without sampling error: the measured value minus that of the queue computed request by "
        "request (Lindley's recursion; with several servers and a limit, Kiefer and Wolfowitz's) "
        "from the actual arrivals and services of the run, as a share of the exact value, ± 2 "
        "standard errors over runs. A little sampling error remains: if a request arrives just as "
        "the queue changes, one of the two queues may drop it and the other not.",
        plotting.table(head, lines),
        "Over the network a service takes longer than drawn, by "
        + ", ".join(f"{value:.2f} ms ({model})" for model, value in added.items())
        + ". Where requests queue in the engine, this lengthens every service they wait for: at "
        "utilization ρ, services longer by a share x lengthen the mean wait by about "
        "x (1 + 1 / (1 - ρ)). Where they queue in the server, it only adds to the latency.",
    ]
    if data["rejected"]:
        texts.append(
            f"{len(data['rejected'])} runs skipped: "
            + "; ".join(reason[:200] for reason in data["rejected"][:3])
        )
    return "\n\n".join(texts)


def _value(value: float, unit: str) -> str:
    return f"{1e3 * value:.2f} ms" if unit == "s" else f"{100 * value:.2f} %"


def _percent(row: Mapping[str, Any]) -> str:
    error = row["without_luck_error"]
    return f"{100 * row['without_luck']:+.2f} %" + (
        "" if error is None else f" ± {100 * error:.2f}"
    )
