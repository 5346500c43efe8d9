"""Streamed answers that share a connection of HTTP/2, with TLS and a server of another's making."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pytest_servebench.load.arrivals import Constant
from pytest_servebench.load.runner import run_load
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.target import Target
from pytest_servebench.load.tls import Tls
from pytest_servebench.load.transports.base import Terms
from pytest_servebench.protocols.http2 import Http2Request
from pytest_servebench.streaming.collect import collect
from tests.load.h2_server import Peer, serving
from tests.load.test_http2_loads import secured
from tests.load.test_transports import certificate

__all__ = ["certificate"]

COUNTS = (1, 3, 8)
GAP = 0.02


def behave(peer: Peer, stream: int, body: bytes) -> None:
    """Send as many events as are asked for."""
    count = json.loads(body)
    peer.h2.send_headers(stream, [(b":status", b"200")])
    for number in range(count):
        data, last = b"data: %d\n\n" % number, number == count - 1
        peer.later(GAP * number, partial(peer.h2.send_data, stream, data, last))


@pytest.mark.slow
def test_each_stream_has_its_own_events(certificate: Path) -> None:
    requests = [
        Http2Request("POST", "/", body=json.dumps(count).encode(), stream="sse") for count in COUNTS
    ]
    with serving(behave, tls=secured(certificate, "h2")) as server:
        target = Target.parse(f"https://localhost:{server.port}", Tls(ca_file=str(certificate)))
        made = run_load(LoadSpec(
            target=target, requests=tuple(one.prepared(target) for one in requests),
            transport="http/2", terms=Terms(most_parts=100, streams=8), rate=60, duration=0.5,
            arrivals=Constant(), workers=8, buffer_size=30, warmup=0.0,
        ))  # fmt: skip
    load = collect(made, [one.way for one in requests if one.way is not None]).load
    records, streams = load.records, load.records.streams
    assert records.counts()["ok"] == len(records) == 30
    assert len(server.peers) == 1
    assert streams is not None
    assert (np.diff(streams.offsets) == np.array(COUNTS)[load.payloads]).all()
    assert (records.sent <= streams.first()).all()
    assert (streams.last() == records.done).all()
    # The answers came at the same time.
    assert (records.sent[1:] < records.done[:-1]).sum() > 5
