"""Fixtures of the plugin's own tests."""

import functools
import gc
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import pytest_benchmark.utils

# Whatever the environment says: the tests start Python hundreds of times, and run pytest as often.
# Let only the first compile what all of them import.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Runs of pytest within a test ask for it by -p: it may have been imported for another test.
pytest.register_assert_rewrite("tests.toy")

# What is imported and collected stays for the whole session: it need not be looked at for garbage.
gc.disable()

# pytester forgets what a run of pytest within a test has imported: it would be imported again for
# each, and NumPy cannot come twice.
for module in (
    "cpuinfo.cpuinfo",
    "pytest_servebench.plugin.fixture_values",
    "pytest_servebench.plugin.load_hooks",
    "pytest_servebench.report.summary_text",
    "pytest_servebench.servers.onnx",
    "pytest_servebench.servers.tensorflow_serving",
    "pytest_servebench.servers.torchserve",
    "tests.toy",
):
    importlib.import_module(module)

from tests.in_turn import ask_in_turn  # noqa: E402

ROOT = Path(__file__).parent.parent

TEST_FILE = """
import pytest

def test_load(model_server, poisson_load):
    poisson_load(model_server)
"""

INI = """
[pytest]
servebench_model = tests.toy:toy_model
servebench_servers = toy
servebench_rates = 40
servebench_buffer_sizes = 10
servebench_duration = 0.3
servebench_warmup = 0.1
servebench_plots = false
servebench_page = false
"""

# Directories whose tests share servers or a framework that take seconds to start.
_TOGETHER = ("tests/model_build/", "tests/savedmodel_server/")

_SERVERS_ALONE = re.compile(r"^pytestmark = (\[[^\]]*)?pytest\.mark\.servers\b", re.MULTILINE)

RunBench = Callable[..., pytest.RunResult]


def remember_what_stays(patch: pytest.MonkeyPatch) -> None:
    """Spare runs of pytest within tests what they would look for anew, each time with one result.

    That is plugins among all that is installed, and what pytest-benchmark asks git, hg and file.
    """
    find, of_installed = importlib.metadata.distributions, importlib.metadata.PathDistribution
    installed = list(find())
    patch.setattr(
        importlib.metadata, "distributions", lambda **of: find(**of) if of else iter(installed)
    )
    patch.setattr(of_installed, "read_text", functools.cache(of_installed.read_text))
    for name in ("entry_points", "files"):
        parsed = functools.cache(getattr(of_installed, name).fget)
        patch.setattr(of_installed, name, property(parsed))
    patch.setattr(platform, "architecture", functools.cache(platform.architecture))
    patch.setattr(pytest_benchmark.utils.get_project_name, "functions", [])


def pytest_configure() -> None:
    # A shell that runs this in the background has it ignore Ctrl-C, and nohup a hangup; all its
    # children inherit that: tests that send them would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # Nor are runs of pytest within a test workers of the run that this one may be a worker of.
    if os.environ.pop("PYTEST_XDIST_WORKER", None):
        # The other processors are for the other workers: PyTorch's threads would wait in loops.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Servers live for seconds here: what Java's optimizing compiler costs does not pay off.
    os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
    remember_what_stays(pytest.MonkeyPatch())
    # How long an example takes is the machine's affair.
    hypothesis.settings.register_profile("untimed", deadline=None)
    hypothesis.settings.register_profile("quick", deadline=None, max_examples=25)
    hypothesis.settings.load_profile("untimed")  # but for --hypothesis-profile=quick


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out modules of which every test is deselected: they import what takes seconds."""
    if collection_path.suffix != ".py" or not config.option.markexpr.startswith("not servers"):
        return None
    return True if _SERVERS_ALONE.search(collection_path.read_text()) else None


def _scope(nodeid: str) -> str:
    """Return to what a test belongs that one worker runs: its module, or directory."""
    module = nodeid.partition("::")[0]
    return next((each for each in _TOGETHER if module.startswith(each)), module)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Have each worker begin elsewhere: where nothing is compiled, each compiles a part."""
    report = yield
    given = getattr(collector.config, "workerinput", None)
    if given and isinstance(collector, pytest.Directory):
        number = int(given["workerid"].removeprefix("gw"))
        begin = len(report.result) * number // given["workercount"]
        report.result = [*report.result[begin:], *report.result[:begin]]
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have workers begin with the scopes that take longest, so that they end at the same time."""
    if not hasattr(config, "workerinput"):
        return
    seconds: dict[str, float] = defaultdict(float)
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        seconds[_scope(item.nodeid)] += (
            3.0 if "servers" in marks else 0.8 if "slow" in marks else 0.05
        )
    items.sort(key=lambda item: (-seconds[_scope(item.nodeid)], item.path))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    if config.option.dist != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - may be missing

    class Scopes(LoadScopeScheduling):  # type: ignore[misc]  # is not typed
        def _split_scope(self, nodeid: str) -> str:
            return _scope(nodeid)

    return Scopes(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    gc.enable()  # the process that starts workers collects nothing, and lasts as long as they do


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """The one temporary directory of all processes that run a session's tests."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if hasattr(pytestconfig, "workerinput") else base


@pytest.fixture(scope="session")
def model_cache(shared: Path) -> Path:
    """The cache from which a session's tests take what ``model_build`` builds, each part once."""
    return shared / "model-cache"


@pytest.fixture(scope="session")
def models(shared: Path) -> Path:
    """The directory with the base paths ``fashion``, ``mixed``, ``tiny`` and ``several``."""
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("the embedded server runs TensorFlow's models")
    from model_build.cache import get_or_build  # noqa: PLC0415 - few tests need it

    program = Path(__file__).parent / "savedmodel_server" / "build_models.py"

    def build(directory: Path) -> None:
        built = subprocess.run(
            [sys.executable, program, directory], capture_output=True, text=True, check=False
        )
        assert built.returncode == 0, built.stderr

    return get_or_build(shared / "savedmodels", build)


@pytest.fixture
def own_process() -> None:
    """Have a load come from a process and take its time, as a user has it."""


@pytest.fixture
def run_bench(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> RunBench:
    """Run pytest with the toy model and the toy server, short cases by default.

    The run is in this process, but for ``subprocess=True``: that is how its user meets it, and
    half a second slower. ``interrupted=True`` where a KeyboardInterrupt in it is part of the test.
    Unless ``own_process`` is asked for, or real servers are, its loads ask the server in turn.
    """
    real = "own_process" in request.fixturenames or request.node.get_closest_marker("servers")
    if not real:
        monkeypatch.setattr("pytest_servebench.load.runner.run_child", ask_in_turn)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for variable in ("TOY_FAULT", "TOY_DELAY"):
        monkeypatch.delenv(variable, raising=False)
    pytester.makeini(INI)

    def run(
        *arguments: str,
        test: str = TEST_FILE,
        conftest: str = "",
        subprocess: bool = False,
        interrupted: bool = False,
    ) -> pytest.RunResult:
        pytester.makepyfile(test_it=test)
        if conftest:
            pytester.makeconftest(conftest)
        # Hypothesis' plugin imports all of Hypothesis at the end of a run.
        arguments = ("-p", "tests.toy", "-p", "no:hypothesispytest", *arguments)
        if subprocess:
            return pytester.runpytest_subprocess(*arguments, timeout=100)
        return pytester.runpytest_inprocess(*arguments, no_reraise_ctrlc=interrupted)

    return run
