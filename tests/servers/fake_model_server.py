"""Behaves like tensorflow_model_server as far as its launcher can tell, well or badly.

FAKE_TFS says how; FAKE_TFS_STATE names a directory where each start leaves its arguments. The
model: its outputs are the sum of the inputs' numbers, and how many there are.
"""

import json
import os
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MODE = os.environ.get("FAKE_TFS", "ok")


def numbers(value: Any) -> list[float]:
    if isinstance(value, list):
        return [number for each in value for number in numbers(each)]
    return [float(value)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    predictions = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Handler.predictions += 1
        if MODE == "aborts" or (MODE == "aborts-later" and Handler.predictions > 1):
            print("*** oneDNN check failed ***", file=sys.stderr, flush=True)
            os.abort()
        status, answer = self.answer(json.loads(body)["instances"])
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        if MODE in ("loading-without-word", "gateway"):
            self.send_error(502)
            return
        state = "LOADING" if self.loading() else "AVAILABLE"
        answer = json.dumps({"model_version_status": [{"version": "1", "state": state}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def loading(self) -> bool:
        return MODE == "loading-for-ever" or (
            MODE.startswith(("loading", "gateway")) and Handler.predictions < 4
        )

    def answer(self, instances: list[Any]) -> tuple[int, bytes]:
        if self.loading():
            status = {"loading": 404, "gateway": 502, "loading-without-word": 400}.get(MODE, 503)
            return status, b"<html>not yet</html>"
        if MODE == "refuses":
            return 400, b'{ "error": "Expecting tensor size: 784 but got: 4" }'
        if MODE == "web-page":
            return 200, b"<html>Welcome</html>"
        predictions = [[sum(numbers(i)), float(len(numbers(i)))] for i in instances]
        if MODE == "wrong-answer":
            predictions = [[value + 1.0 for value in row] for row in predictions]
        if MODE == "wrong-shape":
            predictions = [[*row, 0.0] for row in predictions]
        return 200, json.dumps({"predictions": predictions}).encode()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def flags() -> dict[str, str]:
    given = [argument.removeprefix("--").partition("=") for argument in sys.argv[1:]]
    return {name: value for name, equals, value in given if equals}


def count_start() -> int:
    state = os.environ.get("FAKE_TFS_STATE")
    if state is None:
        return 1
    starts = len(list(Path(state).glob("start-*.json"))) + 1
    Path(state, f"start-{starts}.json").write_text(json.dumps(sys.argv[1:]))
    return starts


def fail(starts: int, port: str) -> None:
    """Do what the real one does when something is wrong at its start."""
    if MODE == "broken-model":
        print("E loader_harness.cc:209] Error loading version 1: bad graph", file=sys.stderr)
        sys.exit(255)
    if MODE == "bad-flags":
        print("Failed to start server. Error: INVALID_ARGUMENT: --port", flush=True)  # to stdout
        time.sleep(1000)
    if MODE == "unknown-flag":
        print("unknown argument: --nope=1\nusage: tensorflow_model_server", flush=True)
    if MODE == "always-clashes" or (MODE == "clashes-once" and starts == 1):
        # The real one does not end: its gRPC port is open.
        print(f"E server.cc:441] Failed to start HTTP Server at localhost:{port}", file=sys.stderr)
        time.sleep(1000)
    if MODE == "no-port":
        print("I server_core.cc:486] Adding/updating models.", file=sys.stderr)
        time.sleep(1000)
    if MODE == "background":
        if os.fork() == 0:
            time.sleep(1000)
        sys.exit(0)


def main() -> None:
    if "--version" in sys.argv:
        print("TensorFlow ModelServer: 2.19.0-rc0+dev.sha.3f2e1d0\nTensorFlow Library: 2.19.0")
        return
    starts = count_start()
    port = flags()["rest_api_port"]
    fail(starts, port)
    if MODE == "chatty":
        for _ in range(20_000):
            print("W " + 100 * "x", file=sys.stderr)
    if MODE == "deaf":
        with socket.create_server(("0.0.0.0", int(port))):  # accepts and never answers
            time.sleep(1000)
    ThreadingHTTPServer(("0.0.0.0", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
