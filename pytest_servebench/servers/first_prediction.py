"""The first prediction of a server: awaited while it loads, and compared with the model's.

A server may serve a test's own requests although it rejects the model's, such as a handler that
reads pictures. So if a server says that it is ready but predicts wrongly, the problem is kept, and
raised by the first load that would send the model's inputs.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pytest_servebench.errors import BadResponseError, ModelError, ServerStartError
from pytest_servebench.load.target import Target
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import (
    Answer,
    HttpAnswer,
    PredictionProtocol,
    Request,
    check_address,
)
from pytest_servebench.protocols.grpc import GrpcAnswer, GrpcStatus
from pytest_servebench.servers import probe
from pytest_servebench.servers.base import ServerKind
from pytest_servebench.servers.grpc_health import Health
from pytest_servebench.servers.kind_options import options_of, spelled
from pytest_servebench.servers.no_answer import NoAnswerError
from pytest_servebench.text.safe import clean

LONGEST_ANSWER: Final = 60.0  # seconds for one try
_QUESTION_LIMIT: Final = 10.0  # seconds for the server's answer about its state
EXAMPLES: Final[Mapping[str, str]] = {
    "http": 'HttpRequest("POST", "/path", body=b"...")',
    "grpc": 'GrpcRequest("/package.Service/Method", message)',
}
"""Scheme of a server's address to a request for it."""

LOADING: Final = frozenset({400, 408, 425, 429, 500, 502, 503, 504})
"""Statuses of servers whose model is still loading, and of gateways whose server is not up."""

LOADING_GRPC: Final = frozenset(
    {
        GrpcStatus.UNKNOWN, GrpcStatus.INVALID_ARGUMENT, GrpcStatus.DEADLINE_EXCEEDED,
        GrpcStatus.RESOURCE_EXHAUSTED, GrpcStatus.FAILED_PRECONDITION, GrpcStatus.INTERNAL,
        GrpcStatus.UNAVAILABLE,
    }
)  # fmt: skip
"""The same of gRPC: a server that is loading has no service, or answers like one that fails."""

Ask = Callable[[Request], Any]


@dataclass(frozen=True)
class Refusal:
    """The meaning of an answer that is not a prediction.

    Attributes:
        reason: its cause, as a sentence.
        loading: whether the answer may change soon.
        serving: whether the server says that it serves the model nevertheless.
    """

    reason: str
    loading: bool = False
    serving: bool = False


Judge = Callable[[Any, Ask], Refusal]
"""Interprets an error answer, of the request's kind: an HttpAnswer or a GrpcAnswer."""


def by_status(answer: HttpAnswer | GrpcAnswer, kind: ServerKind) -> Refusal:
    """Judge an error answer by its status alone.

    Args:
        answer: with a status other than 200, or of gRPC other than 0.
        kind: of the server; its option ``model``, if it has one, sets the model's name at the
            server.
    """
    if isinstance(answer, GrpcAnswer):
        return _by_grpc_status(answer, kind)
    loading = answer.status in LOADING
    if answer.body.lstrip()[:1] == b"<" and not loading:
        return Refusal(f"it answers with a web page; is this {kind.title}'s port for predictions?")
    if answer.status == 404:
        return no_model(kind, "this path does not exist.")
    if 300 <= answer.status < 400:
        place = clean(answer.headers.get("location", "another place"))
        return Refusal(f"it redirects to {place}; give the address of the server itself.")
    if answer.status in (401, 403):
        return Refusal("it requires authorization.")
    return Refusal("it cannot predict the model's first input.", loading)


def _by_grpc_status(answer: GrpcAnswer, kind: ServerKind) -> Refusal:
    if answer.status == GrpcStatus.UNIMPLEMENTED:
        return Refusal(
            f"it has no such service or method; is this {kind.title}'s gRPC port for predictions?"
        )
    if answer.status == GrpcStatus.NOT_FOUND:
        return no_model(kind, "it has nothing of this name.")
    if answer.status in (GrpcStatus.UNAUTHENTICATED, GrpcStatus.PERMISSION_DENIED):
        return Refusal("it requires authorization.")
    loading = answer.status in LOADING_GRPC
    return Refusal("it cannot predict the model's first input.", loading)


def no_model(kind: ServerKind, otherwise: str = "it has no such model.") -> Refusal:
    """Return what it means that a server does not have the model.

    ``otherwise``: its cause for a kind without a name for its model.
    """
    if "model" not in options_of(kind):
        return Refusal(otherwise)
    option = spelled(kind.name, "model")
    return Refusal(f"it has no model with this name; {option}=NAME sets another name.")


def own_requests(scheme: str) -> str:
    """Return how to load a server that takes other requests than predictions."""
    return (
        "To load a server that takes other requests, give your own: "
        f"poisson_load(server, requests=[{EXAMPLES[scheme]}])."
    )


