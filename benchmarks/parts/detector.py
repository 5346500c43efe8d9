"""Whether runs are invalid if, and only if, the client was throttled."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from benchmarks import disturb, measure, plotting
from benchmarks.parts import Bar, Data
from benchmarks.processes import busy_loops, realtime_allowed
from benchmarks.rounds import say
from benchmarks.settings import Settings
from pytest_servebench.errors import InvalidMeasurementError
from pytest_servebench.load.runner import LoadResult
from pytest_servebench.load.store import Phase, RecordStore
from pytest_servebench.load.validity import invalid_reason
from simulation import known

NAME = "detector"
TITLE = "The device's verdict on itself"
RATE: Final = 500.0
SECONDS: Final = 3.0
MAX_LAG: Final = 0.010
QUOTA: Final = 0.01
"""Share of a CPU: less than generator or server need at this rate, and the kernel's minimum."""
_SERVICE: Final = 0.005
_SLOTS: Final = 1_000
_CONNECTIONS: Final = 64
_BEGIN: Final = 1.0  # seconds into the window
_LAST: Final = 1.5  # seconds of quota: the backlog after it is part of the run
_HOG: Final = 1.0


@dataclass(frozen=True)
class Way:
    """A way to throttle one side.

    Attributes:
        side: ``client``, ``server`` or ``nobody``.
        name: for the command line and the figures.
        words: for the report.
        runs: number of runs.
        needs: what the machine must permit: ``quota``, ``realtime`` or nothing.
        client: priority of the generator.
        server: priority of the server.
    """

    side: str
    name: str
    words: str
    runs: int
    needs: str = ""
    client: str = "auto"
    server: str = "normal"


# Quotas do not apply to real-time processes, so a side with a quota has normal priority.
WAYS: Final = (
    Way("client", "quota", f"its CPU quota is {QUOTA:.0%} of a core for {_LAST:g} s", 7,
        "quota", client="normal"),
    Way("client", "stop", "SIGSTOP, and SIGCONT 0.1 to 0.5 s later", 7),
    Way("client", "realtime", f"real-time busy loops on every core for {_HOG:g} s", 6, "realtime"),
    Way("server", "quota", f"its CPU quota is {QUOTA:.0%} of a core for {_LAST:g} s", 5, "quota"),
    Way("server", "stop", "SIGSTOP, and SIGCONT 0.1 to 0.5 s later", 5),
    Way("server", "busy", "a busy loop of normal priority on every core", 5, "realtime"),
    Way("server", "frozen", "SIGSTOP, for the rest of the run", 5),
    Way("nobody", "nothing", "nothing", 4),
)  # fmt: skip


def run(settings: Settings) -> Data:
    """Throttle each side in turn."""
    refused = {"quota": disturb.quota_refused(), "realtime": None, "": None}
    if not realtime_allowed():
        refused["realtime"] = "no real-time priority"
    runs: list[dict[str, Any]] = []
    absent: dict[str, str] = {}
    with measure.scratch() as directory:
        for way in WAYS:
            reason = refused[way.needs]
            if reason is not None:
                absent[f"{way.side}: {way.words}"] = reason
                continue
            for number in range(1 if settings.quick else way.runs):
                one = _measure(way, number, directory)
                say(NAME, number + 1, one)
                runs.append(one)
    return {"runs": runs, "absent": absent, "rate": RATE, "seconds": SECONDS}


def _measure(way: Way, number: int, directory: Path) -> dict[str, Any]:
    """Do one run and return the verdict on it."""
    one: dict[str, Any] = {"side": way.side, "way": way.name, "number": number}
    with ExitStack() as stack:
        server = stack.enter_context(
            known.serve(directory, _SLOTS, f"fixed:{_SERVICE}", number, priority=way.server)
        )
        if way.name == "busy":
            stack.enter_context(busy_loops(directory))
        group = stack.enter_context(disturb.control_group()) if way.name == "quota" else None
        throttle = _Throttle(way, number, server.pid, group)
        try:
            result = server.load(
                throttle.watch, rate=RATE, duration=SECONDS, buffer_size=100_000,
                workers=_CONNECTIONS, seed=number, timeout=2.0, drain=2.0, priority=way.client,
            )  # fmt: skip
        except InvalidMeasurementError as error:
            return one | {"reason": str(error), "done": throttle.finish()}
        return one | {"done": throttle.finish()} | _verdict(result)


def _verdict(result: LoadResult) -> dict[str, Any]:
    records = result.records
    latency = np.where(records.ok, records.latency(), np.inf)
    late = max(float(records.generator_lag().max(initial=0)), float(result.pauses.max(initial=0)))
    worst = latency[np.isfinite(latency)].max(initial=0.0)
    return {
        "reason": invalid_reason(records, result.generator, result.pauses, MAX_LAG),
        "late": late,
        "latency": float(worst),
        "failed": int((~records.ok).sum()),
        "arrivals": len(records),
        "cpu_share": result.generator.cpu_share,
    }


