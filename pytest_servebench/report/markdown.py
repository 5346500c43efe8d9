"""The report as Markdown: for the summary of a CI job, or a comment on a pull request."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pytest_servebench.report import capacity_table
from pytest_servebench.report.attention import capacity_reasons, doubts, reasons, server_troubles
from pytest_servebench.report.case_table import COLUMNS, legend, server_rows
from pytest_servebench.report.evaluation_block import evaluation_lines
from pytest_servebench.report.facts import headline
from pytest_servebench.report.figures import Standing, groups, standing
from pytest_servebench.report.outputs import Material
from pytest_servebench.report.terminal import title
from pytest_servebench.runs.results import Run
from pytest_servebench.runs.titles import server_titles
from pytest_servebench.text.safe import clean
from pytest_servebench.text.tables import plain_text

_WIDE: Final = 10_000  # Markdown wraps its lines by itself
_SIGNS: Final[Mapping[Standing, str]] = {
    "invalid": "⚠️", "failed": "❌", "test-failed": "❌", "inconclusive": "❔", "excused": "➖",
    "passed": "✅",
}  # fmt: skip


def write(made: Material) -> str:
    """Return the report as Markdown; see :func:`markdown`."""
    return markdown(made.run)


def markdown(run: Run) -> str:
    """Return the whole report: problems first, then a table for each rate."""
    lines = [f"### {escaped(title(run))}", ""]
    lines += _attention(run)
    titles = server_titles(run.cases)
    blocks = [(group, server_rows(group.cases, titles, run.cases)) for group in groups(run.cases)]
    rows = [row for _, servers in blocks for one in servers for row in one.rows]
    shown = [
        place
        for place, column in enumerate(COLUMNS)
        if not column.optional or any(row[place].text for row in rows)
    ]
    columns = [COLUMNS[place] for place in shown]
    for group, servers in blocks:
        lines += [f"**{escaped(group.test)}, {group.load}**", ""]
        headings = ["server", *(column.heading for column in columns)]
        lines += table_head(headings, right=[False, *(column.right for column in columns)])
        for server in servers:
            program = f" ({server.implementation})" if server.implementation != server.title else ""
            name = server.title + program
            for row in server.rows:
                lines.append(table_row([name, *(row[place].text.strip() for place in shown)]))
                name = ""
        lines.append("")
    lines += _capacities(run)
    if rows:
        lines += [escaped(note) + "  " for note in legend(run.cases, rows, columns)]
    evaluation = [plain_text(parts) for parts in evaluation_lines(run, 100)]
    name = "Evaluation, servers and machine" if evaluation else "Server and machine"
    facts = [f"{label:<10}{text}" for label, text in headline(run)]
    text = [*evaluation, "", *facts] if evaluation else facts
    lines += ["", f"<details><summary>{name}</summary>", "", "```text", *text, "```"]
    lines += ["", "</details>"]
    return "\n".join([*lines, ""])


def _capacities(run: Run) -> list[str]:
    lines = []
    for heading, found in capacity_table.blocks(run.capacities):
        columns = capacity_table.COLUMNS
        lines += [f"**{escaped(heading)}**", ""]
        lines += table_head(
            ["server", *(one.heading for one in columns[1:])], [one.right for one in columns]
        )
        lines += [table_row([cell.text for cell in row]) for row in capacity_table.rows(found)]
        texts = (*capacity_table.notes(found), *capacity_table.carried(found))
        lines += ["", *(f"{escaped(text)}  " for text in texts), ""]
    return lines


def _attention(run: Run) -> list[str]:
    cases = run.cases
    found = [
        (word, case) for word in _SIGNS for case in cases if standing(case) == word != "passed"
    ]
    lines = [f"* {_SIGNS['failed']} {escaped(text)}" for text in server_troubles(run)]
    lines += [f"* ⚠️ **doubtful** {escaped(text)}" for text in doubts(run)]
    lines += [
        f"* {_SIGNS[word]} **{word.replace('-', ' ')}** `{clean(case.name)}`: {escaped(reason)}"
        for word, case in found
        for reason in reasons(case)
    ]
    lines += [
        f"* {_SIGNS[word]} **{word.replace('-', ' ')}** `{clean(one.name)}`: {escaped(reason)}"
        for word in _SIGNS
        for one in run.capacities
        if standing(one) == word != "passed"
        for reason in capacity_reasons(one)
    ]
    if not lines and any(one.clauses for one in run.results):
        lines = [f"{_SIGNS['passed']} Every SLO is met."]
    return [*lines, ""] if lines else []


def table_head(headings: Sequence[str], right: Sequence[bool]) -> list[str]:
    """Return the two heading lines of a table."""
    marks = ["---:" if one else "---" for one in right]
    return [table_row(headings), "| " + " | ".join(marks) + " |"]


def table_row(cells: Iterable[str]) -> str:
    """Return one line of a table."""
    return "| " + " | ".join(escaped(cell) for cell in cells) + " |"


def escaped(text: str) -> str:
    """Return text escaped for Markdown, in one line."""
    shown = clean(text).replace("\\", "\\\\")
    for sign in "|*_`<>[]#":
        shown = shown.replace(sign, f"\\{sign}")
    return " ".join(shown.split())
