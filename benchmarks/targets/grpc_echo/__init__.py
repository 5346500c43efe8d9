"""Unary gRPC servers that echo: on gRPC's C++ library, built here, and on grpcio."""

from __future__ import annotations

import hashlib
import mmap
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.processes import running
from benchmarks.settings import HOME, ROOT

METHOD: Final = "/servebench.echo.Echo/Call"
SOURCES: Final = HOME / "targets" / "grpc_echo"
_BUILDS: Final = HOME / "builds"
_COUNT: Final = struct.Struct("=Q")
_PROGRAMS: Final = {"g++": "g++", "protoc": "protobuf-compiler", "pkg-config": "pkg-config",
                    "grpc_cpp_plugin": "protobuf-compiler-grpc"}  # fmt: skip
_LIBRARIES: Final = ("grpc++", "protobuf")
_START_LIMIT: Final = 20.0


@dataclass(frozen=True)
class Limits:
    """What a server limits.

    Attributes:
        age_ms: age in ms at which it closes a connection; 0: never.
        streams: most calls at once on a connection; 0: no limit.
    """

    age_ms: int = 0
    streams: int = 0


@dataclass
class Echo:
    """A running server."""

    port: int
    _calls: mmap.mmap

    def served(self) -> int:
        """Return the number of calls so far."""
        (number,) = _COUNT.unpack_from(self._calls)
        return int(number)


def message(content: bytes) -> bytes:
    """Return a ``Payload`` (see ``echo.proto``) as protobuf encodes it."""
    length, rest = b"", len(content)
    while rest > 0x7F:
        length += bytes((rest & 0x7F | 0x80,))
        rest >>= 7
    return b"\x0a" + length + bytes((rest,)) + content


def cpp_missing() -> str | None:
    """Return what is missing to build the C++ server, or ``None``."""
    for program, package in _PROGRAMS.items():
        if shutil.which(program) is None:
            return f"{program} is not installed (apt-get install {package})"
    command = ["pkg-config", "--exists", *_LIBRARIES]
    if subprocess.run(command, check=False).returncode:
        return "gRPC's C++ library is not installed (apt-get install libgrpc++-dev libprotobuf-dev)"
    return None


def _build() -> Path:
    """Return the C++ server, built if these sources have not been built before."""
    sources = [SOURCES / "echo.proto", SOURCES / "server.cc"]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    program = _BUILDS / f"echo-{digest}"
    if program.exists():
        return program
    flags = _output("pkg-config", "--cflags", "--libs", *_LIBRARIES).split()
    _BUILDS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_BUILDS) as made:
        plugin = f"--plugin=protoc-gen-grpc={shutil.which('grpc_cpp_plugin')}"
        _output("protoc", f"-I{SOURCES}", f"--cpp_out={made}", f"--grpc_out={made}", plugin,
                str(sources[0]))  # fmt: skip
        parts = [str(sources[1]), *map(str, Path(made).glob("*.cc"))]
        _output("g++", "-std=c++17", "-O2", f"-I{made}", *parts, "-o", f"{made}/server", *flags)
        Path(made, "server").replace(program)
    return program


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr[-2000:]}")
    return done.stdout


def _cpp() -> list[str]:
    return [str(_build())]


def _grpcio() -> list[str]:
    return [sys.executable, "-m", "benchmarks.targets.grpc_echo.grpcio_server"]


SERVERS: Final[dict[str, Callable[[], list[str]]]] = {"C++": _cpp, "grpcio": _grpcio}
"""Names to commands."""


def available() -> list[str]:
    """Return the servers that can run here; the first is the one that peers are compared on."""
    return [name for name in SERVERS if name != "C++" or cpp_missing() is None]


@contextmanager
def serve(
    directory: Path,
    name: str,
    *,
    answer: int = 0,
    limits: Limits | None = None,
    cpus: Sequence[int] | None = None,
) -> Iterator[Echo]:
    """Run a server until the end of the block.

    Args:
        directory: for its files.
        name: one of :data:`SERVERS`.
        answer: size of each answer's content in bytes; 0: it is the request's.
        limits: what it limits.
        cpus: processors that it may run on.
    """
    limits = limits or Limits()
    counter = directory / "calls"
    counter.write_bytes(bytes(_COUNT.size))
    command = [*SERVERS[name](), str(counter), str(answer), str(limits.age_ms), str(limits.streams)]
    with (
        running(command, directory, log="echo.log", cpus=cpus, work=ROOT) as process,
        counter.open("rb") as file,
        mmap.mmap(file.fileno(), _COUNT.size, access=mmap.ACCESS_READ) as calls,
    ):
        log = directory / "echo.log"
        until = time.monotonic() + _START_LIMIT
        while not (text := log.read_text()).endswith("\n"):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the {name} server did not start:\n{text}")
            time.sleep(0.02)
        yield Echo(int(text.splitlines()[-1]), calls)
