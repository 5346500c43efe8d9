"""The pages of the documentation, and the examples that they show."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import ROOT

_MISSING: Final = "the dependency group docs is missing"
markdown_it = pytest.importorskip("markdown_it", reason=_MISSING)
yaml = pytest.importorskip("yaml", reason=_MISSING)

README: Final = ROOT / "README.md"
DOCS: Final = ROOT / "docs"
WORKFLOW: Final = ROOT / ".github" / "workflows" / "ci.yml"
PAGES: Final = (README, *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts))

_FILE: Final = re.compile(r"# ([\w./-]+\.(?:py|ini|toml|yml))\n")
_PROGRAMS: Final = ("pytest", "pytest-servebench", "tox", "python", "python3", "pip")


@dataclass(frozen=True)
class Block:
    """One fenced block: where it stands, its language and its text."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        """Return where it stands, for messages and test ids."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str:
        """Return the name of the file it shows, from its first line; empty if it has none."""
        match = _FILE.match(self.text)
        return match[1] if match else ""


@dataclass(frozen=True)
class Command:
    """One simple command, without what a shell does around it."""

    where: str
    words: tuple[str, ...]
    inline: bool = False

    @property
    def program(self) -> str:
        """Return what is run."""
        return self.words[0]

    def __str__(self) -> str:
        return f"{self.where}: {shlex.join(self.words)}"


@cache
def tokens(page: Path) -> tuple[Any, ...]:
    """Return the page's Markdown tokens."""
    return tuple(markdown_it.MarkdownIt("commonmark").enable("table").parse(page.read_text()))


def blocks(page: Path, *languages: str) -> Iterator[Block]:
    """Yield the page's fenced blocks in these languages."""
    for token in tokens(page):
        if token.type == "fence" and token.info.strip() in languages:
            yield Block(page, token.map[0] + 1, token.info.strip(), token.content)


def inline(page: Path, kind: str) -> Iterator[Any]:
    """Yield the page's tokens of one kind within running text and tables."""
    for token in tokens(page):
        yield from (child for child in token.children or () if child.type == kind)


def shown(text: str) -> list[tuple[str, list[str]]]:
    """Return the commands of a console block, each with the lines of output shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
    return found


def simple_commands(where: str, text: str) -> Iterator[Command]:
    """Yield the simple commands of a line or a script, without assignments before them."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("&|;"):
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    del words[0]
                if words:
                    yield Command(where, tuple(words))
                words = []
            else:
                words.append(word)


def _scripts(data: object) -> Iterator[str]:
    """Yield what a workflow runs."""
    if isinstance(data, dict):
        for key, value in data.items():
            if key == "run":
                yield value
            elif key == "script":
                yield from value
            else:
                yield from _scripts(value)
    elif isinstance(data, list):
        for value in data:
            yield from _scripts(value)


def workflow_commands(where: str, text: str) -> Iterator[Command]:
    """Yield the commands of a workflow, without what its runner fills in."""
    for script in _scripts(yaml.safe_load(text)):
        yield from simple_commands(where, re.sub(r"\$\{\{.*?\}\}|\s\$[A-Z]+(?=\s)", " ", script))


@cache
def all_commands() -> tuple[Command, ...]:
    """Return every command that README.md, docs/ and the workflow have, each once."""
    found: dict[tuple[str, ...], Command] = {}
    for page in PAGES:
        commands = [
            command
            for block in blocks(page, "console")
            for line, _ in shown(block.text)
            for command in simple_commands(block.where, line)
        ]
        for code in inline(page, "code_inline"):
            if code.content.split(" ")[0] in _PROGRAMS and " " in code.content:
                commands += (
                    replace(command, inline=True)
                    for command in simple_commands(str(page.relative_to(ROOT)), code.content)
                )
        for block in blocks(page, "yaml"):
            commands += workflow_commands(block.where, block.text)
        found |= {command.words: command for command in commands if command.words not in found}
    for command in workflow_commands("ci.yml", WORKFLOW.read_text()):
        found.setdefault(command.words, command)
    return tuple(found.values())


def commands_of(program: str) -> list[Command]:
    """Return all commands that run one program."""
    return [command for command in all_commands() if command.program == program]
