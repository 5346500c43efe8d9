"""CPU time per request of the generator's process tree, against nginx."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import plotting, stats
from benchmarks.measure import (
    HELD_IN_WORDS,
    MeasurementError,
    held,
    make_job,
    run_with_window,
    scratch,
)
from benchmarks.parts import Bar, Data
from benchmarks.peers import Peer
from benchmarks.peers.registry import BY_NAME, OURS, PLACE, available
from benchmarks.rounds import CONNECTIONS, rounds, say
from benchmarks.settings import Settings
from benchmarks.targets import nginx

NAME = "cost"
TITLE = "CPU time per request"
RATES = (1_000, 5_000, 20_000)
MAXIMUM = 0
"""The "rate" of a closed loop: as fast as it can."""
FACTOR = 2.0
WRK_FACTOR = 3.0
_HOPELESS = 0.5
"""Share of the rate below which a peer is not measured at it again."""


def run(settings: Settings) -> Data:
    """Measure every peer at every rate."""
    peers = available(settings.only)
    runs: list[dict[str, Any]] = []
    hopeless: set[tuple[str, int]] = set()
    for rate in (*RATES, MAXIMUM):
        chosen = [peer for peer in peers if peer.open_loop == (rate != MAXIMUM)]
        for number, peer in rounds(settings, chosen):
            if (peer.name, rate) in hopeless:
                continue
            one = _measure(peer, rate, number, settings)
            say(NAME, number + 1, peer.name, rate or "maximum", one)
            runs.append(one)
            if rate and one.get("rate", 0.0) < _HOPELESS * rate:
                hopeless.add((peer.name, rate))
    return {"runs": runs, "body_bytes": settings.body_bytes}


def _measure(peer: Peer, rate: int, number: int, settings: Settings) -> dict[str, Any]:
    one = {
        "peer": peer.name,
        "place": PLACE[peer.name],
        "offered": rate,
        "repeat": number,
        "window": settings.seconds,
    }
    try:
        with scratch() as directory, nginx.serve(directory) as server:
            job = make_job(
                directory, settings, port=server.port, rate=rate,
                seconds=settings.load_seconds, connections=CONNECTIONS, seed=number,
            )  # fmt: skip
            window = run_with_window(peer, job, server, settings)
            told = peer.told(job)
    except MeasurementError as error:
        return one | {"error": str(error)}
    return one | {
        "rate": window.rate,
        "cpu": window.cpu_per_request,
        "busiest": window.busiest_seconds / max(window.requests, 1) * 1e6,
        "cores": window.cpu_seconds / window.seconds,
        "processes": window.processes,
        "threads": window.threads,
        "dropped": told.get("dropped", 0),
    }


def _held(runs: Sequence[dict[str, Any]]) -> bool:
    """Return whether the median of some runs held the rate."""
    rate = stats.spread(one.get("rate") for one in runs)
    return bool(rate and held(rate.median, runs[0]["offered"], runs[0]["window"]))


def _cpu(data: Data, peer: str, rate: int) -> stats.Spread | None:
    return stats.spread(
        one.get("cpu") for one in stats.select(data["runs"], peer=peer, offered=rate)
    )


def _cell(data: Data, peer: str, rate: int) -> str:
    runs = stats.select(data["runs"], peer=peer, offered=rate)
    cell = stats.text(_cpu(data, peer, rate), "{:.1f}")
    if cell != "–" and rate != MAXIMUM and not _held(runs):
        rate_held = stats.spread(one.get("rate") for one in runs)
        assert rate_held is not None
        return f"held {rate_held.median:,.0f}/s: {cell}"
    return cell


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return the CPU time at each rate."""
    peers = stats.names(data["runs"])
    return {
        f"CPU µs/request at {rate:,}/s": {
            peer: _cell(data, peer, rate if BY_NAME[peer].open_loop else MAXIMUM)
            + ("" if BY_NAME[peer].open_loop else " (at its maximum)")
            for peer in peers
        }
        for rate in RATES
    }


