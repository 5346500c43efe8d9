"""Every example file that the documentation shows is one that pytest takes, and most are run."""

import configparser
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pytest_servebench import ServedModel
from pytest_servebench.load.pacing import end_with_parent
from pytest_servebench.load.target import Target
from pytest_servebench.plugin.model_loading import load_model
from pytest_servebench.plugin.setups import set_up
from pytest_servebench.servers import builtin_kinds
from pytest_servebench.servers.config_file import read_tables
from pytest_servebench.servers.ports import accepts, free_ports
from tests.conftest import ROOT
from tests.docs.pages import DOCS, PAGES, Block, blocks, yaml
from tests.servers import grpc_services
from tests.servers.waiting import until

TUTORIAL = DOCS / "tutorial.md"
PORT = "8765"  # of the examples' server
SHORT = (
    "-p", "no:hypothesispytest", "-p", "no:cacheprovider", "--servebench-duration=0.3",
    "--servebench-warmup=0.1", "--servebench-plots=false", "--servebench-page=false",
)  # fmt: skip

_PYTHON = [block for page in PAGES for block in blocks(page, "python")]
_WITH_TESTS = {
    page for page in PAGES if any("def test_" in block.text for block in blocks(page, "python"))
}


def each_block(language: str) -> pytest.MarkDecorator:
    found = [block for page in PAGES for block in blocks(page, language)]
    return pytest.mark.parametrize("block", found, ids=lambda block: block.where)


def write_files(page: Path, directory: Path, port: int | None = None) -> list[str]:
    """Write the files that a page shows; return the names of those with tests."""
    tests = []
    for number, block in enumerate(blocks(page, "python", "ini", "toml")):
        if block.language == "toml" and not block.file:
            continue  # a part of a file
        name = block.file or f"test_example{number}.py"
        path = directory / Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text if port is None else block.text.replace(PORT, str(port)))
        if "def test_" in block.text and name not in tests:
            tests.append(name)
    return tests


