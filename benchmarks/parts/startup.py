"""What the plugin costs a pytest session without load tests, and the cost of a bare import."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from benchmarks import plotting, stats
from benchmarks.parts import Bar, Data
from benchmarks.rounds import say
from benchmarks.settings import Settings

NAME = "startup"
TITLE = "Start-up"
SESSION_LIMIT: Final = 1.10
IMPORT_LIMIT: Final = 1.2
_RUNS: Final = 20
_SESSION: Final = [
    sys.executable, "-m", "pytest", "-q",
    # Other installed plugins would make our share look smaller.
    *(f"-pno:{plugin.name}" for plugin in entry_points(group="pytest11")
      if plugin.name not in ("servebench", "benchmark")),
]  # fmt: skip
_COMMANDS: Final[Mapping[str, Sequence[str]]] = {
    "pytest with the plugin": _SESSION,
    "pytest without it": [*_SESSION, "-pno:servebench"],
    "import pytest_servebench": [sys.executable, "-c", "import pytest_servebench"],
    "import pytest": [sys.executable, "-c", "import pytest"],
    "bare interpreter": [sys.executable, "-c", "pass"],
}

# Without, everything that is newer than its .pyc files would be compiled in every run.
_CACHING: Final = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}


def run(settings: Settings) -> Data:
    """Run the commands in turn, a different one first in each round."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="servebench-startup-") as scratch:
        Path(scratch, "test_trivial.py").write_text("def test_nothing():\n    pass\n")
        for command in _COMMANDS.values():  # compiles the .pyc files
            _cost(command, scratch)
        for number in range(2 if settings.quick else _RUNS):
            for name in stats.rotated(list(_COMMANDS), number):
                wall, cpu = _cost(_COMMANDS[name], scratch)
                say(NAME, number, name, f"{wall:.3f} s, CPU {cpu:.3f} s")
                rows.append({"what": name, "wall": wall, "cpu": cpu})
    return {"rows": rows}


def _cost(command: Sequence[str], directory: str) -> tuple[float, float]:
    """Return the wall and CPU time of a command, seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=directory, env=_CACHING, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _spread(data: Data, what: str, figure: str) -> stats.Spread:
    found = stats.spread(row[figure] for row in stats.select(data["rows"], what=what))
    assert found is not None
    return found


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: peers are not plugins."""
    del data
    return {}


def bars(data: Data) -> Sequence[Bar]:
    """Compare sessions with and without the plugin, and imports beyond the bare interpreter."""

    def median(what: str, figure: str) -> float:
        return _spread(data, what, figure).median

    result = []
    for figure, words in (("wall", "time"), ("cpu", "CPU time")):
        ours, without = (
            median(what, figure) for what in ("pytest with the plugin", "pytest without it")
        )
        result.append(
            _bar(f"{words} of a session without loads, with over without the plugin", ours, without,
                 SESSION_LIMIT)
        )  # fmt: skip
    bare = median("bare interpreter", "wall")
    ours, without = (
        median(what, "wall") - bare for what in ("import pytest_servebench", "import pytest")
    )
    result.append(_bar("`import pytest_servebench` over `import pytest`", ours, without,
                       IMPORT_LIMIT))  # fmt: skip
    return result


def _bar(what: str, ours: float, without: float, limit: float) -> Bar:
    ratio = ours / without
    figure = f"{ours * 1000:.0f} / {without * 1000:.0f} ms = {ratio:.2f}"
    return Bar(what, figure, f"≤ {limit:g}", ratio <= limit)


def section(data: Data) -> str:
    """Return the table."""
    rows = [
        [what, *(_spread(data, what, figure).text("{:.3f}") for figure in ("wall", "cpu"))]
        for what in _COMMANDS
    ]
    return "\n\n".join([
        f"One test that does nothing; {len(data['rows']) // len(_COMMANDS)} runs of each command, "
        "in turn. pytest-benchmark is the only other plugin. Imports are compared after "
        "subtracting the time of the bare interpreter.",
        plotting.table(["", "s", "CPU s"], rows),
    ])  # fmt: skip
