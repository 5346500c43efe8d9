"""What a session prints about its loads at the end: tables, and where their files are."""

import os
from pathlib import Path
from typing import Final

import pytest

from pytest_servebench.plugin import cases, unused
from pytest_servebench.plugin.session import ServebenchSession
from pytest_servebench.plugin.state import session_of
from pytest_servebench.report.outputs import OUTPUTS, PAGE_FILE, Material

_ERRORS: Final = (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR)  # pytest says so


def write(terminal: pytest.TerminalReporter, config: pytest.Config, exitstatus: int) -> None:
    """Write tables, paths, and errors outside the measurements."""
    state = session_of(config)
    over = state.finished or exitstatus in _ERRORS
    for line in state.not_told:
        terminal.write_line(f"servebench: {line}", yellow=True, bold=True)
    if state.recorded:
        from pytest_servebench.report.terminal import write_tables  # noqa: PLC0415

        write_tables(terminal._tw, state.run(), config.get_verbosity())
        shown = _shown(config, state.directory())
        terminal.write_line(f"servebench: results in {shown}")
        if (state.directory() / PAGE_FILE).is_file():
            terminal.write_line(f"servebench: page {shown / PAGE_FILE}")
    elif state.deselected and (asked := _asked(config)):
        terminal.write_line(
            f"servebench: {asked} selects no case; available: {cases.offered(state.deselected)}"
        )
    elif state.cases and ((logs := state.server_logs()) or not over):
        why = "no case was measured" if over else "interrupted before a case was measured"
        where = "" if logs is None else f"; server logs are in {_shown(config, logs)}"
        terminal.write_line(f"servebench: {why}{where}")
    lines = _last_lines(state) if state.recorded else []
    for trouble in state.troubles:
        terminal.write_line(f"servebench: {trouble}", yellow=True, bold=True)
    told = [unused.unshared_connections(config), *state.sent.repeated()]
    for text in filter(None, told):
        terminal.write_line(f"servebench: {text}")
    for line in lines:
        terminal.write_line(line)


def _last_lines(state: ServebenchSession) -> list[str]:
    """Return the terminal lines of outputs that environment variables enable."""
    wanted = [one for one in OUTPUTS if one.variable and os.environ.get(one.variable) == "true"]
    lines: list[str] = []
    if wanted:
        made = Material(
            state.run(),
            state.directory(),
            lines=state.lines,
            files=state.files,
            root=state.config.rootpath,
        )
        for output in wanted:
            with state.attempt(output.makes):
                lines += output.write(made)
    return lines


def _asked(config: pytest.Config) -> str:
    """Return the option that selects a rate, buffer size or rows, as given; empty if none does."""
    for option, text in (("-k", config.option.keyword), ("-m", config.option.markexpr)):
        if cases.names_a_size(text):
            return f"{option} {text!r}"
    return ""


def _shown(config: pytest.Config, path: Path) -> Path:
    try:
        return path.relative_to(config.invocation_params.dir)
    except ValueError:
        return path
