"""Write a run's files: the JSON first, which everything else can be made from again."""

from __future__ import annotations

from pathlib import Path

from pytest_servebench import benchmark_bridge
from pytest_servebench.report import write_report
from pytest_servebench.report.markdown import markdown
from pytest_servebench.saved_runs import RUN_FILE
from pytest_servebench.session import ServebenchSession, write_json


def save_run(session: ServebenchSession) -> Path:
    """Write JSON, summary text, plots and page into the run's directory, and return it.

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
    settings = session.settings
    write_report(
        run, directory, plots=settings.plots, page=settings.page, report=report["servebench"]
    )
    if settings.markdown is not None:
        with settings.markdown.open("a") as file:
            file.write(markdown(run))
    for name in filter(None, ("latest", settings.save)):
        _point(settings.results / name, directory)
    return directory


def _point(link: Path, directory: Path) -> None:
    """Let a name mean this run from now on."""
    partial = link.with_name(f".{link.name}-{directory.name}")
    try:
        partial.symlink_to(directory.name)
        partial.replace(link)
    except OSError as error:
        partial.unlink(missing_ok=True)
        if link.name == "latest":
            return  # a file system without links: the run is saved all the same
        raise OSError(
            f"--servebench-save={link.name}: {link} cannot be made to point to the run "
            f"({error.strerror}); the run itself is in {directory}"
        ) from error
