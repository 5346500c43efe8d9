"""The kind of server that the guide writes keeps the promises of the plugin's own kinds."""

import os
import subprocess
import sys
import venv
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pytest_servebench.servers import ports
from tests.conftest import ROOT
from tests.docs.pages import DOCS
from tests.docs.test_examples import SHORT, write_files
from tests.servers.waiting import gone, until


@pytest.fixture
def guide(pytester: pytest.Pytester) -> Path:
    """Return a directory with the guide's files."""
    write_files(DOCS / "howto" / "own-server.md", pytester.path)
    return pytester.path


@pytest.mark.servers
def test_nothing_is_left_after_kill_9(guide: Path) -> None:
    command = [
        sys.executable, "-m", "pytest", *SHORT, "--servebench-duration=60",
        "--servebench-server-workers=3",
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=guide, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL
    ) as owner:

        def adders() -> list[psutil.Process]:
            found = []
            for each in psutil.Process(owner.pid).children(recursive=True):
                with suppress(psutil.Error):  # it has just ended
                    if str(guide / "adder.py") in each.cmdline():
                        found.append(each)
            return found

        try:
            # The supervisor's command names the adder within a longer word.
            until(lambda: len(adders()) == 3 or owner.poll() is not None, 60, "three workers")
            tree = [each.pid for each in psutil.Process(owner.pid).children(recursive=True)]
            scratch = Path(adders()[0].cwd())
            assert scratch.is_dir()
        finally:
            owner.kill()
    gone(tree, 5)
    until(lambda: not scratch.exists(), 5, "the end of its directory")


def test_it_runs_in_an_interpreter_of_its_own(guide: Path, pytester: pytest.Pytester) -> None:
    venv.create(guide / "envs" / "adder", with_pip=False, symlinks=True)
    adder = guide / "adder.py"
    source = adder.read_text().replace(
        "    port, workers", "    print(sys.prefix)\n    port, workers"
    )
    adder.write_text(source)
    result = pytester.runpytest_inprocess(
        *SHORT, "--servebench-server-option=adder.python=envs/adder/bin/python"
    )
    result.assert_outcomes(passed=1, warnings=1)
    (log,) = guide.glob("servebench_results/2*/servers/adder/server.log")
    assert log.read_text().splitlines() == [str(guide / "envs" / "adder")]


def test_its_options_are_told_where_one_is_wrong(guide: Path, pytester: pytest.Pytester) -> None:
    refused = pytester.runpytest_inprocess(*SHORT, "--servebench-server-option=adder.pyton=x")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*adder.pyton*'python'*url (attach to this adder)*"])


def test_one_that_already_runs_is_attached_by_its_url(
    guide: Path, pytester: pytest.Pytester
) -> None:
    (port,) = ports.free_ports(1)
    url = f"--servebench-server-option=adder.url=http://127.0.0.1:{port}"
    with subprocess.Popen([sys.executable, guide / "adder.py", str(port), "1"]) as adder:
        try:
            pytester.runpytest_inprocess(*SHORT, url).assert_outcomes(passed=1, warnings=1)
        finally:
            adder.kill()
    down = pytester.runpytest_inprocess(*SHORT, url, "--servebench-start-timeout=0.2")
    down.assert_outcomes(errors=1)
    down.stdout.fnmatch_lines([f"*Adder at *adder.url=http://127.0.0.1:{port}*POST /add*"])
