"""CPU time, send lag and latency of unary gRPC, compared with HTTP/1.1 and other gRPC clients."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from benchmarks import plotting, stats
from benchmarks.measure import (
    HELD_IN_WORDS,
    MeasurementError,
    apart,
    held,
    make_job,
    run_with_window,
    scratch,
)
from benchmarks.parts import Bar, Data
from benchmarks.peers import Peer
from benchmarks.peers.registry import BY_NAME, GRPC_PEERS, OURS, OURS_GRPC, PLACE, available
from benchmarks.rounds import CONNECTIONS, rounds, say
from benchmarks.settings import Settings
from benchmarks.targets import bare_timer, grpc_echo, unary

NAME = "grpc"
TITLE = "gRPC: CPU time per call, send lag and latency"
RATES: Final = (500, 2_000, 10_000)
LAG_RATE: Final = 1_000
MAX_LAG: Final = 150.0
"""Limit of our p99 in µs."""
OVER_HTTP: Final = 1.8
OVER_PEERS: Final = 0.5
_ECHO: Final = "echo"
_SHORT: Final = "short"
_SHORT_RATE: Final = 2_000
_SLOW: Final = "grpcio"
"""The server that is also measured, at the lowest rate."""
_SETTLE: Final = 0.7
_HOPELESS: Final = 0.5
_LAG_ROUNDS: Final = 4  # times as many


@dataclass(frozen=True)
class _Cell:
    """Where a peer is measured."""

    server: str
    answer: str
    rate: int

    def of(self, runs: Sequence[dict[str, Any]], peer: str) -> list[dict[str, Any]]:
        return stats.select(
            runs, peer=peer, server=self.server, answer=self.answer, offered=self.rate
        )


def run(settings: Settings) -> Data:
    """Measure every peer in every cell."""
    names = grpc_echo.available()
    runs: list[dict[str, Any]] = []
    hopeless: set[tuple[str, _Cell]] = set()
    for cell, peers in _cells(names, settings.only):
        for number, peer in rounds(_often(settings, cell), peers):
            # Of the others, the lag stands beside ours and is judged by nothing.
            extra = number >= settings.repeats and peer.name != OURS_GRPC
            if extra or (peer.name, cell) in hopeless:
                continue
            one = _measure(peer, cell, number, settings)
            say(NAME, number + 1, one)
            runs.append(one)
            failed = one.get("rate", 0.0) < _HOPELESS * cell.rate
            if failed and peer.name not in (OURS, OURS_GRPC):
                hopeless.add((peer.name, cell))
    return {
        "runs": runs, "body_bytes": settings.body_bytes, "servers": names,
        "cpp_missing": grpc_echo.cpp_missing(),
    }  # fmt: skip


def _often(settings: Settings, cell: _Cell) -> Settings:
    """Return how often to measure: a 99th percentile of lags varies threefold between runs."""
    often = _LAG_ROUNDS if cell.rate == LAG_RATE else 1
    return dataclasses.replace(settings, repeats=often * settings.repeats)


def _cells(names: Sequence[str], only: Sequence[str]) -> Iterator[tuple[_Cell, list[Peer]]]:
    peers = available(only, [BY_NAME[OURS], *GRPC_PEERS])
    for rate in sorted({*RATES, LAG_RATE}):
        # The lag of the others is unknown, and their CPU time is measured at the other rates.
        yield _Cell(names[0], _ECHO, rate), [peer for peer in peers if peer.tells or rate in RATES]
    ours = [peer for peer in peers if peer.name in (OURS, OURS_GRPC)]
    yield _Cell(names[0], _SHORT, _SHORT_RATE), ours
    if names[0] != _SLOW:
        yield (
            _Cell(_SLOW, _ECHO, RATES[0]),
            [peer for peer in peers if peer.tells and peer.name != OURS],
        )


def _measure(peer: Peer, cell: _Cell, number: int, settings: Settings) -> dict[str, Any]:
    short = Settings(settle=_SETTLE, seconds=settings.seconds, body_bytes=settings.body_bytes)
    one: dict[str, Any] = {
        "peer": peer.name, "place": PLACE[peer.name], "server": cell.server,
        "answer": cell.answer, "offered": cell.rate, "repeat": number, "window": short.seconds,
    }  # fmt: skip
    # Together they need two cores, which the kernel does not always give them.
    generator, other = apart() if cell.rate == RATES[-1] else (None, None)
    try:
        with (
            scratch() as directory,
            unary.serve(
                peer, cell.server, directory, short, short=cell.answer == _SHORT, cpus=other
            ) as server,
        ):
            job = make_job(
                directory, short, port=server.port, rate=cell.rate, seconds=short.load_seconds,
                connections=CONNECTIONS, seed=number, stamps=peer.tells,
            )  # fmt: skip
            window = run_with_window(peer, job, server, short, generator)
            stamps = peer.stamps(job) if peer.tells else None
            if cell.rate == LAG_RATE:
                one["floor"] = bare_timer.p99(directory, cell.rate, short.seconds, number)
    except MeasurementError as error:
        return one | {"error": str(error)}
    one |= {"rate": window.rate, "cpu": window.cpu_per_request}
    if stamps is not None:
        one["lag"] = stats.lag_figures(stamps.lag(_SETTLE, short.seconds)).get("p99")
        latency = stamps.latency(_SETTLE, short.seconds)
        if len(latency):
            p50, p99 = np.quantile(latency, [0.5, 0.99]) / 1e3
            one |= {"p50": float(p50), "p99": float(p99)}
    return one


def _held(runs: Sequence[dict[str, Any]]) -> bool:
    rate = stats.spread(one.get("rate") for one in runs)
    return bool(rate and held(rate.median, runs[0]["offered"], runs[0]["window"]))


def _figure(data: Data, cell: _Cell, peer: str, name: str) -> stats.Spread | None:
    return stats.spread(one.get(name) for one in cell.of(data["runs"], peer))


def _main(data: Data, rate: int, answer: str = _ECHO) -> _Cell:
    return _Cell(data["servers"][0], answer, rate)


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: the peers are others than the overview's."""
    del data
    return {}


