"""Random draws before a load: arrivals, requests, and answers to check."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from pytest_servebench.errors import OptionError
from pytest_servebench.load.arrivals import Times
from pytest_servebench.load.choice import Chosen
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.store import NEVER
from pytest_servebench.load.turns import Turns, beginnings, laid_out

# Answers sampled from one stretch of the run. Many short stretches would hold only one arrival each
# in places, and their positions would again be a pattern.
_STRATUM: Final = 8


def streams(seed: int, rate: float) -> tuple[np.random.Generator, np.random.Generator]:
    """Return independent random generators for arrivals and for payloads.

    They depend only on the seed and the rate: every server and every buffer size gets the same
    arrivals, and differences between two cases do not come from the random numbers.
    """
    arrivals, payloads, _ = _roots(seed, rate)
    return np.random.default_rng(arrivals), np.random.default_rng(payloads)


def sample_stream(seed: int, rate: float) -> np.random.Generator:
    """Return a random generator for sampling the answers to check, independent of both."""
    return np.random.default_rng(_roots(seed, rate)[2])


def _roots(seed: int, rate: float) -> list[np.random.SeedSequence]:
    return np.random.SeedSequence([seed, round(rate * 1_000_000)]).spawn(3)


def schedule(spec: LoadSpec) -> Times:
    """Return the arrivals, in ns since the clock's start.

    Raises:
        OptionError: the arrival process cannot fill the window, or nothing arrives in it.
    """
    randomness, _ = streams(spec.seed, spec.rate)
    times = spec.arrivals.schedule(spec.rate, spec.duration, randomness)
    if not len(times):
        expected = spec.arrivals.mean_rate(spec.rate, spec.duration) * spec.duration
        raise OptionError(
            f"no {spec.unit} arrives: {spec.rate:g}/s for {spec.duration:g} s with arrivals "
            f"{spec.arrivals} gives {expected:.2g} on average, and none with the seed "
            f"{spec.seed}. Raise --servebench-rates or --servebench-duration."
        )
    return times


def payload_choice(spec: LoadSpec, size: int) -> Chosen:
    """Return for each of ``size`` arrivals the index of its request; shape ``(size,)``.

    For sessions, that of the first turn.
    """
    _, payloads = streams(spec.seed, spec.rate)
    if not spec.think:
        return spec.choice.draw(size, len(spec.requests), payloads)
    firsts = beginnings(spec.think).astype(np.uint32)
    return firsts[spec.choice.draw(size, len(firsts), payloads)]


@dataclass(frozen=True)
class Drawn:
    """What the store of a load begins with.

    Attributes:
        scheduled: arrivals, ns since the clock's start; ``NEVER`` of turns whose arrival is not
            known before the load; shape ``(n,)``.
        payloads: the index of each one's request; shape ``(n,)``.
        turns: of sessions, which turn of which session each one is; ``None`` without sessions.
    """

    scheduled: Times
    payloads: Chosen
    turns: Turns | None = None


def drawn(spec: LoadSpec) -> Drawn:
    """Return everything that is drawn before a load.

    Raises:
        OptionError: see :func:`schedule`.
    """
    times = schedule(spec)
    payloads = payload_choice(spec, len(times))
    if not spec.think:
        return Drawn(times, payloads)
    payloads, turns = laid_out(payloads, spec.think)
    scheduled = np.full(len(payloads), NEVER, dtype=np.int64)
    scheduled[: len(times)] = times
    return Drawn(scheduled, payloads, turns)


def sampled_arrivals(size: int, samples: int, randomness: np.random.Generator) -> frozenset[int]:
    """Return the indices of the arrivals whose answers are kept, spread over the whole run.

    Some are drawn at random from each stretch of the run, all with the same probability. A sample
    at equal distances could hit all or none of a fault in every third answer.
    """
    samples = min(samples, size)
    if samples <= 0:
        return frozenset()
    strata = -(-samples // _STRATUM)
    numbers = [len(part) for part in np.array_split(np.arange(samples), strata)]
    return frozenset(
        int(index)
        for part, number in zip(np.array_split(np.arange(size), strata), numbers, strict=True)
        for index in randomness.choice(part, number, replace=False)
    )
