"""The registry of outputs of a run, and of a comparison of runs.

An output is a module with a writer, and one entry here. Writers are imported when they are called:
an option must not cost matplotlib.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from pytest_servebench.runs.results import Run

SUMMARY_FILE: Final = "metrics_summary.txt"
PAGE_FILE: Final = "report.html"


@dataclass(frozen=True)
class Material:
    """Input of the outputs.

    Attributes:
        run: what was measured.
        directory: the run's own, in which records and logs are looked for.
        report: the run as it stands in its JSON, with what hooks have added to it.
        lines: node id to the line of its test, where they are known.
        files: node id to the file of its test.
        root: the directory that its project is in.
        sizing: whether the page has the section on sizing.
    """

    run: Run
    directory: Path
    report: Mapping[str, Any] | None = None
    lines: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    root: Path = Path()
    sizing: bool = False


@dataclass(frozen=True)
class Output:
    """One output of a run.

    Attributes:
        name: of the entry, and of the option where there is one.
        kind: what the writer does with its :class:`Material`. For ``"files"`` it writes into the
            run's directory, each file whole or not at all. For ``"text"`` it returns the text that
            ``show --format`` prints, and that the option adds to a file. For ``"lines"`` it yields
            what the terminal shows last.
        writer: ``module:function`` in :mod:`pytest_servebench.report`.
        makes: what messages call it.
        option: help of its option; without one, files are always written.
        drawn: whether it takes so long that an interrupted session leaves it out.
        variable: environment variable that requests the lines, if it is ``true``.
    """

    name: str
    kind: Literal["files", "text", "lines"]
    writer: str
    makes: str = ""
    option: str = ""
    drawn: bool = False
    variable: str = ""

    def write(self, made: Material) -> Any:
        """Call the writer.

        Raises:
            OSError: a file cannot be written.
        """
        return call(self.writer, made)


OUTPUTS: Final = (
    Output("summary", "files", "summary_text:write", SUMMARY_FILE),
    Output("plots", "files", "plots:write", "plots",
           "whether to draw PNG plots", drawn=True),
    Output("page", "files", "page:write", PAGE_FILE,
           "whether to write the HTML report, report.html", drawn=True),
    Output("markdown", "text", "markdown:write", option="append a Markdown report to this file, "
           "such as $GITHUB_STEP_SUMMARY"),
    Output("json", "text", "run_text:write"),
    Output("annotations", "lines", "annotations:write", "annotations", variable="GITHUB_ACTIONS"),
)  # fmt: skip

COMPARISONS: Final[Mapping[str, str]] = {
    "table": "comparison_text:table",
    "markdown": "comparison_text:markdown",
    "json": "comparison_formats:as_json",
    "github-action-benchmark": "comparison_formats:as_github_action_benchmark",
    "bmf": "comparison_formats:as_bmf",
}
"""Formats of a comparison, with functions of a :class:`~.comparison_text.Compared`."""


def call(writer: str, made: Any) -> Any:
    """Import a writer of :mod:`pytest_servebench.report` and return its output for ``made``."""
    module, _, function = writer.partition(":")
    return getattr(import_module(f"pytest_servebench.report.{module}"), function)(made)
