"""What is wrong before an ONNX file's server is started."""

import sys
from pathlib import Path

import numpy as np
import pytest

from pytest_servebench.errors import ServebenchError, ServerStartError, ServerUnavailableError
from pytest_servebench.model import ServedModel
from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.onnx import MlServer, OnnxServer, Triton
from pytest_servebench.servers.triton_leftovers import remove_leftovers
from tests.refusals import refused

from .conftest import INPUTS, OUTPUTS, make_program
from .onnx_models import two_types


class Bare(OnnxServer):
    """Needs nothing that this environment lacks."""

    modules = ("onnxruntime",)


class Old(MlServer):
    """Has a version that is known to fail."""

    modules = ("onnxruntime", "uvloop")


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        "no file",
        "other inputs",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("no model", "other rank", "other type")
        ),
    ],
)
def test_a_file_that_cannot_be_served(
    tmp_path: Path, settings: ServerSettings, run_dir: Path, case: str
) -> None:
    path = tmp_path / "made.onnx"
    model = ServedModel("tiny", {"onnx": path}, INPUTS, OUTPUTS)
    facts = [str(path), "'onnx'"]
    if case == "no model":
        path.write_text("no model")
        facts += ["ONNX Runtime", "INVALID_PROTOBUF"]
    elif case == "other inputs":
        model = two_types(path, inputs_of_model=False)
        facts = [str(path), "mask of rank 2 (int64)", "ids of rank 1 (int64), text of rank 0"]
    elif case == "other rank":
        two_types(path)
        facts = [str(path), "text of rank 1", "ids of rank 2"]
    elif case == "other type":
        model = two_types(path)
        assert isinstance(model.inputs, dict)
        model.inputs["ids"] = np.asarray(model.inputs["ids"], np.float32)
        facts = [str(path), "ids of rank 2 (int64)", "ids of rank 1 (float32)", "types"]
    refused(lambda: Bare().start(model, settings, run_dir), facts, ServerStartError)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "workers", "facts"),
    [
        (OnnxServer(), 1, ["uvicorn", "'uvicorn[standard]' starlette onnxruntime", "onnx.python"]),
        (MlServer(), 1, ["mlserver", "'uvloop<0.22'", "mlserver.python"]),
        (Triton(), 1, ["pytriton", "'numpy<2'", "triton.python"]),
        (Old(), 2, ["uvloop 0.2", "'uvloop<0.22'"]),
    ],
)
def test_packages_that_are_missing(
    tmp_path: Path,
    settings: ServerSettings,
    run_dir: Path,
    kind: OnnxServer,
    workers: int,
    facts: list[str],
) -> None:
    model = two_types(tmp_path / "made.onnx")
    settings = ServerSettings(cpus=settings.cpus, workers=workers)
    facts = [*facts, f"{sys.executable} -m pip install"]
    refused(lambda: kind.start(model, settings, run_dir), facts, ServerUnavailableError)


def test_an_interpreter_that_is_none(
    tmp_path: Path, settings: ServerSettings, run_dir: Path
) -> None:
    model = two_types(tmp_path / "made.onnx")
    python = make_program(tmp_path / "python", "#!/bin/sh\necho wrong machine >&2\nexit 1\n")
    for path, fact in ((python, "wrong machine"), (tmp_path / "none", "triton.python")):
        with pytest.raises(ServebenchError) as caught:
            Triton(python=path).start(model, settings, run_dir)
        assert str(path) in str(caught.value)
        assert fact in str(caught.value)


def test_what_a_killed_triton_leaves_goes_with_the_next_start(tmp_path: Path) -> None:
    running = tmp_path / "servebench-running"
    for directory in (running, tmp_path / "proc" / "12", tmp_path / "memory"):
        directory.mkdir(parents=True)
    for name in ("pytrtion12-a", "pytrtion34-b", "other56-c"):
        (tmp_path / "memory" / name).touch()
    for name, text in {
        "folder1": f'string_value: "{running}/workspace"',
        "folder2": f'string_value: "{tmp_path}/servebench-ended/workspace"',
        "folder3": 'string_value: "/home/me/workspace"',
    }.items():
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(text)
    remove_leftovers(tmp_path, tmp_path / "memory", tmp_path / "proc")
    assert {path.name for path in (tmp_path / "memory").iterdir()} == {"pytrtion12-a", "other56-c"}
    assert {path.name for path in tmp_path.glob("folder*")} == {"folder1", "folder3"}
