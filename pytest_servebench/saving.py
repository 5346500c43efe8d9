"""Write a run's files: the JSON first, which everything else can be made from again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_servebench import benchmark_bridge
from pytest_servebench.report import PAGE_FILE, SUMMARY_FILE, write_summary
from pytest_servebench.report.markdown import markdown
from pytest_servebench.report.text import clean
from pytest_servebench.run_json import RUN_FILE
from pytest_servebench.run_names import LATEST, give_name
from pytest_servebench.session import ServebenchSession, write_json


def save_run(session: ServebenchSession) -> bool:
    """Write JSON, summary text, plots and page into the run's directory.

    The records and the servers' logs are there already: they are written as they come. What cannot
    be written costs nothing else, and becomes a line of ``session.troubles``.

    Returns:
        Whether later runs find this one: its JSON is there, and has the name that was asked for.
    """
    directory = session.directory()
    settings = session.settings
    with _attempt(session, RUN_FILE):
        report = benchmark_bridge.report(session.config)
        report["servebench"] = session.report()
        write_json(directory / RUN_FILE, report)
    found = not session.troubles and _named(session, directory)
    run = session.run()
    again = f"pytest-servebench report {directory} makes it again"
    with _attempt(session, SUMMARY_FILE, again):
        write_summary(run, directory)
    if settings.plots:
        with _attempt(session, "plots", again):
            from pytest_servebench.report.plots import draw_plots  # noqa: PLC0415 - matplotlib

            draw_plots(run, directory)
    if settings.page:
        with _attempt(session, PAGE_FILE, again):
            from pytest_servebench.report.page import write_page  # noqa: PLC0415 - jinja2

            write_page(run, directory, session.report())
    if settings.markdown is not None:
        remedy = "give a file in a directory that exists and can be written to"
        with (
            _attempt(session, f"--servebench-markdown={settings.markdown}", remedy),
            settings.markdown.open("a") as file,
        ):
            file.write(markdown(run))
    return found


@contextmanager
def _attempt(session: ServebenchSession, what: str, remedy: str = "") -> Iterator[None]:
    """Have what goes wrong in the body told at the end of the session, and nothing else."""
    try:
        yield
    except Exception as error:
        text = f"{what} could not be written: {type(error).__name__}: {error}"
        session.troubles.append(clean(f"{text}; {remedy}" if remedy else text))


def _named(session: ServebenchSession, directory: Path) -> bool:
    """Let ``latest`` and the name that was asked for mean this run; tell whether the latter does.

    Nothing but people depends on ``latest``: the last run is found without it, as not every file
    system has links.
    """
    results, name = session.settings.results, session.settings.save
    _attempt_name(session, results / LATEST, directory, needed=(results / LATEST).exists())
    return not name or _attempt_name(session, results / name, directory)


def _attempt_name(
    session: ServebenchSession, link: Path, directory: Path, *, needed: bool = True
) -> bool:
    try:
        moved = give_name(link, directory)
    except Exception as error:
        option = "" if link.name == LATEST else f"--servebench-save={link.name}: "
        reason = getattr(error, "strerror", None) or error
        if needed:
            session.troubles.append(
                clean(
                    f"{option}{link} cannot be made to point to the run: {reason}; move what is "
                    f"there out of the way; the run itself is in {directory}"
                )
            )
        return False
    if moved:
        session.troubles.append(clean(moved))
    return True
