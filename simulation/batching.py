"""Continuous batching, as servers of language models do it: streamed answers whose law is known.

One server makes a token for each of its requests in every iteration, which takes the longer the
more there are. Requests join between two iterations, first come, first served, and the iteration
in which they join also reads their prompts, so that all others wait for it (no chunked prefill). An
answer has a geometric number of tokens. Arrivals are Poisson.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load import quantities
from pytest_servebench.load.records import Records
from pytest_servebench.load.streams import Streams
from simulation.cases import records

Floats = npt.NDArray[np.float64]

QUANTITIES: Final = ("ttft", "itl", "tpot")
PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass(frozen=True)
class Server:
    """A server of a language model; times in seconds.

    Attributes:
        fixed: of an iteration.
        each: more for each request in the batch.
        noise: standard deviation of the logarithm of both together; without any, most gaps between
            tokens would be one of a few exactly, and every interval of their median right.
        prompt: mean for reading a prompt, exponentially distributed.
        tokens: mean number of output tokens.
        most: requests in a batch.
    """

    fixed: float = 0.010
    each: float = 0.001
    noise: float = 0.1
    prompt: float = 0.020
    tokens: float = 40.0
    most: int = 32

    @property
    def capacity(self) -> float:
        """Return the highest rate of arrivals at which the queue stays finite, 1/s.

        With a full batch, an iteration ends most / tokens requests, and as many join.
        """
        joins = self.most / self.tokens
        iteration = (self.fixed + self.most * self.each) * math.exp(self.noise**2 / 2)
        return joins / (iteration + joins * self.prompt)


@dataclass(frozen=True)
class Batches:
    """What happened to n requests, in seconds.

    Attributes:
        arrivals: when each came; shape ``(n,)``.
        begins: the iteration of its first token; shape ``(n,)``.
        tokens: of its output; shape ``(n,)``.
        ends: when each iteration ended; shape ``(iterations,)``.
    """

    arrivals: Floats
    begins: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]
    ends: Floats


def simulate(server: Server, arrivals: Floats, dice: np.random.Generator) -> Batches:
    """Serve requests that arrive at these times, ascending."""
    n = len(arrivals)
    tokens = dice.geometric(1 / server.tokens, n)
    prompts, lengths = dice.exponential(server.prompt, n).tolist(), tokens.tolist()
    waiting = [*arrivals.tolist(), np.inf]
    begins, ends = np.zeros(n, dtype=np.int64), list[float]()
    batch: list[int] = []  # the iteration after the last of each request, the earliest first
    now, number, factors = 0.0, 0, _factors(server.noise, dice)
    while number < n or batch:
        if not batch:
            now = max(now, waiting[number])
        reading = 0.0
        while waiting[number] <= now and len(batch) < server.most:
            begins[number] = len(ends)
            heapq.heappush(batch, len(ends) + lengths[number])
            reading += prompts[number]
            number += 1
        now += (server.fixed + server.each * len(batch)) * next(factors) + reading
        ends.append(now)
        while batch and batch[0] == len(ends):
            heapq.heappop(batch)
    return Batches(arrivals, begins, tokens, np.array(ends))


def _factors(noise: float, dice: np.random.Generator) -> Iterator[float]:
    while True:
        yield from dice.lognormal(0.0, noise, 1024).tolist()


def run(server: Server, load: float, number: float, seed: int | Sequence[int]) -> Records:
    """Return the records of about ``number`` requests in the steady state.

    Args:
        server: that streams the answers.
        load: rate of arrivals over the server's capacity.
        number: of requests.
        seed: of what is drawn.
    """
    dice = np.random.default_rng(seed)
    rate = load * server.capacity
    settle = 20 / (1 - load) ** 2 * server.tokens * (server.fixed + server.most * server.each)
    window = number / rate
    end = settle + window + 20 * server.tokens * (server.fixed + server.most * server.each)
    arrivals = np.sort(dice.uniform(0.0, end, dice.poisson(rate * end)))
    served = simulate(server, arrivals, dice)
    inside = (arrivals >= settle) & (arrivals < settle + window)
    tokens, begins = served.tokens[inside], served.begins[inside]
    offsets = np.concatenate([[0], np.cumsum(tokens)])
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], tokens) + np.repeat(begins, tokens)
    times = np.round((served.ends[place] - settle) * 1e9).astype(np.int64)
    done = served.ends[begins + tokens - 1]
    return streamed(
        records(arrivals[inside] - settle, done - arrivals[inside], window), offsets, times
    )


def streamed(
    rows: Records,
    offsets: npt.NDArray[np.int64],
    times: npt.NDArray[np.int64],
    tokens: npt.NDArray[np.int64] | None = None,
) -> Records:
    """Return records whose answers were streamed, with a token in each event unless given."""
    n = len(rows)
    number = np.diff(offsets) if tokens is None else tokens
    return dataclasses.replace(rows, streams=Streams(
        offsets, times, number.astype(np.int32), np.full(n, -1, np.int32), np.zeros(n, np.int32),
        "usage",
    ))  # fmt: skip


@cache
def truth(server: Server, load: float, requests: int = 2_000_000) -> dict[str, float]:
    """Return the percentiles and means of the :data:`QUANTITIES` in other runs than :func:`run`'s.

    Of inter-token latencies, of which there are many, every twentieth is taken.
    """
    each = 50_000
    parts: dict[str, list[Floats]] = {name: [] for name in QUANTITIES}
    for seed in range(requests // each):
        rows = run(server, load, each, [1, seed])
        for name, values in parts.items():
            known = quantities.sample(rows, name)
            assert known is not None
            values.append(known.values[:: 20 if name == "itl" else 1])
    found: dict[str, float] = {}
    for name, values in parts.items():
        together = np.concatenate(values)
        levels = np.quantile(together, list(PERCENTILES.values())).tolist()
        found |= {f"{name}.{p}": value for p, value in zip(PERCENTILES, levels, strict=True)}
        found[f"{name}.mean"] = float(together.mean())
    return found