def bars(data: Data) -> Sequence[Bar]:
    """Compare with the cheapest open-loop peer that holds each rate, and with wrk."""
    result = [_against_peers(data, rate) for rate in RATES]
    ours, wrk = _cpu(data, OURS, RATES[-1]), _cpu(data, "wrk", MAXIMUM)
    what = f"CPU per request at {RATES[-1]:,}/s over wrk's at its maximum"
    limit = f"≤ {WRK_FACTOR:g}"
    if ours is None or wrk is None:
        result.append(Bar(what, "not measured", limit, None))
    else:
        ratio = ours.median / wrk.median
        figure = f"{ours.median:.1f} / {wrk.median:.1f} µs = {ratio:.2f}"
        kept = _held(stats.select(data["runs"], peer=OURS, offered=RATES[-1]))
        result.append(Bar(what, figure, limit, kept and ratio <= WRK_FACTOR))
    return result


def _against_peers(data: Data, rate: int) -> Bar:
    what = f"cheapest open-loop peer's CPU per request over ours at {rate:,}/s"
    limit = f"≥ {FACTOR:g}"
    ours = _cpu(data, OURS, rate)
    if ours is None or not _held(stats.select(data["runs"], peer=OURS, offered=rate)):
        return Bar(what, "ours did not hold the rate" if ours else "not measured", limit,
                   False if ours else None)  # fmt: skip
    costs = []
    for peer in stats.names(data["runs"]):
        runs = stats.select(data["runs"], peer=peer, offered=rate)
        cost = _cpu(data, peer, rate)
        if peer != OURS and BY_NAME[peer].open_loop and cost:
            costs.append((not _held(runs), cost.median, peer))
    if not costs:
        return Bar(what, "no open-loop peer was measured", limit, None)
    # The cheapest peer that holds the rate counts; if none does, the cheapest of the others.
    short, cost_median, peer = min(costs)
    note = ", which did not hold the rate; no peer did" if short else ""
    figure = f"{cost_median:.1f} µs ({peer}{note}) / {ours.median:.1f} µs"
    ratio = cost_median / ours.median
    return Bar(what, f"{figure} = {ratio:.1f}", limit, ratio >= FACTOR)


def section(data: Data) -> str:
    """Return the table and the plot."""
    rows = []
    for peer in stats.names(data["runs"]):
        rates = RATES if BY_NAME[peer].open_loop else (MAXIMUM,)
        for rate in rates:
            runs = stats.select(data["runs"], peer=peer, offered=rate)
            errors = [one["error"] for one in runs if "error" in one]
            rows.append([
                peer,
                f"{rate:,}" if rate else "closed loop",
                stats.text(stats.spread(one.get("rate") for one in runs), "{:,.0f}"),
                ("yes" if _held(runs) else "**no**") if rate else "–",
                stats.text(_cpu(data, peer, rate), "{:.1f}"),
                stats.text(stats.spread(one.get("busiest") for one in runs), "{:.1f}"),
                stats.text(stats.spread(one.get("cores") for one in runs), "{:.2f}"),
                stats.text(stats.spread(one.get("processes") for one in runs)),
                stats.text(stats.spread(one.get("threads") for one in runs)),
                str(len(runs)) + (f", {len(errors)} failed: {errors[0][:80]}" if errors else ""),
            ])  # fmt: skip
    head = ["peer", "offered /s", "answered /s", "held", "CPU µs per request",
            "in the busiest process", "cores in use",
            "processes", "active threads", "runs"]  # fmt: skip
    return "\n\n".join([
        f"Bodies of {data['body_bytes']:,} bytes, posted to nginx with one worker. CPU time is "
        "that of the generator's process tree, by its CPU clocks, divided by the requests nginx "
        "counted in the same steady window, without start-up and shutdown. "
        f"{HELD_IN_WORDS} A peer that reached less than half of the rate in its first run was not "
        "measured at that rate again. Our tree has two processes: the generator, and the parent, "
        "which watches its records.",
        plotting.table(head, rows),
        _plot(data),
    ])  # fmt: skip


def _plot(data: Data) -> str:
    groups: dict[str, list[stats.Spread | None]] = {}
    for peer in stats.names(data["runs"]):
        if BY_NAME[peer].open_loop:
            groups[peer] = [
                _cpu(data, peer, rate)
                if _held(stats.select(data["runs"], peer=peer, offered=rate))
                else None
                for rate in RATES
            ]
    floor = _cpu(data, "wrk", MAXIMUM)
    return plotting.grouped_bars(
        "cost",
        [f"{rate:,}/s" for rate in RATES],
        groups,
        label="CPU µs per request (rates held only)",
        line=("wrk at its maximum", floor.median) if floor else None,
    )
