"""The tables at the end of a pytest run, as wide as the terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pytest_servebench.report.attention import attention_lines
from pytest_servebench.report.capacity_table import capacity_lines, probe_lines, unfinished_probes
from pytest_servebench.report.case_details import case_text
from pytest_servebench.report.case_table import COLUMNS, ServerRows, legend, server_rows
from pytest_servebench.report.evaluation_block import evaluation_lines
from pytest_servebench.report.facts import date_text, headline, starts
from pytest_servebench.report.figures import groups
from pytest_servebench.runs.results import Run
from pytest_servebench.runs.titles import server_titles
from pytest_servebench.text.safe import (
    clean,
    clip,
    counted,
    display_width,
    joined,
    shows_unicode,
    to_ascii,
    wrapped,
)
from pytest_servebench.text.tables import (
    Cell,
    Line,
    Part,
    headed,
    lay_out,
    line,
    plain_text,
    row_line,
)

if TYPE_CHECKING:
    from _pytest._io import TerminalWriter

WIDTH: Final = 100
"""Columns of a file or a log, which have no width of their own."""

_NARROWEST: Final = 40
_WIDEST: Final = 160  # longer lines of text are hard to read
_LABEL_WIDTH: Final = 10
_LEGEND_HANG: Final = 2


def title(run: Run) -> str:
    """Return the heading of the whole report."""
    names = joined(server_titles(run.results).values())
    parts = [counted(len(run.cases), "case")] if run.cases or not run.capacities else []
    if run.capacities:
        number = len(run.capacities)
        parts.append(f"{number} {'capacity' if number == 1 else 'capacities'}")
    return f"servebench: {', '.join(filter(None, [*parts, names]))}"


def report_lines(
    run: Run,
    *,
    width: int = WIDTH,
    unicode: bool = True,
    verbosity: int = 0,
    evaluated: bool = True,
    named: bool = False,
) -> list[Line]:
    """Return the report as lines of coloured parts, none wider than ``width``.

    Args:
        run: what to report.
        width: columns of the terminal.
        unicode: whether the terminal shows more than ASCII.
        verbosity: pytest's: below 0 only problems and tables, above 0 also every figure of each
            case.
        evaluated: whether to say which server did better.
        named: whether to name the run and its date.
    """
    quiet = verbosity < 0
    lines: list[Line] = []
    for block in (
        [] if quiet else headline_lines(run, width, named=named),
        detail_lines(run, width) if verbosity > 0 else [],
        attention_lines(run, width),
        table_lines(run, width, unicode=unicode, explained=not quiet),
        capacity_lines(run, width),
        evaluation_lines(run, width) if evaluated and not quiet else [],
    ):
        if block:
            lines += [line(""), *block] if lines else block
        while lines and not plain_text(lines[-1]):
            lines.pop()
    return [_fitting(parts, width, unicode=unicode) for parts in lines]


def detail_lines(run: Run, width: int) -> list[Line]:
    """Return every figure of each case, in the tables' order, and every probe of each search."""
    titles = server_titles(run.cases)
    cases = [case for group in groups(run.cases) for case in group.cases]
    return (
        [
            line(text)
            for case in cases
            for text in [*case_text(case, titles[case.server.kind], width), ""]
        ]
        + [
            text
            for one in run.capacities
            for text in [*probe_lines(one, clean(one.server.title), width), line("")]
        ]
        + [
            line(text)
            for case in unfinished_probes(run)
            for text in [*case_text(case, clean(case.server.title), width), ""]
        ]
    )


def headline_lines(run: Run, width: int, *, named: bool = False) -> list[Line]:
    """Return what was measured, with what, and where; ``named``, also in which run and when."""
    name = ", ".join(part for part in (clean(run.name), date_text(run.started)) if part)
    return [
        line(text)
        for label, content in [*([("run", name)] if named else []), *headline(run)]
        for text in wrapped(label.ljust(_LABEL_WIDTH), content, width)
    ]


