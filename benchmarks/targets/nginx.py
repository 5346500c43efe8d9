"""nginx, one worker, which answers every request with the same few bytes."""

from __future__ import annotations

import http.client
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.processes import running

PREDICTION: Final = '{"predictions": [[' + ", ".join(["0.0999999"] * 18) + "]]}"
_CONFIG: Final = """\
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  default_type application/json;
  # Each worker of a generator keeps its connection from the first request to the last.
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  # The body is read into memory, never into a file, and discarded.
  client_max_body_size 1m;
  client_body_buffer_size 16k;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location /predict {{ {answer} }}
    location /status {{ stub_status; }}
  }}
}}
"""


_LONGEST: Final = 2_000
"""Bytes of a parameter in nginx's configuration; it takes somewhat more."""


def _returning(answer: str) -> str:
    """Return directives that answer with ``answer``, which may be long."""
    pieces = [answer[at : at + _LONGEST] for at in range(0, len(answer), _LONGEST)]
    directives = [f"set $piece{number} '{piece}';" for number, piece in enumerate(pieces)]
    whole = "".join(f"${{piece{number}}}" for number in range(len(pieces)))
    return " ".join([*directives, f"return 200 '{whole}';"])


def executable() -> str | None:
    """Return where nginx is, which is not always on a user's path."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Nginx:
    """A running nginx."""

    def __init__(self, port: int) -> None:
        """Connect to its counter."""
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        self._own = 0

    def served(self) -> int:
        """Return the number of requests served so far, without those for this number."""
        self._connection.request("GET", "/status")
        self._own += 1
        # "server accepts handled requests", then the three numbers.
        third_line = self._connection.getresponse().read().splitlines()[2]
        return int(third_line.split()[2]) - self._own


@contextmanager
def serve(
    directory: Path, cpus: Sequence[int] | None = None, answer: str = PREDICTION
) -> Iterator[Nginx]:
    """Run an nginx of our own, which answers with ``answer``, until the end of the block."""
    program = executable()
    if program is None:
        raise FileNotFoundError("nginx is not installed: apt-get install nginx-light")
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(_CONFIG.format(directory=directory, port=port, answer=_returning(answer)))
    # -e: until it has read its configuration, nginx would write to the system log.
    command = [program, "-e", str(directory / "error.log"), "-p", str(directory), "-c", str(config)]
    with running(command, directory, log="nginx.log", cpus=cpus) as process:
        server = Nginx(port)
        for _ in range(100):
            try:
                server.served()
                break
            except OSError:
                if process.poll() is not None:
                    break
                time.sleep(0.05)
                server = Nginx(port)
        else:
            raise TimeoutError("nginx did not start")
        if process.poll() is not None:
            log = (directory / "nginx.log").read_text() + (directory / "error.log").read_text()
            raise RuntimeError(f"nginx did not start:\n{log}")
        yield server
