"""The cost of streamed answers, and the error of their times."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks import kept_parts, plotting, stats
from benchmarks.pages import make_page
from benchmarks.parts import Bar, Data
from benchmarks.rounds import say
from benchmarks.settings import ROOT, Settings
from benchmarks.targets import bare_reader
from pytest_servebench.load.runner import LoadResult, run_load
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.transports.base import Terms
from pytest_servebench.streaming.collect import collect
from pytest_servebench.streaming.formats import MOST_PARTS
from simulation.streaming import DONE, Script, StreamServer, chat, serve

NAME = "streams"
TITLE = "Streamed answers"
RATE: Final = 100.0
PARTS: Final = 32
_STEP: Final = 0.01  # seconds between two parts
_WORKERS: Final = 100
_MOST_COST: Final = 1.10
_MOST_ERROR: Final = 200.0  # µs
_MOST_MEMORY: Final = 100e6
_STREAMS: Final = (2_000, 500)  # and parts of each, for the memory
_FEW: Final = (20, 5)  # for what a page takes at least
_LARGEST: Final = 3e6  # bytes of a page
_LONGEST: Final = 5.0  # seconds

_EVENTS: Final = [chat(f"token{number} ") for number in range(PARTS - 1)]
_EVENTS.append(chat("end", "stop") + DONE)
_STREAMED: Final = Script([(_STEP * number, one) for number, one in enumerate(_EVENTS)])
_WHOLE: Final = Script([(_STEP * (PARTS - 1), b"".join(_EVENTS))], plain=True)
_WAYS: Final[Mapping[str, tuple[Script, int]]] = {
    "plain answer": (_WHOLE, 0),
    "streamed": (_STREAMED, MOST_PARTS),
}
_PLAIN, _KEPT = _WAYS
_BARE: Final = "bare client"
_HALF: Final = "parts of half kept"
_TURN: Final = (_HALF, _PLAIN, _HALF, _KEPT, _HALF, _BARE)


def run(settings: Settings) -> Data:
    """Measure CPU times in turn, with the errors of the stamps; then the memory."""
    runs = []
    with serve() as server:
        for number in range(settings.repeats):
            for place, way in enumerate(stats.rotated(_TURN, number)):
                seed = len(_TURN) * number + place
                one = {"way": way, "repeat": number, **_measure(server, way, seed, settings)}
                say(NAME, number + 1, one)
                runs.append(one)
    with tempfile.TemporaryDirectory(prefix="servebench-streams-") as scratch:
        few = _saved(_FEW, Path(scratch) / "few")
        memory = _saved((100, 50) if settings.quick else _STREAMS, Path(scratch) / "many")
        pages = [
            {"streams": told["streams"], **make_page(Path(told["run"]))}
            for _ in range(settings.repeats)
            for told in (few, memory)
        ]
    return {"runs": runs, "memory": memory, "pages": pages, "bytes": sum(map(len, _EVENTS))}


def _measure(server: StreamServer, way: str, seed: int, settings: Settings) -> dict[str, Any]:
    if way == _BARE:
        cpu, late = bare_reader.read(server, _STREAMED, RATE, settings.load_seconds, seed)
        return {"failed": 0, "cpu": cpu, **_figures(late)}
    if way == _HALF:
        spec = _spec(server, _STREAMED, MOST_PARTS, seed, settings.seconds)
        return asdict(kept_parts.measure(spec))
    server.stamps()
    made = run_load(_spec(server, *_WAYS[way], seed, settings.load_seconds))
    one: dict[str, Any] = {
        "requests": len(made.records),
        "failed": int((~made.records.ok).sum()),
        "cpu": made.generator.cpu_seconds / len(made.records) * 1e6,
    }
    return one if made.journal is None else one | _errors(made, server)


def _figures(late: npt.NDArray[np.int64]) -> dict[str, float]:
    p50, p99, most = np.quantile(late, [0.5, 0.99, 1.0]) / 1e3
    return {"p50": float(p50), "p99": float(p99), "max": float(most)}


def _saved(size: tuple[int, int], results: Path) -> dict[str, Any]:
    """Return the figures of a load of so many streams of so many parts, saved below ``results``."""
    command = [sys.executable, "-m", "benchmarks.stream_memory", *map(str, size), str(results)]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(told)
    return found


def _spec(server: StreamServer, script: Script, most: int, seed: int, seconds: float) -> LoadSpec:
    return server.spec(
        [script.request()], terms=Terms(most_parts=most), rate=RATE, duration=seconds, seed=seed,
        workers=_WORKERS, buffer_size=1_000, samples=0,
    )  # fmt: skip


def _errors(made: LoadResult, server: StreamServer) -> dict[str, float]:
    """Return how much later than the server wrote them events were stamped here, µs."""
    way = _STREAMED.request().way
    assert way is not None
    load = collect(made, [way]).load
    streams = load.records.streams
    assert streams is not None
    written = server.stamps()
    # Both in the order of requests: two that change places are only µs apart.
    late: list[npt.NDArray[np.int64]] = []
    for index, (_, wrote) in zip(np.argsort(load.records.sent).tolist(), written, strict=True):
        seen = streams.times[streams.offsets[index] : streams.offsets[index + 1]] + load.start
        if len(seen) == len(wrote):
            late.append(seen - np.array(wrote))
    return {**_figures(np.concatenate(late)), "bunched": int(streams.bunched.sum())}


def _cost(data: Data, way: str) -> stats.Spread | None:
    return stats.spread(one.get("cpu") for one in stats.select(data["runs"], way=way))


def _late(data: Data, way: str, name: str) -> stats.Spread | None:
    return stats.spread(one.get(name) for one in stats.select(data["runs"], way=way))


def _over_plain(data: Data) -> stats.Spread | None:
    plain = [one["cpu"] for one in stats.select(data["runs"], way=_PLAIN)]
    return kept_parts.over_plain(_works(data), plain)


def _works(data: Data) -> list[dict[str, float]]:
    names = [item.name for item in fields(kept_parts.Work)]
    return [{name: one[name] for name in names} for one in stats.select(data["runs"], way=_HALF)]


def _pages(data: Data, name: str, *, few: bool = False) -> list[float]:
    """Return the figures of the pages of the many or the few streams."""
    number = min(one["streams"] for one in data["pages"])
    return [float(one[name]) for one in data["pages"] if (one["streams"] == number) is few]


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: this is about ours alone."""
    del data
    return {}


