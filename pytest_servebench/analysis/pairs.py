"""Which cases of two runs belong together."""

import dataclasses
import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pytest_servebench.analysis.capacities import CapacityCase, comparable
from pytest_servebench.runs.node_ids import function_of, labelled, repeat_of, without_repeat
from pytest_servebench.runs.results import CaseResult, Run, Sizes
from pytest_servebench.text.numbers import plain
from pytest_servebench.text.safe import clean, joined

_CLOSE: Final = 3  # tests suggested instead of a missing one
_Cases = tuple[CaseResult, ...]


@dataclass(frozen=True)
class Key:
    """What two cases must share to be compared.

    Attributes:
        test: the test's id without its repeat, and the label of one of several cases.
        kind: of the server.
        model: its name.
        rate: offered arrivals per second.
        sizes: buffer size, and rows a request.
        request_class: the class of requests, of a part of a case; empty for the whole.
    """

    test: str
    kind: str
    model: str
    rate: float
    sizes: Sizes
    request_class: str = ""


@dataclass(frozen=True)
class Pair:
    """The cases of one key on both sides: one, or one per repeat, in order."""

    key: Key
    base: tuple[CaseResult, ...]
    new: tuple[CaseResult, ...]

    @property
    def every(self) -> tuple[CaseResult, ...]:
        """Return the cases of both sides."""
        return self.base + self.new

    @property
    def searches(self) -> tuple[list[CapacityCase], list[CapacityCase]] | None:
        """Return both sides if they are capacities, else ``None``."""
        base, new = (
            [one for one in side if isinstance(one, CapacityCase)] for side in (self.base, self.new)
        )
        return (base, new) if base and new else None

    def parts(self) -> tuple["Pair", ...]:
        """Return the pairs of each class of requests that every case has, named as in SLOs."""
        names = [case.class_names for case in self.every]
        return tuple(
            Pair(
                dataclasses.replace(
                    self.key, test=f"{self.key.test}{{{name}}}", request_class=name
                ),
                tuple(case.of_class(name) for case in self.base),
                tuple(case.of_class(name) for case in self.new),
            )
            for name in names[0]
            if all(name in others for others in names)
        )


def key_of(case: CaseResult) -> Key:
    """Return the key by which a case is found in another run."""
    test = labelled(without_repeat(case.nodeid), case.label)
    return Key(test, case.server.kind, case.model, case.rate, case.sizes)


def match(base: Run, new: Run) -> tuple[Pair, ...]:
    """Return the cases that both runs have, in an order independent of the files'.

    Cases whose measurement is invalid have no figures and are left out. Other tools know no tests:
    their case is paired with the only case, or the only one at its rate.
    """
    sides = (by_key(base), by_key(new))
    if _tool(base) != _tool(new):
        return _across(*sides)
    return tuple(Pair(key, sides[0][key], sides[1][key]) for key in sorted(sides[0], key=order)
                 if key in sides[1])  # fmt: skip


def _tool(run: Run) -> str:
    return "" if run.origin is None else run.origin.tool


def _across(base: Mapping[Key, _Cases], new: Mapping[Key, _Cases]) -> tuple[Pair, ...]:
    if len(base) == len(new) == 1:
        ((key, one),), (other,) = base.items(), new.values()
        return (Pair(key, one, other),)
    rates = [Counter(key.rate for key in side) for side in (base, new)]
    by_rate = {key.rate: cases for key, cases in new.items()}
    return tuple(
        Pair(key, base[key], by_rate[key.rate])
        for key in sorted(base, key=order)
        if key.rate and rates[0][key.rate] == rates[1][key.rate] == 1
    )


def order(key: Key) -> tuple[str, float, str, Sizes, str, str]:
    """Return the sort key of keys: those of one test function by rate."""
    function = key.test.partition("[")[0]
    return function, key.rate, key.kind, key.sizes, key.test, key.model


def by_key(run: Run) -> dict[Key, _Cases]:
    """Return a run's valid cases by their keys, repeats of one key in their order."""
    found: dict[Key, list[CaseResult]] = {}
    for case in comparable(run):
        if case.measured:
            found.setdefault(key_of(case), []).append(case)
    return {key: tuple(sorted(cases, key=_by_repeat)) for key, cases in found.items()}


def _by_repeat(case: CaseResult) -> tuple[int, str]:
    return repeat_of(case), case.records_file


def near(case: CaseResult, others: Iterable[CaseResult]) -> str:
    """Return what exists instead of a case, and how to make them match; empty if nothing."""
    own = key_of(case)
    keys = {key_of(other): other for other in others}
    moved = [
        other.server for key, other in keys.items()
        if dataclasses.replace(key, kind=own.kind) == own and key != own
    ]  # fmt: skip
    if moved:
        text = f"the same test ran against {joined([clean(one.kind) for one in moved])}"
        if any(server.kind == server.base_url for server in (case.server, *moved)):
            text += (
                ". A server given by URL is identified by its address unless it has a name: save "
                'both runs with poisson_load(URL, name="…")'
            )
        return text
    loads = [
        f"rate {plain(key.rate)}, {key.sizes}" for key in keys
        if dataclasses.replace(key, rate=own.rate, sizes=own.sizes) == own
    ]  # fmt: skip
    if loads:
        return f"the same test had {joined(loads)} instead of rate {plain(own.rate)}, {own.sizes}"
    name = _words_of(own.test)
    tests = dict.fromkeys(
        key.test for key in keys
        if key.test != own.test and difflib.get_close_matches(name, [_words_of(key.test)], 1, 0.6)
    )  # fmt: skip
    close = difflib.get_close_matches(own.test, tests, _CLOSE, 0.5)
    return f"the closest tests are {joined([clean(one) for one in close])}" if close else ""


def _words_of(test: str) -> str:
    """Return a test function's name without what all tests share."""
    return function_of(test).rpartition("::")[2].removeprefix("test_")


def key_text(key: Key) -> str:
    """Return a key for messages: the test's id, and the model if there is one."""
    model = f" (model {clean(key.model)})" if key.model else ""
    return f"{clean(key.test)}{model}"
