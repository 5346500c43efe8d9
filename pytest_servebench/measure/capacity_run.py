"""Drive a search for a capacity: each probe is a load, counted for the search's limits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pytest_servebench.errors import InvalidMeasurementError, OptionError, ServerDiedError
from pytest_servebench.load.records import Records
from pytest_servebench.measure.capacity_plan import Capacity, Plan, ProbeOutcome, SearchSettings
from pytest_servebench.measure.capacity_queue import with_queue
from pytest_servebench.measure.capacity_search import CapacitySearch
from pytest_servebench.objectives.limits import Limit
from pytest_servebench.runs.capacity import CapacityProbe, ProbeState
from pytest_servebench.runs.costs import work_of
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.sizing.expected import Settled
from pytest_servebench.stats.machine_paces import Work
from pytest_servebench.stats.probed import OVERLOADED, Probed, probed

Load = Callable[[int, Plan, float], CaseResult]
"""Sends one probe (numbered from 1) after its rest, given the seconds that the search has left.

Raises :class:`ServerDiedError` or :class:`InvalidMeasurementError`.
"""


@dataclass
class CapacityRun:
    """Drives a search, and keeps the outcome of each probe.

    Attributes:
        limits: that the capacity keeps.
        settings: of the search.
        max_lag: lateness of the generator, seconds, beyond which an arrival is late.
        clock: in seconds.
    """

    limits: Sequence[Limit]
    settings: SearchSettings
    max_lag: float
    clock: Callable[[], float] = time.monotonic
    _probes: list[tuple[Plan, str, ProbeOutcome]] = field(default_factory=list, init=False)
    _settled: dict[int, Settled] = field(default_factory=dict, init=False)

    def run(self, load: Load) -> tuple[Capacity, ServerDiedError | None]:
        """Return the result of the search, and how the server died if it did.

        Raises:
            OptionError: the probes do not show which requests break a limit.
        """
        search = CapacitySearch([one.allowed for one in self.limits], self.settings)
        started = last = self.clock()
        while (plan := search.next()) is not None:
            label = ""
            limits: tuple[Probed, ...] = ()
            work: Work | None = None
            state: ProbeState = "invalid"
            died: ServerDiedError | None = None
            left = self.settings.budget - (last - started)
            try:
                result = load(len(self._probes) + 1, plan, left)
            except InvalidMeasurementError:
                pass
            except ServerDiedError as error:
                state, died = "died", error
            else:
                label = result.label
                if result.measured and result.records is not None:
                    found = self._counted(result.records, plan)
                    if found is not None:
                        state = "disturbed" if result.resources.crowded else "measured"
                        limits = found
                        over = any(one.share >= OVERLOADED for one in found)
                        work = work_of(result, overloaded=over)
                        if plan.stage == "estimate":
                            self._settled[len(self._probes)] = Settled(result, plan.settle)
            now = self.clock()
            outcome = ProbeOutcome(now - last, limits, state, work)
            last = now
            self._probes.append((plan, label, outcome))
            search.add(outcome)
            if died is not None:
                return search.capacity(), died
        return with_queue(search, self._settled, self.limits), None

    def probes(self, capacity: Capacity) -> tuple[CapacityProbe, ...]:
        """Return the probes as they are saved, for what was found from them."""
        return tuple(
            CapacityProbe(
                label=label,
                rate=plan.rate,
                state=outcome.state,
                stage=plan.stage,
                seconds=outcome.limits[0].seconds if outcome.limits else 0.0,
                settle=plan.settle,
                arrivals=outcome.limits[0].offered if outcome.limits else 0,
                counted=tuple(one.arrivals for one in outcome.limits),
                beyond=tuple(one.beyond for one in outcome.limits),
                used=index in capacity.used,
                slowdown=capacity.slowdowns.get(index),
            )
            for index, (plan, label, outcome) in enumerate(self._probes)
        )

    def _counted(self, records: Records, plan: Plan) -> tuple[Probed, ...] | None:
        """Return the counts of each limit; ``None`` if the generator's lateness affects them.

        That is so if without it fewer requests would break a limit, by more than chance.

        Raises:
            OptionError: the records do not show which requests break a limit.
        """
        for limit in self.limits:
            if not limit.is_known(records):
                raise OptionError(
                    f"{limit.clause}: the server's answers do not have this time, so no capacity "
                    "can be found for it; leave the clause out"
                )
        found, punctual = (
            [
                probed(rows, one.broken_by(rows), plan.rate, plan.settle, one.counted(rows))
                for one in self.limits
            ]
            for rows in (records, records.without_lag(self.max_lag))
        )
        for seen, alone in zip(found, punctual, strict=True):
            chance = math.sqrt(max(1.0, alone.beyond) * (alone.dispersion or 1.0))
            if seen.beyond - alone.beyond > 2 * chance:
                return None
        return tuple(found)
