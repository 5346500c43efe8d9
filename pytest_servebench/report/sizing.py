"""Queueing models of a run's servers: a fit for each, and its self-check.

Terminal and page share the words for why there is no model, and for what one rests on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pytest_servebench.errors import SLOSyntaxError
from pytest_servebench.objectives.slo_grammar import Clause, parse_slo
from pytest_servebench.report.facts import test_id, test_labels
from pytest_servebench.runs.case_records import read_records
from pytest_servebench.runs.plain_benchmarks import is_plain
from pytest_servebench.runs.results import CapacityResult, CaseResult, Run
from pytest_servebench.runs.titles import server_titles
from pytest_servebench.sizing.fit import LEAST_REQUESTS, fit
from pytest_servebench.sizing.model import Caution, Misfit, ServerModel, Unfit
from pytest_servebench.sizing.prediction import PREDICTED
from pytest_servebench.sizing.self_check import SelfCheck, check_itself, trusted
from pytest_servebench.text.numbers import percent, plain
from pytest_servebench.text.quantity import quantity, trimmed
from pytest_servebench.text.safe import clean, counted, joined

REASONS: Final[Mapping[Misfit, tuple[str, str]]] = {
    Misfit.TOO_FEW: (
        f"fewer than {LEAST_REQUESTS} requests were answered",
        "measure longer (--servebench-duration)",
    ),
    Misfit.NEVER_QUEUED: (
        "hardly any request had to wait in the server, so how many it works on at once is unknown",
        "add a rate at which requests wait (--servebench-rates)",
    ),
    Misfit.UNANSWERED: (
        "too many requests got no answer, so how long they kept the server busy is unknown",
        "measure at lower rates, or with a longer timeout (--servebench-timeout)",
    ),
    Misfit.SHARED: (
        "the server divides its capacity among all requests in it, rather than letting some wait",
        "limit its concurrency to about the number of its processors",
    ),
    Misfit.OTHER_ORDER: (
        "the server works on one request at a time, but not first come, first served",
        "measure its capacity with find_capacity instead, or let it serve requests in their order",
    ),
    Misfit.SLOWER_WITH_LOAD: (
        "requests take longer to serve the more of them are in the server: they contend for "
        "something, or wait in a second queue",
        "limit its concurrency; keep other work off its processors",
    ),
    Misfit.FASTER_WITH_LOAD: (
        "requests take less time to serve when more of them are in the server",
        "warm up longer (--servebench-warmup)",
    ),
    Misfit.BATCHES: (
        "requests leave together: the server works on batches",
        "switch batching off, or measure its capacity with find_capacity instead",
    ),
    Misfit.DEPENDENT_ARRIVALS: (
        "the requests were turns of sessions: a slow server gets later turns later, which a queue "
        "of independent arrivals does not predict",
        "measure the turns as single requests, or the rate of sessions that matters",
    ),
    Misfit.CHANGES_OVER_TIME: (
        "service times drifted during a case: the server was throttled, not warm yet, or not "
        "alone on its machine",
        "warm up longer (--servebench-warmup), on a quiet machine",
    ),
    Misfit.DIFFERS_BETWEEN_CASES: (
        "requests took longer to serve in one case than in another",
        "measure all cases again, on a quiet machine",
    ),
    Misfit.PAUSES: (
        "from time to time all requests in the server stand still: a garbage collector, or another "
        "process on its processors",
        "give the server more memory, or processors of its own",
    ),
    Misfit.MISPREDICTS: (
        "its predictions of cases that it was not fitted to are off",
        "measure more rates, up to those that matter, and longer",
    ),
}
"""Why there is no model, and what to do."""

CAUTIONS: Final[Mapping[Caution, str]] = {
    Caution.EXTRAPOLATES: "extrapolates to {busy} % busy; {most} % is the most that was measured",
    Caution.SATURATED: "more arrives than can be served, so the buffer is nearly always full, or "
    "the queue grows for as long as the load lasts",
    Caution.UNSETTLED: "so close to saturation that latencies keep changing for longer than was "
    "simulated",
    Caution.HEAVY_TAIL: "a few slow requests decide the tail; slower ones may be too rare to "
    "have been seen",
    Caution.SLOTS_UNSURE: "how many requests the server works on at once could be another number",
    Caution.VARIES_WITH_LOAD: "service times vary slightly with the load, which is ignored",
    Caution.SOME_UNANSWERED: "requests without an answer are left out",
    Caution.OTHER_ARRIVALS: "arrivals are predicted as Poisson; the measured ones were not",
    Caution.WORKERS_LIMIT: "there are fewer connections than the replicas could work on at once",
}
"""What else an answer rests on; see :func:`caution_text`."""


@dataclass(frozen=True)
class Measured:
    """The cases that one model is of: same server, same model, same requests.

    Attributes:
        kind: of the server.
        name: of the server, with what distinguishes these cases from others of it.
        cases: that were measured and have their records, which are loaded.
        missing: why other cases have no records, each reason once.
        slo: clauses of their SLO, as they were written.
    """

    kind: str
    name: str
    cases: tuple[CaseResult, ...]
    missing: tuple[str, ...] = ()
    slo: tuple[str, ...] = ()

    @property
    def rates(self) -> tuple[float, ...]:
        """Return the offered rates, ascending, each once."""
        return tuple(sorted({case.rate for case in self.cases}))


@dataclass(frozen=True)
class ServerFit:
    """A server as a queue.

    Attributes:
        measured: the cases.
        fitted: the model, or why none can be trusted.
        checks: each case as predicted from the others.
    """

    measured: Measured
    fitted: ServerModel | Unfit
    checks: tuple[SelfCheck, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the fit as plain data for JSON; ``model`` or ``unfit`` is ``None``."""
        is_fit = isinstance(self.fitted, ServerModel)
        return {
            "server": self.measured.kind,
            "name": self.measured.name,
            "model": self.fitted.to_dict() if isinstance(self.fitted, ServerModel) else None,
            "unfit": None if is_fit else dataclasses.asdict(self.fitted),
            "self_check": [{**one.to_dict(), "missed": one.missed} for one in self.checks],
        }


