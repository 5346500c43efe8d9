"""Text that is safe to show: one line, no control characters, a known width on the screen."""

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final, TextIO

from pytest_servebench.text.redaction import redact

# What GitHub and Azure take for a command in the output of a job: "::error::" and "##[error]".
_COMMANDS: Final = re.compile(r"(?<!\S)::|##\[|##vso\[")
_ASCII: Final = str.maketrans({
    "…": "...", "·": "|", "∞": "inf", "≥": ">=", "≤": "<=", "×": "x", "–": "-", "—": "-",
    "±": "+/-", "→": "->", "└": "`", "λ": "rate", "█": "#", "░": ".",
})  # fmt: skip


def clean(text: object) -> str:
    """Return ``text`` as one line of printable characters, its white space collapsed.

    Names and messages come from servers, options and hooks: a control character in one of them
    could move the cursor or hide a result, a CI could run a workflow command, and a server that
    echoes requests could reveal a key.
    """
    line = " ".join(_printable(redact(str(text))).split())
    return _COMMANDS.sub(_spelled_out, line)


def harmless(text: object) -> str:
    """Return ``text`` without terminal control sequences, CI commands and secrets.

    For messages of several lines; :func:`clean` is for one.
    """
    lines = redact(str(text)).split("\n")
    return "\n".join(_COMMANDS.sub(_spelled_out, _printable(line)) for line in lines)


def unobeyed(text: str) -> str:
    """Return ``text`` with its colours but without CI commands."""
    return "\n".join(_COMMANDS.sub(_spelled_out, line) for line in text.split("\n"))


def _printable(line: str) -> str:
    if line.isascii() and line.isprintable():
        return line
    # Not only ASCII control characters: str.isprintable() also refuses bidirectional overrides and
    # lone surrogates, which no stream can encode.
    return "".join(
        " " if character.isspace() else character if character.isprintable() else "?"
        for character in line
    )


def _spelled_out(command: re.Match[str]) -> str:
    return f"{command[0][:-1]} {command[0][-1]}"


def to_ascii(text: str) -> str:
    """Return ``text`` for a terminal that shows only ASCII."""
    return text.translate(_ASCII).encode("ascii", "replace").decode("ascii")


def shows_unicode(stream: TextIO) -> bool:
    """Return whether ``stream`` can encode the non-ASCII characters of reports."""
    try:
        "…·∞≥└█░".encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def display_width(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes: East Asian characters take two."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def clip(text: str, width: int) -> str:
    """Return ``text`` in at most ``width`` columns, with ``…`` where its end is missing."""
    if display_width(text) <= width:
        return text
    if width < 1:
        return ""
    kept, used = [], 1
    for character in text:
        used += _character_width(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept).rstrip() + "…"


def abridged(text: str, width: int) -> str:
    """Return ``text`` in at most ``width`` columns, with ``…`` where its middle is missing."""
    if display_width(text) <= width:
        return text
    start = clip(text, (width + 1) // 2).removesuffix("…")
    end = clip(text[::-1], width - display_width(start)).removesuffix("…")[::-1]
    return f"{start}…{end}"


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Return ``text`` padded with spaces to ``width`` columns; ``right`` aligns it to the right."""
    space = " " * (width - display_width(text))
    return space + text if right else text + space


def wrapped(
    label: str, text: str, width: int, *, indent: int = 0, hang: int | None = None
) -> list[str]:
    """Return a label and its text in lines of at most ``width`` columns.

    Args:
        label: what begins the first line.
        text: what follows.
        width: of the terminal.
        indent: spaces before the label.
        hang: spaces before each further line; by default, these align with the text.
    """
    first = " " * indent + label
    if hang is None:
        hang = display_width(first) if display_width(first) <= width // 3 else indent + 2
    lines = textwrap.wrap(
        clean(text),
        width,
        initial_indent=first,
        subsequent_indent=" " * hang,
        break_on_hyphens=False,
    )
    # The rest of a broken word may look like a command.
    lines = [_COMMANDS.sub(_spelled_out, line) for line in lines]
    return [clip(line, width) for line in lines] or [clip(first.rstrip(), width)]


def joined(words: Iterable[str]) -> str:
    """Return ``a``, ``a and b``, or ``a, b and c``; if one has commas, ``a; b, c; and d``."""
    items = list(words)
    if len(items) > 2 and any(", " in item for item in items):
        return "; ".join([*items[:-1], f"and {items[-1]}"])
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def sentence(text: str) -> str:
    """Return text that ends like a sentence: a full stop is added unless it has its own end."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def counted(number: int, word: str) -> str:
    """Return a number with its noun, such as ``1 case`` or ``12 cases``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def first_few(words: Sequence[str], most: int) -> str:
    """Return the first words, and the number of the others."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
