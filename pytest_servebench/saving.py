"""Write a run's files: the JSON first, which everything else can be made from again."""

from __future__ import annotations

from pathlib import Path

from pytest_servebench import benchmark_bridge
from pytest_servebench.report import write_report
from pytest_servebench.report.markdown import markdown
from pytest_servebench.session import ServebenchSession, write_json

RUN_FILE = "run.json"


def save_run(session: ServebenchSession) -> Path:
    """Write JSON, summary text and plots into the run's directory, and return it.

    The records and the servers' logs are there already: they are written as they come.

    Raises:
        OSError: a file cannot be written.
        ValueError: a hook put a number into the report that JSON cannot say.
    """
    directory = session.directory()
    report = benchmark_bridge.report(session.config)
    report["servebench"] = session.report()
    write_json(directory / RUN_FILE, report)
    run = session.run()
    write_report(run, directory, plots=session.settings.plots)
    if session.settings.markdown is not None:
        with session.settings.markdown.open("a") as file:
            file.write(markdown(run))
    latest = session.settings.results / "latest"
    partial = latest.with_name(f".latest-{directory.name}")
    try:
        partial.symlink_to(directory.name)
        partial.replace(latest)
    except OSError:
        partial.unlink(
            missing_ok=True
        )  # a file system without links: the run is saved all the same
    return directory