def bars(data: Data) -> Sequence[Bar]:
    """Compare with our HTTP/1.1, with the cheapest peer, and the lag with its limit."""
    result = [_against_http(data, _main(data, rate)) for rate in RATES]
    result.append(_against_http(data, _main(data, _SHORT_RATE, _SHORT)))
    result += [_against_peers(data, _main(data, rate)) for rate in RATES]
    cell = _main(data, LAG_RATE)
    lag = _figure(data, cell, OURS_GRPC, "lag")
    reached = None if lag is None else _held(cell.of(data["runs"], OURS_GRPC)) and (
        lag.median <= MAX_LAG
    )  # fmt: skip
    floor = _figure(data, cell, OURS_GRPC, "floor")
    beside = f"; a bare timer in the same rounds: {floor.text()} µs" if floor else ""
    result.append(Bar(f"our send lag p99 at {LAG_RATE:,}/s over gRPC",
                      f"{lag.text()} µs{beside}" if lag else "not measured",
                      f"≤ {MAX_LAG:.0f} µs", reached))  # fmt: skip
    return result


def _ratios(data: Data, cell: _Cell) -> stats.Spread | None:
    """Return our CPU time over gRPC by that over HTTP/1.1, within each round."""
    http = {one["repeat"]: one.get("cpu") for one in cell.of(data["runs"], OURS)}
    return stats.spread(
        one["cpu"] / base
        for one in cell.of(data["runs"], OURS_GRPC)
        if "cpu" in one and (base := http.get(one["repeat"]))
    )


def _against_http(data: Data, cell: _Cell) -> Bar:
    size = f"{unary.SHORT}-byte answers" if cell.answer == _SHORT else "echo"
    what = f"our CPU per call over gRPC by that over HTTP/1.1 at {cell.rate:,}/s, {size}"
    limit = f"≤ {OVER_HTTP:g}"
    grpc, http = (_figure(data, cell, peer, "cpu") for peer in (OURS_GRPC, OURS))
    ratios = _ratios(data, cell)
    if grpc is None or http is None or ratios is None:
        return Bar(what, "not measured", limit, None)
    figure = f"{grpc.median:.1f} / {http.median:.1f} µs: {ratios.text('{:.2f}')}"
    kept = all(_held(cell.of(data["runs"], peer)) for peer in (OURS_GRPC, OURS))
    if not kept:
        return Bar(what, figure + ", rate not held", limit, None)
    return Bar(what, figure, limit, ratios.median <= OVER_HTTP)


