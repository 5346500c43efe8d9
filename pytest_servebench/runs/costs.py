"""How much CPU time the requests of a load cost the server and the generator."""

import math
from typing import Final

from pytest_servebench.load.store import Outcome
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.stats.machine_paces import Work

_TELLING: Final = 100  # requests: of fewer, the cost does not show the speed of one load


def work_of(result: CaseResult, *, overloaded: bool = False, least: int = _TELLING) -> Work | None:
    """Return the cost of a load's requests; ``None`` if it is unknown, or they are too few.

    A server's processes are seen only on this machine.

    Args:
        result: of the load.
        overloaded: whether the server had more to do than it could.
        least: requests and successes, 1 or more.
    """
    generator, outcomes = result.generator, result.summary.outcomes
    server = result.summary.estimates.get("cpu_per_request")
    sent = result.summary.arrivals - outcomes.get(Outcome.DROPPED.label, 0)
    succeeded = outcomes.get(Outcome.OK.label, 0)
    if generator.received_bytes is None or generator.reconnections is None:
        return None
    if min(sent, succeeded) < least or not generator.cpu_seconds:
        return None
    return Work(
        rate=sent / result.duration,
        generator=generator.cpu_seconds / sent,
        server=math.nan if server is None or not server.value else server.value,
        answer=generator.received_bytes / succeeded,
        connections=generator.reconnections / sent,
        failed=1 - succeeded / sent,
        overloaded=overloaded,
    )
