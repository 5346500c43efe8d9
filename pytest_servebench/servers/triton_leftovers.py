"""Remove what a killed Triton leaves behind: shared memory, and a copy of its backend's program."""

import contextlib
import re
import shutil
from pathlib import Path

_WORKSPACE = re.compile(r'"(/[^"]*/servebench-[^"/]*)/[^"]*"')


def remove_leftovers(
    temporary: Path = Path("/tmp"), memory: Path = Path("/dev/shm"), processes: Path = Path("/proc")
) -> None:
    """Remove leftovers of our servers that no longer run; Triton cannot put them elsewhere."""
    for path in memory.glob("pytrtion*-*"):  # its own spelling, and its process's id
        pid = path.name.partition("-")[0].removeprefix("pytrtion")
        if pid.isdecimal() and not (processes / pid).exists():
            with contextlib.suppress(OSError):
                path.unlink()
    for config in temporary.glob("folder*/config.pbtxt"):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            named = _WORKSPACE.search(config.read_text(encoding="utf-8"))
            if named and not Path(named[1]).exists():  # a server's directory goes with it
                shutil.rmtree(config.parent, ignore_errors=True)
