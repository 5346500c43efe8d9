"""Memory that reading streamed answers takes.

``python -m benchmarks.stream_memory STREAMS PARTS RESULTS`` makes a load of that many streams,
reads them as the plugin does, saves a run with it below RESULTS, and prints as JSON how many events
with output came, the run's file, and in bytes the peak of this process beyond what it had before,
and the size of the records.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import sys
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from benchmarks import pages
from pytest_servebench.load.arrivals import Constant
from pytest_servebench.load.records import Records
from pytest_servebench.objectives.goodput import with_goodput
from pytest_servebench.objectives.slo import judge, parse_slo
from pytest_servebench.runs.results import CaseResult
from simulation import saved
from simulation.streaming import DONE, Script, chat, serve

_RATE: Final = 40.0
_LASTS: Final = 1.0  # seconds of a stream
_LATE: Final = 0.001  # seconds beyond which an arrival is late


def main(streams: int, parts: int, results: Path) -> None:
    """Make the load, save it and print."""
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
            "peak": peak - before, "records": size,
            "run": str(pages.save(saved.run([_case(records)]), results))}  # fmt: skip
    print(json.dumps(told))


def _case(records: Records) -> CaseResult:
    """Return a case with an SLO, so that the page draws its bounds and goodput."""
    clauses = parse_slo("ttft.p99<300ms, tpot.p99<50ms")
    found = with_goodput(saved.case(records, rate=_RATE, records=records), clauses, _LATE)
    return dataclasses.replace(found, clauses=tuple(judge(clauses, found)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