def measured_servers(run: Run, directory: Path) -> list[Measured]:
    """Return the valid cases of each server, probes of a search for a capacity among them.

    Args:
        run: what was measured.
        directory: of the run, with the records.
    """
    cases = [case for case in run.every_case if case.measured and not is_plain(case)]
    titles = server_titles(cases)
    groups: dict[tuple[object, ...], list[CaseResult]] = {}
    for case in cases:
        groups.setdefault(_alike(case), []).append(case)
    names = _names(list(groups.values()), titles)
    return [
        _measured(name, group, directory, run.capacities)
        for name, group in zip(names, groups.values(), strict=True)
    ]


def fit_server(measured: Measured, seed: int = 0) -> ServerFit:
    """Fit a queue to a server's cases, and check it against each of them.

    Raises:
        ValueError: it has no cases.
    """
    checks = check_itself(measured.cases, seed)
    return ServerFit(measured, trusted(fit(measured.cases), checks), checks)


def own_slo(servers: Iterable[Measured]) -> tuple[tuple[Clause, ...], tuple[str, ...]]:
    """Return the clauses of the servers' own SLOs that a model predicts, and the others as text."""
    known: list[Clause] = []
    others: list[str] = []
    for text in dict.fromkeys(text for one in servers for text in one.slo):
        try:
            clauses = parse_slo(text)
        except SLOSyntaxError:  # of another version
            clauses = ()
        if clauses and all(one.metric in PREDICTED and not one.request_class for one in clauses):
            known += clauses
        else:
            others.append(text)
    return tuple(dict.fromkeys(known)), tuple(others)


def _alike(case: CaseResult) -> tuple[object, ...]:
    requests = case.workload.requests_sha256 if case.workload else ""
    return case.server.kind, case.model, case.weights_sha256, case.rows, requests


