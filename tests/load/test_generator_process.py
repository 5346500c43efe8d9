"""The generator's process: what is left where it does not come to its end, or cannot begin."""

import dataclasses
import errno
import itertools
import os
import resource
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from pytest_servebench.errors import InvalidMeasurementError, OptionError
from pytest_servebench.load import child, storage
from pytest_servebench.load.job import NO_MEMORY, NO_PRIORITY
from pytest_servebench.load.records import NEVER, Records, new_store
from pytest_servebench.load.runner import run_load
from pytest_servebench.load.store import Phase, RecordStore
from pytest_servebench.load.target import Target
from pytest_servebench.load.transports.base import Terms
from tests.conftest import RunBench
from tests.load.h2_server import echo
from tests.load.h2_server import serving as serving_http2
from tests.load.test_misbehaving import OK, always, serving, spec_for
from tests.processes import GENERATOR, children_with
from tests.results import saved_run
from tests.test_own_requests import HEAD

pytestmark = pytest.mark.usefixtures("own_process")

SPEC = spec_for(9, rate=200.0, duration=60.0, buffer_size=50)


def generator() -> psutil.Process:
    """Return the one child of this process that makes load."""
    (process,) = children_with(GENERATOR)
    return process


def killing(number: signal.Signals, after: int) -> Callable[[RecordStore], None]:
    """Send a signal to the generator once it has sent so many requests."""

    killed = False

    def watch(store: RecordStore) -> None:
        nonlocal killed
        if not killed and store.column("done")[after] != NEVER:
            killed = True
            generator().send_signal(number)

    return watch


@pytest.mark.servers
def test_what_a_killed_generator_recorded_is_kept() -> None:
    with serving(always(OK)) as port:
        spec = dataclasses.replace(SPEC, target=Target("127.0.0.1", port))
        result = run_load(spec, killing(signal.SIGSEGV, after=20))
    assert result.failure is not None
    assert "SIGSEGV" in result.failure
    counts = result.records.counts()
    assert counts["ok"] >= 20
    assert sum(counts.values()) == len(result.records)
    assert 0 < result.generator.unaccounted < len(result.records)
    assert result.generator.cpu_seconds > 0


@pytest.mark.servers
def test_signals_to_the_process_group_are_for_pytest_to_decide() -> None:
    asked = False

    def watch(store: RecordStore) -> None:
        nonlocal asked
        if store.phase is Phase.RUNNING and not asked:
            asked = True
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                generator().send_signal(number)

    with serving(always(OK)) as port:
        spec = dataclasses.replace(SPEC, target=Target("127.0.0.1", port), duration=0.5)
        result = run_load(spec, watch)
    assert asked
    assert result.failure is None
    assert result.records.counts()["ok"] == len(result.records)


@pytest.mark.servers
def test_a_case_whose_generator_was_killed_is_saved_as_invalid(run_bench: RunBench) -> None:
    answered = itertools.count()

    def behave(link: socket.socket) -> None:
        while link.recv(65536):
            link.sendall(OK)
            if next(answered) == 20:
                generator().kill()

    options = (
        "--servebench-duration=60", "--servebench-warmup=0", "--servebench-page=true",
        "--servebench-retries=0",
    )  # fmt: skip
    with serving(behave) as port:
        test = "def test_load(poisson_load): poisson_load(URL, requests=POST, name='mine')"
        result = run_bench(*options, test=HEAD.format(f"http://127.0.0.1:{port}") + test)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = result.stdout.str()
    assert "SIGKILL" in text
    assert "INVALID" in text
    directory, run = saved_run()
    (case,) = run["servebench"]["cases"]
    assert case["verdict"] == "invalid"
    assert "SIGKILL" in case["invalid_reason"]
    assert (directory / case["records_file"]).is_file()
    assert "SIGKILL" in (directory / "report.html").read_text()


@pytest.mark.parametrize("streams", [1, 4])
def test_a_fault_of_its_own_is_no_outcome_of_requests(streams: int) -> None:
    with serving_http2(echo) as server:
        spec = spec_for(
            server.port, transport="http/2", requests=(b"no request",), warmup=0.2,
            terms=Terms(streams=streams),
        )  # fmt: skip
        with pytest.raises(InvalidMeasurementError, match="Truncated header block"):
            run_load(spec)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux has it")
def test_the_end_of_a_process_ends_the_sleep_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["true"]) as process, child._sleeping_beside(process) as sleep:
        assert sleep(60.0), "it has slept to its end"
    assert process.returncode == 0
    monkeypatch.delattr(os, "pidfd_open")
    with child._sleeping_beside(process) as sleep:
        assert sleep is time.sleep


