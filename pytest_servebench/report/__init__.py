"""What people read: tables in the terminal, a summary as text, plots.

Everything here is a pure function of a run. Nothing is imported before it is needed: the live line
must not cost matplotlib.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_servebench.results import Run

SUMMARY_FILE = "metrics_summary.txt"


def write_report(run: Run, directory: Path, *, plots: bool = True) -> list[Path]:
    """Write the summary text and, if wanted, the plots into the run's directory; return the files.

    Each file is written whole or not at all.

    Raises:
        OSError: a file cannot be written.
    """
    from pytest_servebench.report.files import write_whole  # noqa: PLC0415
    from pytest_servebench.report.summary_text import summary_text  # noqa: PLC0415

    summary = directory / SUMMARY_FILE
    write_whole(summary, summary_text(run).encode())
    if not plots:
        return [summary]
    from pytest_servebench.report.plots import draw_plots  # noqa: PLC0415

    return [summary, *draw_plots(run, directory)]
