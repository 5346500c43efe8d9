"""That a server gave no answer, and whether asking again is in vain."""

from __future__ import annotations


class NoAnswerError(Exception):
    """Nobody answered, or not in HTTP; the message says why.

    Attributes:
        final: whether asking again is in vain, as this is not the address of such a server.
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        """Say why, and whether it will stay so."""
        super().__init__(message)
        self.final = final
