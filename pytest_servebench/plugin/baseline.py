"""Gates inside pytest: compare a case with the same case of a saved run.

Each gate becomes a clause of the case, like its SLOs; messages, JUnit XML, JSON and exit status
follow from that.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_servebench.analysis.capacities import comparable
from pytest_servebench.analysis.changes import Change
from pytest_servebench.analysis.comparability import Difference, differences, notes
from pytest_servebench.analysis.compare import Comparison, compare, gate_verdict, why_unknown
from pytest_servebench.analysis.pairs import key_of, match, near
from pytest_servebench.errors import NoSuchRunError, OptionError
from pytest_servebench.metrics import METRICS
from pytest_servebench.objectives.gates import Gate, check_thresholds
from pytest_servebench.objectives.slo import with_clauses
from pytest_servebench.plugin.option_values import run_name
from pytest_servebench.plugin.settings import Settings
from pytest_servebench.report.comparison import beyond_text, change_text, undecided_text, worse_text
from pytest_servebench.report.comparison_notes import beside_notes, speed_note
from pytest_servebench.runs.node_ids import labelled, repeat_of, without_repeat
from pytest_servebench.runs.results import (
    CapacityResult,
    CaseResult,
    ClauseResult,
    Run,
    VerdictWord,
)
from pytest_servebench.runs.run_json import read_file
from pytest_servebench.runs.run_names import find_run
from pytest_servebench.text.quantity import quantity
from pytest_servebench.text.safe import clean, joined, sentence

_OPTION = "--servebench-baseline"

_Result = CaseResult | CapacityResult


@dataclass(frozen=True)
class Baseline:
    """A saved run that the cases of this session are compared with.

    Attributes:
        name: as the user gave it.
        run: the run; ``None`` if there is none yet.
        missing: why there is none.
        gates: how much worse each metric may get.
        allow: names of the differences to allow.
        on_missing: what to do with a case that is missing: ``fail``, ``warn`` or ``skip``.
        directory: of the run, with its records.
    """

    name: str
    run: Run | None
    missing: str
    gates: Sequence[Gate]
    allow: frozenset[str]
    on_missing: str
    directory: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Baseline | None":
        """Return the baseline that the settings name; ``None`` if they name none.

        Raises:
            OptionError: there is a baseline without gates, or gates without a baseline, or the run
                does not exist and may not be missing.
            SavedRunError: the file exists and cannot be read.
        """
        if not settings.baseline:
            if settings.gates:
                raise OptionError(
                    f"--servebench-max-regression={settings.gates[0]}: there is no baseline to "
                    f"compare with; give a saved run by {_OPTION}: a file, a run's name, or latest."
                )
            return None
        check_thresholds(settings.gates, "--servebench-max-regression")
        if not settings.gates:
            raise OptionError(
                f"{_OPTION}={settings.baseline}: say how much worse a metric may get, such as "
                "--servebench-max-regression=p99:10%."
            )
        run, missing, directory = None, "", None
        try:
            file = find_run(settings.baseline, settings.results)
            run = read_file(file, any_schema="schema" in settings.baseline_allow)[0]
            directory = file.parent
        except NoSuchRunError as error:
            missing = str(error)
            if settings.on_missing_baseline == "fail":
                # Fail before measuring anything: no case could pass.
                raise OptionError(f"{_OPTION}={missing} {_remedies(settings.baseline)}") from None
        return cls(
            settings.baseline,
            run,
            missing,
            settings.gates,
            settings.baseline_allow,
            settings.on_missing_baseline,
            directory,
        )

    def by(self, *, of_search: bool) -> "Baseline":
        """Return the same with only the gates on searches, or only those on loads."""
        chosen = [one for one in self.gates if METRICS[one.metric].of_search is of_search]
        return dataclasses.replace(self, gates=chosen)

    def judge(self, case: CaseResult, machine: Run, among: int) -> CaseResult:
        """Return the case with a clause for each gate.

        Args:
            case: a case that its SLOs have already judged.
            machine: this session's run, for its machine; its cases do not matter.
            among: number of cases in the session: the more cases are judged, the stricter each must
                be.
        """
        # The session is still running, which does not matter for the case.
        new = dataclasses.replace(machine, cases=(case,), capacities=(), probes=(), finished=True)
        base = self._partner(case)
        if base is None:
            clauses = [self._without_partner(gate, case) for gate in self.gates]
        else:
            refused = [one for one in differences(base, new) if one.about not in self.allow]
            clauses = (
                [self._refused(gate, refused) for gate in self.gates]
                if refused
                else self._compared(base, new, among)
            )
        return with_clauses(case, clauses)

    def not_sent(self, nodeid: str, sent: Sequence[CaseResult]) -> str:
        """Return a message on a test's loads that the baseline has, and this run has not, if any.

        Args:
            nodeid: of a test that ran.
            sent: its cases.
        """
        cases = [one for one in self.run.cases if one.measured] if self.run is not None else []
        return self._missing(nodeid, cases, sent, "send")

    def not_searched(self, nodeid: str, found: Sequence[CapacityResult]) -> str:
        """Return the same for searches."""
        capacities = () if self.run is None else self.run.capacities
        return self._missing(nodeid, capacities, found, "search for the capacity of")

    def _missing(self, nodeid: str, before: Iterable[_Result], now: Iterable[_Result],
                 verb: str) -> str:  # fmt: skip
        labels = {one.label for one in now}
        missing = dict.fromkeys(
            labelled(nodeid, one.label)
            for one in before
            if without_repeat(one.nodeid) == without_repeat(nodeid) and one.label not in labels
        )
        if not missing or "unmatched" in self.allow:
            return ""
        return (
            f"{_OPTION}={self.name}: this run did not {verb} {joined(map(clean, missing))}, which "
            "the baseline has. Do it again, save a new baseline, or allow the difference by "
            "--servebench-baseline-allow=unmatched."
        )

    def has(self, case: CaseResult) -> bool:
        """Return whether the baseline has a valid counterpart of ``case``."""
        return self._partner(case) is not None

    def _partner(self, case: CaseResult) -> Run | None:
        """Return the baseline with only the counterparts of ``case``."""
        if self.run is None:
            return None
        found = [one for one in comparable(self.run) if key_of(one) == key_of(case)]
        # Arrivals differ between repeats, so each repeat has its own counterpart.
        same = [one for one in found if repeat_of(one) == repeat_of(case)]
        chosen = dataclasses.replace(self.run, cases=tuple(same or found), capacities=(), probes=())
        return chosen if match(chosen, dataclasses.replace(chosen, cases=(case,))) else None

    def _compared(self, base: Run, new: Run, among: int) -> list[ClauseResult]:
        comparison = compare(base, new, self.gates, among=among, directories=(self.directory, None))
        pairs = {one.key.request_class: one for one in comparison.cases}
        general = [*notes(base, new), *beside_notes(comparison.cases)]
        clauses = []
        for gate in self.gates:
            pair = pairs.get(gate.request_class)
            change = None if pair is None else pair.changes.get(gate.metric)
            clause = self._unknown(gate, comparison) if change is None else (
                self._of_change(gate, change)
            )  # fmt: skip
            # What may explain a change matters only if there is one.
            if clause.verdict != "passed":
                speed = "" if pair is None else speed_note(pair, [gate], [gate.metric])
                if told := [*general, *filter(None, [speed])]:
                    message = " ".join([sentence(clause.message), *told])
                    clause = dataclasses.replace(clause, message=message)
            clauses.append(clause)
        return clauses

    def _unknown(self, gate: Gate, comparison: Comparison) -> ClauseResult:
        """Return the clause of a gate on what one of the runs does not know."""
        where = why_unknown(gate, [one.pair for one in comparison.cases])
        remedy = "Save a new baseline."
        if METRICS[gate.metric].of_search:
            remedy = (
                "Search longer with --servebench-capacity-budget; if it is unknown in BASE, save a "
                "new baseline."
            )
        why = f"inconclusive: {gate.written} is unknown {where}. {remedy}"
        return self._clause(gate, "inconclusive", why)

    def _of_change(self, gate: Gate, change: Change) -> ClauseResult:
        kind = METRICS[gate.metric].kind
        if change.told:
            verdict = gate_verdict(gate, change)
            word = {"failed": "broken", "passed": "met"}.get(
                verdict, f"{verdict}: {undecided_text(gate, change)}"
            )
            return self._clause(gate, verdict, f"{word}: {change.told}")
        new, base = quantity(kind, change.new), quantity(kind, change.base)
        by = change_text(gate.metric, change.change.value)
        low, high = (
            change_text(gate.metric, end) for end in (change.change.low, change.change.high)
        )
        figures = f"{new} against {base}: {by} (95 % interval {low} to {high})"
        if (beyond := beyond_text(change)) and gate_verdict(gate, change) != "passed":
            figures += f"; {beyond}"
        verdict = gate_verdict(gate, change)
        word = {
            "failed": "broken: worse beyond the threshold and the noise",
            "passed": "met",
            "inconclusive": f"inconclusive: {undecided_text(gate, change)}; "
            f"{_detectable(gate, change.detectable)}",
            "invalid": "invalid: the load generator was too late to judge this",
        }[verdict]
        return self._clause(gate, verdict, f"{word}: {figures}", change)

    def _without_partner(self, gate: Gate, case: CaseResult) -> ClauseResult:
        why = self.missing or f"it has no valid case {key_of(case).test}"
        if self.run is not None and (nearest := near(case, comparable(self.run))):
            why += f"; {nearest}"
        verdict: VerdictWord = "failed" if self.on_missing == "fail" else "inconclusive"
        return self._clause(gate, verdict, f"no baseline: {sentence(why)} {_remedies(self.name)}")

    def _refused(self, gate: Gate, refused: Sequence[Difference]) -> ClauseResult:
        texts = "; ".join(f"{one.about}: {one.text}" for one in refused)
        names = ",".join(dict.fromkeys(one.about for one in refused))
        return self._clause(
            gate,
            "failed",
            f"cannot be compared: {texts}. Save a new baseline, or allow the difference by "
            f"--servebench-baseline-allow={names}.",
        )

    def _clause(
        self, gate: Gate, verdict: VerdictWord, text: str, change: Change | None = None
    ) -> ClauseResult:
        clause = f"{gate} against {self.name}"
        bound, value = gate.threshold, None
        if change is not None:
            value = change.new if math.isfinite(change.new) else None
        return ClauseResult(
            clause=clause,
            metric=gate.metric,
            bound=bound,
            value=value,
            low=None,
            high=None,
            verdict=verdict,
            message=f"{clause}: {text}",
            sort="gate",
            request_class=gate.request_class,
        )


def _remedies(name: str) -> str:
    try:
        run_name(name)
    except ValueError:  # a path, or latest: no name that a run can be saved under
        name = "NAME"
    return (
        f"Save one by --servebench-save={name}; "
        "--servebench-on-missing-baseline=warn lets the first run pass."
    )


def _detectable(gate: Gate, change: float) -> str:
    if not math.isfinite(change):
        return "no change could have been detected"
    return f"the smallest detectable change is {worse_text(gate.metric, change)}"
