"""``metrics_summary.txt``: the whole run as text, from the verdicts to every last figure."""

from pathlib import Path
from typing import Final

from pytest_servebench.report.outputs import SUMMARY_FILE, Material
from pytest_servebench.report.terminal import WIDTH, detail_lines, report_lines, title
from pytest_servebench.runs.results import Run
from pytest_servebench.system.files import write_whole
from pytest_servebench.text.safe import clean, clip, display_width, wrapped
from pytest_servebench.text.tables import plain_text

_LABEL: Final = 18


def summary_text(run: Run) -> str:
    """Return the text of the run's summary, ending with a newline."""
    heading = f"{title(run)}: {clean(run.name)}, {clean(run.started)}"
    lines = [*wrapped("", heading, WIDTH), "=" * min(WIDTH, display_width(heading)), ""]
    lines += [plain_text(parts) for parts in report_lines(run, width=WIDTH)]
    lines += ["", *_section("Each case")]
    lines += [plain_text(parts) for parts in detail_lines(run, WIDTH)]
    lines += _section("Versions")
    lines += [
        line
        for package, version in run.versions.items()
        for line in wrapped(f"{clean(package):<{_LABEL}}", clean(version), WIDTH, indent=2)
    ]
    return "\n".join(clip(line.rstrip(), WIDTH) for line in lines).rstrip() + "\n"


def write(made: Material) -> Path:
    """Write the text into the run's directory; return its file.

    Raises:
        OSError: it cannot be written.
    """
    path = made.directory / SUMMARY_FILE
    write_whole(path, summary_text(made.run).encode())
    return path


def _section(name: str) -> list[str]:
    return [name, "-" * len(name), ""]
