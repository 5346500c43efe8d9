"""The queue that a prediction simulates, many independent chains at a time.

A buffer of B requests in front of W connections, in front of R replicas, each of which works on c
requests at once and lets the others wait, first come, first served: Kiefer and Wolfowitz's
recursion (1955, Transactions of the AMS 78:1), extended by the buffer and the connections.

All arrays are ``(…, chains)``: each step of the recursion is a few operations on whole rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from pytest_servebench.sizing.inversion import Floats
from pytest_servebench.stats.relaxation import relaxation

Routing = Literal["random", "round_robin", "least_loaded"]
ROUTINGS: Final[tuple[Routing, ...]] = get_args(Routing)

Latencies = npt.NDArray[np.float32]
"""Times in seconds, infinite for dropped requests; as precise as measurements are."""

Draws = Callable[[int], tuple[Floats, Floats]]
"""Given a number of steps, returns that many arrivals and services; two of shape
``(steps, chains)``."""

_AMPLE: Final = 16  # waiting requests, where the number of connections has no limit


@dataclass(frozen=True)
class Layout:
    """Layout of the system; all limits are for the whole of it, not for a replica.

    Attributes:
        slots: c, requests that a replica works on at once.
        replicas: R.
        routing: how a request gets to one of them, when a connection takes it.
        workers: W, connections; ``None`` for as many as are needed.
        buffer_size: B, requests that may wait for a connection, if their number has a limit.
        overhead: part of each request's time in which it holds a connection, but no slot, seconds.
    """

    slots: int
    replicas: int = 1
    routing: Routing = "random"
    workers: int | None = None
    buffer_size: int = 0
    overhead: float = 0.0

    @property
    def servers(self) -> int:
        """Return how many requests can be worked on at once."""
        servers = self.slots * self.replicas
        return servers if self.workers is None else min(servers, self.workers)

    @property
    def carried(self) -> int:
        """Return how many requests have a connection of their own in a simulation."""
        if self.workers is not None:
            return self.workers
        return 2 * self.slots * self.replicas + _AMPLE


def simulate(
    layout: Layout, draws: Draws, steps: int, backlog: Floats, spacing: float,
    dice: np.random.Generator, *, chunk: int = 256,
) -> Latencies:  # fmt: skip
    """Return the time from arrival to departure of each request, infinite if it is dropped.

    Args:
        layout: of the system.
        draws: arrivals and services; called with at most ``chunk`` steps at a time.
        steps: requests of each chain.
        backlog: time for which each chain's slots are busy at time 0; shape ``(chains,)``.
        spacing: mean time between the services that begin in this time.
        dice: for random routing.
        chunk: steps that are drawn at once.

    Returns:
        Seconds; shape ``(steps, chains)``.
    """
    chains = len(backlog)
    queue = _queue(layout, backlog, spacing, dice)
    # With no more connections than slots, what holds a connection holds up the queue.
    holds = layout.replicas == 1 and layout.workers is not None and layout.workers <= layout.slots
    times = np.empty((steps, chains), dtype=np.float32)
    for start in range(0, steps, chunk):
        size = min(chunk, steps - start)
        arrivals, services = draws(size)
        if holds:
            services = services + layout.overhead
        for step in range(size):
            departed = queue.take(arrivals[step], services[step])
            np.subtract(departed, arrivals[step], out=departed)
            times[start + step] = departed
    if not holds:
        times += np.float32(layout.overhead)
    return times


class _Queue:
    """Handles the requests of every chain one after the other."""

    def take(self, arrival: Floats, service: Floats) -> Floats:
        """Return when the requests depart; infinite where they are dropped."""
        raise NotImplementedError


def _queue(layout: Layout, backlog: Floats, spacing: float, dice: np.random.Generator) -> _Queue:
    if layout.replicas == 1:
        servers = layout.servers
        waiting = None
        if layout.workers is not None:
            # A request that waits in the server takes a place, like one in the buffer.
            waiting = layout.buffer_size + layout.workers - servers
        return _Single(servers, waiting, backlog, spacing)
    return _Routed(layout, backlog, spacing, dice)


class _Buffer:
    """Which arrivals find no place to wait: requests leave it in the order in which they came."""

    def __init__(self, size: int, backlog: Floats, spacing: float) -> None:
        self._size = size
        self._chains = np.arange(len(backlog))
        self._next = np.zeros(len(backlog), dtype=np.int64)
        # When the last requests that found a place left it, the oldest first.
        ages = np.arange(max(size, 1), 0, -1)[:, None]
        self._left = backlog - ages * spacing if size else np.empty((1, len(backlog)))

    def full(self, arrival: Floats, begin: Floats) -> npt.NDArray[np.bool_]:
        """Return where the request has to wait, and the one ``size`` before it still does."""
        waits: npt.NDArray[np.bool_] = begin > arrival
        if self._size:
            waits &= self._left[self._next, self._chains] > arrival
        return waits

    def enter(self, begin: Floats, dropped: npt.NDArray[np.bool_]) -> None:
        """Note when the requests that were not dropped leave it."""
        if self._size:
            place = self._next
            self._left[place, self._chains] = np.where(
                dropped, self._left[place, self._chains], begin
            )
            place += ~dropped
            place[place == self._size] = 0


class _Single(_Queue):
    """One replica: connections only limit how many may wait."""

    def __init__(self, servers: int, waiting: int | None, backlog: Floats, spacing: float) -> None:
        self._free = np.tile(backlog, (servers, 1))  # ascending
        self._buffer = None if waiting is None else _Buffer(waiting, backlog, spacing)

    def take(self, arrival: Floats, service: Floats) -> Floats:
        free = self._free
        begin = np.maximum(arrival, free[0])
        departed: Floats = begin + service
        if self._buffer is None:
            _replace_least(free, departed)
            return departed
        dropped = self._buffer.full(arrival, begin)
        self._buffer.enter(begin, dropped)
        if dropped.any():
            _replace_least(free, np.where(dropped, free[0], departed))
            departed[dropped] = np.inf
        else:
            _replace_least(free, departed)
        return departed


def _replace_least(ordered: Floats, value: Floats) -> None:
    """Replace the least value in ascending rows; shape ``(k, chains)``."""
    last = len(ordered) - 1
    for row in range(last):
        following = ordered[row + 1]
        np.minimum(value, following, out=ordered[row])
        value = np.maximum(value, following)
    ordered[last] = value


class _Routed(_Queue):
    """Several replicas: a connection takes the request to one of them, where it may wait again."""

    def __init__(
        self, layout: Layout, backlog: Floats, spacing: float, dice: np.random.Generator
    ) -> None:
        chains = len(backlog)
        self._layout = layout
        self._dice = dice
        self._chains = np.arange(chains)
        self._free = np.tile(backlog, (layout.replicas, layout.slots, 1))
        self._turn = np.zeros(chains, dtype=np.int64)
        # Least loaded counts what each connection carries; a number without a limit is one that
        # is hardly ever reached, and then the request waits for a connection, not in a replica.
        workers = layout.workers
        if workers is None and layout.routing == "least_loaded":
            workers = layout.carried
        self._busy = None if workers is None else np.zeros((workers, chains))
        self._target = np.zeros((workers or 0, chains), dtype=np.int64)
        self._buffer = (
            None if layout.workers is None else _Buffer(layout.buffer_size, backlog * 0, spacing)
        )

    def take(self, arrival: Floats, service: Floats) -> Floats:
        chains, slots = self._chains, self._layout.slots
        begin = arrival
        if self._busy is not None:
            worker = self._busy.argmin(axis=0)
            begin = np.maximum(arrival, self._busy[worker, chains])
        dropped = None if self._buffer is None else self._buffer.full(arrival, begin)
        replica = self._route(begin, dropped)
        free = self._free[replica, :, chains].T
        departed: Floats = np.maximum(begin, free[0]) + service
        if dropped is not None and self._buffer is not None:
            self._buffer.enter(begin, dropped)
            kept = np.where(dropped, free[0], departed)
        else:
            kept = departed
        _replace_least(free, kept)
        self._free[replica, :, chains] = free.T if slots > 1 else free.reshape(-1, 1)
        if self._busy is not None:
            before, ended = self._busy[worker, chains], departed + self._layout.overhead
            self._busy[worker, chains] = (
                ended if dropped is None else np.where(dropped, before, ended)
            )
            if dropped is None:
                self._target[worker, chains] = replica
            else:
                self._target[worker, chains] = np.where(
                    dropped, self._target[worker, chains], replica
                )
        if dropped is not None:
            departed[dropped] = np.inf
        return departed

    def _route(self, now: Floats, dropped: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.int64]:
        replicas, routing = self._layout.replicas, self._layout.routing
        if routing == "round_robin":
            turn = self._turn
            self._turn = (turn + (1 if dropped is None else ~dropped)) % replicas
            return turn
        if routing == "random":
            return self._dice.integers(0, replicas, len(now))
        assert self._busy is not None
        # Ties are broken at random, as by a balancer without a favourite.
        load = self._dice.random((replicas, len(now)))
        under_way = self._busy > now
        for replica in range(replicas):
            load[replica] += (under_way & (self._target == replica)).sum(axis=0)
        least: npt.NDArray[np.int64] = load.argmin(axis=0)
        return least


def settling(load: float, variation: float) -> float:
    """Return the number of arrivals after which a queue has forgotten its initial state.

    Args:
        load: ρ.
        variation: mean of the squared coefficients of variation of gaps and services.
    """
    return max(1.0, variation) * load * relaxation(load)