class _Throttle:
    """Throttles one side in the middle of a run, in a separate thread."""

    def __init__(
        self, way: Way, number: int, server: int, group: disturb.ControlGroup | None
    ) -> None:
        """Prepare to throttle the server's process, or the generator's once it exists."""
        self._way = way
        self._share = number / max(way.runs - 1, 1)
        self._target = server if way.side == "server" else 0
        self._group = group
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        if group is not None and self._target:
            group.add(self._target)

    def watch(self, store: RecordStore) -> None:
        """Start once the load has started; the engine calls this about 20 times per second."""
        if not self._target and self._way.side == "client":
            self._target = _generator()
            if self._group is not None:
                # Before the clock starts, as the generator reads its group's counters then.
                self._group.add(self._target)
        if self._thread is None and store.phase is Phase.RUNNING:
            self._thread = threading.Thread(target=self._run, args=(store.start,))
            self._thread.start()

    def finish(self) -> bool:
        """Wait for the end; return whether the side was throttled.

        Raises:
            OSError: throttling failed.
        """
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self._thread is not None

    def _run(self, start: int) -> None:
        begin = start + int(_BEGIN * 1e9)
        try:
            if self._way.name == "realtime":
                disturb.hog_processors(begin, _HOG)
                return
            time.sleep(max(0.0, (begin - time.monotonic_ns()) / 1e9))
            self._acts()[self._way.name]()
        except Exception as error:  # raised in the thread that waits for this one
            self._error = error

    def _acts(self) -> Mapping[str, Callable[[], None]]:
        return {
            "quota": self._hold_to_quota,
            "stop": lambda: disturb.stop_for(self._target, 0.1 + 0.4 * self._share),
            "frozen": lambda: os.kill(self._target, signal.SIGSTOP),  # until known.serve ends
            "busy": lambda: None,  # all the time
            "nothing": lambda: None,
        }

    def _hold_to_quota(self) -> None:
        assert self._group is not None
        self._group.limit(QUOTA)
        time.sleep(_LAST)
        self._group.limit(None)


def _generator() -> int:
    """Return the pid of the load generator, a child of this process."""
    for child in psutil.Process().children():
        if "pytest_servebench.load.generator" in child.cmdline():
            return child.pid
    raise RuntimeError("the load generator's process does not exist")


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: this does not involve peers."""
    del data
    return {}


def _of(data: Data, **wanted: str) -> list[dict[str, Any]]:
    return [one for one in data["runs"] if all(one[key] == wanted[key] for key in wanted)]


def _invalid(runs: Sequence[Mapping[str, Any]]) -> int:
    return sum(one["reason"] is not None for one in runs)


def bars(data: Data) -> Sequence[Bar]:
    """Compare the verdicts with the truth."""
    result = []
    for side in ("client", "server"):
        runs = _of(data, side=side)
        wanted = len(runs) if side == "client" else 0
        result.append(Bar(
            f"invalid runs with a throttled {side}",
            f"{_invalid(runs)} of {len(runs)}",
            f"{wanted} of {len(runs)}",
            _invalid(runs) == wanted if runs else None,
        ))  # fmt: skip
    return result


def section(data: Data) -> str:
    """Return the table of the ways."""
    rows = []
    for way in WAYS:
        runs = _of(data, side=way.side, way=way.name)
        if not runs:
            continue
        reasons = [one["reason"] for one in runs if one["reason"] is not None]
        known_runs = [one for one in runs if "late" in one]
        rows.append([
            way.side,
            way.words,
            str(len(runs)),
            str(len(reasons)),
            _range(1e3 * one["late"] for one in known_runs),
            _range(1e3 * one["latency"] for one in known_runs),
            _range(100 * one["failed"] / one["arrivals"] for one in known_runs),
            reasons[0] if reasons else "–",
        ])  # fmt: skip
    texts = [
        f"{data['rate']:g} requests per second for {data['seconds']:g} s to a server that takes "
        f"{_SERVICE * 1e3:g} ms regardless of load. One side is throttled after {_BEGIN:g} s. If "
        "it is the client, the run must be invalid, as its lateness looks like the server's; if it "
        "is the server, the run must be valid, as that is what it measures. The server has normal "
        "priority, and so does the generator under a quota, as quotas do not apply to real-time "
        "processes; otherwise the generator has the best priority it can get. "
        f"Tolerated lag: {MAX_LAG * 1e3:g} ms.",
        plotting.table(
            ["throttled", "how", "runs", "invalid", "generator's worst lateness, ms",
             "maximum latency, ms", "failed, %", "example of the reason"],
            rows,
        ),
    ]  # fmt: skip
    if data["absent"]:
        texts.append(
            "Skipped: "
            + "; ".join(f"{way} ({reason})" for way, reason in data["absent"].items())
            + "."
        )
    return "\n\n".join(texts)


def _range(values: Any) -> str:
    found = list(values)
    if not found:
        return "–"
    return f"{min(found):.1f}–{max(found):.1f}"