class RefusedError(Exception):
    """Waiting for a prediction is pointless; the message says why.

    Attributes:
        answered: whether the server at least answered in the request's protocol.
    """

    def __init__(self, message: str, *, answered: bool) -> None:
        super().__init__(message)
        self.answered = answered


class FirstPrediction:
    """Asks one server for the first prediction.

    Attributes:
        asked: method and path, for messages.
        path: of the request.
        protocol: how to ask for predictions; one that needs to know something of the server has
            methods ``question`` and ``told``, and is replaced when the server has told it. Its
            ``answered_by`` is the setting that makes the question needless.
        scheme: of the server's address.
        problem: what is wrong with the prediction of a server that serves; empty if it is right.
    """

    def __init__(
        self,
        target: Target,
        protocol: PredictionProtocol,
        model: ServedModel,
        kind: ServerKind,
        judge: Judge | None,
        most: int,
    ) -> None:
        """Ask ``target``.

        ``judge`` interprets error answers, ``most`` limits an answer's bytes.

        Raises:
            OptionError: the protocol is not what is spoken at the target.
        """
        self._most = most
        self._target = target
        self._health = Health(target)
        self.protocol = protocol
        self._model = model
        self._kind = kind
        self._judge = judge or (lambda answer, _: by_status(answer, kind))
        self._request: Request | None = None
        self.problem = self.asked = self.path = ""
        self.scheme = target.scheme
        self._questions = False
        if model.samples:  # else only the tests' own requests are sent
            self._prepare()

    def _prepare(self) -> None:
        """Prepare what is sent next: the protocol's own question, if it has one, comes first."""
        inputs = self._model.input(0)
        asks = getattr(self.protocol, "question", None)
        question: Request | None = asks(inputs) if asks else None
        self._questions = question is not None
        try:
            self._request = request = question or self.protocol.request(inputs)
        except ModelError as error:
            self.problem = f"its first input cannot be sent: {error}"
            self._request = None
        else:
            check_address(request, self._target)
            self.asked, self.path = request.asked, request.path

    def attempt(self, left: float) -> tuple[bool, str]:
        """Ask once; return whether waiting is over, and what was seen.

        Args:
            left: seconds left.

        Raises:
            RefusedError: waiting is pointless.
        """
        if seen := self._health.refusal(left):
            return False, seen
        if self._request is None:
            return True, ""
        limit = min(left, LONGEST_ANSWER)
        try:
            answer = probe.ask(self._target, self._request, limit, most=self._most)
        except NoAnswerError as error:
            if error.final:
                raise RefusedError(
                    f"does not answer {self.asked}: {error}", answered=False
                ) from None
            return False, f"does not answer {self.asked}: {error}"
        if answer.status == answer.OK and self._questions:
            return self._take_told(answer, left)
        if answer.status == answer.OK:
            self.problem = self._wrong(answer)
            return True, ""
        refusal = self._judge(answer, self._ask)
        seen = f"refuses {self.asked}: {refusal.reason}{self._remedy()} Got {answer.described}"
        if refusal.serving:
            self.problem = seen
        elif not refusal.loading:
            raise RefusedError(seen, answered=True)
        return refusal.serving, seen

    def _take_told(self, answer: Answer, left: float) -> tuple[bool, str]:
        questioner: Any = self.protocol
        try:
            self.protocol = questioner.told(answer)
        except BadResponseError as error:
            self.problem = f"does not say what predictions need: {error}"
            return True, ""
        self._prepare()
        return self.attempt(left)

    def _remedy(self) -> str:
        """Say how to do without the protocol's own question, if that is what was asked."""
        if not self._questions:
            return ""
        questioner: Any = self.protocol
        setting: str = questioner.answered_by
        own = setting in options_of(self._kind)
        given = spelled(self._kind.name, setting) if own else f"the protocol's {setting}"
        return f" It need not be asked if {given} is set."

    def _ask(self, request: Request) -> Any:
        return probe.ask(self._target, request, _QUESTION_LIMIT)

    def _wrong(self, answer: Answer) -> str:
        try:
            got = self.protocol.read(answer)
        except BadResponseError as error:
            return f"does not answer {self.asked} with a prediction. {error}"
        wrong = self._model.check(0, got)
        if wrong is None:
            return ""
        return (
            f"answers {self.asked}, but not with what {self._model.name!r} predicts: {wrong}. "
            "Does it serve other weights, or expect other inputs?"
        )


def check_mismatch(server: object) -> None:
    """Check that a server predicted the model's first input correctly.

    Raises:
        ServerStartError: it did not, when it was started or attached to.
    """
    # Servers of users' kinds need not have checked.
    mismatch = getattr(server, "mismatch", "")
    if mismatch:
        raise ServerStartError(mismatch)


def read_json(body: bytes) -> Any:
    """Return a body parsed as JSON; ``None`` if it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
