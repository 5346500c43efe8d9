"""The capacity of the queue that a search's probes fit: of its own arrivals, and their services.

Probes are replayed at other rates: their arrivals faster or slower, with the services that were
measured, in another order. Arrivals thus keep their bursts, and services what they have in common
with their neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import Outcome
from pytest_servebench.objectives.limits import Limit
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.sizing.fit import fit
from pytest_servebench.sizing.inversion import Floats
from pytest_servebench.sizing.model import ServerModel, Unfit
from pytest_servebench.sizing.prediction import Setting, layout_of
from pytest_servebench.sizing.queue import simulate
from pytest_servebench.sizing.self_check import pauses
from pytest_servebench.stats.expected import PARTS, Expected

_STEPS: Final = np.linspace(-0.7, 0.6, 11)  # logarithms of the rates around the estimate
_CHAINS: Final = 128  # at each rate
_CELLS: Final = 4_000_000  # requests that are simulated, at most about
_MOST_ARRIVALS: Final = 20_000  # of a probe
_SPELL: Final = 50  # services that keep their order
_LATER: Final = 1e9  # seconds: when those of shorter probes go on, which do not count
_SEED: Final = 20121028  # any: the same probes give the same answer


@dataclass(frozen=True)
class Settled:
    """A probe, and the seconds at its start that do not count."""

    case: CaseResult
    settle: float


def model_of(probes: Sequence[Settled]) -> ServerModel | None:
    """Return the queue that probes of one server fit; ``None`` if they fit none.

    Failures other than drops, and pauses of all slots, count as no fit, too: a limit may count
    them, but no service time shows them.
    """
    outcomes = [one.case.records.outcome for one in probes if one.case.records is not None]
    if not outcomes or not np.isin(np.concatenate(outcomes), (Outcome.OK, Outcome.DROPPED)).all():
        return None
    model = fit([one.case for one in probes])
    return None if isinstance(model, Unfit) or pauses(model) else model


def expected(
    model: ServerModel, probes: Sequence[Settled], limit: Limit, around: float
) -> Expected | None:
    """Return the capacity of a queue under a limit on the latency of all requests.

    ``None`` for another limit, or if it is far from the estimate.

    Args:
        model: fitted to the probes.
        probes: at rates near the capacity.
        limit: that the capacity keeps.
        around: an estimate of it.
    """
    times = limit.metric.times
    if times is None or times.name != "latency" or limit.clause.request_class:
        return None
    late, counted = _replayed(model, probes, limit.clause.bound, around)
    if not all(counted[0, part::PARTS].any() for part in range(PARTS)):
        return None
    grid = math.log(around) + _STEPS
    shares = [late.sum(axis=1) / counted.sum(axis=1)]
    shares += [late[:, part::PARTS].sum(axis=1) / counted[:, part::PARTS].sum(axis=1)
               for part in range(PARTS)]  # fmt: skip
    allowed = limit.allowed
    outside = sum(not each[0] < allowed < each[-1] for each in shares[1:])
    if not shares[0][0] < allowed < shares[0][-1] or outside > 1:
        return None
    least = 0.5 / float(counted.sum(axis=1).max())
    found = [
        float(np.interp(math.log(allowed), np.log(np.maximum.accumulate(each) + least), grid))
        for each in shares
    ]
    return Expected(math.exp(found[0]), float(np.std(found[1:], ddof=1)) / math.sqrt(PARTS))


def _replayed(
    model: ServerModel, probes: Sequence[Settled], bound: float, around: float
) -> tuple[Floats, Floats]:
    """Return how many requests of each rate and chain are late, and how many count.

    Two of shape ``(rates, chains)``. Chain i has arrivals and services of part i % PARTS.
    """
    dice = np.random.default_rng(_SEED)
    records = [one.case.records for one in probes]
    steps = min(_MOST_ARRIVALS, max(len(one) for one in records if one is not None))
    chains = PARTS * max(2, min(_CHAINS, _CELLS // (steps * len(_STEPS))) // PARTS)
    arrivals = np.empty((steps, chains))
    counts = np.zeros((steps, chains), dtype=np.bool_)
    for chain in range(chains):
        one = probes[int((chain % PARTS + chain // PARTS * PARTS / chains) / PARTS * len(probes))]
        assert one.case.records is not None
        own = one.case.records.scheduled[:steps] / 1e9
        number = len(own)
        arrivals[:number, chain] = own * one.case.rate / around
        arrivals[number:, chain] = _LATER
        counts[:number, chain] = own >= one.settle
    services = _services(model, steps, chains, dice)
    rates = len(_STEPS)
    place = 0

    def draws(size: int) -> tuple[Floats, Floats]:
        nonlocal place
        chosen = slice(place, place + size)
        place += size
        faster = np.repeat(np.exp(-_STEPS), chains)
        return np.tile(arrivals[chosen], rates) * faster, np.tile(services[chosen], rates)

    dropped = any((one.outcome == Outcome.DROPPED).any() for one in records if one is not None)
    case = probes[0].case
    # Without a drop, however many places there were is as good as no limit.
    setting = Setting(around, case.workers, case.buffer_size) if dropped else Setting(around)
    layout = layout_of(model, setting)
    spacing = model.mean_service / layout.servers
    times = simulate(layout, draws, steps, np.zeros(rates * chains), spacing, dice)
    late = (times >= bound).reshape(steps, rates, chains) & counts[:, np.newaxis]
    number_late: Floats = late.sum(axis=0, dtype=np.float64)
    return number_late, np.broadcast_to(counts.sum(axis=0, dtype=np.float64), number_late.shape)


def _services(model: ServerModel, steps: int, chains: int, dice: np.random.Generator) -> Floats:
    """Return services in spells of neighbours, each chain's from its part; ``(steps, chains)``."""
    edges = np.linspace(0, len(model.services), PARTS + 1).astype(np.int64)
    first, size = edges[:-1], np.diff(edges)
    part = np.arange(chains) % PARTS
    spells = -(-steps // _SPELL)
    starts = dice.integers(0, size[part], (spells, chains))
    within = (starts[:, np.newaxis] + np.arange(_SPELL)[:, np.newaxis]).reshape(-1, chains)
    chosen: npt.NDArray[np.int64] = first[part] + within[:steps] % size[part]
    return model.services[chosen]
