"""How late requests are sent: on an idle machine, and with a busy loop on every core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import measure, plotting, stats
from benchmarks.parts import Bar, Data
from benchmarks.peers import Job, Peer
from benchmarks.peers.registry import BY_NAME, OURS, PLACE, available
from benchmarks.processes import busy_loops, realtime_allowed
from benchmarks.rounds import CONNECTIONS, rounds, say
from benchmarks.settings import Settings
from benchmarks.targets import delay, nginx

NAME = "lag"
TITLE = "Send lag"
RATES: Final = (1_000, 5_000)
LIMITS: Final = {"idle": 150.0, "busy": 300.0}
"""Conditions, and limits of our p99 in µs."""
TARGETS: Final = ("nginx", "delay")
DELAY: Final = 0.005
QUANTILES: Final = ("p50", "p99", "p99.9")
_HOPELESS: Final = 0.5


def run(settings: Settings) -> Data:
    """Measure every open-loop peer, on both targets if it records its own timestamps."""
    peers = [peer for peer in available(settings.only) if peer.open_loop]
    runs: list[dict[str, Any]] = []
    hopeless: set[tuple[str, int]] = set()
    for rate in RATES:
        for number, peer in rounds(settings, peers):
            for condition in LIMITS:
                for target in TARGETS:
                    if (peer.name, rate) in hopeless or (target == "nginx" and not peer.tells):
                        continue
                    one = _measure(_Case(peer, rate, condition, target, number), settings)
                    say(NAME, number + 1, peer.name, rate, condition, target, one)
                    runs.append(one)
                    if condition == "idle" and one.get("rate", 0.0) < _HOPELESS * rate:
                        hopeless.add((peer.name, rate))
    return {
        "runs": runs,
        "body_bytes": settings.body_bytes,
        "delay": DELAY,
        "realtime": realtime_allowed(),
    }


@dataclass(frozen=True)
class _Case:
    """One run: peer, rate and conditions."""

    peer: Peer
    rate: int
    condition: str
    target: str
    number: int


def _measure(case: _Case, settings: Settings) -> dict[str, Any]:
    one = {
        "peer": case.peer.name, "place": PLACE[case.peer.name], "offered": case.rate,
        "repeat": case.number, "window": settings.seconds, "condition": case.condition,
        "target": case.target,
    }  # fmt: skip
    try:
        with measure.scratch() as directory:
            return one | _lags(case, settings, directory)
    except measure.MeasurementError as error:
        return one | {"error": str(error)}


def _lags(case: _Case, settings: Settings, directory: Path) -> dict[str, Any]:
    peer = case.peer
    arrived = np.zeros((0, 2), dtype=np.int64)
    with ExitStack() as stack:
        if case.target == "delay":
            server = stack.enter_context(delay.serve(directory, DELAY))
            port = server.port
        else:
            port = stack.enter_context(nginx.serve(directory)).port
        if case.condition == "busy":
            stack.enter_context(busy_loops(directory))
        job = measure.make_job(
            directory, settings, port=port, rate=case.rate, seconds=settings.load_seconds,
            connections=CONNECTIONS, seed=case.number, stamps=True,
        )  # fmt: skip
        measure.run(peer, job)
    if case.target == "delay":
        arrived = server.stamps
    own = peer.stamps(job) if peer.tells else None
    found: dict[str, Any] = {}
    if own is not None:
        steady = stats.inside(own.scheduled, settings.settle, settings.seconds)
        found["own"] = stats.lag_figures(own.lag(settings.settle, settings.seconds))
        # Sent within the same window: with a backlog, the rate was not held.
        sent = own.sent[own.sent >= 0]
        start = own.scheduled.min(initial=np.iinfo(np.int64).max) + int(settings.settle * 1e9)
        within = (sent >= start) & (sent < start + int(settings.seconds * 1e9))
        found["rate"] = float(within.sum() / settings.seconds)
        found["answered"] = float((own.done[steady] >= 0).mean()) if steady.any() else 0.0
    if len(arrived):
        times = arrived[:, 0]
        steady = stats.inside(times, settings.settle, settings.seconds)
        found.setdefault("rate", float(steady.sum() / settings.seconds))
        if own is not None:
            lag = stats.paired_lag(own.scheduled, times)
            if lag is not None:
                kept = stats.inside(np.sort(own.scheduled), settings.settle, settings.seconds)
                found["stamps"] = stats.lag_figures(lag[kept])
        else:
            found["stamps"] = stats.lag_figures(_lattice(peer, arrived[steady], job))
    return found


def _lattice(peer: Peer, arrived: stats.Times, job: Job) -> stats.Times:
    """Return the lags of a peer with a constant rate, from the server's timestamps only."""
    if peer.name != "locust":
        return stats.lattice_lag(arrived[:, 0], job.rate)
    # Each user has its own lattice and its own connection.
    each = [
        stats.lattice_lag(arrived[arrived[:, 1] == user, 0], job.rate / job.connections)
        for user in np.unique(arrived[:, 1])
    ]
    return np.concatenate(each) if each else np.zeros(0, dtype=np.int64)


def _held(runs: Sequence[dict[str, Any]]) -> bool:
    rate = stats.spread(one.get("rate") for one in runs)
    answered = stats.spread(one.get("answered", 1.0) for one in runs)
    return bool(
        rate
        and measure.held(rate.median, runs[0]["offered"], runs[0]["window"])
        and answered
        and answered.median >= measure.HELD
    )


