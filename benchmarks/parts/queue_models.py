"""The queues of the calibration: parameters, and their exact figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from simulation import distributions, queueing

_PLENTY: Final = 2_000
_HYPER: Final = distributions.Hyperexponential.balanced(0.020, 2.0)


@dataclass(frozen=True)
class Model:
    """A queue, where requests wait, and its exact solution.

    Attributes:
        name: in Kendall's notation.
        parameters: for the report.
        law: of the services, as ``known_server`` reads it.
        rate: arrivals a second.
        servers: c, the slots of the server.
        workers: connections of the engine: c of them where requests are to wait in the engine.
        buffer_size: of the engine.
        copies: runs at the same time, each with arrivals and services of its own.
        exact: returns the figures by the words of the report.
    """

    name: str
    parameters: str
    law: str
    rate: float
    servers: int
    workers: int
    buffer_size: int
    copies: int
    exact: Callable[[], Mapping[str, float]]

    @property
    def capacity(self) -> int:
        """Return K: as many are in the system at most."""
        return self.workers + self.buffer_size

    @property
    def waits_here(self) -> bool:
        """Tell whether requests wait in the engine, not in the server."""
        return self.workers == self.servers


def _mm1() -> Mapping[str, float]:
    rate, service_rate = 25.0, 50.0
    return {
        "mean wait": queueing.mmc(rate, service_rate, 1).mean_wait,
        "p50 latency": queueing.mm1_response_percentile(rate, service_rate, 0.5),
        "p99 latency": queueing.mm1_response_percentile(rate, service_rate, 0.99),
    }


def _mm1_there() -> Mapping[str, float]:
    rate, service_rate = 50.0, 100.0
    return {
        "mean latency": queueing.mmc(rate, service_rate, 1).mean_response,
        "p50 latency": queueing.mm1_response_percentile(rate, service_rate, 0.5),
        "p99 latency": queueing.mm1_response_percentile(rate, service_rate, 0.99),
    }


def _mmck() -> Mapping[str, float]:
    rate, service_rate, servers, capacity = 90.0, 25.0, 4, 10
    queue = queueing.mmck(rate, service_rate, servers, capacity)
    sojourn = distributions.mmck_sojourn(rate, service_rate, servers, capacity)
    return {
        "mean wait": queue.mean_wait,
        "p50 latency": distributions.quantile(sojourn, 0.5, 1 / service_rate),
        "p99 latency": distributions.quantile(sojourn, 0.99, 1 / service_rate),
        "drop rate": queue.blocking,
    }


def _md1() -> Mapping[str, float]:
    rate, service = 30.0, 0.020
    wait = distributions.md1_wait(rate, service)
    return {
        "mean wait": queueing.md1_mean_wait(rate, service),
        "p50 latency": service + distributions.quantile(wait, 0.5, service),
        "p99 latency": service + distributions.quantile(wait, 0.99, service),
    }


def _mh1() -> Mapping[str, float]:
    rate = 25.0
    sojourn = distributions.mh1_sojourn(rate, _HYPER)
    return {
        "mean wait": queueing.mg1_mean_wait(rate, _HYPER.mean, _HYPER.variance),
        "p50 latency": distributions.quantile(sojourn, 0.5, _HYPER.mean),
        "p99 latency": distributions.quantile(sojourn, 0.99, _HYPER.mean),
    }


# Services are long compared with the network path, and loads moderate: the error of a mean grows
# with 1 / (1 - ρ), beyond what a longer run can make up for.
MODELS: Final = (
    Model("M/M/1", "λ = 25/s, 1/μ = 20 ms, ρ = 0.5", "exponential:0.020",
          25.0, 1, 1, _PLENTY, 4, _mm1),
    Model("M/M/1, waiting in the server", "λ = 50/s, 1/μ = 10 ms, ρ = 0.5", "exponential:0.010",
          50.0, 1, 64, _PLENTY, 2, _mm1_there),
    Model("M/M/4/10", "λ = 90/s, 1/μ = 40 ms, W = 4, B = 6", "exponential:0.040",
          90.0, 4, 4, 6, 2, _mmck),
    Model("M/D/1", "λ = 30/s, D = 20 ms, ρ = 0.6", "fixed:0.020",
          30.0, 1, 1, _PLENTY, 4, _md1),
    Model("M/G/1", "λ = 25/s, E[S] = 20 ms, hyperexponential with c² = 2, ρ = 0.5",
          f"hyperexponential:{_HYPER.share},{_HYPER.first},{_HYPER.other}",
          25.0, 1, 1, _PLENTY, 4, _mh1),
)  # fmt: skip
