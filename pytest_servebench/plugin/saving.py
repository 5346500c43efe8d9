"""Write a run's files: first the JSON, from which all others can be rebuilt."""

import warnings
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
    """Update the run's JSON after a case, so nothing is lost however the session ends.

    If no result counts any more, the file is removed.
    """
    with session.attempt(RUN_FILE):
        if not session.recorded:
            (session.directory() / RUN_FILE).unlink(missing_ok=True)
            return
        directory = session.directory()
        directory.mkdir(parents=True, exist_ok=True)
        session.run_file.write(session.run(), directory)


def end_run(session: ServebenchSession, progress: Progress) -> bool:
    """Save the run and stop its servers, even if one of the two fails.

    Returns:
        Whether later runs can find this one; see :func:`save_json`.
    """
    found = save_json(session) if session.recorded else True
    with session.attempt("a server", failure="could not be stopped"):
        session.servers.stop_all()
    if logs := session.server_logs():
        remedy = "check them for secrets before you share them"
        with session.attempt("redacted server logs", remedy):
            scrub(logs.rglob("*.log"))  # including those of users' kinds
    if session.recorded:
        # Users' filters make errors of warnings, also of those that Matplotlib gets for its use of
        # another library.
        with (
            progress.shown("saving the run, plots and page"),
            warnings.catch_warnings(action="ignore", category=DeprecationWarning),
        ):
            write_outputs(session)
    else:
        session.discard_empty_directory()
    return found


def save_json(session: ServebenchSession) -> bool:
    """Write the complete JSON, and name the run.

    A failure affects nothing else, and is added to ``session.troubles``.

    Returns:
        Whether later runs can find this one: its JSON exists, under the requested name.
    """
    keep(session)  # pytest-benchmark may take seconds to describe the machine
    directory = session.directory()
    found = False
    with session.attempt(RUN_FILE):
        report = benchmark_bridge.report(session.config)
        report["servebench"] = session.report()
        write_whole(directory / RUN_FILE, f"{to_json(report)}\n".encode(), sync=True)
        found = True
    return found and _named(session, directory)


def write_outputs(session: ServebenchSession) -> None:
    """Write the outputs of a run: its files, and the texts that options give a file for.

    Records and server logs are already there. A failure affects nothing else, and is added to
    ``session.troubles``. An interrupted session must end soon, so it draws nothing.
    """
    made = Material(session.run(), session.directory(), session.report())
    readable = (made.directory / RUN_FILE).is_file()  # else nothing can be rebuilt
    command = f"pytest-servebench report {clean(made.directory)}"
    left_out = []
    for output in OUTPUTS:
        wanted = session.settings.outputs.get(output.name, output.kind == "files")
        if not wanted:
            continue
        if output.drawn and not session.finished:
            left_out.append(output.name)
        elif isinstance(wanted, Path):
            remedy = "give a file in an existing, writable directory"
            with session.attempt(f"--servebench-{output.name}={wanted}", remedy):
                _append(wanted, output.write(made))
        elif output.kind == "files":
            with session.attempt(
                output.makes, f"to rebuild it, run: {command}" if readable else ""
            ):
                output.write(made)
    if left_out:
        makes = f"; to make them, run: {command}" if readable else ""
        what = " and ".join(f"no {name}" for name in left_out)
        session.troubles.append(f"{what}: the session was interrupted{makes}")


def _append(path: Path, text: str) -> None:
    """Append text to a file, such as the summary of a CI job, completely or not at all.

    Raises:
        OSError: the file cannot be written.
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
    """Point ``latest`` and the requested name to this run; return whether the latter worked.

    Only people depend on the link ``latest``: our commands find the last run without it, as not
    every file system has links.
    """
    results, name = session.settings.results, session.settings.save
    _attempt_name(session, results / LATEST, directory, needed=(results / LATEST).exists())
    if name and not session.finished:
        session.troubles.append(
            f"--servebench-save={name}: the run was not given this name, as the session was "
            f"interrupted; it is in {clean(directory)}"
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
                    f"{option}cannot point {link} to the run: {reason}; move what is there out of "
                    f"the way; the run is in {directory}"
                )
            )
        return False
    if moved:
        session.troubles.append(clean(moved))
    return True
