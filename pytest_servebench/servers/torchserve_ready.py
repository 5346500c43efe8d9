"""Wait until TorchServe serves its model with the requested settings."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pytest_servebench.protocols.base import HttpAnswer, HttpRequest
from pytest_servebench.protocols.torchserve import TorchServeRest
from pytest_servebench.protocols.torchserve_grpc import TorchServeGrpc
from pytest_servebench.servers.readiness import Readiness
from pytest_servebench.text.redaction import hide
from pytest_servebench.text.safe import joined

P = TypeVar("P", bound=TorchServeRest | TorchServeGrpc)


def with_key(readiness: Readiness, protocol: P, wanted: Mapping[str, int]) -> P:
    """Return the protocol with TorchServe's key once every worker of the model is ready.

    ``/ping`` says "Healthy" long before that.

    Raises:
        ServerStartError: the model is served with other settings than ``wanted``.
    """
    keys = _wait_for_keys(readiness, readiness.place.scratch / "key_file.json")
    for key in keys.values():
        hide(key)
    headers = (("Authorization", f"Bearer {keys['management']}"),)
    readiness.wait_for_answer(
        f"every worker of {protocol.model!r} to be READY",
        HttpRequest("GET", f"/models/{protocol.model}", headers),
        lambda answer: _workers_are_ready(answer, readiness, wanted),
        port=readiness.place.ports[1],
    )
    return replace(protocol, token=keys["inference"])


def _wait_for_keys(readiness: Readiness, path: Path) -> dict[str, str]:
    """Return TorchServe's keys by purpose, and remove the file that it wrote them to."""
    keys: dict[str, str] = {}

    def attempt(_: float) -> tuple[bool, str]:
        try:
            content: Mapping[str, Mapping[str, str]] = json.loads(path.read_bytes())
            keys.update((purpose, entry["key"]) for purpose, entry in content.items())
        except FileNotFoundError:
            return False, "no such file"
        except (ValueError, KeyError, TypeError, AttributeError):
            return False, "a file without keys"  # perhaps half written
        return {"management", "inference"} <= keys.keys(), f"keys for {sorted(keys)}"

    readiness.wait_for(f"its keys in {path}", attempt)
    path.unlink(missing_ok=True)
    return keys


def _workers_are_ready(answer: HttpAnswer, readiness: Readiness, wanted: Mapping[str, int]) -> bool:
    try:
        versions: list[dict[str, Any]] = json.loads(answer.body)
        states = {worker["status"] for version in versions for worker in version["workers"]}
    except (ValueError, KeyError, TypeError):
        return False
    if answer.status != 200 or states != {"READY"}:
        return False
    others = [
        f"{name} {version.get(name)}, not {value}"
        for name, value in wanted.items() for version in versions if version.get(name) != value
    ]  # fmt: skip
    if others:
        raise readiness.failure(
            f"it serves the model with {joined(others)}: the archive's model-config.yaml overrides "
            "the options; change or remove it there"
        )
    return True
