"""Requests that contain the server's own earlier answers, made while their session runs."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from typing import Final

from pytest_servebench.load.job import Job
from pytest_servebench.load.store import NEVER

_END: Final = b"\r\n\r\n"

Place = tuple[int, int]
"""First byte of a JSON string, and the one after its last."""


class Histories:
    """What the server has answered in each running session."""

    def __init__(self, job: Job) -> None:
        """Read answers by ``job.reader``, and put them where ``job.answers`` says."""
        module, _, name = job.reader.partition(":")
        self._read: Callable[[bytes], str | None] = getattr(importlib.import_module(module), name)
        self._requests = job.requests
        self._places = job.answers
        self._filled = _filled_later(job)
        self._said: dict[int, tuple[bytes, ...]] = {}
        self._made: dict[int, bytes] = {}

    def goes_on(self, row: int, following: int, request: int, body: bytes) -> bool:
        """Make the next request of a session; return whether the answer could be read.

        Args:
            row: of the turn that has ended.
            following: of the next one.
            request: of the next one; its index.
            body: the answer.
        """
        if not self._filled[request]:  # it is sent as it is, and those after it
            return True
        text = self._read(body)
        if text is None:
            return False
        said = (*self._said.pop(row, ()), json.dumps(text, ensure_ascii=False).encode())
        self._said[following] = said
        if places := self._places[request]:
            self._made[following] = filled(self._requests[request], places, said)
        return True

    def ends(self, row: int) -> None:
        """Forget the answers of a session after its last turn."""
        self._said.pop(row, None)
        self._made.pop(row, None)

    def take(self, row: int) -> bytes | None:
        """Return the request that was made for a row; ``None``: it is sent as it is."""
        return self._made.pop(row, None)


def _filled_later(job: Job) -> Sequence[bool]:
    """Return which requests contain earlier answers, or have a later turn that does."""
    found = [bool(places) for places in job.answers]
    for place in reversed(range(len(found) - 1)):
        found[place] |= found[place + 1] and job.think[place + 1] != NEVER
    return found


def filled(request: bytes, places: Sequence[Place], texts: Sequence[bytes]) -> bytes:
    """Return a request of HTTP/1.1 with other texts in its body.

    Args:
        request: with ``Content-Length``.
        places: in the request, ascending, of what is replaced.
        texts: that replace it, one for each place.
    """
    parts, at = [], 0
    for (start, end), text in zip(places, texts, strict=True):
        parts += [request[at:start], text]
        at = end
    body = request.index(_END) + len(_END)
    size = len(request) - body
    parts.append(request[at:])
    whole = b"".join(parts)
    length = b"\r\nContent-Length: %d\r\n"
    return whole[:body].replace(length % size, length % (len(whole) - body), 1) + whole[body:]
