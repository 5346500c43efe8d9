"""Space for a load's records: how much they need, and where to put them.

Checked before the load: a system that promises memory and cannot provide it kills the process
without a message, by SIGBUS if a file system in memory is full, or by the OOM killer.
"""

import resource
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

import psutil

from pytest_servebench.errors import OptionError
from pytest_servebench.load.readings import control_groups, counters
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.store import BYTES_PER_RECORD, RecordStore
from pytest_servebench.text.quantity import quantity

_MEMORY: Final = Path("/dev/shm")
# Per arrival, in this process while it computes the statistics; measured with two million.
_WORKING_BYTES: Final = 350
# Per streamed answer of about 500 events: in the journal, and in this process for their times.
_JOURNAL_BYTES: Final = 128 * 2**10
_EVENTS_BYTES: Final = 16 * 2**10
# Of a file system in memory: servers need it too, and PyTorch's workers crash if it is full.
_SHARE: Final = 0.5
_REMEDY: Final = "Lower --servebench-rates or --servebench-duration"


def check_memory(spec: LoadSpec) -> None:
    """Check that there is enough memory for the load of ``spec``.

    Raises:
        OptionError: there is not; says how much is needed, and which options lower that.
    """
    arrivals = spec.most_requests
    each = BYTES_PER_RECORD + _WORKING_BYTES + (_EVENTS_BYTES if spec.streamed else 0)
    needed = arrivals * each
    available, whose = min(_limits())
    if needed > available:
        raise OptionError(
            f"{_described(spec)}: the records of about {arrivals:,.0f} requests need "
            f"{_size(needed)} of memory; {whose} leaves {_size(available)}. {_REMEDY}."
        )


def records_file(spec: LoadSpec, arrivals: int) -> IO[bytes]:
    """Return an unnamed file with space for the records of that many arrivals.

    It is in memory if there is space, as a disk's write-back would delay the generator; else in
    the directory for temporary files.

    Raises:
        OptionError: neither has the space; says how much is needed.
    """
    size = RecordStore.size_for(arrivals)
    problems: list[str] = []
    for place in (_MEMORY, Path(tempfile.gettempdir())):
        try:
            free = shutil.disk_usage(place).free
            if size > (_SHARE * free if place == _MEMORY else free):
                problems.append(f"{place} has {_size(free)} free")
                continue
            file = tempfile.TemporaryFile(dir=place)  # noqa: SIM115 - the caller closes it
            try:
                RecordStore.reserve(file, size)
            except OSError:
                file.close()
                raise
        except OSError as error:
            problems.append(f"{place}: {error.strerror}")
            continue
        return file
    raise OptionError(
        f"{_described(spec)}: the records of {arrivals:,} requests need {_size(size)}; "
        f"{', '.join(problems)}. {_REMEDY}, or set TMPDIR to a directory with enough space."
    )


def journal_file(spec: LoadSpec, arrivals: int) -> IO[bytes]:
    """Return an unnamed, empty file for that many streamed answers.

    It is in memory if half of what is free there, and of all memory, would hold usual answers: a
    disk may delay the generator. The length of answers is unknown before the load; if they run out
    of space the generator says so.

    Raises:
        OptionError: no directory for temporary files can be written to.
    """
    size = _JOURNAL_BYTES * arrivals
    with suppress(OSError):
        free = min(shutil.disk_usage(_MEMORY).free, *(left for left, _ in _limits()))
        if size <= _SHARE * free:
            return tempfile.TemporaryFile(dir=_MEMORY)
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise OptionError(
            f"{_described(spec)}: no space for streamed answers: {error.strerror}. Set TMPDIR to a "
            "directory with enough space."
        ) from None


def _described(spec: LoadSpec) -> str:
    return f"{spec.rate:g} {spec.unit}s/s for {spec.duration:g} s"


def _size(number: float) -> str:
    return quantity("memory", max(0.0, number))


def _limits() -> Iterator[tuple[float, str]]:
    """Yield each limit on memory: the bytes left, and what sets the limit."""
    yield psutil.virtual_memory().available, "this machine"
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield limit - psutil.Process().memory_info().vms, "the limit of this process (ulimit -v)"
    for group in control_groups("memory"):
        if (left := _left_of_group(group)) is not None:
            yield left, "the memory limit of this control group or container"


def _left_of_group(group: Path) -> float | None:
    """Return the bytes left under a control group's limit; ``None`` if it has no limit."""
    for limit, usage, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most = int((group / limit).read_text())
            used = int((group / usage).read_text())
        except (OSError, ValueError):  # not there, or "max"
            continue
        # The page cache is dropped as soon as the memory is needed.
        return most - used + counters(group / "memory.stat").get(cache, 0)
    return None
