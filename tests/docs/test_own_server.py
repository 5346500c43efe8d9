"""The kind of server that the guide writes keeps the promises of the plugin's own kinds."""

import os
import signal
import subprocess
import sys
import venv
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pytest_servebench.load.target import Target
from pytest_servebench.servers import ports
from tests.conftest import ROOT
from tests.docs.pages import DOCS
from tests.docs.test_examples import SHORT, write_files
from tests.processes import GENERATOR
from tests.servers.waiting import gone, until


@pytest.fixture
def guide(pytester: pytest.Pytester) -> Path:
    """Return a directory with the guide's files."""
    write_files(DOCS / "howto" / "own-server.md", pytester.path)
    return pytester.path


KILLED = {
    "own-server.md": ("adder.py", ("--servebench-server-workers=3",)),
    "any-server.md": (
        "app.py",
        ("--servebench-servers=adder-2", "--servebench-server-option=adder-2.workers=3"),
    ),
}


@pytest.mark.servers
@pytest.mark.parametrize(
    ("page", "signal_"),
    [("own-server.md", signal.SIGKILL), ("any-server.md", signal.SIGKILL),
     ("any-server.md", signal.SIGTERM), ("any-server.md", signal.SIGINT)],
)  # fmt: skip
def test_nothing_is_left_of_its_workers(
    pytester: pytest.Pytester, page: str, signal_: signal.Signals
) -> None:
    write_files(DOCS / "howto" / page, pytester.path)
    program, options = KILLED[page]
    command = [sys.executable, "-m", "pytest", *SHORT, "--servebench-duration=60", *options]
    with subprocess.Popen(
        command, cwd=pytester.path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL, start_new_session=True,
    ) as owner:  # fmt: skip

        def family(part: str) -> list[psutil.Process]:
            found = []
            for each in psutil.Process(owner.pid).children(recursive=True):
                with suppress(psutil.Error):  # it has just ended
                    # The supervisor's command names the program within a longer word.
                    if any(word.endswith(part) and " " not in word for word in each.cmdline()):
                        found.append(each)
            return found

        try:
            until(
                lambda: owner.poll() is not None
                or (len(family(program)) == 3 and family(GENERATOR)),
                60, "a load of three workers",
            )  # fmt: skip
            tree = [each.pid for each in psutil.Process(owner.pid).children(recursive=True)]
            port = next(port for _, port in ports.listening(tree))
            scratch = Path(family(program)[0].environ()["TMPDIR"])
            assert scratch.is_dir()
        finally:
            if signal_ is signal.SIGINT:
                os.killpg(owner.pid, signal_)  # as the terminal's Ctrl-C does
            else:
                owner.send_signal(signal_)
        gone(tree, 5)
        until(lambda: not scratch.exists(), what="the end of its directory")
        assert not ports.accepts(Target(ports.LOOPBACK, port), 1)
        until(lambda: owner.poll() is not None, 30, "the end of pytest")


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
    refused.stderr.fnmatch_lines(["*adder.pyton*'python'*url*"])


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
