"""How memory grows with the number of requests."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks import measure, plotting, stats
from benchmarks.parts import Bar, Data
from benchmarks.peers import Peer
from benchmarks.peers.registry import BY_NAME, OURS, PLACE, available
from benchmarks.peers.servebench import GENERATOR
from benchmarks.processes import Memory, peak_memory
from benchmarks.rounds import CONNECTIONS, rounds, say
from benchmarks.settings import Settings
from benchmarks.targets import nginx

NAME = "memory"
TITLE = "Memory per request"
LIMIT: Final = 100.0
SHORT: Final = 1.0
LONG: Final = 12.0
_COLUMN: Final = "memory per million requests, MB"


def run(settings: Settings) -> Data:
    """Measure every peer's growth from a short run to a long one."""
    runs = []
    for number, peer in rounds(settings, available(settings.only)):
        one = _measure(peer, number, settings)
        say(NAME, number + 1, peer.name, one)
        runs.append(one)
    return {"runs": runs, "seconds": [SHORT, LONG]}


def _measure(peer: Peer, number: int, settings: Settings) -> dict[str, Any]:
    one = {"peer": peer.name, "place": PLACE[peer.name], "repeat": number}
    try:
        short = _peaks(peer, SHORT, number, settings)
        long = _peaks(peer, LONG, number, settings)
    except measure.MeasurementError as error:
        return one | {"error": str(error)}
    requests = long[0] - short[0]
    if requests <= 0:
        return one | {"error": "the longer run made no more requests"}
    whole = sum(item.peak for item in long[1]) - sum(item.peak for item in short[1])
    ours = _generator(long[1]) - _generator(short[1])
    return one | {
        "requests": requests,
        "bytes": whole / requests,
        "generator": ours / requests if peer.name == OURS else None,
    }


def _generator(peaks: Sequence[Memory]) -> int:
    return sum(item.peak for item in peaks if GENERATOR in item.command)


def _peaks(peer: Peer, seconds: float, seed: int, settings: Settings) -> tuple[int, list[Memory]]:
    """Return the requests served, and the peak of every process that there was."""
    peaks: dict[int, Memory] = {}
    with measure.scratch() as directory, nginx.serve(directory) as server:
        job = measure.make_job(
            directory, settings, port=server.port, rate=peer.top_rate, seconds=seconds,
            connections=CONNECTIONS, seed=seed,
        )  # fmt: skip
        with measure.started(peer, job) as process:
            # The peak covers the whole life of a process: the last sample before it exits has it.
            while process.poll() is None:
                peaks.update(peak_memory(process.pid))
                time.sleep(0.02)
            measure.finish(peer, job, process)
        return server.served(), list(peaks.values())


def _bytes(data: Data, peer: str, key: str = "bytes") -> stats.Spread | None:
    return stats.spread(one.get(key) for one in stats.select(data["runs"], peer=peer))


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return the growth of whole process trees."""
    # Bytes per request are megabytes per million requests.
    return {
        _COLUMN: {
            peer: stats.text(_bytes(data, peer), "{:,.0f}") for peer in stats.names(data["runs"])
        }
    }


def bars(data: Data) -> Sequence[Bar]:
    """Compare our generator's growth with the limit."""
    what = "memory of our generator per request, including the records"
    grown = _bytes(data, OURS, "generator")
    if grown is None:
        return [Bar(what, "not measured", f"≤ {LIMIT:.0f} bytes", None)]
    figure = grown.text() + " bytes"
    return [Bar(what, figure, f"≤ {LIMIT:.0f} bytes", grown.median <= LIMIT)]


def section(data: Data) -> str:
    """Return the table."""
    rows = []
    for peer in stats.names(data["runs"]):
        runs = stats.select(data["runs"], peer=peer)
        errors = [one["error"] for one in runs if "error" in one]
        count = stats.spread(one.get("requests") for one in runs)
        note = str(len(runs)) + (f", {len(errors)} failed: {errors[0][:80]}" if errors else "")
        rows.append([peer, stats.text(count, "{:,.0f}"), stats.text(_bytes(data, peer)), note])
        if peer == OURS:
            rows.append([f"{peer}, generator only", stats.text(count, "{:,.0f}"),
                         stats.text(_bytes(data, peer, "generator")), note])  # fmt: skip
    short, long = data["seconds"]
    rates = ", ".join(
        f"{peer} {BY_NAME[peer].top_rate:,.0f}/s"
        for peer in stats.names(data["runs"])
        if BY_NAME[peer].open_loop
    )
    return "\n\n".join([
        f"Peak resident memory of a run of {long:g} s minus that of a run of {short:g} s, divided "
        "by the difference in requests; all processes of the generator, with shared memory counted "
        "in each. Bytes per request are megabytes per million requests. Each peer runs at a rate "
        f"that it handles easily: {rates}; wrk and hey run as fast as they can. Our records are in "
        "memory shared by generator and parent; the parent copies them at the end.",
        plotting.table(["peer", "additional requests", "bytes per request", "rounds"], rows),
    ])  # fmt: skip
