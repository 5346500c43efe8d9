"""What is left of a run that is killed or interrupted, at any stage of it: nothing."""

import contextlib
import signal
from pathlib import Path

import psutil
import pytest

from pytest_servebench.runs.run_names import read_run
from pytest_servebench.servers import ports
from tests.interrupted_suite import BEFORE_ANY_CASE, STAGES
from tests.servers.ended import GONE_WITHIN, ROOT, check_end_under_load, run_of_pytest
from tests.servers.waiting import until

SUITE = """
import os, pathlib, pytest

def test_first(model_server, poisson_load):
    poisson_load(model_server)

@pytest.mark.servebench(duration=60 if os.environ["STAGE"] == "load" else 0.3)
def test_second(model_server, poisson_load, slow_end):
    pathlib.Path("second").touch()
    poisson_load(model_server)

@pytest.mark.slo("p90<10s")
def test_capacity(model_server, find_capacity):
    find_capacity(model_server)
"""


@pytest.mark.servers
@pytest.mark.parametrize(
    ("signal_", "times", "stage"),
    [
        *((signal.SIGTERM, 1, stage) for stage in STAGES),
        # Nothing of pytest runs after SIGKILL: what differs is what there was to be ended.
        *((signal.SIGKILL, 1, stage) for stage in ("build", "start", "load", "search", "saving")),
        # SIGTERM raises KeyboardInterrupt, too.
        (signal.SIGINT, 1, "load"),
        (signal.SIGHUP, 1, "load"),
        *((signal.SIGTERM, 2, stage) for stage in ("load", "saving")),
        (signal.SIGINT, 2, "build"),
    ],
)
def test_every_stage(signal_: signal.Signals, times: int, stage: str, tmp_path: Path) -> None:
    """No process, port or file is left, and every case that had ended is in a readable run.json."""
    temporary, reached = tmp_path / "tmp", tmp_path / "reached"
    temporary.mkdir()
    (tmp_path / "test_it.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    options = [
        "-p", "tests.interrupted_suite", "test_it.py",
        "--servebench-model=tests.interrupted_suite:model", "--servebench-servers=toy",
        "--servebench-rates=40", "--servebench-buffer-sizes=10", "--servebench-duration=0.3",
        "--servebench-warmup=0.1", "--servebench-max-lag=60", "--servebench-plots=false",
        "--servebench-capacity-range=40..80",
        *([] if stage == "search" else ["-k", "not capacity"]),
        *([] if stage in ("load", "saving", "page") else ["--servebench-page=false"]),
    ]  # fmt: skip
    environment = {
        "TMPDIR": str(temporary), "STAGE": stage, "REACHED": str(reached),
        "STUBBORN": "1" if times == 2 else "",
    }  # fmt: skip
    with run_of_pytest(options, tmp_path, environment, lambda _: reached.exists()) as run:
        family = psutil.Process(run.pid).children(recursive=True)
        served = ports.listening(process.pid for process in family)
        assert served or stage in ("build", "saving", "page")
        run.send_signal(signal_)
        if times == 2:
            stops = tmp_path / "reached-stop"  # at the last stages that is behind it
            with contextlib.suppress(AssertionError):
                until(lambda: run.poll() is not None or stops.exists(), 2)
            with contextlib.suppress(ProcessLookupError):
                run.send_signal(signal_)
    until(lambda: not list(temporary.iterdir()), GONE_WITHIN)
    hidden = {path.name for path in tmp_path.rglob(".*")}
    assert hidden <= {".benchmarks"}  # pytest-benchmark's own
    if times == 1 and signal_ in (signal.SIGTERM, signal.SIGHUP):
        assert run.returncode == 128 + signal_
    runs = [
        path for path in tmp_path.glob("servebench_results/*/run.json")
        if not path.parent.is_symlink()
    ]  # fmt: skip
    if stage in BEFORE_ANY_CASE:
        assert runs == []
        return
    found = read_run(runs[0])
    names = [case.name.partition("[")[0] for case in found.cases]
    if stage in ("load", "answers"):
        assert names == ["test_first"]
    else:
        assert names == ["test_first", "test_second"]
    assert len(found.probes) == (stage == "search")
    if stage not in ("saving", "page"):
        assert not found.finished


@pytest.mark.servers
@pytest.mark.parametrize(
    ("kind", "signal_"), [("torchserve", signal.SIGTERM), ("tensorflow_serving", signal.SIGINT)]
)
def test_nothing_is_left(
    kind: str, signal_: signal.Signals, tmp_path: Path, model_cache: Path
) -> None:
    """Nor of this project's own model and servers."""
    options = (
        "-c", f"{ROOT}/pyproject.toml", f"{ROOT}/bench_tests", f"--servebench-servers={kind}",
        "-k", "rate10 and buffer10", f"--servebench-results={tmp_path}/results",
    )  # fmt: skip
    check_end_under_load(options, tmp_path, signal_, SERVEBENCH_CACHE_DIR=str(model_cache))
