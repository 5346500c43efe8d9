"""Memory that reading streamed answers takes: ``python -m benchmarks.stream_memory STREAMS PARTS``.

It makes a load of that many streams, reads them as the plugin does, and prints as JSON how many
events with output came, and in bytes the peak of this process beyond what it had before, and the
size of the records.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import sys
from typing import Final

import numpy as np
import psutil

from pytest_servebench.load.arrivals import Constant
from simulation.streaming import DONE, Script, chat, serve

_RATE: Final = 20.0
_LASTS: Final = 1.0  # seconds of a stream


def main(streams: int, parts: int) -> None:
    """Make the load, and print."""
    step = _LASTS / parts
    writes = [(step * number, chat(f"token {number} ")) for number in range(parts)]
    request = Script([*writes, (_LASTS, chat("", "stop") + DONE)]).request()
    with serve() as server:
        server.stamps()
        before = psutil.Process().memory_info().rss
        made = server.load(
            [request], rate=_RATE, duration=streams / _RATE, workers=100, buffer_size=1000,
            arrivals=Constant(), samples=0,
        )  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    records = made.load.records
    assert records.streams is not None
    arrays = [getattr(one, item.name) for one in (records, records.streams)
              for item in dataclasses.fields(one)]  # fmt: skip
    size = sum(one.nbytes for one in arrays if isinstance(one, np.ndarray))
    told = {"streams": int(records.ok.sum()), "events": len(records.streams.times),
            "peak": peak - before, "records": size}  # fmt: skip
    print(json.dumps(told))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
