"""What load to make: plain data."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields
from typing import Any

from pytest_servebench.load.arrivals import ArrivalProcess, Poisson
from pytest_servebench.load.choice import AtRandom, Choice
from pytest_servebench.load.job import Job
from pytest_servebench.load.store import NEVER
from pytest_servebench.load.target import Target
from pytest_servebench.load.transports import SHARING
from pytest_servebench.load.transports.base import Terms


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """Settings for the loads of all cases.

    Attributes:
        duration: length of the arrival window in seconds.
        workers: each carries one request at a time, over a connection of its own or one of
            ``terms.streams`` that share one.
        arrivals: the arrival process.
        seed: seed for the arrivals and the choice of requests.
        warmup: seconds of closed-loop requests before the clock starts; not recorded.
        timeout: seconds after sending until an unanswered request is given up.
        drain: seconds after the window in which started requests may still finish.
        samples: number of answers whose bodies are kept for checking.
        priority: ``"auto"``, ``"realtime"`` or ``"normal"`` scheduling of the generator.
        terms: settings for every channel.
    """

    duration: float
    workers: int
    arrivals: ArrivalProcess = field(default_factory=Poisson)
    seed: int = 0
    warmup: float = 1.0
    timeout: float = 30.0
    drain: float = 10.0
    samples: int = 64
    priority: str = "auto"
    terms: Terms = field(default_factory=Terms)

    def shared_with(self, kind: type[Any]) -> dict[str, Any]:
        """Return the values of the fields that ``kind``, a dataclass, has too."""
        names = {item.name for item in fields(kind)} & {item.name for item in fields(self)}
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class LoadSpec(LoadSettings):
    """One run of open-loop load against one server.

    Attributes:
        target: where to connect.
        requests: as the transport sends them.
        choice: which of them each arrival takes.
        rate: arrivals per second, as ``arrivals`` interprets it.
        buffer_size: requests that may wait while all workers are busy.
        think: of each of ``requests``, if they are turns of sessions: ns from the end of the turn
            before, which is the request before it; ``NEVER`` if it begins a conversation. Then
            ``rate`` and ``arrivals`` are of sessions, and ``choice`` chooses a conversation.
        answers: of each of ``requests``, the places of the server's earlier answers in the session,
            each the first byte of a JSON string and the one after its last; they are filled during
            the load. Empty: requests are sent as they are.
        reader: ``module:name`` of the function that returns the text of an answer's body, or
            ``None`` if it is not a success; empty without ``answers``.
        rows: samples in each of ``requests``.
        transport: name of the transport; see
            :data:`pytest_servebench.load.transports.TRANSPORTS`.
    """

    target: Target
    requests: tuple[bytes, ...] = field(repr=False)
    rate: float
    buffer_size: int
    choice: Choice = field(default_factory=AtRandom)
    think: tuple[int, ...] = ()
    answers: tuple[tuple[tuple[int, int], ...], ...] = field(default=(), repr=False)
    reader: str = ""
    rows: int = 1
    transport: str = "http/1.1"

    @property
    def unit(self) -> str:
        """Return what arrives: a ``"request"`` or a ``"session"``."""
        return "session" if self.think else "request"

    @property
    def most_requests(self) -> float:
        """Return the expected number of requests, if no turn fails or falls after the window."""
        arrivals = self.arrivals.mean_rate(self.rate, self.duration) * self.duration
        return arrivals * (len(self.think) / self.think.count(NEVER) if self.think else 1.0)

    @property
    def streams(self) -> int:
        """Return how many workers share a connection."""
        shares = self.transport in SHARING and self.terms.keep_alive
        return self.terms.streams if shares else 1

    @property
    def streamed(self) -> bool:
        """Return whether answers are streamed, and their parts kept."""
        return self.terms.most_parts > 0

    def job(self, sampled: AbstractSet[int]) -> Job:
        """Return the input of the generator's process; ``sampled`` as in :class:`.Job`."""
        return Job(**self.shared_with(Job), sampled=frozenset(sampled))
