"""What people read: tables in the terminal, a summary as text, plots, a page.

Everything here is a pure function of a run. Nothing is imported before it is needed: the live line
must not cost matplotlib.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_servebench.runs.results import Run

SUMMARY_FILE = "metrics_summary.txt"
PAGE_FILE = "report.html"


def write_report(
    run: Run,
    directory: Path,
    *,
    plots: bool = True,
    page: bool = True,
    report: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write the summary text and what else is wanted into the run's directory; return the files.

    Each file is written whole or not at all.

    Args:
        run: what was measured.
        directory: the run's own, in which records and logs are looked for.
        plots: whether to draw the plots.
        page: whether to make the page.
        report: the run as it stands in its JSON, with what hooks have added to it.

    Raises:
        OSError: a file cannot be written.
    """
    written = [write_summary(run, directory)]
    if plots:
        from pytest_servebench.report.plots import draw_plots  # noqa: PLC0415

        written += draw_plots(run, directory)
    if page:
        from pytest_servebench.report.page import write_page  # noqa: PLC0415

        written.append(write_page(run, directory, report))
    return written


def write_summary(run: Run, directory: Path) -> Path:
    """Write the summary text alone; see :func:`write_report`."""
    from pytest_servebench.report.summary_text import summary_text  # noqa: PLC0415
    from pytest_servebench.system.files import write_whole  # noqa: PLC0415

    path = directory / SUMMARY_FILE
    write_whole(path, summary_text(run).encode())
    return path
