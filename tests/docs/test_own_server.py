"""The kind of server that the guide writes keeps the promises of the plugin's own kinds."""

import signal
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from pytest_servebench.servers import ports
from tests.docs.pages import DOCS
from tests.docs.test_examples import SHORT, write_files
from tests.servers.ended import check_end_under_load


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
    ("page", "signal_"), [("own-server.md", signal.SIGKILL), ("any-server.md", signal.SIGINT)]
)
def test_nothing_is_left_of_its_workers(
    pytester: pytest.Pytester, page: str, signal_: signal.Signals
) -> None:
    write_files(DOCS / "howto" / page, pytester.path)
    program, options = KILLED[page]
    check_end_under_load((*SHORT, *options), pytester.path, signal_, program=program, least=3)


@pytest.mark.slow
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


@pytest.mark.slow
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
