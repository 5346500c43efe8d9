"""Requests, and how arrivals choose among them."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from pytest_servebench.errors import OptionError
from pytest_servebench.load.arrivals import ArrivalProcess
from pytest_servebench.load.choice import AtRandom, Choice, Weighted, checked_weight
from pytest_servebench.load.classes import is_class_name
from pytest_servebench.protocols.base import Request
from pytest_servebench.text.safe import counted
from pytest_servebench.workloads.think_times import MOST_SECONDS, is_think_time

Places = tuple[tuple[int, int], ...]
"""First byte of each, and the one after its last."""


@dataclass(frozen=True)
class Requests(Sequence[Request]):
    """Requests, how arrivals choose among them, and possibly their arrival times.

    Attributes:
        items: the requests.
        choice: which of them each arrival takes.
        arrivals: the arrival process that belongs to them, such as that of a trace; ``None``: that
            of the load.
        source: where they come from, in words for reports.
        classes: the class of each request, if they are a mix.
        think: if requests are turns of sessions, for each one the seconds between the end of the
            previous request and its own arrival; ``None`` where a conversation begins. Then a
            conversation is chosen, not a request, and arrivals are sessions. Empty: requests are
            independent.
        answers: for each request the places in its body where the server's earlier answers in the
            session go: first byte of a JSON string, and the one after its last; one place for each
            earlier turn, or none. Empty: all requests are sent as they are.
    """

    items: tuple[Request, ...] = field(repr=False)
    choice: Choice = field(default_factory=AtRandom)
    arrivals: ArrivalProcess | None = None
    source: str = "requests of the test"
    classes: tuple[str, ...] = field(default=(), repr=False)
    think: tuple[float | None, ...] = field(default=(), repr=False)
    answers: tuple[Places, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Refuse weights, classes or think times unless there is one for each, or none."""
        chosen, what = self.choices, "conversations" if self.think else "requests"
        weights = self.choice.weights if isinstance(self.choice, Weighted) else None
        for name, given, number, of in (
            ("think", self.think or None, len(self.items), "requests"),
            ("answers", self.answers or None, len(self.think), "turns (think=)"),
            ("choice=Weighted", weights, chosen, what),
            ("classes", self.classes or None, len(self.items), "requests"),
        ):
            if given is not None and len(given) != number:
                raise OptionError(
                    f"Requests({name}): it has {len(given)} entries for {number} {of}: give one "
                    "for each."
                )
        for name in dict.fromkeys(self.classes):
            _check_name(f"Requests(classes): {name!r}", name)
        for place, seconds in enumerate(self.think):
            if seconds is not None and not is_think_time(seconds):
                raise OptionError(
                    f"Requests(think): think[{place}] is {seconds!r}: give seconds, 0 to "
                    f"{MOST_SECONDS:g}, or None where a conversation begins."
                )
        turn = 0
        for place, seconds in enumerate(self.think):
            turn = 0 if seconds is None else turn + 1
            known = len(self.answers[place]) if self.answers else 0
            if known not in (0, turn):
                raise OptionError(
                    f"Requests(answers): answers[{place}] has {known} places for "
                    f"{counted(turn, 'earlier turn')}: give one for each, or none."
                )
        if self.think and self.think[0] is not None:
            raise OptionError(
                f"Requests(think): think[0] is {self.think[0]!r}: the first request begins a "
                "conversation: give None."
            )

    @property
    def choices(self) -> int:
        """Return how many an arrival chooses from: requests, or conversations."""
        return self.think.count(None) if self.think else len(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Request: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Request]: ...
    def __getitem__(self, index: int | slice) -> Request | Sequence[Request]:
        """Return a request, or a plain tuple of several."""
        return self.items[index]


def mix(classes: Mapping[str, tuple[float, Iterable[Request]]]) -> Requests:
    """Return a weighted mix of classes of requests: ``mix({"chat": (0.7, [...]), ...})``.

    Each arrival takes a class with a probability proportional to its weight, and one of the class's
    requests (of sessions: conversations), all equally likely. Mixed with sessions, a plain request
    is a session of one turn, and all turns of a session have its class. Reports have figures for
    each class, and SLOs and gates may be about one, such as ``p99{chat}<50ms``.

    Args:
        classes: name to weight and requests; only the ratios of weights count.

    Raises:
        OptionError: a class has no requests, a weight that is not a positive number, or requests
            with an order or classes of their own.
    """
    if not isinstance(classes, Mapping) or not classes:
        raise OptionError(
            f"mix({reprlib.repr(classes)}): give names with weight and requests: "
            'mix({"chat": (0.7, [...]), "long": (0.3, [...])}).'
        )
    items: list[Request] = []
    weights: list[float] = []
    names: list[str] = []
    think: list[float | None] = []
    answers: list[Places] = []
    shown: list[str] = []
    for name, given in classes.items():
        weight, requests = _checked(name, given)
        items += requests.items
        weights += [weight / requests.choices] * requests.choices
        names += [name] * len(requests)
        think += requests.think or [None] * len(requests)
        answers += requests.answers or [()] * len(requests)
        shown.append(f"{name} {weight:g}")
    return Requests(
        tuple(items), Weighted(tuple(weights)), source=f"a mix: {', '.join(shown)}",
        classes=tuple(names),
        think=() if all(one is None for one in think) else tuple(think),
        answers=tuple(answers) if any(answers) else (),
    )  # fmt: skip


def _check_name(where: str, name: object) -> None:
    if not is_class_name(name):
        raise OptionError(
            f"{where}: the name of a class is a text that SLOs can have in braces, such as "
            "p99{chat}<50ms: give printable characters, without braces, and single spaces only "
            "between words."
        )


def _checked(name: object, given: Any) -> tuple[float, Requests]:
    where = f"mix: {name!r}"
    _check_name(where, name)
    try:
        weight, requests = given
    except (TypeError, ValueError):
        raise OptionError(
            f"{where}: {reprlib.repr(given)}: give its weight and its requests, (0.7, [...])."
        ) from None
    weight = checked_weight(weight, f"{where}: the weight", "the class")
    if isinstance(requests, Requests) and isinstance(requests.choice, Weighted):
        raise OptionError(
            f"{where}: {requests.source} has weights of its own, which a mix would lose: give all "
            "classes to one mix."
        )
    if isinstance(requests, Requests) and (
        requests.arrivals is not None or requests.choice != AtRandom()
    ):
        raise OptionError(
            f"{where}: {requests.source} has its own order, which a mix would lose: give requests "
            "that may arrive in any order."
        )
    if not isinstance(requests, Iterable) or isinstance(requests, (str, bytes, Mapping)):
        raise OptionError(f"{where}: {reprlib.repr(requests)} is not a list of requests.")
    found = requests if isinstance(requests, Requests) else Requests(tuple(requests))
    if not found.items:
        raise OptionError(f"{where}: it has no requests: give some, or leave the class out.")
    return weight, found