def _against_peers(data: Data, cell: _Cell) -> Bar:
    what = f"our CPU per call by the cheapest other gRPC client's at {cell.rate:,}/s"
    limit = f"≤ {OVER_PEERS:g}"
    ours = _figure(data, cell, OURS_GRPC, "cpu")
    if ours is None:
        return Bar(what, "not measured", limit, None)
    if not _held(cell.of(data["runs"], OURS_GRPC)):
        return Bar(what, "ours did not hold the rate", limit, False)
    costs = []
    for peer in stats.names(data["runs"]):
        cost = _figure(data, cell, peer, "cpu")
        if peer not in (OURS, OURS_GRPC) and cost:
            costs.append((not _held(cell.of(data["runs"], peer)), cost.median, peer))
    if not costs:
        return Bar(what, "no other client was measured", limit, None)
    # The cheapest that holds the rate counts; if none does, the cheapest of the others.
    failed, cost_median, peer = min(costs)
    note = ", which did not hold the rate; no other did" if failed else ""
    ratio = ours.median / cost_median
    figure = f"{ours.median:.1f} / {cost_median:.1f} µs ({peer}{note}) = {ratio:.2f}"
    return Bar(what, figure, limit, ratio <= OVER_PEERS)


def section(data: Data) -> str:
    """Return the table and the plot."""
    rows = []
    cells = {(one["server"], one["answer"], one["offered"]): None for one in data["runs"]}
    for place in cells:
        cell = _Cell(*place)
        for peer in stats.names(data["runs"]):
            if runs := cell.of(data["runs"], peer):
                rows.append(_row(data, cell, peer, runs))
    head = ["server", "answers", "offered /s", "client", "answered /s", "held", "CPU µs per call",
            "send lag p99 µs", "latency p50 µs", "latency p99 µs", "runs"]  # fmt: skip
    missing = data["cpp_missing"]
    return "\n\n".join([
        f"Unary calls with {data['body_bytes']:,} bytes each, to servers that answer with as many "
        f"(*echo*) or with {unary.SHORT} (*short*): one on gRPC's C++ library and one on grpcio. "
        + (f"There is no C++ server here: {missing}. " if missing else "")
        + "Our engine over HTTP/1.1 posts as many bytes to nginx, which answers with as many. Each "
        f"client has {CONNECTIONS} workers, users or virtual users; ours and k6's have a "
        "connection each, grpcio has one for all. "
        f"At {RATES[-1]:,}/s client and server are pinned to a core each. CPU time is that of the "
        "client's process tree, divided by the calls that the server counted in the same steady "
        f"window. Ratios are taken within each round. {HELD_IN_WORDS} Another client "
        "that reached less than half of a rate was not measured at it again. Latency is "
        "that from the schedule, where the client reports one. The bare timer is a loop in C, of "
        "the generator's priority, that does nothing at Poisson arrivals: how late this machine "
        "wakes any process. Clients: "
        + "; ".join(
            f"*{peer}*: {BY_NAME[peer].title}" for peer in stats.names(data["runs"])
        )
        + ".",
        plotting.table(head, rows),
        plotting.grouped_bars(
            "grpc-cost",
            [f"{rate:,}/s" for rate in RATES],
            {peer: [_cost_if_held(data, _main(data, rate), peer) for rate in RATES]
             for peer in stats.names(data["runs"])},
            label="CPU µs per call (rates held only)",
        ),
    ])  # fmt: skip


def _cost_if_held(data: Data, cell: _Cell, peer: str) -> stats.Spread | None:
    runs = cell.of(data["runs"], peer)
    return _figure(data, cell, peer, "cpu") if runs and _held(runs) else None


def _row(data: Data, cell: _Cell, peer: str, runs: Sequence[dict[str, Any]]) -> list[str]:
    errors = [one["error"] for one in runs if "error" in one]
    return [
        "nginx" if peer == OURS else cell.server,
        cell.answer,
        f"{cell.rate:,}",
        peer,
        stats.text(_figure(data, cell, peer, "rate"), "{:,.0f}"),
        "yes" if _held(runs) else "**no**",
        stats.text(_figure(data, cell, peer, "cpu"), "{:.1f}"),
        *(stats.text(_figure(data, cell, peer, name), "{:,.0f}") for name in ("lag", "p50", "p99")),
        str(len(runs)) + (f", {len(errors)} failed: {errors[0][:80]}" if errors else ""),
    ]