def bars(data: Data) -> Sequence[Bar]:
    """Compare cost, error and memory with their limits."""
    over = _over_plain(data)
    late, bare = (_late(data, way, "p99") for way in (_KEPT, _BARE))
    memory = data["memory"]
    beyond = memory["peak"] - memory["records"]
    return [
        Bar(f"CPU per request of {PARTS} parts beyond their reads, over a plain answer's "
            "(and its 95 % interval)", stats.text(over, "{:.3f}"), f"≤ {_MOST_COST:.2f}",
            None if over is None else over.median <= _MOST_COST),
        Bar("time of an event after the server's write, p99",
            f"{stats.text(late)} µs; a bare client's {stats.text(bare)} µs",
            f"≤ {_MOST_ERROR:.0f} µs", None if late is None else late.median <= _MOST_ERROR),
        Bar(f"memory of pytest's process beyond the records, {memory['streams']:,} streams with "
            f"{memory['events']:,} events", f"{beyond / 1e6:.0f} MB",
            f"≤ {_MOST_MEMORY / 1e6:.0f} MB", beyond <= _MOST_MEMORY),
        *_page_bars(data),
    ]  # fmt: skip


def _page_bars(data: Data) -> Sequence[Bar]:
    memory = data["memory"]
    what = f"page of {memory['streams']:,} streams with {memory['events']:,} events"
    size, seconds, peak = (max(_pages(data, name)) for name in ("bytes", "cpu", "peak"))
    beyond = peak - min(_pages(data, "peak", few=True)) - memory["records"]
    return [
        Bar(f"{what}: size", f"{size / 1e6:.2f} MB", f"< {_LARGEST / 1e6:.0f} MB",
            size < _LARGEST),
        Bar(f"{what}: CPU time of `pytest-servebench report`, the most", f"{seconds:.2f} s",
            f"< {_LONGEST:g} s", seconds < _LONGEST),
        Bar(f"{what}: memory beyond the records, and what a page of few takes",
            f"{beyond / 1e6:.0f} MB", f"≤ {_MOST_MEMORY / 1e6:.0f} MB", beyond <= _MOST_MEMORY),
    ]  # fmt: skip


def section(data: Data) -> str:
    """Return the tables."""
    rows = []
    for way in (*_WAYS, _BARE):
        runs = stats.select(data["runs"], way=way)
        rows.append([
            way, stats.text(_cost(data, way)),
            *(stats.text(_late(data, way, name)) for name in ("p50", "p99", "max")),
            str(sum(one["failed"] for one in runs)), str(len(runs)),
        ])  # fmt: skip
    memory, works = data["memory"], _works(data)
    return "\n\n".join([
        f"{RATE:.0f} requests/s to a server that writes {PARTS} events of a chat, "
        f"{data['bytes']:,} bytes, {_STEP * 1e3:.0f} ms apart; as a plain answer, all of them at "
        "the end. Late is the time of an event, here, after the server's own stamp, which it takes "
        "just before it writes; server and generator have real-time priority. A *bare client* only "
        "reads and stamps: what it is late by, the machine is.",
        plotting.table(["", "CPU µs per request", "late p50 µs", "p99 µs", "max µs", "failed",
                        "runs"], rows),
        f"What measuring costs, in {len(works)} further loads: half of the connections keep parts, "
        "half read the same and keep nothing. Times are those in callbacks of the event loop, "
        "without the slowest and the fastest 5 % of the answers.",
        plotting.table(["", "µs for an answer"], [
            [what, stats.text(stats.spread(one[name] for one in works))]
            for what, name in (("reading it", "read"), ("and keeping its parts", "kept"),
                               ("writing it to the journal", "journal"))
        ]),
        f"The process that reads {memory['streams']:,} streams of {memory['events']:,} events in "
        f"all grows by {memory['peak'] / 1e6:.0f} MB, of which the records are "
        f"{memory['records'] / 1e6:.0f} MB.",
        "Their page, by `pytest-servebench report RUN --output FILE`, from the start of the "
        "program to its end:",
        plotting.table(["streams", "CPU time, s", "peak memory, MB", "size, MB"], [
            [f"{number:,}", stats.text(stats.spread(_pages(data, "cpu", few=few)), "{:.2f}"),
             f"{max(_pages(data, 'peak', few=few)) / 1e6:.0f}",
             f"{max(_pages(data, 'bytes', few=few)) / 1e6:.2f}"]
            for number, few in (
                (min(one["streams"] for one in data["pages"]), True), (memory["streams"], False),
            )
        ]),
    ])  # fmt: skip
