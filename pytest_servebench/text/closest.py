"""Find the known word that a wrong one may have meant."""

import difflib
from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str:
    """Return the known word that looks most like ``word``; empty if none does."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), "")


def meant(word: str, known: Iterable[str]) -> str:
    """Return a question for messages, such as ``, did you mean 'url'?``; a full stop if none."""
    close = closest(word, known)
    return f", did you mean {close!r}?" if close else "."
