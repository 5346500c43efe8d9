"""A toy model and a toy server kind, as a pytest plugin: ``-p tests.toy``.

The model adds up its inputs. The server takes ``TOY_DELAY`` seconds for it and can be told by
``TOY_FAULT`` to answer wrongly, to answer errors, or to die under load.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest

from pytest_servebench.errors import ServerDiedError, ServerStartError
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import PredictionProtocol
from pytest_servebench.protocols.tensorflow_serving import TensorFlowServingRest
from pytest_servebench.servers.base import RunningServer, ServerSettings


def toy_model(kinds: Collection[str]) -> ServedModel:
    inputs = np.random.default_rng(0).random((8, 3), dtype=np.float32)
    return ServedModel(
        name="adder",
        artifacts={kind: Path(__file__) for kind in ("toy", "toy2")},
        inputs=inputs,
        outputs=inputs.sum(axis=1, keepdims=True),
        weights_sha256="0" * 64,
        input_source="random numbers",
    )


def broken_model(kinds: Collection[str]) -> str:
    return "not a model"


class ToyServer:
    def __init__(self, kind: str, process: subprocess.Popen[str], log: Path) -> None:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise ServerStartError(f"the toy server ended: {log.read_text()}")
        self.kind = kind
        self.implementation = "toy 1.0"
        self.base_url = f"http://127.0.0.1:{int(line)}"
        self.log_files: Sequence[Path] = (log,)
        self._process = process

    @property
    def protocol(self) -> PredictionProtocol:
        return TensorFlowServingRest("adder")

    def pids(self) -> list[int]:
        return [self._process.pid] if psutil.pid_exists(self._process.pid) else []

    def check_alive(self) -> None:
        if self._process.poll() is not None:
            raise ServerDiedError(
                f"the toy server ended with status {self._process.returncode}; its log ends:\n"
                + self.log_files[0].read_text()
            )

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class ToyKind:
    title = "Toy"

    def __init__(self, name: str) -> None:
        self.name = name

    def attached(self, settings: ServerSettings) -> bool:
        return False

    def start(self, model: ServedModel, settings: ServerSettings, run_dir: Path) -> RunningServer:
        log = run_dir / "toy.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, __file__], stdout=subprocess.PIPE, stderr=errors, text=True
            )
        return ToyServer(self.name, process, log)


def pytest_servebench_server_kinds(config: pytest.Config) -> list[ToyKind]:
    return [ToyKind("toy"), ToyKind("toy2")]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one segment, or the body waits for a delayed ACK, 40 ms
    count = 0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(float(os.environ.get("TOY_DELAY", "0.001")))
        Handler.count += 1
        fault = os.environ.get("TOY_FAULT", "")
        if fault == "dies" and Handler.count > 20:
            print("toy server: giving up", file=sys.stderr, flush=True)
            os._exit(3)
        result = [[sum(row) + (fault == "wrong")] for row in body["instances"]]
        answer = json.dumps({"predictions": result}).encode()
        self.send_response(503 if fault == "errors" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # of the usual 5, connections opened at once are retried after 1 s


def main() -> None:
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
