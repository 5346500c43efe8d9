"""Starting the embedded server as the tests need it, and talking to it byte by byte."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pytest_servebench.load.pacing import end_with_parent
from pytest_servebench.servers.ports import free_ports

ROOT = Path(__file__).parents[2]
MODULE = "pytest_servebench.servers.savedmodel_server"
START_LIMIT = 120.0  # a machine that trains a network beside the tests takes its time
ANSWER_LIMIT = 60.0


class Response(NamedTuple):
    """An answer, and whether the server closed the connection after it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass
class Running:
    """A server that runs."""

    process: subprocess.Popen[bytes]
    port: int
    grpc_port: int
    log: Path

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_LIMIT)

    def exchange(self, request: bytes) -> Response:
        """Send bytes over a connection of their own and return the answer."""
        with self.connect() as connection:
            connection.sendall(request)
            return read_response(connection)

    def get(self, path: str) -> Response:
        return self.exchange(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def post(self, path: str, body: bytes, *headers: str) -> Response:
        return self.exchange(post(path, body, *headers))


def post(path: str, body: bytes, *headers: str) -> bytes:
    """Return the bytes of a request with a body."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read_response(connection: socket.socket) -> Response:
    """Read one answer, and not a byte more."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            raise ConnectionError(f"the server closed the connection after {head!r}")
        head += byte
    status_line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    length = int(next(value for name, value in headers if name == "Content-Length"))
    body = b""
    while len(body) < length:
        piece = connection.recv(length - len(body))
        if not piece:
            raise ConnectionError(f"the server closed the connection after {body!r}")
        body += piece
    return Response(int(status_line.split(" ")[1]), headers, body)


def closed_by_server(connection: socket.socket, wait: float) -> bool:
    """Tell whether the server ends the connection within ``wait`` seconds."""
    connection.settimeout(wait)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False


def environment() -> dict[str, str]:
    inherited = os.environ.get("PYTHONPATH")
    path = f"{inherited}{os.pathsep}{ROOT}" if inherited else str(ROOT)
    return {**os.environ, "PYTHONPATH": path}


def run_to_end(flags: Sequence[str], *program: str) -> subprocess.CompletedProcess[str]:
    """Run the program, or another one of Python's, where it should end by itself."""
    return subprocess.run(
        [sys.executable, *(program or ("-m", MODULE)), *flags],
        capture_output=True, text=True, timeout=START_LIMIT, env=environment(), check=False,
    )  # fmt: skip


@contextlib.contextmanager
def running(
    base_path: Path, log: Path, *flags: str, name: str = "fashion", grpc: bool = False
) -> Iterator[Running]:
    """Run the server until the block is left."""
    port, grpc_port = free_ports(2)
    command = [sys.executable, "-m", MODULE, f"--rest_api_port={port}", f"--model_name={name}"]
    if grpc:
        command.append(f"--port={grpc_port}")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, f"--model_base_path={base_path}", *flags],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(),
            preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509 - it takes no lock
        )
    server = Running(process, port, grpc_port, log)
    try:
        _wait_until_ready(server, name)
        yield server
    finally:
        process.kill()
        process.wait()


def end_quietly(server: Running, number: signal.Signals) -> None:
    """Send the server a signal; it must end well, and have logged but what it says itself."""
    server.process.send_signal(number)
    assert server.process.wait(timeout=ANSWER_LIMIT) == 0
    lines = server.log.read_text().splitlines()
    assert " INFO savedmodel-server 0.1.0 (TensorFlow 2." in lines[0]
    assert lines[-1].endswith(f"INFO shutting down on {number.name}")
    # Nothing of TensorFlow's start, or of a traceback, is in between.
    assert all(line[:2] == "20" and " INFO " in line for line in lines)


def _wait_until_ready(server: Running, name: str) -> None:
    give_up = time.monotonic() + START_LIMIT
    while time.monotonic() < give_up:
        if server.process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            if server.get(f"/v1/models/{name}").status == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"the server did not start:\n{server.log.read_text()}")
