"""The only module that touches pytest-benchmark.

Measured latencies become a native benchmark through its public API: a timer that replays them
replaces its own, so ``--benchmark-json``, ``--benchmark-autosave`` and ``--benchmark-compare``
work.

Load tests also work without its ``benchmark`` fixture: it may be disabled, and another plugin
(pytest-codspeed) or the user may define a fixture of that name.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_servebench.plugin.own_fixtures import is_available

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

_FIXTURE: Final = "benchmark"
_MODULE: Final = "pytest_benchmark.plugin"

_TIMER = pytest.StashKey["ReplayTimer"]()

ORDER: Final = "servebench_order"
"""Column that sorts the table of a session of load tests."""

# In a terminal of 100 columns, names take half, and each figure with its factor 20. Operations per
# second are left out: they are 1 / mean latency, which is not the throughput of an open-loop load.
_COLUMNS: Final = ("median", "max", "rounds")


class ReplayTimer:
    """A timer that replays given samples (seconds) as differences; without samples, a clock."""

    def __init__(self) -> None:
        self._samples: Sequence[float] = ()
        self._calls = 0

    def load(self, samples: Sequence[float]) -> None:
        """Replay these samples from now on."""
        self._samples = samples
        self._calls = 0

    def __call__(self) -> float:
        """Return 0 and a sample in turn: the start and end of a round."""
        if not self._samples:
            return time.perf_counter()
        index, end = divmod(self._calls, 2)
        self._calls += 1
        return self._samples[index] if end else 0.0


def prepare_item(item: pytest.Item) -> None:
    """Give the test a replaying timer, keeping the arguments of its ``benchmark`` marker.

    Tests that would get another ``benchmark`` fixture are left alone.
    """
    if not is_available(item, _FIXTURE, _MODULE):
        return
    timer = item.stash[_TIMER] = ReplayTimer()
    marker = item.get_closest_marker("benchmark")
    own = dict(marker.kwargs) if marker else {}
    item.add_marker(pytest.mark.benchmark(**{**own, "timer": timer}), append=False)


def is_on(item: pytest.Item) -> bool:
    """Return whether pytest-benchmark records a test's load."""
    return _TIMER in item.stash


@contextmanager
def counted_as_benchmarks(loads: Iterable[pytest.Item]) -> Iterator[None]:
    """Make load tests count as benchmarks for options such as ``--benchmark-skip``.

    Those look at fixture names. Afterwards only tests that really get the fixture keep the name.
    """
    named: list[tuple[Any, list[str]]] = []
    for item in loads:
        function: Any = item
        if _FIXTURE not in function.fixturenames:
            named.append((function, function.fixturenames))
            function.fixturenames = [*function.fixturenames, _FIXTURE]
    try:
        yield
    finally:
        for function, own in named:
            if not is_on(function):
                function.fixturenames = own


def fixture_of(request: pytest.FixtureRequest) -> BenchmarkFixture | None:
    """Return the fixture that records a test's load; ``None`` if it is not pytest-benchmark's."""
    item = request.node
    if not is_on(item):  # the test requested its load only while running
        prepare_item(item)
    if not is_on(item):
        return None
    benchmark: BenchmarkFixture = request.getfixturevalue(_FIXTURE)
    return benchmark


@contextmanager
def others_hidden(item: pytest.Item) -> Iterator[None]:
    """Hide a user's fixture ``benchmark`` from pytest-benchmark, which would crash on it."""
    values: dict[str, Any] = getattr(item, "funcargs", {})
    value = values.get(_FIXTURE)
    if value is None or not hasattr(item.config, "_benchmarksession"):
        yield
        return
    from pytest_benchmark.fixture import BenchmarkFixture  # it is installed here

    if isinstance(value, BenchmarkFixture):
        yield
        return
    del values[_FIXTURE]
    try:
        yield
    finally:
        values[_FIXTURE] = value


def record(
    item: pytest.Item, benchmark: BenchmarkFixture | None, latencies: Sequence[float]
) -> None:
    """Make ``latencies`` (s) the benchmark's samples.

    Does nothing without latencies, or if the test has already used the benchmark.
    """
    if benchmark is None or not benchmark.enabled or not latencies or benchmark.stats is not None:
        return
    item.stash[_TIMER].load(latencies)
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: None, rounds=len(latencies), iterations=1
    )


def attach(
    benchmark: BenchmarkFixture | None,
    result: dict[str, Any],
    *,
    valid: bool,
    capacity: dict[str, Any] | None = None,
) -> None:
    """Put the case's result into the benchmark's entry; an invalid one is left out of the file.

    If the case is a probe, the capacity that its search found goes with it.
    """
    if benchmark is None:
        return
    benchmark.extra_info["servebench"] = result
    if capacity is not None:
        from pytest_servebench.runs.capacity import CAPACITY_KEY

        benchmark.extra_info[CAPACITY_KEY] = capacity
    if not valid:
        benchmark.has_error = True


def forget(config: pytest.Config, nodeid: str, *, but: BenchmarkFixture | None) -> None:
    """Remove the entries of a test's earlier attempts: all but this one."""
    session = getattr(config, "_benchmarksession", None)
    if session is None:
        return
    kept = None if but is None else but.stats
    session.benchmarks[:] = [
        entry for entry in session.benchmarks if entry is kept or entry.fullname != nodeid
    ]


def excuse(benchmark: BenchmarkFixture | None) -> None:
    """Suppress the warning about an unused benchmark: nothing may have been measured.

    Call this after pytest-benchmark has seen the test's report, as it then sets the same flag.
    """
    if benchmark is not None:
        benchmark.skipped = True


def narrow_table(config: pytest.Config) -> None:
    """Limit the session's table to columns that suit loads, in test order.

    Respects what the user has set. Call this only if every benchmark of the session is a load, and
    pytest-benchmark is enabled.
    """
    default_sort = "min"  # pytest-benchmark does not say whether the user has set it
    if config.getoption("benchmark_columns") or config.getoption("benchmark_sort") != default_sort:
        return
    session = config._benchmarksession  # type: ignore[attr-defined]
    session.columns, session.sort = list(_COLUMNS), ORDER


def put_in_order(benchmarks: Sequence[dict[str, Any]], nodeids: Sequence[str]) -> None:
    """Set each benchmark's position in test order."""
    places = {nodeid: place for place, nodeid in enumerate(nodeids)}
    for one in benchmarks:
        one[ORDER] = places.get(one["fullname"], len(places))


def report(config: pytest.Config) -> dict[str, Any]:
    """Return the session's benchmarks in pytest-benchmark's JSON format.

    Without pytest-benchmark there are none, and no information on machine and commit.
    """
    session = getattr(config, "_benchmarksession", None)
    if session is None:
        return {"benchmarks": []}
    from pytest_servebench.system.python_child import untraced

    with untraced():  # it identifies the CPU by "python -m cpuinfo"
        machine = session.get_machine_info()
    commit = config.hook.pytest_benchmark_generate_commit_info(config=config)
    config.hook.pytest_benchmark_update_commit_info(config=config, commit_info=commit)
    result: dict[str, Any] = config.hook.pytest_benchmark_generate_json(
        config=config,
        benchmarks=[entry for entry in session.benchmarks if entry],
        include_data=False,
        machine_info=machine,
        commit_info=commit,
    )
    return result
