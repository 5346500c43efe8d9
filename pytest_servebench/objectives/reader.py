"""What the languages of SLOs and gates share: metrics, numbers, and lists of clauses."""

import re
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Final, Generic, NoReturn, TypeVar

from pytest_servebench.errors import SLOSyntaxError
from pytest_servebench.metrics import METRICS, Metric
from pytest_servebench.text.closest import closest

_T = TypeVar("_T")

_SPACE: Final = re.compile(r"\s*")
_METRIC: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)?(?:\.[0-9]+)?")
_NUMBER: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3}(?![0-9]))?")
_CLASS: Final = re.compile(r"\{([^{}]*)\}")
_BRACE: Final = re.compile(r"\{")
_LOOSE: Final = re.compile(r"(\{[^{}]*\})|\s+")
AND: Final = re.compile(r"and(?![A-Za-z0-9_])", re.IGNORECASE)


class Reader(ABC, Generic[_T]):
    """Reads an expression from left to right.

    Args:
        language: what messages call the expression.
        text: the expression.
        metrics: the metrics it may name.
    """

    def __init__(self, language: str, text: str, metrics: Collection[Metric]) -> None:
        self._language = language
        self._metrics = metrics
        self.text = text
        self.at = 0

    @abstractmethod
    def clause(self) -> _T:
        """Read the next clause."""

    def clauses(self) -> tuple[_T, ...]:
        """Read all clauses, at least one."""
        found = [self.clause()]
        while self._separator():
            found.append(self.clause())
        return tuple(found)

    def skip(self) -> None:
        """Skip spaces."""
        match = _SPACE.match(self.text, self.at)
        assert match is not None
        self.at = match.end()

    def take(self, pattern: re.Pattern[str]) -> str | None:
        """Skip spaces and return the match at this place; ``None`` if there is no match."""
        self.skip()
        match = pattern.match(self.text, self.at)
        if match is None:
            return None
        self.at = match.end()
        return match[0]

    def metric(self) -> tuple[Metric, str]:
        """Read the name of a metric, and of the class of requests that it is about, or nothing."""
        self.skip()
        start = self.at
        word = self.take(_METRIC)
        if word is None:
            self.refuse("expected a metric", names=True)
        names = {
            name: one for one in self._metrics for name in (one.written, one.name, *one.aliases)
        }
        found = names.get(word.lower())
        if found is None:
            close = closest(word.lower(), names)
            guess = f"; did you mean {names[close].written}?" if close else ""
            if word.lower() in METRICS:
                self.refuse(f"runs cannot be compared by {word}{guess}", start, names=True)
            self.refuse(f"there is no metric '{clean(word)}'{guess}", start, names=True)
        return found, self._class(found)

    def _class(self, metric: Metric) -> str:
        self.skip()
        start = self.at
        if (braces := self.take(_CLASS)) is None:
            if self.take(_BRACE):
                self.refuse("expected the name of a class of requests and '}'")
            return ""
        name = " ".join(braces[1:-1].split())
        if not name:
            self.refuse("name a class of requests between the braces", start)
        if metric.of_server or metric.of_search:
            about = "the server's processes" if metric.of_server else "a whole load"
            self.refuse(f"{metric.written} is about {about}, not about a class of requests", start)
        return name

    def number(self, hint: str) -> str:
        """Read a number; ``hint`` is what the message says about the text after it."""
        found = self.take(_NUMBER)
        if found is None:
            self.refuse(f"expected a number, 0 or more; {hint}")
        return found

    def _separator(self) -> bool:
        """Read the separator between two clauses; return whether there is one."""
        self.skip()
        if self.at == len(self.text):
            return False
        if self.text[self.at] == ",":
            self.at += 1
            return True
        if self.take(AND) is None:
            self.refuse("expected ',' or 'and' followed by another clause, or the end")
        return True

    def refuse(self, problem: str, at: int | None = None, *, names: bool = False) -> NoReturn:
        """Raise :class:`~pytest_servebench.errors.SLOSyntaxError` that points at a character.

        Args:
            problem: what is wrong.
            at: its place; by default, where the reader is.
            names: whether to list the metrics.
        """
        text = clean(self.text)
        lines = [
            f"{self._language} '{text}': {problem}",
            f"  {text}",
            f"  {' ' * (self.at if at is None else at)}^",
        ]
        if names:
            lines.append(f"Metrics: {', '.join(one.written for one in self._metrics)}.")
        raise SLOSyntaxError("\n".join(lines))


def written(metric: Metric, request_class: str) -> str:
    """Return a metric as expressions have it, with the class of requests that it is about."""
    return f"{metric.written}{{{request_class}}}" if request_class else metric.written


def tight(text: str) -> str:
    """Return an expression without spaces, but for those within the name of a class."""

    def kept(match: re.Match[str]) -> str:
        return f"{{{' '.join(match[1][1:-1].split())}}}" if match[1] else ""

    return _LOOSE.sub(kept, text)


def clean(text: str) -> str:
    """Replace each unprintable character, so that columns stay aligned."""
    return "".join(one if one.isprintable() else "?" for one in text)
