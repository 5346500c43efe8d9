"""A server of HTTP/2 that ends calls, streams and connections in any way: each call ends once."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise

import pytest
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.store import Outcome
from pytest_servebench.load.target import Target
from pytest_servebench.load.transports.base import Terms
from pytest_servebench.load.transports.http2.prepared import grpc_message, prepared
from tests.load.h2_server import Behaviour, Peer, serving
from tests.load.http2_wire import ASKED, REQUEST
from tests.load.in_process import run_engine


def any_end(dice: random.Random) -> Behaviour:
    """Return what ends calls, streams and connections in any way and order."""

    def behave(peer: Peer, stream: int, body: bytes) -> None:
        def later(do: Callable[[], None]) -> None:
            def unless_gone() -> None:
                with suppress(ProtocolError):
                    do()

            peer.later(dice.choice([0, 0.001, 0.03]), unless_gone)

        end = dice.random()
        if end < 0.8:
            later(lambda: peer.answer(stream, body))
        elif end < 0.84:
            peer.h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
        elif end < 0.88:
            later(lambda: peer.h2.reset_stream(stream, dice.choice(list(ErrorCodes))))
        elif end < 0.9:
            peer.goaway(max(0, stream - 2 * dice.randrange(4)))
        elif end < 0.92:
            peer.retire()
        elif end < 0.94:
            peer.transport.abort()
        elif end < 0.97:
            window = dice.choice([0, 10, 65_535, 2**20])
            for most, size in ((dice.randrange(5), window), (3, 65_535)):
                settings: dict[SettingCodes | int, int] = {
                    SettingCodes.MAX_CONCURRENT_STREAMS: most,
                    SettingCodes.INITIAL_WINDOW_SIZE: size,
                }
                later(partial(peer.h2.update_settings, settings))
        # else there is no answer

    return behave


@pytest.mark.parametrize("keep_alive", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "streams", [3, *(pytest.param(number, marks=pytest.mark.slow) for number in (1, 12))]
)
def test_every_call_ends_once_whatever_a_server_does(streams: int, keep_alive: bool) -> None:
    failures: list[object] = []

    def begin() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: failures.append(told))

    requests = (REQUEST, prepared(ASKED, grpc_message(bytes(70_000))))
    terms = Terms(streams=streams, keep_alive=keep_alive)
    with serving(
        any_end(random.Random(streams)), {SettingCodes.MAX_CONCURRENT_STREAMS: 3}
    ) as server:
        target = Target("127.0.0.1", server.port)
        spec = LoadSpec(
            target=target, requests=requests, rate=300.0, duration=0.7, buffer_size=50, workers=12,
            seed=streams, warmup=0.0, timeout=0.3, drain=2.0, transport="grpc", terms=terms,
        )  # fmt: skip
        engine, records, _ = run_engine(spec, begin=begin)
    counts = records.counts()
    assert sum(counts.values()) == len(records)
    assert counts["ok"]
    assert counts["unfinished"] == 0
    assert failures == []
    assert engine.opening == 0
    answered = records.outcome == Outcome.OK
    for earlier, column in pairwise(("enqueued", "dequeued", "sent", "first_byte", "done")):
        before, after = (getattr(records, name)[answered] for name in (earlier, column))
        assert (before <= after).all()
    assert (records.sent <= records.done).all()
