"""gRPC's C++ server, which echoes messages: built once, and run."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.processes import running

METHOD: Final = "/servebench.echo.Echo/Call"
"""Its message is one field of bytes, with the number 1."""
_SOURCES: Final = Path(__file__).with_name("grpc_echo")
_PROGRAMS: Final = ("protoc", "grpc_cpp_plugin", "g++", "pkg-config")


def build(directory: Path) -> Path:
    """Compile the server in a directory; return the program.

    Raises:
        FileNotFoundError: a program that this takes is not installed.
        subprocess.CalledProcessError: a library is not.
    """
    found = {name: shutil.which(name) for name in _PROGRAMS}
    if missing := [name for name, path in found.items() if path is None]:
        raise FileNotFoundError(
            f"{', '.join(missing)} not installed: apt-get install g++ pkg-config libgrpc++-dev "
            "libprotobuf-dev protobuf-compiler protobuf-compiler-grpc"
        )
    plugin = f"--plugin=protoc-gen-grpc={found['grpc_cpp_plugin']}"
    proto = _SOURCES / "echo.proto"
    _run(directory, "protoc", f"-I{_SOURCES}", "--cpp_out=.", "--grpc_out=.", plugin, str(proto))
    libraries = _run(directory, "pkg-config", "--cflags", "--libs", "grpc++", "protobuf").split()
    sources = [str(_SOURCES / "server.cc"), "echo.pb.cc", "echo.grpc.pb.cc"]
    _run(directory, "g++", "-O2", "-std=c++17", "-I.", *sources, "-o", "server", *libraries)
    return directory / "server"


@contextmanager
def serve(
    program: Path,
    directory: Path,
    *,
    age: float = 0.0,
    streams: int = 0,
    most: int = 0,
    cpus: Sequence[int] | None = None,
) -> Iterator[int]:
    """Run the server until the end of the block; give its port.

    Args:
        program: what :func:`build` returned.
        directory: where its output goes.
        age: seconds after which it closes a connection; 0: never.
        streams: most calls at once on a connection; 0: no limit.
        most: bytes of a message that it sends back; 0: all.
        cpus: processors to run on.
    """
    command = [str(program), str(round(1000 * age)), str(streams), str(most)]
    with running(command, directory, log="grpc.log", cpus=cpus) as process:
        log = directory / "grpc.log"
        until = time.monotonic() + 10
        while not (text := log.read_text()).endswith("\n"):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"gRPC's server did not start:\n{text}")
            time.sleep(0.05)
        yield int(text)


def _run(directory: Path, *command: str) -> str:
    return subprocess.run(
        command, cwd=directory, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