def table_lines(run: Run, width: int, *, unicode: bool, explained: bool = True) -> list[Line]:
    """Return one table for each rate and, if asked for, notes on their marks."""
    parts = groups(run.cases)
    if not parts:
        return []
    titles = server_titles(run.cases)
    several = len({group.test for group in parts}) > 1
    blocks = [server_rows(group.cases, titles, run.cases) for group in parts]
    signs = [row for group in blocks for one in group for row in one.rows]
    if not unicode:
        blocks = [_ascii(servers) for servers in blocks]
    rows = [row for group in blocks for one in group for row in one.rows]
    layout = lay_out(COLUMNS, rows, width)
    lines: list[Line] = []
    untold = starts(run.cases)
    for group, servers in zip(parts, blocks, strict=True):
        name = f"{group.test}, " if several else ""
        heading = Cell(f"{name}{group.load}", {"bold": True, "cyan": True})
        lines += headed(heading, COLUMNS, layout)
        for one in servers:
            lines += _server_lines(one, width, untold.pop(one.kind, ""))
            lines += [row_line(COLUMNS, row, layout) for row in one.rows]
        lines.append(line(""))
    if not explained:
        return lines
    shown = [COLUMNS[index] for index, _ in layout.columns]
    return lines + [
        line(text, light=True)
        for note in legend(run.cases, signs, shown)
        for text in wrapped("", note, width, hang=_LEGEND_HANG)
    ]


def _server_lines(server: ServerRows, width: int, start: str) -> list[Line]:
    """Return the server's name, program and start: in as few lines as there is room for."""
    known: Part = (server.title, {"bold": True})
    lines: list[Line] = [(known,)]
    for text in (server.implementation if server.implementation != server.title else "", start):
        if text and display_width(f"{plain_text(lines[-1])}  {text}") <= width:
            lines[-1] = (*lines[-1], (f"  {text}", {"light": True}))
        elif text:
            lines += [line(part, light=True) for part in wrapped("", text, width, indent=2)]
    return lines


def _ascii(servers: Sequence[ServerRows]) -> list[ServerRows]:
    # Before the layout: the ASCII form of a sign can be wider.
    return [
        replace(
            one, rows=[[Cell(to_ascii(cell.text), cell.markup) for cell in row] for row in one.rows]
        )
        for one in servers
    ]


def _fitting(parts: Line, width: int, *, unicode: bool) -> Line:
    """Return the line cut at ``width``; the rest keeps its colours."""
    kept: list[Part] = []
    room = width
    for text, markup in parts:
        shown = clip(text, room)
        if not unicode:
            # From here on no text may become wider, as "..." would make it.
            shown = to_ascii(shown.replace("…", "."))[:room]
        kept.append((shown, markup))
        room -= display_width(shown)
    while kept and not (text := kept[-1][0].rstrip()):
        kept.pop()
    return (*kept[:-1], (text, kept[-1][1])) if kept else line("")


def write_tables(
    writer: TerminalWriter,
    run: Run,
    verbosity: int = 0,
    *,
    evaluated: bool = True,
    named: bool = False,
) -> None:
    """Write the report with a heading.

    Args:
        writer: pytest's.
        run: what to report.
        verbosity: as of :func:`report_lines`.
        evaluated: likewise.
        named: likewise.
    """
    stream = writer._file
    unicode = shows_unicode(stream)
    # A file or a CI log has no width: what it says is the 80 columns of an unknown terminal.
    known = stream.isatty() or os.environ.get("COLUMNS")
    width = max(_NARROWEST, min(_WIDEST, writer.fullwidth)) if known else WIDTH
    heading = clip(title(run), width - 10)
    writer.sep("=", heading if unicode else to_ascii(heading))
    for parts in report_lines(
        run, width=width, unicode=unicode, verbosity=verbosity, evaluated=evaluated, named=named
    ):
        if plain_text(parts):
            for text, markup in parts:
                writer.write(text, **markup)
        writer.line()
