"""A run of the zoo as Markdown: ``python -m zoo.tables RUN``."""

import math
import sys
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Final

from pytest_servebench.report.evaluation_block import evaluation_lines
from pytest_servebench.report.figures import cpu_per_request, percentile
from pytest_servebench.report.markdown import table_head, table_row
from pytest_servebench.runs.results import CaseResult, Run
from pytest_servebench.runs.run_names import read_run
from pytest_servebench.text.numbers import MISSING, percent, plain, significant
from pytest_servebench.text.tables import plain_text

_TAILS: Final = ("p999", "p99", "p95", "p90")
_WIDTH: Final = 110


def tables(run: Run) -> str:
    """Return what each server needs, its latencies at each rate, and the ranking.

    Figures are means over the repeats; drops are a share of all arrivals.
    """
    rates = sorted({case.rate for case in run.cases})
    needs = ["server", "ready, s", "at rest, MB"]
    needs += [f"CPU ms a request at {plain(rate)}/s" for rate in rates]
    needs.append(f"after {plain(rates[-1])}/s, MB")
    latencies = ["server", *(f"{plain(rate)}/s" for rate in rates)]
    lines = table_head(needs, right=[False, *(True for _ in needs[1:])])
    for cases in _by_server(run.cases):
        at = {rate: [case for case in cases if case.rate == rate] for rate in rates}
        lines.append(
            table_row([
                f"{cases[0].server.title}: {cases[0].server.implementation}",
                _mean([case.server.start_seconds for case in cases]),
                _mean([case.server.rest_memory for case in cases], 1e-6),
                *(_mean([cpu_per_request(case) for case in at[rate]], 1e3) for rate in rates),
                _mean([case.resources.pss_after for case in at[rates[-1]]], 1e-6),
            ])
        )  # fmt: skip
    lines += ["", *table_head(latencies, right=[False, *(True for _ in latencies[1:])])]
    for cases in _by_server(run.cases):
        cells = (_latency([case for case in cases if case.rate == rate]) for rate in rates)
        lines.append(table_row([cases[0].server.title, *cells]))
    if ranking := [plain_text(parts) for parts in evaluation_lines(run, _WIDTH)]:
        lines += ["", "```text", *ranking, "```"]
    return "\n".join([*lines, ""])


def _by_server(cases: Iterable[CaseResult]) -> list[list[CaseResult]]:
    found: dict[str, list[CaseResult]] = {}
    for case in cases:
        found.setdefault(case.server.kind, []).append(case)
    return list(found.values())


def _mean(values: Sequence[float | None], factor: float = 1.0) -> str:
    known = [value for value in values if value is not None]
    return significant(fmean(known) * factor) if known else MISSING


def _latency(cases: Sequence[CaseResult]) -> str:
    """Return the median, and the highest finite percentile with enough requests in each repeat."""
    summaries = [case.summary for case in cases]

    def mean(name: str) -> str:
        values = [percentile(each, name).value for each in summaries]
        return significant(fmean(math.inf if value is None else value for value in values) * 1e3)

    def known(name: str) -> bool:
        found = [percentile(each, name) for each in summaries]
        return all(each.resolved and each.value not in (None, math.inf) for each in found)

    tail = next(filter(known, _TAILS), "")
    dropped = sum(each.outcomes.get("dropped", 0) for each in summaries)
    arrivals = sum(each.arrivals for each in summaries)
    parts = [mean("p50"), *([f"{tail} {mean(tail)}"] if tail else [])]
    if dropped:
        parts.append(f"{percent(dropped / arrivals)} % dropped")
    return ", ".join(parts)


if __name__ == "__main__":
    print(tables(read_run(sys.argv[1])), end="")
