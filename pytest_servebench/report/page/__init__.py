"""``report.html``: one self-contained file that explains a run to someone who was not there.

It loads nothing, and can be read without JavaScript. The same run gives the same page.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_servebench._version import __version__
from pytest_servebench.report.outputs import PAGE_FILE, Material
from pytest_servebench.report.page.added import added_to_cases, added_to_run
from pytest_servebench.report.page.cases import FIGURE_HEADINGS, headings
from pytest_servebench.report.page.comparison import Found, blocks, names_of
from pytest_servebench.report.page.content import content
from pytest_servebench.report.page.rendering import render
from pytest_servebench.runs.results import Run
from pytest_servebench.system.files import write_whole


def page(
    run: Run, directory: Path, report: Mapping[str, Any] | None = None, *, sizing: bool = False
) -> str:
    """Return the run's page.

    Args:
        run: what was measured.
        directory: of the run, with its records and servers' logs; the page names what is missing.
        report: the run's JSON, for what hooks have added to it.
        sizing: whether with the section on sizing, which takes a few seconds for each server.
    """
    known = report or {}
    found = content(run, directory, added_to_run(known), added_to_cases(known), sizing=sizing)
    return render(
        "report.html.jinja",
        page=found,
        page_headings=headings(run.cases),
        figure_headings=FIGURE_HEADINGS,
    )


def comparison_page(found: Sequence[Found], base: Path, news: Sequence[Path]) -> str:
    """Return the page of a comparison.

    Args:
        found: BASE with each NEW, and the differences that were allowed and those that were not.
        base: directory of the earlier run, with its records; without them there are only
            intervals.
        news: directories of the new runs.
    """
    runs = [found[0][0].base, *(comparison.new for comparison, _, _ in found)]
    return render(
        "comparison.html.jinja",
        title=names_of(runs),
        blocks=blocks(found, base, news),
        version=__version__,
    )


def write(made: Material) -> Path:
    """Write the page of a run; see :func:`write_page`."""
    return write_page(made.run, made.directory, made.report, sizing=made.sizing)


def write_page(
    run: Run, directory: Path, report: Mapping[str, Any] | None = None,
    output: Path | None = None, *, sizing: bool = False,
) -> Path:  # fmt: skip
    """Write the page into the run's directory, or to ``output``; return its path.

    The arguments are those of :func:`page`.

    Raises:
        OSError: it cannot be written.
    """
    path = output or directory / PAGE_FILE
    write_whole(path, page(run, directory, report, sizing=sizing).encode())
    return path
