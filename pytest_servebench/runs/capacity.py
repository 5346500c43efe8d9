"""What a search for the highest rate that keeps an SLO found: plain data, saved with its run.

Rates are per second, durations seconds.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Final, Literal

from pytest_servebench.runs.basics import ClauseResult, ServerInfo, Sizes, TestOutcome, VerdictWord
from pytest_servebench.stats.probed import OVERLOADED

CAPACITY_KEY: Final = "servebench_capacity"
"""Key of a capacity in the ``extra_info`` of its test's benchmark."""

CapacityState = Literal[
    "found", "open", "above_range", "below_range", "generator_limited", "server_died"
]
"""How a search ended: an interval holds the capacity (*found*); the probes saw too little for one
(*open*); even the highest rate of the range keeps the limits, or not even the lowest does; the
generator, not the server, was the limit; the server died."""

ProbeState = Literal["measured", "disturbed", "invalid", "died"]
"""How a probe ended: measured; measured while other programs used the server's processors; the
generator failed; the server died."""
ProbeStage = Literal["ladder", "estimate", "recovery"]


@dataclass(frozen=True)
class CapacityLimit:
    """A clause of the SLO as a limit on single requests.

    Attributes:
        clause: as it was written, such as ``"p99<50ms"``.
        allowed: share of the requests that may break it.
    """

    clause: str
    allowed: float


@dataclass(frozen=True)
class CapacityProbe:
    """One load of the search.

    Attributes:
        label: of its case among the probes of the run; empty if nothing was measured.
        rate: offered arrivals a second.
        state: how it ended.
        stage: its purpose: the ladder up to the first rate that breaks a limit, the estimate,
            or a low rate again after an overload.
        seconds: of load that count, without those of settling.
        settle: seconds at its start that do not count.
        arrivals: in the seconds that count.
        counted: for each limit, how many of these arrivals it counts: all but successes without a
            value of its time, such as answers of one token for ``tpot``; empty if it was not
            measured.
        beyond: for each limit, how many of those broke it; empty if it was not measured.
        used: whether the interval rests on it.
        slowdown: how many times as long the machine took for the same work as in the median of the
            probes with a slowdown, if its speed is known to have varied. The interval is that of
            the capacity at the median.
    """

    label: str
    rate: float
    state: ProbeState
    stage: ProbeStage
    seconds: float
    settle: float
    arrivals: int
    counted: tuple[int, ...]
    beyond: tuple[int, ...]
    used: bool
    slowdown: float | None = None

    @property
    def overloaded(self) -> bool:
        """Return whether the server had more to do than it could."""
        return any(
            number and beyond >= OVERLOADED * number
            for number, beyond in zip(self.counted, self.beyond, strict=True)
        )


@dataclass(frozen=True)
class CapacityResult:
    """The highest rate at which a server keeps an SLO, as one search found it.

    Attributes:
        name: the test's id inside its module, and ``::`` with the label.
        nodeid: the test's node id.
        server: the server under load.
        buffer_size: requests that could wait.
        workers: of the load generator, each with one request in flight.
        seed: seed of the schedules.
        model: the served model's name.
        weights_sha256: digest of its weights.
        input_source: where the inputs come from.
        requests_sha256: of the requests, without the server's address and secrets.
        arrivals: name of the arrival process.
        timeout: seconds after which a sent request timed out.
        limits: the clauses that the server had to keep.
        state: how the search ended; only ``"found"`` has an interval of 95 %.
        value: the estimate, arrivals per second; ``None`` if there is none.
        low: lower end of the 95 % interval: a rate that was shown to keep the limits; ``None`` if
            there is none. In a state other than found it holds by itself with 97.5 %.
        high: its upper end, likewise; ``None`` if there is none.
        limiting: the clause that is broken first; empty if none was seen to be.
        lowest: lowest rate of the range.
        highest: highest rate of the range.
        budget: seconds that the search might take.
        precision: width of the interval, high / low - 1, at which it might end sooner.
        seconds: that it took.
        needed_seconds: of more load that would close an open interval, if known.
        generator_limit: lowest rate that the load generator failed to make.
        slow_recovery: whether the server broke a limit after an overload, at a low rate that it had
            kept before.
        recovery_seconds: without load until it kept it again; ``None`` if it was not slow, or never
            did.
        probes: the loads, in the order of running.
        clauses: clauses and gates on the capacity itself, such as ``capacity>=150/s``, judged; and
            checks that the answers of its probes failed.
        verdict: of the clauses; without any, whether a capacity was found.
        reason: why no interval was found, and what to do; empty if one was.
        test_outcome: pytest's outcome of the test.
        rows: samples of the model in each request.
        label: which of several searches of its test it is; empty for the only one.
        keep_alive: whether connections were reused, if the server allowed it.
        streams: how many workers shared a connection.
        expected: capacity of the queue that the probes fit, on which the interval rests, too;
            ``None`` if they fit none.
    """

    name: str
    nodeid: str
    server: ServerInfo
    buffer_size: int
    workers: int
    seed: int
    model: str
    weights_sha256: str
    input_source: str
    requests_sha256: str
    arrivals: str
    timeout: float
    limits: tuple[CapacityLimit, ...]
    state: CapacityState
    value: float | None
    low: float | None
    high: float | None
    limiting: str
    lowest: float
    highest: float
    budget: float
    precision: float
    seconds: float
    needed_seconds: float | None = None
    generator_limit: float | None = None
    slow_recovery: bool = False
    recovery_seconds: float | None = None
    probes: tuple[CapacityProbe, ...] = ()
    clauses: tuple[ClauseResult, ...] = ()
    verdict: VerdictWord = "inconclusive"
    reason: str = ""
    test_outcome: TestOutcome | None = None
    rows: int = 1
    label: str = ""
    keep_alive: bool = True
    streams: int = 1
    expected: float | None = None

    @property
    def sizes(self) -> Sizes:
        """Return buffer size and rows, which a report shows together."""
        return Sizes(self.buffer_size, self.rows)

    @property
    def ends(self) -> tuple[float, float]:
        """Return the rates between which the capacity lies, 0 and infinite if unknown."""
        return self.low or 0.0, math.inf if self.high is None else self.high

    @property
    def width(self) -> float | None:
        """Return the width of the interval, high / low - 1; ``None`` if an end is missing."""
        return None if not self.low or self.high is None else self.high / self.low - 1

    @property
    def slowdowns(self) -> tuple[float, ...]:
        """Return those of the probes that count; none if the machine's speed did not matter."""
        return tuple(one.slowdown for one in self.probes if one.used and one.slowdown is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data for JSON."""
        data = dataclasses.asdict(self)
        data["server"]["cpus"] = list(self.server.cpus)
        for name in ("limits", "clauses", "probes"):
            data[name] = list(data[name])
        for one in data["probes"]:
            one["counted"], one["beyond"] = list(one["counted"]), list(one["beyond"])
        return data
