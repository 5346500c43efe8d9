"""Write a run's files: the JSON first, which everything else can be made from again."""

from __future__ import annotations

from pathlib import Path

from pytest_servebench.plugin import benchmark_bridge
from pytest_servebench.plugin.progress import Progress
from pytest_servebench.plugin.session import ServebenchSession
from pytest_servebench.report.outputs import OUTPUTS, Material
from pytest_servebench.runs.run_json import RUN_FILE
from pytest_servebench.runs.run_names import LATEST, give_name
from pytest_servebench.servers.logs import scrub
from pytest_servebench.system.files import write_whole
from pytest_servebench.text.json_text import to_json
from pytest_servebench.text.safe import clean


def keep(session: ServebenchSession) -> None:
    """Bring the run's JSON up to date after a case, so that no end of the session can lose it.

    Where no result counts any more there is none.
    """
    with session.attempt(RUN_FILE):
        if not session.results:
            (session.directory() / RUN_FILE).unlink(missing_ok=True)
            return
        directory = session.directory()
        directory.mkdir(parents=True, exist_ok=True)
        session.run_file.write(session.run(), directory)


def end_run(session: ServebenchSession, progress: Progress) -> bool:
    """Save the run and stop its servers; neither keeps the other from being done.

    Returns:
        Whether later runs find this one, where there is one; see :func:`save_json`.
    """
    found = save_json(session) if session.results else True
    with session.attempt("a server", failure="could not be stopped"):
        session.servers.stop_all()
    if logs := session.server_logs():
        remedy = "look for keys in them before you pass them on"
        with session.attempt("the servers' logs without keys", remedy):
            scrub(logs.rglob("*.log"))  # those of kinds that are not ours too
    if session.results:
        with progress.shown("saving the run, its plots and its page"):
            write_outputs(session)
    else:
        session.discard_empty_directory()
    return found


def save_json(session: ServebenchSession) -> bool:
    """Write the whole JSON, and give the run its names.

    What cannot be written costs nothing else, and becomes a line of ``session.troubles``.

    Returns:
        Whether later runs find this one: its JSON is there, and has the name that was asked for.
    """
    keep(session)  # pytest-benchmark may take seconds for what it knows of the machine
    directory = session.directory()
    found = False
    with session.attempt(RUN_FILE):
        report = benchmark_bridge.report(session.config)
        report["servebench"] = session.report()
        write_whole(directory / RUN_FILE, f"{to_json(report)}\n".encode(), sync=True)
        found = True
    return found and _named(session, directory)


def write_outputs(session: ServebenchSession) -> None:
    """Write what is made of a run: its files, and the texts that files are given for.

    Records and servers' logs are there already: they are written as they come. What cannot be
    written costs nothing else, and becomes a line of ``session.troubles``. A session that was
    interrupted is to end soon: it draws nothing.
    """
    made = Material(session.run(), session.directory(), session.report())
    readable = (made.directory / RUN_FILE).is_file()  # else nothing can be made of it
    command = f"pytest-servebench report {clean(made.directory)}"
    left_out = []
    for output in OUTPUTS:
        wanted = session.settings.outputs.get(output.name, output.kind == "files")
        if not wanted:
            continue
        if output.drawn and not session.finished:
            left_out.append(output.name)
        elif isinstance(wanted, Path):
            remedy = "give a file in a directory that exists and can be written to"
            with session.attempt(f"--servebench-{output.name}={wanted}", remedy):
                _append(wanted, output.write(made))
        elif output.kind == "files":
            with session.attempt(output.makes, f"{command} makes it again" if readable else ""):
                output.write(made)
    if left_out:
        makes = f"; {command} makes them" if readable else ""
        what = " and ".join(f"no {name}" for name in left_out)
        session.troubles.append(f"{what}, as the session did not come to its end{makes}")


def _append(path: Path, text: str) -> None:
    """Add a text to a file, such as the summary of a CI job, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists() and not path.is_file():  # /dev/stdout
        with path.open("a") as stream:
            stream.write(text)
        return
    with path.open("ab") as file:
        before = file.tell()
        try:
            file.write(text.encode("utf-8", "backslashreplace"))
            file.flush()
        except BaseException:
            file.truncate(before)
            raise


def _named(session: ServebenchSession, directory: Path) -> bool:
    """Let ``latest`` and the name that was asked for mean this run; tell whether the latter does.

    Nothing but people depends on ``latest``: the last run is found without it, as not every file
    system has links.
    """
    results, name = session.settings.results, session.settings.save
    _attempt_name(session, results / LATEST, directory, needed=(results / LATEST).exists())
    if name and not session.finished:
        session.troubles.append(
            f"--servebench-save={name}: not given, as the session did not come to its end; the run "
            f"itself is in {clean(directory)}"
        )
        return False
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