def _names(groups: Sequence[Sequence[CaseResult]], titles: Mapping[str, str]) -> list[str]:
    """Return a name for each group: the server's, and what distinguishes the server's groups.

    That is their rows or their model, else their tests.
    """
    tests = test_labels(case for group in groups for case in group)
    names = []
    for group in groups:
        first = group[0]
        own = [one for one in groups if one[0].server.kind == first.server.kind]
        parts = []
        if len({one[0].model for one in own}) > 1:
            parts.append(clean(first.model))
        if len({one[0].rows for one in own}) > 1:
            parts.append(counted(first.rows, "row"))
        if len(own) > len({(one[0].model, one[0].rows) for one in own}):
            parts += dict.fromkeys(tests[test_id(case)] for case in group)
        names.append(", ".join([titles[first.server.kind], *parts]))
    return names


def _measured(
    name: str, group: Sequence[CaseResult], directory: Path, capacities: Iterable[CapacityResult]
) -> Measured:
    cases, missing = [], []
    for case in group:
        records, why = read_records(case, directory)
        if records is None:
            missing.append(why)
        else:
            cases.append(dataclasses.replace(case, records=records))
    kind = group[0].server.kind
    slo = [clause.clause for case in group for clause in case.clauses if clause.sort == "slo"]
    # What a search keeps is an SLO of its test, too.
    slo += [limit.clause for one in capacities if one.server.kind == kind for limit in one.limits]
    return Measured(
        kind, name, tuple(cases), tuple(dict.fromkeys(missing)),
        tuple(clean(text) for text in dict.fromkeys(slo)),
    )  # fmt: skip


# -- words ----------------------------------------------------------------------------------------


def case_texts(checks: Sequence[SelfCheck]) -> list[str]:
    """Return what distinguishes each case: its rate, and its buffer if that differs."""
    several = len({one.buffer_size for one in checks}) > 1
    return [
        f"{plain(one.rate)}/s" + (f", buffer {plain(one.buffer_size)}" if several else "")
        for one in checks
    ]


def rests_on(measured: Measured, model: ServerModel) -> str:
    """Return what a model is, and what it was fitted to."""
    ends = [plain(rate) for rate in measured.rates]
    rates = f"{ends[0]} to {ends[-1]}/s" if len(ends) > 1 else f"{ends[0]}/s"
    return (
        f"{counted(model.slots, 'request')} at a time, {quantity('time', model.mean_service)} each "
        f"on average: always busy at {trimmed(model.saturation)}/s. Fitted to "
        f"{counted(len(measured.cases), 'case')} at {rates}, "
        f"{len(model.services):,} requests, up to {percent(model.highest_load, 0)} % busy."
    )


def unfit_text(unfit: Unfit) -> str:
    """Return why there is no model, and what to do."""
    reasons = [REASONS[reason] for reason in unfit.reasons]
    why = "; ".join(reason for reason, _ in reasons)
    remedies = joined(dict.fromkeys(remedy for _, remedy in reasons))
    return f"no model fits: {why}. Remedy: {remedies}."


def unchecked(found: ServerFit) -> str:
    """Return what the self-check leaves open; empty if nothing."""
    if not any(one.metrics for one in found.checks):
        return "Unchecked: without one of its cases, the others are too few to fit a model."
    if len(found.measured.rates) == 1:
        return "All cases are at one rate: nothing shows that the model holds at another."
    return ""


def caution_text(caution: Caution, model: ServerModel, busy: float) -> str:
    """Return what else an answer with the utilisation ``busy`` rests on."""
    return CAUTIONS[caution].format(busy=percent(busy, 0), most=percent(model.highest_load, 0))


def cost_of_a_million(rate: float, replicas: int, price: float) -> float:
    """Return the cost of a million requests at a rate, 1/s, by the price of a replica per hour."""
    return 1e6 * replicas * price / (3600 * rate)
