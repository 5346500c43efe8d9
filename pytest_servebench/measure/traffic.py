"""What a case sends, and how its answers are checked: predictions, or a user's requests."""

from __future__ import annotations

import dataclasses
import inspect
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final

from pytest_servebench.errors import BadResponseError, ModelError, OptionError
from pytest_servebench.load.arrivals import ArrivalProcess
from pytest_servebench.load.choice import AtRandom, Choice
from pytest_servebench.load.records import Outcome, Records
from pytest_servebench.load.runner import LoadResult
from pytest_servebench.load.store import NEVER
from pytest_servebench.load.target import Target
from pytest_servebench.measure.workload import requests_digest
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import (
    HttpRequest,
    PredictionProtocol,
    Request,
    check_address,
)
from pytest_servebench.protocols.grpc import GrpcRequest
from pytest_servebench.streaming.formats import Way
from pytest_servebench.system.foreign_code import caught, reason_of
from pytest_servebench.text.excerpt import excerpt
from pytest_servebench.text.safe import clean
from pytest_servebench.values.arrays import Arrays
from pytest_servebench.workloads.requests import Places, Requests

AnswerCheck = Callable[[Any, Any], bool | None]
"""Gets a request and its answer, such as an HttpRequest and an HttpAnswer.

Raises if an answer is wrong: ``BadResponseError`` with the reason, or any other exception.

It may also return ``False``.
"""

_GIVE_A_LIST = (
    'give a list of requests, such as [HttpRequest("POST", "/predict", body=b"...")] or '
    '[GrpcRequest("/package.Service/Method", message)]'
)
_BOOLEANS: Final = ("bool", "bool_")  # Python's own and NumPy's
_MOST_BYTES: Final = 256 * 2**20  # of all requests together, if they have several rows
_ONE_ROW: Final = (
    "For one row in a request: --servebench-rows=1, @pytest.mark.servebench(rows=1), or "
    "poisson_load(server, rows=1)."
)
_KEPT_REASONS: Final = 50  # a check may word each wrong answer differently


@dataclass(frozen=True)
class Traffic:
    """The requests of one case.

    Attributes:
        requests: what is sent.
        check: called with a request's index and a successful answer to it; raises if that is wrong.
        name: what is served, as shown in reports.
        weights_sha256: digest of the model's weights; empty without a model.
        source: where the requests come from, in words.
        digest: of the requests, by which a comparison recognizes them.
        choice: which of them each arrival takes.
        arrivals: the arrival process that belongs to them; ``None``: that of the load.
        classes: the class of each request, if they are a mix or turns of sessions.
        think: of turns of sessions; see :class:`~pytest_servebench.load.spec.LoadSpec`.
        answers: places in each one's body; see :class:`.Requests`.
    """

    requests: tuple[Request, ...] = field(repr=False)
    check: Callable[[int, Any], None]
    name: str
    weights_sha256: str
    source: str
    digest: str
    choice: Choice = field(default_factory=AtRandom)
    arrivals: ArrivalProcess | None = None
    classes: tuple[str, ...] = field(default=(), repr=False)
    think: tuple[int, ...] = field(default=(), repr=False)
    answers: tuple[Places, ...] = field(default=(), repr=False)

    @property
    def transport(self) -> str:
        """Return the name of the transport."""
        return self.requests[0].transport

    @property
    def ways(self) -> tuple[Way, ...]:
        """Return how the answers to each request are read; nothing if they are not streamed."""
        return tuple(filter(None, map(_way, self.requests)))

    def prepared(
        self, protocol: PredictionProtocol, target: Target, *, keep_alive: bool
    ) -> tuple[bytes, ...]:
        """Return each request as its transport sends it.

        Raises:
            OptionError: another protocol is spoken at ``target``.
        """
        check_address(self.requests[0], target)
        # A user's protocol need not have any.
        authorization = getattr(protocol, "authorization", ())
        return tuple(
            one.prepared(target, authorization, keep_alive=keep_alive) for one in self.requests
        )

    def answer_places(self, prepared: Sequence[bytes]) -> tuple[Places, ...]:
        """Return where in each prepared request the server's earlier answers go."""
        found = []
        for request, data, places in zip(self.requests, prepared, self.answers, strict=True):
            head = len(data) - request.size
            found.append(tuple((head + start, head + end) for start, end in places))
        return tuple(found)

    def checked_by(self, further: Callable[[Any, Any], bool | None]) -> Traffic:
        """Return the same traffic with one more check of its answers."""

        def both(index: int, answer: Any) -> None:
            self.check(index, answer)
            heed(further(self.requests[index], answer))

        return dataclasses.replace(self, check=both)