def _spread(runs: Sequence[dict[str, Any]], way: str, quantile: str) -> stats.Spread | None:
    return stats.spread(one.get(way, {}).get(quantile) for one in runs)


def _best_way(peer: str) -> tuple[str, str]:
    """Return the target and the method of a peer's lag in the overview."""
    return ("nginx", "own") if BY_NAME[peer].tells else ("delay", "stamps")


def _runs(data: Data, peer: str, rate: int, condition: str, target: str) -> list[dict[str, Any]]:
    return stats.select(data["runs"], peer=peer, offered=rate, condition=condition, target=target)


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return the three quantiles at each rate, idle."""
    result: dict[str, dict[str, str]] = {}
    for rate in RATES:
        cells = result.setdefault(f"send lag µs at {rate:,}/s, p50 / p99 / p99.9", {})
        for peer in stats.names(data["runs"]):
            target, way = _best_way(peer)
            runs = _runs(data, peer, rate, "idle", target)
            values = [_spread(runs, way, quantile) for quantile in QUANTILES]
            rate_held = stats.spread(one.get("rate") for one in runs)
            if runs and not _held(runs):
                cells[peer] = f"held {rate_held.median:,.0f}/s" if rate_held else "failed"
            elif all(values):
                cells[peer] = " / ".join(f"{value.median:,.0f}" for value in values if value)
    return result


def bars(data: Data) -> Sequence[Bar]:
    """Compare our p99 with the limits, on both targets."""
    result = []
    for condition, limit in LIMITS.items():
        for rate in RATES:
            for target in TARGETS:
                runs = _runs(data, OURS, rate, condition, target)
                p99 = _spread(runs, "own", "p99")
                with_what = "a busy loop on every core" if condition == "busy" else "idle machine"
                what = f"our send lag p99 at {rate:,}/s, {with_what}, {_target(target)}"
                if p99 is None or (condition == "busy" and not data["realtime"]):
                    figure = "no real-time priority here" if p99 else "not measured"
                    result.append(Bar(what, figure, f"≤ {limit:.0f} µs", None))
                else:
                    result.append(Bar(
                        what, p99.text() + " µs", f"≤ {limit:.0f} µs",
                        _held(runs) and p99.median <= limit,
                    ))  # fmt: skip
    return result


def _target(target: str) -> str:
    return "nginx" if target == "nginx" else "fixed delay"


def section(data: Data) -> str:
    """Return the methods, the table and the plots."""
    peers = stats.names(data["runs"])
    ways = "\n".join(f"* {peer}: {BY_NAME[peer].lag_from}." for peer in peers)
    realtime = (
        "Our generator requests real-time priority (`SCHED_FIFO`) by default, and got it here; the "
        "peers do not request it."
        if data["realtime"]
        else "Real-time priority is not allowed here."
    )
    parts = [
        f"Lateness in µs of requests with bodies of {data['body_bytes']:,} bytes relative to their "
        "schedules, on an idle machine and with a busy loop of normal priority on every core; to "
        f"nginx, and to a server that responds after {data['delay'] * 1e3:g} ms and timestamps "
        f"each arriving request. {realtime}\n\n"
        "How each peer's lag was measured:",
        ways,
        'These are the columns "by itself". "By arrival" uses the server\'s timestamps. For peers '
        "that report their schedule, it is arrival minus schedule, both sorted, which includes the "
        "kernel and the wake-up of the server (compare the two for one peer). For the others, it "
        "is the lateness relative to the latest even lattice for which no request is early, which "
        "excludes any constant delay. Locust counts each period from the user's last request: a "
        "user that falls behind never catches up, and gets later and later.",
        _table(data, peers),
    ]
    parts += [_plot(data, peers, condition) for condition in LIMITS]
    return "\n\n".join(parts)


def _table(data: Data, peers: Sequence[str]) -> str:
    rows = []
    for condition in LIMITS:
        for rate in RATES:
            for target in TARGETS:
                for peer in peers:
                    runs = _runs(data, peer, rate, condition, target)
                    if not runs:
                        continue
                    held = stats.spread(one.get("rate") for one in runs)
                    rows.append([
                        condition, f"{rate:,}", _target(target), peer,
                        stats.text(held, "{:,.0f}") + ("" if _held(runs) else " **not held**"),
                        *(
                            stats.text(_spread(runs, way, quantile), "{:,.0f}")
                            for way in ("own", "stamps")
                            for quantile in QUANTILES
                        ),
                    ])  # fmt: skip
    head = ["machine", "offered /s", "target", "peer", "sent /s",
            *(f"{way} {quantile}" for way in ("by itself", "by arrival")
              for quantile in QUANTILES)]  # fmt: skip
    return plotting.table(head, rows)


def _plot(data: Data, peers: Sequence[str], condition: str) -> str:
    groups: dict[str, list[stats.Spread | None]] = {}
    for peer in peers:
        target, way = _best_way(peer)
        groups[peer] = [
            _spread(runs, way, "p99") if runs and _held(runs) else None
            for rate in RATES
            if (runs := _runs(data, peer, rate, condition, target)) is not None
        ]
    return plotting.grouped_bars(
        f"lag-{condition}",
        [f"{rate:,}/s" for rate in RATES],
        groups,
        label=f"send lag p99 in µs, {condition} (rates held only)",
        line=("our target", LIMITS[condition]),
        log=True,
    )
