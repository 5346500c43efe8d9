"""The engine in this process: without the time that a process of its own takes to start."""

import tempfile
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import uvloop

from pytest_servebench.load.draws import drawn, sample_stream, sampled_arrivals
from pytest_servebench.load.engine import Engine
from pytest_servebench.load.records import Records, new_store
from pytest_servebench.load.session_engine import SessionEngine
from pytest_servebench.load.spec import LoadSpec


@dataclass(frozen=True)
class Made:
    """What an engine left behind; see LoadResult."""

    records: Records
    payloads: npt.NDArray[np.uint32]
    answers: Mapping[int, bytes]
    failures: Mapping[str, int]
    resent: int
    connections: int
    received: int
    heads: Mapping[int, bytes]
    own_failures: Mapping[str, int]


def run_engine(
    spec: LoadSpec,
    run: Callable[[Coroutine[Any, Any, Engine]], Engine] = uvloop.run,
    begin: Callable[[], object] = lambda: None,
) -> tuple[Engine, Records, npt.NDArray[np.uint32]]:
    """Run an engine in an event loop, in which ``begin`` is called first.

    Give it with its records, and the index of each arrival's request.
    """
    with tempfile.TemporaryFile() as file:
        plan = drawn(spec)
        size = len(plan.scheduled)
        sampled = sampled_arrivals(size, spec.samples, sample_stream(spec.seed, spec.rate))
        store = new_store(file, plan.scheduled, plan.payloads, int(spec.duration * 1e9))

        async def engine() -> Engine:
            made = (SessionEngine if spec.think else Engine)(spec.job(sampled), store)
            begin()
            await made.run()
            return made

        made = run(engine())
        records = Records.of(store)
        store.close()
    return made, records, plan.payloads


def make_load(spec: LoadSpec) -> Made:
    engine, records, payloads = run_engine(spec)
    failures = {f"{outcome.label}: {why}": n for (outcome, why), n in engine.reasons.items()}
    return Made(
        records, payloads, engine.answers, failures, engine.resent,
        engine.connections, engine.received, engine.heads, engine.own_failures,
    )  # fmt: skip