def wait_for(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until a server listens; not if its process has ended, as for a port that is taken."""

    def settled() -> bool:
        ended = process is not None and process.poll() is not None
        return ended or accepts(Target("127.0.0.1", port), 1)

    until(settled, 60, "the start of the examples' server")


@contextmanager
def example_server(directory: Path) -> Iterator[int]:
    """Run the tutorial's server; give its port."""
    for _ in range(5):
        process, port = _start_example(directory)
        try:
            wait_for(port, process)
            if process.poll() is None:
                yield port
                return
        finally:
            process.kill()
            process.wait()
    raise AssertionError("other programs took the port of the examples' server, five times")


def _start_example(directory: Path) -> tuple[subprocess.Popen[bytes], int]:
    (port,) = free_ports(1)
    (source,) = (block for block in blocks(TUTORIAL, "python") if block.file == "server.py")
    path = directory / "server.py"
    text = source.text.replace(PORT, str(port))
    # Other pages' examples ask by GET, which says no length.
    text = text.replace('self.headers["Content-Length"]', 'self.headers.get("Content-Length", 0)')
    path.write_text(
        text.replace("    def log_message", "    do_GET = do_POST\n\n    def log_message")
    )
    command = [sys.executable, str(path), "1"]
    parent = partial(end_with_parent, os.getpid())
    return subprocess.Popen(command, preexec_fn=parent), port  # noqa: PLW1509 - it takes no lock


@each_block("python")
def test_python_is_python(block: Block) -> None:
    compile(block.text, block.where, "exec")


def test_there_are_examples() -> None:
    assert len(_PYTHON) > 12
    assert {"README.md", "tutorial.md", "own-server.md"} <= {page.name for page in _WITH_TESTS}


@pytest.mark.parametrize("page", sorted(_WITH_TESTS), ids=lambda page: page.name)
def test_examples_are_collected(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, page: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    names = write_files(page, pytester.path)
    result = pytester.runpytest_inprocess("--collect-only", "-q", *SHORT, *names)
    assert result.ret == pytest.ExitCode.OK, result.outlines
    for name in names:
        assert any(line.startswith(f"{name}::") for line in result.outlines), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "passed", "lines"),
    [
        ("own-server.md", 1, ["Adder  adder 1.0*", "*buffer 10 inconclusive*9 100.0*"]),
        pytest.param("any-server.md", 2, ["*2 cases, Adder and adder-2*", "*inconclusive*9 100.0*"],
                     marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_servers_of_ones_own(
    pytester: pytest.Pytester, page: str, passed: int, lines: list[str]
) -> None:
    write_files(DOCS / "howto" / page, pytester.path)
    result = pytester.runpytest_inprocess(*SHORT)
    result.assert_outcomes(passed=passed, warnings=passed)  # 9 requests are too few for its SLO
    result.stdout.fnmatch_lines(lines)


@each_block("toml")
def test_configured_servers_are_such(block: Block, tmp_path: Path) -> None:
    """Each table has a known kind and valid keys; what it needs may be missing here."""
    name = "pyproject.toml" if "[tool." in block.text else "servebench.toml"
    (tmp_path / name).write_text(block.text)
    tables = read_tables(tmp_path)
    assert tables or "[tool.servebench" not in block.text
    kinds = {kind.name: kind for kind in builtin_kinds()}
    setups, unknown = set_up(kinds, tables, [])
    assert unknown == {}
    assert set(tables) <= set(setups)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["attach.md", "arrivals.md", "own-requests.md"])
def test_requests_to_any_server(pytester: pytest.Pytester, tmp_path: Path, name: str) -> None:
    with example_server(tmp_path) as port:
        tests = write_files(DOCS / "howto" / name, pytester.path, port)
        result = pytester.runpytest_inprocess(
            "--servebench-rates=30", "--servebench-buffer-sizes=10", *SHORT, *tests
        )
    assert result.ret == pytest.ExitCode.OK, result.outlines
    assert result.parseoutcomes()["passed"] >= 1


@pytest.mark.slow
def test_calls_of_any_service(pytester: pytest.Pytester) -> None:
    methods = {"/shop.Search/Find": lambda m, _: m,
               "/grpc.health.v1.Health/Check": lambda *_: b"\x08\x01"}  # fmt: skip
    with grpc_services.serving(methods) as port:
        tests = write_files(DOCS / "howto" / "grpc.md", pytester.path, port)
        (pytester.path / "pyproject.toml").unlink()  # which shows servers, as another file does
        result = pytester.runpytest_inprocess(
            "--servebench-rates=30", "--servebench-buffer-sizes=10", *SHORT, *tests
        )
    result.assert_outcomes(passed=2, warnings=1)  # too few requests for the SLO


def test_the_readmes_first_test(pytester: pytest.Pytester, tmp_path: Path) -> None:
    (block,) = (one for one in _PYTHON if one.page == ROOT / "README.md" and "PROMPTS" in one.text)
    with example_server(tmp_path) as port:
        # The tutorial's server stands in for one that chats, and two seconds for two minutes.
        text = block.text.replace(":8000", f":{port}").replace("rates=[5, 20]", "rates=[20]")
        text = text.replace("duration=60", "duration=2")
        (pytester.path / str(block.file)).write_text(text)
        result = pytester.runpytest_inprocess(*SHORT, str(block.file))
    assert result.parseoutcomes()["passed"] == 1, result.outlines


def test_a_model_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(DOCS / "howto" / "own-model.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "exported").mkdir()
    for name in ("inputs", "outputs"):
        np.save(tmp_path / "exported" / f"{name}.npy", np.zeros((3, 2), np.float32))
    model = load_model("my_package.serving:model", ["torchserve"])
    assert isinstance(model, ServedModel)
    assert model.artifacts == {"torchserve": Path("exported/sentiment.mar")}
    np.save("ids.npy", np.zeros((3, 128), np.int64))
    np.save("embeddings.npy", np.ones((3, 8), np.float32))
    np.save("scores.npy", np.eye(3))
    for name in "abc":
        (tmp_path / "pictures").mkdir(exist_ok=True)
        (tmp_path / "pictures" / f"{name}.jpg").write_bytes(name.encode())
    encoder = load_model("my_package.more_models:encoder", ["tensorflow_serving"])
    assert encoder.check(0, np.full(8, 0.5)) is None
    classifier = load_model("my_package.more_models:classifier", ["torchserve"])
    assert np.asarray(classifier.input(1)).item() == b"b"
    assert classifier.check(1, np.array([0.2, 0.5, 0.3])) is None
    probabilities = importlib.import_module("my_package.expectations").probabilities
    assert probabilities(np.array([0.5, 0.6]), None) == "the probabilities add up to 1.100"
    assert probabilities(np.array([0.5, 0.5]), None) is None
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


@pytest.mark.slow
def test_hooks_are_called(pytester: pytest.Pytester, tmp_path: Path) -> None:
    with example_server(tmp_path) as port:
        tests = write_files(DOCS / "howto" / "own-requests.md", pytester.path, port)
        write_files(DOCS / "reference" / "hooks.md", pytester.path)  # another conftest
        result = pytester.runpytest_inprocess(
            "--servebench-rates=30", "--servebench-buffer-sizes=10", "-s", *SHORT, *tests
        )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*too few requests for an interval of p99*"])
    (file,) = pytester.path.glob("servebench_results/2*/run.json")
    assert json.loads(file.read_text())["servebench"]["commit"]


@each_block("ini")
def test_ini_keys_exist(block: Block, pytestconfig: pytest.Config) -> None:
    config = configparser.ConfigParser()
    config.read_string(block.text)
    assert config.sections() == ["pytest"]
    for key in config["pytest"]:
        pytestconfig.getini(key)  # of one that does not exist: ValueError


@each_block("yaml")
def test_workflows_are_yaml(block: Block) -> None:
    data = yaml.safe_load(block.text)
    steps = data if isinstance(data, list) else next(
        job.get("steps") or job["script"] for job in data.get("jobs", data).values()
    )  # fmt: skip
    assert steps
    for step in steps:
        assert isinstance(step, str) or {"run", "uses"} & set(step)


def test_the_project_s_own_workflow_is_what_the_page_shows() -> None:
    """It is included, so that it cannot differ; the tests of commands read the file itself."""
    text = (DOCS / "howto" / "ci.md").read_text()
    assert "```{literalinclude} ../../.github/workflows/ci.yml\n" in text
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert "\n  gate:\n" in workflow
    assert "tox -e tests" in workflow
    assert os.linesep == "\n"