def heed(returned: object) -> None:
    """Interpret the return value of a check of an answer.

    Raises:
        BadResponseError: the check rejected the answer, or did not run.
    """
    if type(returned).__name__ in _BOOLEANS and not returned:
        raise BadResponseError("the check returned False")
    if inspect.isawaitable(returned) or inspect.isgenerator(returned):
        if inspect.iscoroutine(returned):
            returned.close()  # or Python warns about it at any time
        raise BadResponseError(
            f"the check returned a {type(returned).__name__} and has not run: make it a plain "
            "function, without async or yield"
        )


def of_model(model: ServedModel, protocol: PredictionProtocol, rows: int = 1) -> Traffic:
    """Return traffic that asks for predictions of the model's inputs, and checks them.

    Args:
        model: what is served.
        protocol: how to ask.
        rows: samples in each request: one of the inputs, and those that follow it.

    Raises:
        OptionError: the model has no inputs.
        ModelError: the inputs cannot be sent, or not several in a request.
    """

    def check(index: int, answer: Any) -> None:
        members = batches[index]
        for place, (one, got) in enumerate(zip(members, read(answer), strict=True), 1):
            wrong = model.check(one, got)
            if wrong is not None:
                # How much differs between answers; what a user's function says is kept.
                usual = "the prediction differs from the model's"
                where = f"row {place} of {rows}: " if rows > 1 else ""
                raise BadResponseError(where + (usual if model.expect is None else wrong))

    if not model.samples:
        raise OptionError(
            f"The model {model.name!r} has no inputs (ServedModel.inputs) to predict from: "
            "give some with their expected outputs, or send your own requests: "
            "poisson_load(server, requests=[HttpRequest(...)])."
        )
    ask, read = _asking(protocol, rows)
    first = _request(model, ask, batch(0, model.samples, rows))
    every = -(-model.samples * first.size // _MOST_BYTES)
    # Every input is sent equally often.
    starts = range(0, model.samples, min(every, rows) or 1)
    batches = [batch(start, model.samples, rows) for start in starts]
    requests = (first, *(_request(model, ask, members) for members in batches[1:]))
    return Traffic(
        requests=requests,
        check=check,
        name=model.name,
        weights_sha256=model.weights_sha256,
        source=model.input_source,
        digest=requests_digest(requests, paths=False),
    )


def batch(start: int, samples: int, rows: int) -> tuple[int, ...]:
    """Return the indices of a request's samples: from ``start`` on, the first after the last."""
    return tuple((start + place) % samples for place in range(rows))


_Ask = Callable[[Sequence[Arrays]], Request]
_Read = Callable[[Any], Sequence[Arrays]]


def _asking(protocol: PredictionProtocol, rows: int) -> tuple[_Ask, _Read]:
    """Return how to ask for the predictions of this many samples, and how to read them."""
    if rows == 1:  # for which protocols of users need no more
        return lambda samples: protocol.request(samples[0]), lambda answer: [protocol.read(answer)]
    several: Any = protocol
    try:
        return several.request_rows, lambda answer: several.read_rows(answer, rows)
    except AttributeError:
        raise OptionError(
            f"rows={rows}: the protocol {protocol.name!r} has no request_rows and read_rows, as "
            f"pytest_servebench.protocols.RowsProtocol describes them. {_ONE_ROW}"
        ) from None


def _request(model: ServedModel, ask: _Ask, members: Sequence[int]) -> Request:
    try:
        return ask([model.input(index) for index in members])
    except ModelError as error:
        if len(members) == 1:
            raise ModelError(f"Input {members[0]} of the model {model.name!r}: {error}") from None
        raise ModelError(
            f"rows={len(members)}: inputs {members[0]} to {members[-1]} of the model "
            f"{model.name!r}: {error} {_ONE_ROW}"
        ) from None


def of_requests(requests: Iterable[Request]) -> Traffic:
    """Return the traffic of a user's own requests; any successful answer is right.

    Raises:
        OptionError: this is not a list of requests, it is empty, one of them cannot be sent, or
            they need several transports.
    """
    # The order of a set differs between sessions, and so would the requests.
    if isinstance(requests, (str, bytes, Mapping, Set)) or not isinstance(requests, Iterable):
        raise OptionError(f"requests={reprlib.repr(requests)}: {_GIVE_A_LIST}.")
    given = requests if isinstance(requests, Requests) else Requests(tuple(requests))
    if not (requests := given.items):
        raise OptionError("requests=[]: give at least one HttpRequest.")
    for number, request in enumerate(requests):
        if not isinstance(request, (HttpRequest, GrpcRequest)):
            raise OptionError(
                f"requests=: item {number} is {reprlib.repr(request)}, not a request; "
                f"{_GIVE_A_LIST}."
            )
        request.check_sendable()
    _refuse_mixed(requests)
    _check_places(given)
    return Traffic(
        requests=requests,
        check=lambda _index, _answer: None,
        name="own requests",
        weights_sha256="",
        source=given.source,
        digest=requests_digest(requests),
        choice=given.choice,
        arrivals=given.arrivals,
        classes=given.classes or _of_turns(given.think),
        answers=given.answers,
        think=tuple(NEVER if one is None else round(1e9 * one) for one in given.think),
    )


def _of_turns(think: Sequence[float | None]) -> tuple[str, ...]:
    """Return classes of turns: the server may have cached the beginning of a later prompt."""
    return tuple("first turn" if one is None else "further turns" for one in think)


def _refuse_mixed(requests: Sequence[Request]) -> None:
    first = requests[0]
    for number, request in enumerate(requests):
        if request.transport != first.transport:
            raise OptionError(
                f"requests=: item 0 is {first!r} over {first.transport}, and item {number} is "
                f"{request!r} over {request.transport}: a load has one transport; call "
                "poisson_load once for each."
            )
        if (_way(request) is None) != (_way(first) is None):
            raise OptionError(
                f"requests=: {_streamed(0, first)}, and {_streamed(number, request)}: a load has "
                "either streamed answers or plain ones, as their figures differ; call "
                "poisson_load once for each."
            )


def _check_places(given: Requests) -> None:
    """Refuse places of the server's earlier answers where none can go."""
    for number, (request, places) in enumerate(zip(given.items, given.answers, strict=False)):
        if not places:
            continue
        for turn in range(number - len(places), number + 1):
            _check_readable(turn, given.items[turn])
        assert isinstance(request, HttpRequest)
        before = 0
        for start, end in places:
            if start < before:
                raise OptionError(
                    f"requests=: item {number}: answers= has the place {start} to {end} after one "
                    f"that ends at {before}: give places in the order of the body, without "
                    "overlaps."
                )
            before = end
            part = request.body[start:end]
            if not (len(part) >= 2 and part[:1] == part[-1:] == b'"'):
                raise OptionError(
                    f"requests=: item {number}: answers= has the place {start} to {end}, but "
                    f"there its body has {excerpt(part)!r}: give the places of JSON strings."
                )


def _check_readable(number: int, request: Request) -> None:
    """Refuse a turn whose answer is not read, or that cannot contain earlier ones."""
    if not isinstance(request, HttpRequest) or (request.transport, request.stream) != (
        "http/1.1", "openai",
    ):  # fmt: skip
        raise OptionError(
            f"requests=: item {number} is {request!r}, in a session whose requests contain the "
            "server's earlier answers (answers=): give an HttpRequest with "
            'stream="openai"; see chat_sessions.'
        )


def _way(request: Request) -> Way | None:
    return request.way if isinstance(request, HttpRequest) else None


def _streamed(number: int, request: Request) -> str:
    way = _way(request)
    stream = "no stream=" if way is None else f"stream={way.format.name!r}"
    return f"item {number} ({request!r}) has {stream}"


@dataclass(frozen=True)
class Checked:
    """A load whose sampled answers were checked.

    Attributes:
        records: with wrong answers as ``bad_response``: a fast wrong answer is not a success.
        failures: number of failed requests by reason.
        answers: number of successes that were checked.
        wrong: how many of those were wrong.
    """

    records: Records
    failures: Mapping[str, int]
    answers: int
    wrong: int


def check_answers(load: LoadResult, traffic: Traffic) -> Checked:
    """Check the sampled answers."""
    checked = wrong = 0
    outcome = load.records.outcome.copy()
    failures: Counter[str] = Counter(load.failures)
    for index, body in load.answers.items():
        if outcome[index] != Outcome.OK:
            continue
        checked += 1
        request = int(load.payloads[index])
        status, head = int(load.records.status[index]), load.heads.get(index, b"")
        if (reason := _wrong(traffic, request, status, head, body)) is not None:
            wrong += 1
            outcome[index] = Outcome.BAD_RESPONSE
            text = f"{Outcome.BAD_RESPONSE.label}: {reason}"
            if text not in failures and wrong > _KEPT_REASONS:
                text = f"{Outcome.BAD_RESPONSE.label}: other reasons"
            failures[text] += 1
    records = dataclasses.replace(load.records, outcome=outcome)
    shown: Counter[str] = Counter()  # some may differ only in keys or control characters
    for reason, number in failures.items():
        shown[clean(reason)] += number
    return Checked(records, dict(shown), checked, wrong)


def _wrong(traffic: Traffic, index: int, status: int, head: bytes, body: bytes) -> str | None:
    """Return why an answer to the request with this index is wrong, or ``None`` if it is right.

    Any exception in the check makes the answer wrong.
    """
    with caught() as errors:
        # Reading it may fail, too: its content may not be what its head says.
        traffic.check(index, traffic.requests[index].answer(status, head, body))
    return reason_of(errors[0], "the check of the answer", BadResponseError) if errors else None
