"""What TorchServe needs is checked before it is started, and it is configured for a fair test."""

import importlib.util
import json
import xml.etree.ElementTree as ET
import zipfile
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.errors import ServerStartError, ServerUnavailableError
from pytest_servebench.model import ServedModel
from pytest_servebench.servers import torchserve
from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.readiness import Place
from pytest_servebench.servers.torchserve import TorchServe, find_installation
from pytest_servebench.servers.torchserve_archive import check_archive
from pytest_servebench.servers.torchserve_config import LOG4J2, ModelConfig, config_properties
from pytest_servebench.servers.torchserve_properties import check_properties


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
    settings = ServerSettings(cpus=(0,), workers=2, start_timeout=120.5)
    place = Place((1, 2, 3, 4, 5), Path(), Path())
    text = config_properties(ModelConfig("m", "1.0"), settings, place)
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


def test_configuration_of_batches_and_more() -> None:
    text = config_properties(
        ModelConfig("m", "2.0", {"batchSize": 8, "maxBatchDelay": 20}),
        ServerSettings(cpus=(0,)),
        Place((1, 2, 3, 4, 5), Path(), Path()),
        job_queue_size=1,
        properties={"disable_system_metrics": "false", "allowed_urls": r"file:///.*\.mar"},
    )
    entries = dict(line.split("=", 1) for line in text.splitlines())
    assert json.loads(entries["models"]) == {"m": {"2.0": {"batchSize": 8, "maxBatchDelay": 20}}}
    assert entries["job_queue_size"] == "1"
    assert entries["disable_system_metrics"] == "false"
    assert entries["allowed_urls"] == r"file:///.*\\.mar"  # a backslash begins an escape there


@pytest.mark.parametrize(
    ("name", "value", "facts"),
    [
        ("max_requestsize", "9", ["no such property", "'max_request_size'"]),
        ("max_request_size", "-1", ["max_request_size = -1", "a whole number, 0 or more"]),
        ("prefer_direct_buffer", "yes", ["true or false"]),
        ("metrics_mode", "off", ["log, prometheus, legacy"]),
        ("metrics_config", "metrics.yaml", ["absolute path"]),
        ("allowed_urls", "a\nmodels={}", ["text"]),
        ("inference_address", "http://0.0.0.0:80", ["cannot be set", "ports and addresses"]),
        ("models", "{}", ["cannot be set", "batch_size"]),
        ("default_workers_per_model", "4", ["workers"]),
        ("disable_token_authorization", "true", ["cannot be set", "key"]),
        ("keystore", "k.p12", ["cannot be set", "https"]),
    ],
)
def test_properties_that_cannot_be_set(name: str, value: str, facts: list[str]) -> None:
    with pytest.raises(ValueError, match=rf"^properties\.{name} = ") as caught:
        check_properties({name: value})
    assert all(fact in str(caught.value) for fact in facts), str(caught.value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"vmargs": ("-Xmx2g", "Main")}, "'Main' does not begin with a dash"),
        ({"vmargs": ("-Djava.io.tmpdir=/tmp",)}, r"java\.io\.tmpdir=/tmp cannot be set"),
        ({"vmargs": ("-cp", "-x")}, "-cp cannot be set"),
        ({"batch_size": 4, "job_queue_size": 1, "url": "http://me:hunter2@h:1"},
         "^batch_size and job_queue_size ((?!hunter2).)* omit url((?!hunter2).)*$"),
        ({"input": "x"}, "input = 'x' is for transport = grpc"),
        ({"transport": "grpc", "content_type": "image/png"}, "content_type = 'image/png': gRPC"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_set(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        TorchServe(**options)
    TorchServe(vmargs=("-Xmx2g", "-XX:+UseParallelGC", "-Dmine=1", "-Dcp=1"))


def test_log_configuration_is_xml() -> None:
    levels = {
        logger.get("name"): logger.get("level") for logger in ET.fromstring(LOG4J2).iter("Logger")
    }
    assert levels["ACCESS_LOG"] == levels["TS_METRICS"] == levels["MODEL_METRICS"] == "off"
    assert levels["MODEL_LOG"] == "info"


def test_a_path_into_an_answer_that_has_none() -> None:
    with pytest.raises(ValueError, match=r"answer = 'a\.b' is for body = bytes or multipart"):
        TorchServe(answer="a.b")
