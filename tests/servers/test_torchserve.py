"""What TorchServe needs is checked before it is started, and it is configured for a fair test."""

import importlib.util
import xml.etree.ElementTree as ET
import zipfile
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from pytest_servebench.errors import ServerStartError, ServerUnavailableError
from pytest_servebench.model import ServedModel
from pytest_servebench.servers import torchserve
from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.readiness import Place
from pytest_servebench.servers.torchserve import TorchServe, check_archive, find_installation
from pytest_servebench.servers.torchserve_config import LOG4J2, config_properties


@pytest.fixture
def specs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, ModuleSpec | None]:
    """Pretend that TorchServe and what it needs are installed; tests take something away."""
    (tmp_path / "ts" / "frontend").mkdir(parents=True)
    (tmp_path / "ts" / "frontend" / "model-server.jar").touch()
    (tmp_path / "ts" / "version.txt").write_text("0.12.0\n")
    ts = ModuleSpec("ts", None, is_package=True)
    ts.submodule_search_locations = [str(tmp_path / "ts")]
    installed: dict[str, ModuleSpec | None] = {
        "ts": ts,
        "torch": ModuleSpec("torch", None),
        "yaml": ModuleSpec("yaml", None),
    }
    monkeypatch.setattr(importlib.util, "find_spec", installed.get)
    monkeypatch.setattr(torchserve, "find_java", lambda: Path("/java"))
    return installed


def test_installation(specs: dict[str, ModuleSpec | None], tmp_path: Path) -> None:
    found = find_installation()
    assert (found.java, found.home, found.version) == ("/java", tmp_path, "0.12.0")


@pytest.mark.parametrize(
    ("module", "package"), [("ts", "torchserve"), ("torch", "torch"), ("yaml", "pyyaml")]
)
def test_missing_package(specs: dict[str, ModuleSpec | None], module: str, package: str) -> None:
    """The wheel of TorchServe forgets to declare pyyaml: its workers would die for ever."""
    del specs[module]
    expected = rf"not installed for .*: {package}\. Remedy: pip install 'pytest-servebench\[torch"
    with pytest.raises(ServerUnavailableError, match=expected):
        find_installation()


def test_all_missing_packages_are_named_at_once(specs: dict[str, ModuleSpec | None]) -> None:
    specs.clear()
    with pytest.raises(ServerUnavailableError, match="torchserve, torch, pyyaml"):
        find_installation()


def test_another_package_called_ts(specs: dict[str, ModuleSpec | None], tmp_path: Path) -> None:
    (tmp_path / "ts" / "frontend" / "model-server.jar").unlink()
    with pytest.raises(ServerUnavailableError, match=r"'ts' at .*/ts is not TorchServe"):
        find_installation()


def test_archives_that_cannot_be_served(tmp_path: Path) -> None:
    path = tmp_path / "m.mar"
    with pytest.raises(ServerStartError, match=r"no model archive .*/m\.mar: make one with torch"):
        check_archive(path)
    path.write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(ServerStartError, match="is not a model archive: File is not a zip file"):
        check_archive(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.pt", b"")
    with pytest.raises(ServerStartError, match=r"no MAR-INF/MANIFEST\.json"):
        check_archive(path)


def test_model_without_artifact(
    specs: dict[str, ModuleSpec | None], model: ServedModel, settings: ServerSettings, run_dir: Path
) -> None:
    with pytest.raises(ServerStartError, match="no artifact for torchserve"):
        TorchServe().start(model, settings, run_dir)


def test_configuration() -> None:
    text = config_properties(
        ServerSettings(cpus=(0,), workers=2, start_timeout=120.5),
        Place((1, 2, 3, 4, 5), Path(), Path()),
    )
    assert dict(line.split("=", 1) for line in text.splitlines()) == {
        "inference_address": "http://127.0.0.1:1",
        "management_address": "http://127.0.0.1:2",
        "metrics_address": "http://127.0.0.1:3",
        "grpc_inference_address": "127.0.0.1",
        "grpc_management_address": "127.0.0.1",
        "grpc_inference_port": "4",
        "grpc_management_port": "5",
        "default_workers_per_model": "2",
        "job_queue_size": "1000",
        "default_startup_timeout": "121",
        "disable_system_metrics": "true",
        "token_expiration_min": "10080",
    }


def test_log_configuration_is_xml() -> None:
    levels = {
        logger.get("name"): logger.get("level") for logger in ET.fromstring(LOG4J2).iter("Logger")
    }
    assert levels["ACCESS_LOG"] == levels["TS_METRICS"] == levels["MODEL_METRICS"] == "off"
    assert levels["MODEL_LOG"] == "info"


def test_a_path_into_an_answer_that_has_none() -> None:
    with pytest.raises(ValueError, match=r"answer = 'a\.b' is for body = bytes or multipart"):
        TorchServe(answer="a.b")
