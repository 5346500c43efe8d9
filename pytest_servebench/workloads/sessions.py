"""Sessions: each request arrives some time after the end of the previous one."""

from __future__ import annotations

import random
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_servebench.errors import OptionError
from pytest_servebench.protocols.base import Request
from pytest_servebench.workloads.requests import Requests
from pytest_servebench.workloads.think_times import ThinkTimes, drawn, think_times

GivenThinkTime = float | str | ThinkTimes


def sessions(
    conversations: Iterable[Iterable[Request]], *, think_time: GivenThinkTime, seed: int = 0
) -> Requests:
    """Return sessions of requests, for any server: ``sessions([[first, second], ...])``.

    Sessions begin as the load's arrivals say; each takes one of the conversations at random. Each
    later request arrives when the previous answer has ended and the think time is over. If a
    request does not succeed, its session ends.

    Args:
        conversations: the requests of each, in order.
        think_time: seconds from the end of an answer to the next request: a number,
            ``"exponential:MEAN"``, ``"uniform:LOW,HIGH"``, ``"lognormal:MEAN,CV"`` or
            ``"lognormal:MEAN,CV,MOST"``.
        seed: of the think times. Each request has its own, the same in every session.

    Raises:
        OptionError: an argument is invalid.
    """
    whole: list[Sequence[Request]] = []
    for number, one in enumerate(_listed(conversations, "sessions: conversations")):
        turns = tuple(_listed(one, f"sessions: conversations[{number}]"))
        if not turns:
            raise OptionError(
                f"sessions: conversations[{number}] is empty: give requests, or leave it out."
            )
        whole.append(turns)
    if not whole:
        raise OptionError("sessions: conversations=[]: give at least one.")
    known: list[list[float | None]] = [[None] * (len(turns) - 1) for turns in whole]
    return Requests(
        tuple(request for turns in whole for request in turns),
        source="sessions of the test",
        think=thought(known, think_time, seed, "sessions: think_time"),
    )


def _listed(given: Any, where: str) -> Iterable[Any]:
    if not isinstance(given, Iterable) or isinstance(given, (str, bytes, Mapping)):
        raise OptionError(
            f"{where} is {reprlib.repr(given)}: give lists of requests, one for each conversation."
        )
    return given


def thought(
    known: Iterable[Sequence[float | None]], think_time: GivenThinkTime | None, seed: int,
    where: str,
) -> tuple[float | None, ...]:  # fmt: skip
    """Return the think time before each turn of each conversation, ``None`` before the first.

    Args:
        known: for each conversation the times between its turns, where given.
        think_time: of the others; see :func:`sessions`.
        seed: of the draws.
        where: the argument, for messages.

    Raises:
        OptionError: a turn has no think time, or an argument is invalid.
    """
    times = None if think_time is None else think_times(think_time, where)
    draw = random.Random(f"{seed} think times").random
    found: list[float | None] = []
    for number, between in enumerate(known):
        found.append(None)
        for told in between:
            if told is None and times is None:
                raise OptionError(
                    f"{where} is missing, and conversation {number} has no think times: give "
                    'seconds, or a distribution such as "exponential:5".'
                )
            share = draw()  # whether it is used or not: a given time must change no other
            found.append(told if times is None or told is not None else drawn(times, share, where))
    return tuple(found)
