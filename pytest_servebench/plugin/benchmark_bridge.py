"""The only module that touches pytest-benchmark.

Latencies that were measured elsewhere become a native benchmark through its public API: its timer
is replaced by one that replays them, so that ``--benchmark-json``, ``--benchmark-autosave`` and
``--benchmark-compare`` work on them.

Where a test does not get pytest-benchmark's own ``benchmark`` fixture, loads go on without: it may
be turned off, and another plugin (pytest-codspeed) or the user may have one of that name.
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
"""Column by which the table of a session of loads is sorted."""

# Of some 100 columns of a terminal, the names take half, and each figure with its factor 20. The
# operations a second are the reciprocal of the mean latency, which of an open-loop load is no rate.
_COLUMNS: Final = ("median", "max", "rounds")


class ReplayTimer:
    """A timer whose successive differences are given samples, in seconds; without any, a clock."""

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
        if not self._samples:
            return time.perf_counter()
        index, end = divmod(self._calls, 2)
        self._calls += 1
        return self._samples[index] if end else 0.0


def prepare_item(item: pytest.Item) -> None:
    """Give the test a replaying timer, keeping what its own ``benchmark`` marker says.

    A test that would get somebody else's fixture stays as it is.
    """
    if not is_available(item, _FIXTURE, _MODULE):
        return
    timer = item.stash[_TIMER] = ReplayTimer()
    marker = item.get_closest_marker("benchmark")
    own = dict(marker.kwargs) if marker else {}
    item.add_marker(pytest.mark.benchmark(**{**own, "timer": timer}), append=False)


def is_on(item: pytest.Item) -> bool:
    """Tell whether a test's load becomes one of pytest-benchmark's benchmarks."""
    return _TIMER in item.stash


@contextmanager
def counted_as_benchmarks(loads: Iterable[pytest.Item]) -> Iterator[None]:
    """Have loads be benchmarks to whatever selects by that, such as ``--benchmark-skip``.

    That is done by the names of fixtures. Only those keep the name that really get the fixture.
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
    """Return the fixture that records a test's load; ``None`` where that is somebody else's."""
    item = request.node
    if not is_on(item):  # a load that its test asked for as it ran
        prepare_item(item)
    if not is_on(item):
        return None
    benchmark: BenchmarkFixture = request.getfixturevalue(_FIXTURE)
    return benchmark


@contextmanager
def others_hidden(item: pytest.Item) -> Iterator[None]:
    """Keep a user's fixture ``benchmark`` from pytest-benchmark, which would end the session."""
    values: dict[str, Any] = getattr(item, "funcargs", {})
    value = values.get(_FIXTURE)
    if value is None or not hasattr(item.config, "_benchmarksession"):
        yield
        return
    from pytest_benchmark.fixture import BenchmarkFixture  # if it is there at all

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

    Without any there is nothing to record; and a benchmark that its test has used holds no others.
    """
    if benchmark is None or not benchmark.enabled or not latencies or benchmark.stats is not None:
        return
    item.stash[_TIMER].load(latencies)
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: None, rounds=len(latencies), iterations=1
    )


def attach(benchmark: BenchmarkFixture | None, result: dict[str, Any], *, valid: bool) -> None:
    """Put the case's result into the benchmark's entry; an invalid one is left out of the file."""
    if benchmark is None:
        return
    benchmark.extra_info["servebench"] = result
    if not valid:
        benchmark.has_error = True


def forget(config: pytest.Config, nodeid: str, *, but: BenchmarkFixture | None) -> None:
    """Take out the entries of a test's earlier attempts: of all but this one."""
    session = getattr(config, "_benchmarksession", None)
    if session is None:
        return
    kept = None if but is None else but.stats
    session.benchmarks[:] = [
        entry for entry in session.benchmarks if entry is kept or entry.fullname != nodeid
    ]


def excuse(benchmark: BenchmarkFixture | None) -> None:
    """Let a benchmark go unused without a warning: nothing may have been measured.

    To be called once pytest-benchmark has seen the test's report, from which it sets the same.
    """
    if benchmark is not None:
        benchmark.skipped = True


def narrow_table(config: pytest.Config) -> None:
    """Have the session's table show what is known of loads, in the order of the tests.

    What the user has asked for is left as it is. To be called where every benchmark of the session
    is a load, and pytest-benchmark is on.
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
    """Return the session's benchmarks in pytest-benchmark's own JSON format.

    Without pytest-benchmark there are none, nor what it knows of machine and commit.
    """
    session = getattr(config, "_benchmarksession", None)
    if session is None:
        return {"benchmarks": []}
    from pytest_servebench.system.python_child import untraced

    with untraced():  # it asks for the processor by "python -m cpuinfo"
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