def test_the_ending_of_a_process_in_words() -> None:
    assert "SIGKILL" in child._why(-9, "", oom_kills=0)
    assert "out of memory" in child._why(-9, "", oom_kills=1)
    assert "SIGABRT" in child._why(-6, "Fatal Python error", oom_kills=0)
    assert "Fatal Python error" in child._why(-6, "Fatal Python error", oom_kills=0)
    assert "signal 40" in child._why(-40, "", oom_kills=0)
    assert "--servebench-priority=auto" in child._why(NO_PRIORITY, "", oom_kills=0)
    assert "memory" in child._why(NO_MEMORY, "MemoryError", oom_kills=0)
    assert "status 3" in child._why(3, "Traceback", oom_kills=0)
    assert child._why(120, "", oom_kills=0).endswith("without a message")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EAGAIN, "ulimit -u"), (errno.ENOMEM, "memory"), (errno.EMFILE, "ulimit -n"),
        (errno.ENOSPC, "TMPDIR"), (errno.EACCES, "python"),
    ],
)  # fmt: skip
def test_a_process_that_cannot_be_started(
    monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(InvalidMeasurementError, match=os.strerror(number)) as caught:
        run_load(SPEC)
    assert words in str(caught.value)


def limit_generator(patch: pytest.MonkeyPatch, what: int, most: int) -> None:
    """Limit a resource of the generator's process alone."""
    start: Any = subprocess.Popen

    def limit() -> None:
        resource.setrlimit(what, (most, most))

    def limited(*command: Any, **options: Any) -> Any:
        return start(*command, **options, preexec_fn=limit)

    patch.setattr(subprocess, "Popen", limited)


def test_a_generator_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_generator(monkeypatch, resource.RLIMIT_AS, 20_000_000)
    before = psutil.Process().num_fds()
    with pytest.raises(InvalidMeasurementError, match="the load generator"):
        run_load(SPEC)
    assert psutil.Process().num_fds() == before


def test_a_generator_without_space_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its report nor a traceback can be written."""
    limit_generator(monkeypatch, resource.RLIMIT_FSIZE, 0)
    with serving(always(OK)) as port:
        spec = dataclasses.replace(SPEC, target=Target("127.0.0.1", port), duration=0.2)
        result = run_load(spec)
    assert result.failure is not None
    assert "TMPDIR" in result.failure
    assert result.records.counts()["ok"] == len(result.records)


# -- room ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "duration"), [(1e9, 3600.0), (50_000.0, 3e6)])
def test_more_than_memory_holds_is_refused_at_once(rate: float, duration: float) -> None:
    with pytest.raises(OptionError) as caught:
        run_load(dataclasses.replace(SPEC, rate=rate, duration=duration))
    text = str(caught.value)
    assert f"{rate:g} requests/s for {duration:g} s" in text
    assert all(word in text for word in ("GB", "--servebench-rates", "--servebench-duration"))


def test_the_limit_of_the_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    free = psutil.Process().memory_info().vms + 10_000_000
    monkeypatch.setattr(resource, "getrlimit", lambda _: (free, free))
    storage.check_memory(dataclasses.replace(SPEC, rate=100.0, duration=60.0))
    with pytest.raises(OptionError, match="ulimit -v"):
        storage.check_memory(dataclasses.replace(SPEC, rate=1000.0, duration=60.0))


@pytest.mark.parametrize(
    "files",
    [
        {"memory.max": "1000", "memory.current": "900", "memory.stat": "anon 5\ninactive_file 300"},
        {
            "memory.limit_in_bytes": "1000",
            "memory.usage_in_bytes": "900",
            "memory.stat": "total_inactive_file 300",
        },
    ],
)
def test_the_limit_of_a_container_counts(tmp_path: Path, files: dict[str, str]) -> None:
    assert storage._left_of_group(tmp_path) is None
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert storage._left_of_group(tmp_path) == 400
    (tmp_path / next(iter(files))).write_text("max")
    assert storage._left_of_group(tmp_path) is None


def places(monkeypatch: pytest.MonkeyPatch, memory: Path, free: dict[Path, int]) -> None:
    monkeypatch.setattr(storage, "_MEMORY", memory)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free[Path(path)]))


def place_of(file: Any) -> Path:
    return Path(f"/proc/self/fd/{file.fileno()}").readlink().parent


def test_a_small_memory_file_system_is_left_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, disk = tmp_path / "shm", tmp_path / "tmp"
    memory.mkdir()
    disk.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    size = RecordStore.size_for(1000)
    places(monkeypatch, memory, {memory: 2 * size + 10, disk: size})
    with storage.records_file(SPEC, 1000) as file:
        assert place_of(file) == memory
        assert os.fstat(file.fileno()).st_size == size
    places(monkeypatch, memory, {memory: 2 * size - 10, disk: size})
    with storage.records_file(SPEC, 1000) as file:
        assert place_of(file) == disk
    places(monkeypatch, memory, {memory: size, disk: size - 1})
    with pytest.raises(OptionError) as caught:
        storage.records_file(SPEC, 1000)
    assert all(word in str(caught.value) for word in (str(memory), str(disk), "TMPDIR"))
    assert not [*memory.iterdir(), *disk.iterdir()]


def test_room_that_goes_meanwhile_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OptionError, match="No space left on device"):
        storage.records_file(SPEC, 1000)


@pytest.mark.parametrize("missing", [None, errno.EOPNOTSUPP])
def test_each_byte_has_its_place(monkeypatch: pytest.MonkeyPatch, missing: int | None) -> None:
    """Also where the system cannot reserve: a hole in the file would be a SIGBUS later."""

    def refuse(*_: object) -> None:
        raise OSError(missing, "not here")

    if missing:
        monkeypatch.setattr(os, "posix_fallocate", refuse)
    with tempfile.TemporaryFile() as file:
        store = new_store(file, np.arange(50_000), np.zeros(50_000, np.uint32), 7)
        found = os.fstat(file.fileno())
        assert found.st_size == RecordStore.size_for(50_000)
        assert found.st_blocks * 512 >= found.st_size
        assert Records.of(store).counts()["unfinished"] == 50_000
        store.close()
