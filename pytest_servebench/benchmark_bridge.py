"""The only module that touches pytest-benchmark.

Latencies that were measured elsewhere become a native benchmark through its public API: its timer
is replaced by one that replays them, so that ``--benchmark-json``, ``--benchmark-autosave`` and
``--benchmark-compare`` work on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

_TIMER = pytest.StashKey["ReplayTimer"]()

ORDER: Final = "servebench_order"
"""Column by which the table of a session of loads is sorted."""

# Of some 100 columns of a terminal, the names take half, and each figure with its factor 20. The
# operations a second are the reciprocal of the mean latency, which of an open-loop load is no rate.
_COLUMNS: Final = ("median", "max", "rounds")


class ReplayTimer:
    """A timer whose successive differences are given samples, in seconds."""

    def __init__(self) -> None:
        """Have no samples yet."""
        self._samples: Sequence[float] = ()
        self._calls = 0

    def load(self, samples: Sequence[float]) -> None:
        """Replay these samples from now on."""
        self._samples = samples
        self._calls = 0

    def __call__(self) -> float:
        """Return 0 and a sample in turn: a round's beginning and its end."""
        index, end = divmod(self._calls, 2)
        self._calls += 1
        return self._samples[index] if end else 0.0


def prepare_item(item: pytest.Item) -> None:
    """Give the test a replaying timer, keeping what its own ``benchmark`` marker says."""
    timer = item.stash[_TIMER] = ReplayTimer()
    marker = item.get_closest_marker("benchmark")
    own = dict(marker.kwargs) if marker else {}
    item.add_marker(pytest.mark.benchmark(**{**own, "timer": timer}), append=False)


def record(item: pytest.Item, benchmark: BenchmarkFixture, latencies: Sequence[float]) -> None:
    """Make ``latencies`` (s) the benchmark's samples; without any there is nothing to record."""
    if not benchmark.enabled or not latencies:
        return
    item.stash[_TIMER].load(latencies)
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: None, rounds=len(latencies), iterations=1
    )


def attach(benchmark: BenchmarkFixture, result: dict[str, Any], *, valid: bool) -> None:
    """Put the case's result into the benchmark's entry; an invalid one is left out of the file."""
    benchmark.extra_info["servebench"] = result
    if not valid:
        benchmark.has_error = True


def forget(config: pytest.Config, nodeid: str, *, but: BenchmarkFixture | None) -> None:
    """Take out the entries of a test's earlier attempts: of all but this one."""
    session = config._benchmarksession  # type: ignore[attr-defined]
    kept = None if but is None else but.stats
    session.benchmarks[:] = [
        entry for entry in session.benchmarks if entry is kept or entry.fullname != nodeid
    ]


def excuse(benchmark: BenchmarkFixture) -> None:
    """Let a benchmark go unused without a warning: its test has failed, which says enough.

    To be called once pytest-benchmark has seen the test's report, from which it sets the same.
    """
    benchmark.skipped = True


def narrow_table(config: pytest.Config) -> None:
    """Have the session's table show what is known of loads, in the order of the tests.

    What the user has asked for is left as it is. To be called where every benchmark of the session
    is a load.
    """
    default_sort = "min"  # of pytest-benchmark, which does not tell whether it was asked for
    if config.getoption("benchmark_columns") or config.getoption("benchmark_sort") != default_sort:
        return
    session = config._benchmarksession  # type: ignore[attr-defined]
    session.columns, session.sort = list(_COLUMNS), ORDER


def put_in_order(benchmarks: Sequence[dict[str, Any]], nodeids: Sequence[str]) -> None:
    """Give each benchmark of the table its place among the tests."""
    places = {nodeid: place for place, nodeid in enumerate(nodeids)}
    for one in benchmarks:
        one[ORDER] = places.get(one["fullname"], len(places))


def report(config: pytest.Config) -> dict[str, Any]:
    """Return the session's benchmarks in pytest-benchmark's own JSON format."""
    session = config._benchmarksession  # type: ignore[attr-defined]
    commit = config.hook.pytest_benchmark_generate_commit_info(config=config)
    config.hook.pytest_benchmark_update_commit_info(config=config, commit_info=commit)
    result: dict[str, Any] = config.hook.pytest_benchmark_generate_json(
        config=config,
        benchmarks=[entry for entry in session.benchmarks if entry],
        include_data=False,
        machine_info=session.get_machine_info(),
        commit_info=commit,
    )
    return result
