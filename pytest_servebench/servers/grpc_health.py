"""The health service of gRPC: a server that says it is not serving yet gets no predictions.

See https://github.com/grpc/grpc/blob/master/doc/health-checking.md.
"""

from typing import Final

from pytest_servebench.load.target import Target
from pytest_servebench.protocols.base import Request
from pytest_servebench.protocols.grpc import GrpcRequest, GrpcStatus
from pytest_servebench.servers import probe
from pytest_servebench.servers.no_answer import NoAnswerError

CHECK: Final = GrpcRequest("/grpc.health.v1.Health/Check")
"""An empty ``HealthCheckRequest``: it asks for the server as a whole, not for one service."""

_NOT_SERVING: Final = b"\x08\x02"  # HealthCheckResponse {ServingStatus status = 1}
_LIMIT: Final = 5.0  # seconds


class Health:
    """Asks one server whether it is serving, until it no longer says that it is not.

    Only that answer counts. A server without the service, or one that wants authorization for it,
    is judged by what is asked for next; so is one that does not answer.
    """

    def __init__(self, target: Target, request: Request | None = None) -> None:
        """Ask ``target``, if its address is gRPC's.

        Not if ``request``, which is asked for next, is a question of that service itself.
        """
        self._target = target
        asked = request is not None and request.path == CHECK.path
        self._settled = asked or target.scheme != "grpc"

    def refusal(self, left: float) -> str:
        """Ask; return the answer of a server that is not serving, as a predicate; else nothing.

        ``left`` limits the question, in seconds.
        """
        if self._settled:
            return ""
        try:
            answer = probe.ask(self._target, CHECK, min(left, _LIMIT))
        except NoAnswerError:
            return ""
        if answer.status == answer.OK and answer.message == _NOT_SERVING:
            return (
                f"answers {CHECK.asked} with NOT_SERVING, of the server as a whole: see its log, "
                "or have it set the status of the service ''."
            )
        # A gateway may answer before its server is up.
        self._settled = answer.status != GrpcStatus.UNAVAILABLE
        return ""
