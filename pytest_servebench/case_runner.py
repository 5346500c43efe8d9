"""One case from beginning to end: warm-up, load, drain, and the check of its answers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np

from pytest_servebench.errors import BadResponseError
from pytest_servebench.load.records import Outcome, Records, RecordStore
from pytest_servebench.load.runner import LoadResult, invalid_reason, run_load
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.model import ServedModel
from pytest_servebench.monitor import ResourceMonitor
from pytest_servebench.protocols.base import HttpRequest
from pytest_servebench.results import CaseResult, ServerInfo
from pytest_servebench.servers.base import RunningServer
from pytest_servebench.stats import summarize

_ALIVE_INTERVAL = 0.2  # seconds between two looks at the server


@dataclass(frozen=True)
class Case:
    """One cell: what is asked of which server.

    Attributes:
        name: the test's name with its id.
        nodeid: the test's node id.
        rate: offered arrivals a second.
        buffer_size: requests that may wait.
        duration: length of the arrival window, seconds.
        workers: connections of the generator.
        warmup: seconds of requests that are not recorded.
        timeout: seconds until a sent request is given up.
        drain: seconds after the window in which started requests may still end.
        seed: seed of the schedule.
        priority: scheduling of the generator.
        max_lag: lateness of the generator, seconds, beyond which the case is invalid.
    """

    name: str
    nodeid: str
    rate: float
    buffer_size: int
    duration: float
    workers: int
    warmup: float
    timeout: float
    drain: float
    seed: int
    priority: str
    max_lag: float


def run_case(
    case: Case,
    server: RunningServer,
    info: ServerInfo,
    model: ServedModel,
    watch: Callable[[RecordStore], None],
) -> CaseResult:
    """Load ``server`` as ``case`` says and return what came out, not yet judged.

    Args:
        case: what to do.
        server: a running server.
        info: how reports show it.
        model: gives the inputs, and the outputs to expect.
        watch: called some twenty times a second with the live records.

    Raises:
        ServerDiedError: the server ended under the load.
        InvalidMeasurementError: the generator itself failed.
    """
    address = urlsplit(server.base_url)
    host, port = address.hostname or "127.0.0.1", address.port or 80
    spec = LoadSpec(
        host=host,
        port=port,
        requests=tuple(
            request_bytes(server.protocol.request(one), f"{host}:{port}") for one in model.inputs
        ),
        rate=case.rate,
        duration=case.duration,
        buffer_size=case.buffer_size,
        workers=case.workers,
        seed=case.seed,
        warmup=case.warmup,
        timeout=case.timeout,
        drain=case.drain,
        priority=case.priority,
    )
    next_look = 0.0

    def look(store: RecordStore) -> None:
        nonlocal next_look
        if (now := time.monotonic()) >= next_look:
            next_look = now + _ALIVE_INTERVAL
            server.check_alive()
        watch(store)

    server.check_alive()
    with ResourceMonitor(server.pids) as monitor:
        load = run_load(spec, look)
    server.check_alive()
    records = check_answers(load, server, model)
    start = load.start / 1e9
    return CaseResult(
        name=case.name,
        nodeid=case.nodeid,
        server=info,
        rate=case.rate,
        buffer_size=case.buffer_size,
        duration=case.duration,
        workers=case.workers,
        seed=case.seed,
        model=model.name,
        weights_sha256=model.weights_sha256,
        input_source=model.input_source,
        summary=summarize(records, case.rate),
        resources=monitor.resources(start, start + case.duration),
        generator=load.generator,
        invalid_reason=invalid_reason(records, case.max_lag),
        records=records,
    )


def request_bytes(request: HttpRequest, host: str) -> bytes:
    """Return the whole HTTP/1.1 request for a server at ``host``."""
    lines = [
        f"{request.method} {request.path} HTTP/1.1",
        f"Host: {host}",
        *(f"{name}: {value}" for name, value in request.headers),
        f"Content-Length: {len(request.body)}",
    ]
    return "\r\n".join((*lines, "", "")).encode("latin-1") + request.body


def check_answers(load: LoadResult, server: RunningServer, model: ServedModel) -> Records:
    """Return the records, with sampled answers that are not the model's as ``bad_response``.

    A fast wrong answer is not a success.
    """
    outcome = load.records.outcome.copy()
    for index, body in load.answers.items():
        if outcome[index] != Outcome.OK:
            continue
        which = load.payloads[index]
        try:
            answer = server.protocol.read(body)
        except BadResponseError:
            outcome[index] = Outcome.BAD_RESPONSE
            continue
        expected = model.outputs[which]
        if answer.shape != expected.shape or not np.allclose(
            answer, expected, rtol=model.rtol, atol=model.atol
        ):
            outcome[index] = Outcome.BAD_RESPONSE
    return dataclasses.replace(load.records, outcome=outcome)
