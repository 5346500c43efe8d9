"""Each example is one that a user can copy, and that the zoo can load."""

import re
from pathlib import Path

import pytest

from pytest_servebench.plugin.setups import set_up
from pytest_servebench.servers import builtin_kinds
from pytest_servebench.servers.config_file import read_tables
from zoo import __main__ as zoo
from zoo.environments import InstallationError
from zoo.examples import EXAMPLES, Example, read_examples

ALL = read_examples()


def test_there_are_examples() -> None:
    assert {example.directory for example in ALL} == set(EXAMPLES.glob("*/"))
    names = [name for example in ALL for name in example.servers]
    assert len(set(names)) == len(names) > len(ALL)
    assert set(zoo.SERVERS) <= set(names)


@pytest.mark.parametrize("example", ALL, ids=lambda example: example.directory.name)
def test_an_example_is_complete(example: Example) -> None:
    kinds = {kind.name: kind for kind in builtin_kinds()}
    setups, unknown = set_up(kinds, example.servers, [])
    assert unknown == {}
    # One artifact, which the reference model has.
    artifacts = {setups[name].artifacts for name in example.servers}
    assert {artifact for each in artifacts for artifact in each} & {
        "onnx", "tensorflow_serving", "torchserve"
    }  # fmt: skip
    lines = example.requirements.read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w-]+(\[\w+\])?==[\d.]+", line)] == []
    assert (
        f"--servebench-servers={','.join(example.servers)}"
        in (example.directory / "README.md").read_text()
    )
    for app in example.directory.glob("*.py"):
        compile(app.read_text(), app, "exec")
        assert any(app.stem in word for table in example.servers.values()
                   for word in table.values.get("command", ()))  # fmt: skip


def test_what_cannot_be_installed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def python_of(requirements: Path) -> Path:
        if requirements.parent.name == "fastapi":
            raise InstallationError("no wheel for fastapi")
        return tmp_path / requirements.parent.name / "bin" / "python"

    monkeypatch.setattr(zoo, "python_of", python_of)
    monkeypatch.setattr(zoo, "load", lambda directory, arguments: len(arguments))
    servers = ["fastapi-2", "fastapi", "torchserve-2", "kserve", "triton-binary"]
    status = zoo.main(["--directory", str(tmp_path), *servers, "--servebench-rates=5", "-q"])
    assert status == 2  # as many as there are arguments for pytest
    last = capsys.readouterr().out.splitlines()[-1]
    assert all(fact in last for fact in ("left out", "fastapi-2, fastapi:", "no wheel"))
    ini = (tmp_path / "pytest.ini").read_text()
    assert "servebench_servers = torchserve-2, kserve, triton-binary\n" in ini
    for option in (
        f"kserve.python={tmp_path / 'kserve' / 'bin' / 'python'}",
        f"kserve.directory={EXAMPLES / 'kserve'}",
        f"triton.python={tmp_path / 'triton' / 'bin' / 'python'}",
    ):
        assert f"    {option}\n" in ini
    assert "fastapi" not in ini
    assert list(read_tables(tmp_path)) == [
        "torchserve", "torchserve-2", "torchserve-grpc", "kserve", "kserve-grpc", "triton",
        "triton-binary", "triton-grpc",
    ]  # fmt: skip


def test_servers_that_there_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        zoo.main(["fastapy"])
    said = capsys.readouterr().err
    assert "fastapy" in said
    assert "fastapi-2" in said
