"""A server as a queue: plain data, and reasons why the model does not fit a server."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.sizing.inversion import Floats


class Misfit(enum.StrEnum):
    """Why no model is fitted, as far as the records show."""

    TOO_FEW = "too_few"
    """Too few requests were answered."""

    NEVER_QUEUED = "never_queued"
    """Hardly any request waited in the server, so its number of slots is unknown."""

    UNANSWERED = "unanswered"
    """Too many requests got no answer: how long the server was busy with them is unknown."""

    DEPENDENT_ARRIVALS = "dependent_arrivals"
    """Requests were turns of sessions, which wait for each other: at another rate, or with more
    replicas, they would not have come as Poisson arrivals do."""

    SHARED = "shared"
    """The server shares its capacity among all requests in it (processor sharing)."""

    OTHER_ORDER = "other_order"
    """The server works on one request at a time, but not in the order in which they came."""

    SLOWER_WITH_LOAD = "slower_with_load"
    """Services take longer when there are more requests in the server: contention, or a second
    queue."""

    FASTER_WITH_LOAD = "faster_with_load"
    """Services take less time when there are more requests in the server."""

    BATCHES = "batches"
    """Requests leave together: the server works on batches."""

    CHANGES_OVER_TIME = "changes_over_time"
    """Services became slower or faster while a case ran: throttling, or a server that was cold."""

    DIFFERS_BETWEEN_CASES = "differs_between_cases"
    """Services take longer in one case than in another."""

    PAUSES = "pauses"
    """From time to time all requests in the server stand still: a garbage collector, or another
    process on its processors."""

    MISPREDICTS = "mispredicts"
    """The model's prediction of a case that it was not fitted to is off."""


class Caution(enum.StrEnum):
    """What a model or a prediction rests on besides its figures."""

    EXTRAPOLATES = "extrapolates"
    """The load is higher than any that was measured."""

    SATURATED = "saturated"
    """More arrives than can be served: the buffer is full nearly all the time."""

    UNSETTLED = "unsettled"
    """So close to saturation that latencies change more slowly than was simulated."""

    HEAVY_TAIL = "heavy_tail"
    """Few slow services decide the tail: rarer and slower ones may not have been seen."""

    SLOTS_UNSURE = "slots_unsure"
    """Another number of requests worked on at once is less likely, but possible."""

    VARIES_WITH_LOAD = "varies_with_load"
    """Service times depend slightly on the load."""

    SOME_UNANSWERED = "some_unanswered"
    """Requests without an answer were left out."""

    OTHER_ARRIVALS = "other_arrivals"
    """The measured arrivals were not Poisson; the predicted ones are."""

    WORKERS_LIMIT = "workers_limit"
    """The connections are fewer than the requests that the replicas could work on at once."""


@dataclass(frozen=True)
class Unfit:
    """Records that the model does not explain.

    Attributes:
        reasons: why, the most telling first; at least one.
        slots: the best number of requests worked on at once nevertheless; ``None`` if unknown.
        deviation: of service times from independence of the load, in standard errors.
        requests: how many it rests on.
    """

    reasons: tuple[Misfit, ...]
    slots: int | None = None
    deviation: float | None = None
    requests: int = 0


@dataclass(frozen=True, eq=False)
class ServerModel:
    """A server as a queue with c slots, first come, first served.

    Attributes:
        slots: c, requests that it works on at once.
        overhead: part of each request's time in which it holds no slot, seconds.
        services: their times in the order of arrival, one case after the other, seconds; shape
            ``(n,)``.
        failed: which of these requests were answered with an error; shape ``(n,)``.
        sizes: number of requests of each case; they add up to n.
        loads: utilisation of the slots in each case.
        rates: arrivals a second of each case.
        memory: how many services in a row are alike: 1 if they are independent.
        deviation: of service times from independence of the load, in standard errors.
        cautions: what it rests on.
    """

    slots: int
    overhead: float
    services: Floats = field(repr=False)
    failed: npt.NDArray[np.bool_] = field(repr=False)
    sizes: tuple[int, ...]
    loads: tuple[float, ...]
    rates: tuple[float, ...]
    memory: int
    deviation: float
    cautions: tuple[Caution, ...] = ()

    @property
    def mean_service(self) -> float:
        """Return the mean service time in seconds."""
        return float(self.services.mean())

    @property
    def variation(self) -> float:
        """Return the squared coefficient of variation of the service times."""
        return float(self.services.var()) / self.mean_service**2

    @property
    def highest_load(self) -> float:
        """Return the highest utilisation of the slots that was measured."""
        return max(self.loads)

    @property
    def saturation(self) -> float:
        """Return the rate at which one replica is always busy, requests a second."""
        return self.slots / self.mean_service

    def to_dict(self) -> dict[str, Any]:
        """Return what describes it as plain data for JSON, without the services."""
        return {
            "slots": self.slots,
            "overhead": self.overhead,
            "mean_service": self.mean_service,
            "variation": self.variation,
            "requests": len(self.services),
            "loads": list(self.loads),
            "rates": list(self.rates),
            "memory": self.memory,
            "deviation": self.deviation,
            "cautions": list(self.cautions),
        }
