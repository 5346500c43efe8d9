"""docker or podman: find it, query images and containers, and remove leftover containers."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import psutil

from pytest_servebench.errors import ServerUnavailableError
from pytest_servebench.servers.environment import output_of

OWNER_LABEL: Final = "pytest-servebench.owner"
"""Label of every container: the process that started it, as :func:`owner_mark` writes it."""

_KNOWN: Final = ("docker", "podman")
_LIMIT: Final = 20.0  # seconds for one question


@dataclass(frozen=True)
class Engine:
    """A container engine that answers.

    Attributes:
        command: absolute path of the program, and its global options.
    """

    command: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the program's name, such as ``"podman"``."""
        return Path(self.command[0]).name

    def ask(self, *words: str, limit: float = _LIMIT) -> subprocess.CompletedProcess[str] | None:
        """Return what a subcommand printed; ``None`` if it did not end in ``limit`` seconds."""
        return output_of([*self.command, *words], limit)

    @cached_property
    def rootless(self) -> bool:
        """Return whether it runs with no more rights than this process."""
        done = self.ask("info", "--format", "{{json .}}")
        try:
            told: dict[str, Any] = json.loads(done.stdout if done else "")
        except ValueError:
            return False
        security = told.get("host", {}).get("security", {})  # of podman; docker has a list
        return bool(security.get("rootless")) or "rootless" in str(told.get("SecurityOptions"))

    def user_of(self, image: str, given: str) -> str:
        """Return the user that an image's processes run as; empty for root.

        Args:
            image: the image, which is never pulled here: that may take longer than any start.
            given: the option that named it, for the error.

        Raises:
            ServerUnavailableError: there is no such image on this machine.
        """
        done = self.ask("image", "inspect", image)
        try:
            found: dict[str, Any] = json.loads(done.stdout if done else "")[0]
        except (ValueError, IndexError):
            raise ServerUnavailableError(
                f"{given}={image}: {self.name} has no such image on this machine "
                f"({_last_line(done)}). Remedy: {shlex.join([*self.command, 'pull', image])}"
            ) from None
        return (found.get("Config") or {}).get("User") or ""

    def main_pid(self, name: str) -> tuple[int, bool]:
        """Return the id of a container's main process, and whether it is a process of this machine.

        The id is 0 before it runs. An engine in a virtual machine or on another machine reports ids
        of that machine.
        """
        done = self.ask("inspect", "--format", "{{.State.Pid}} {{.Id}}", name)
        pid, _, identifier = (done.stdout if done else "").strip().partition(" ")
        if not pid.isdigit() or int(pid) <= 0:
            return 0, False
        return int(pid), identifier in _traces(int(pid))

    def remove(self, name: str) -> str:
        """Kill and remove a container; return why that failed, else nothing."""
        self.ask("kill", name)  # podman's rm would give it ten seconds
        done = self.ask("rm", "--force", "--volumes", name)
        if done is not None and done.returncode == 0:
            return ""
        left = self.ask("ps", "--all", "--quiet", "--filter", f"name={name}")
        return "" if left and not left.returncode and not left.stdout else _last_line(done)


def find_engine(given: str, option: str) -> Engine:
    """Return an engine that answers, and remove containers whose owner was killed.

    Args:
        given: the program, perhaps with global options; empty: docker or podman, whichever answers.
        option: how to give it, for the error.

    Raises:
        ServerUnavailableError: there is none, or it does not answer; says what to do.
    """
    try:
        words = shlex.split(given)
    except ValueError as error:
        raise ServerUnavailableError(f"{option}={given}: cannot be read: {error}.") from None
    said = []
    for program, *options in [words] if words else [[name] for name in _KNOWN]:
        path = shutil.which(program)
        if path is None:
            said.append(f"  {program}: not found on PATH" if os.sep not in program else
                        f"  {program}: no such program")  # fmt: skip
            continue
        engine = Engine((str(Path(path).absolute()), *options))
        listed = engine.ask("ps", "--all", "--quiet", "--no-trunc",
                            "--filter", f"label={OWNER_LABEL}")  # fmt: skip
        if listed is not None and listed.returncode == 0:
            _remove_leftovers(engine, listed.stdout.split())
            return engine
        said.append(f"  {' '.join([program, *options])}: {_last_line(listed)}")
    what = f"{option}={given} cannot be used" if words else "No container engine can be used"
    raise ServerUnavailableError(
        f"{what}:\n" + "\n".join(said) + "\nRemedy: install docker or podman and start its "
        f"service; this user must be allowed to use it; or name another one by {option}=PROGRAM."
    )


def owner_mark() -> str:
    """Return a unique mark of this process: machine, process namespace, id, start."""
    return f"{_place()}/{os.getpid()}/{_started(os.getpid())}"


def _remove_leftovers(engine: Engine, containers: Sequence[str]) -> None:
    for container in containers:
        label = f'{{{{index .Config.Labels "{OWNER_LABEL}"}}}}'
        told = engine.ask("inspect", "--format", label, container)
        place, _, owner = (told.stdout if told else "").strip().rpartition("/")[0].rpartition("/")
        start = told.stdout.strip().rpartition("/")[2] if told else ""
        # Owners elsewhere, such as in another container that shares the engine, cannot be seen.
        if place == _place() and owner.isdigit() and _started(int(owner)) != start:
            engine.remove(container)


def _place() -> str:
    """Return where process ids mean the same as here, since the machine was started."""
    if sys.platform != "linux":
        return platform.node()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"


def _started(pid: int) -> str:
    """Return when a process started, in the system's own unit; empty if there is none."""
    try:
        if sys.platform != "linux":
            return str(psutil.Process(pid).create_time())
        # Not as a time of day, which moves when the clock is set.
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return stat.rpartition(b")")[2].split()[19].decode()
    except (OSError, psutil.Error):
        return ""


def _traces(pid: int) -> str:
    """Return what names a main process's container: its control groups, and who runs it.

    Without rights on control groups, the container has no group of its own.
    """
    with contextlib.suppress(OSError, psutil.Error):
        groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
        parent = psutil.Process(pid).parent()
        return groups + " ".join(parent.cmdline() if parent else ())
    return ""


def _last_line(done: subprocess.CompletedProcess[str] | None) -> str:
    if done is None:
        return f"no answer in {_LIMIT:g} s"
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return lines[-1].strip()
