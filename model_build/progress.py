"""Progress of long tasks: a bar in a terminal, occasional lines elsewhere."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_servebench.text.live import LiveLine, Status

if TYPE_CHECKING:
    from tqdm import tqdm

_INTERVAL = 5.0  # seconds between two lines in a log


class _Lines(io.TextIOBase):
    """Turns updates of a progress bar into lines, for logs."""

    def write(self, text: str) -> int:
        if line := text.strip():
            print(line, file=sys.stderr, flush=True)
        return len(text)


def progress_bar(iterable: Iterable[Any] | None = None, **options: Any) -> tqdm[Any]:
    """Return a tqdm bar on standard error; arguments are tqdm's."""
    # Only training and fetching need it; reading images must work without tqdm.
    from tqdm import tqdm  # noqa: PLC0415

    look: dict[str, Any] = (
        {"dynamic_ncols": True}
        if sys.stderr.isatty()
        else {"file": _Lines(), "mininterval": _INTERVAL, "ascii": True}
    )
    make: Any = tqdm
    bar: tqdm[Any] = make(iterable, **look, **options)
    return bar


@contextmanager
def status_line(what: str) -> Iterator[None]:
    """Show on standard error ``what`` is done, and for how long, while the body runs."""
    line = LiveLine(sys.stderr)
    try:
        with Status(line).shown(what):
            yield
    finally:
        line.close()
