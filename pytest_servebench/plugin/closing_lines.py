"""What a session says of its loads when it ends: their tables, and where their files are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_servebench.plugin import cases
from pytest_servebench.plugin.session import ServebenchSession
from pytest_servebench.plugin.state import session_of
from pytest_servebench.report import PAGE_FILE


def write(terminal: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write tables, files, and all that went wrong beside the measurements."""
    state = session_of(config)
    for line in state.not_told:
        terminal.write_line(f"servebench: {line}", yellow=True, bold=True)
    if state.results:
        from pytest_servebench.report.terminal import write_tables  # noqa: PLC0415

        write_tables(terminal._tw, state.run(), config.get_verbosity())
        shown = _shown(config, state.directory())
        terminal.write_line(f"servebench: results in {shown}")
        if (state.directory() / PAGE_FILE).is_file():
            terminal.write_line(f"servebench: page {shown / PAGE_FILE}")
    elif state.deselected and (asked := _asked(config)):
        terminal.write_line(
            f"servebench: no case for {asked}; there are {cases.offered(state.deselected)}"
        )
    elif state.cases and (logs := state.server_logs()):
        terminal.write_line(
            f"servebench: no case was measured; the servers' logs are in {_shown(config, logs)}"
        )
    for trouble in state.troubles:
        terminal.write_line(f"servebench: {trouble}", yellow=True, bold=True)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for command in _annotations(state):
            terminal.write_line(command)


def _annotations(state: ServebenchSession) -> Iterator[str]:
    """Yield what GitHub shows beside the lines of the tests."""
    if not state.results:
        return
    from pytest_servebench.report.annotations import (  # noqa: PLC0415
        repository_path,
        workflow_commands,
    )

    files = {
        nodeid: repository_path(path, state.config.rootpath) for nodeid, path in state.files.items()
    }
    yield from workflow_commands(state.results, state.lines, files)


def _asked(config: pytest.Config) -> str:
    """Return the option that asks for a rate or buffer size, as given; empty where none does."""
    for option, text in (("-k", config.option.keyword), ("-m", config.option.markexpr)):
        if cases.names_a_size(text):
            return f"{option} {text!r}"
    return ""


def _shown(config: pytest.Config, path: Path) -> Path:
    try:
        return path.relative_to(config.invocation_params.dir)
    except ValueError:
        return path
