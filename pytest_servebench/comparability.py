"""Which cases of two runs belong together, and whether the runs can be compared at all.

A comparison says something of the servers only where everything else was the same. What was not is
a :class:`Difference`, by a name under which it can be allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from pytest_servebench.evaluation import repeat_of
from pytest_servebench.report.facts import DIGEST_LENGTH, cpu_set
from pytest_servebench.report.numbers import plain
from pytest_servebench.report.text import clean, counted, joined
from pytest_servebench.results import SCHEMA_VERSION, CaseResult, Run

ALLOWABLE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "unmatched": "a case has no partner, or one whose measurement is invalid",
        "machine": "processors or system are others",
        "implementation": "the server is another program or version",
        "weights": "the model has other weights",
        "schema": "a file is of another version of the schema",
        "workload": "seed, duration, workers, arrivals, threads or inputs are others",
    }
)
"""What can be allowed, and what it means."""


@dataclass(frozen=True)
class Key:
    """What two cases must share to be compared.

    Attributes:
        test: the test's id without its repeat.
        kind: of the server.
        model: its name.
        rate: offered arrivals a second.
        buffer_size: requests that could wait.
    """

    test: str
    kind: str
    model: str
    rate: float
    buffer_size: int


@dataclass(frozen=True)
class Pair:
    """The cases of one key on both sides: one, or one for each repeat, in order."""

    key: Key
    base: tuple[CaseResult, ...]
    new: tuple[CaseResult, ...]

    @property
    def every(self) -> tuple[CaseResult, ...]:
        """Return the cases of both sides."""
        return self.base + self.new


@dataclass(frozen=True)
class Difference:
    """Why two runs are no equals: a key of :data:`ALLOWABLE`, and one line for people."""

    about: str
    text: str


def key_of(case: CaseResult) -> Key:
    """Return what a case is found by in another run."""
    test, bracket, cell = case.nodeid.partition("[")
    parts = cell.removesuffix("]").split("-")
    repeat = f"repeat{repeat_of(case)}"
    shown = "-".join(part for part in parts if part != repeat)
    nodeid = f"{test}[{shown}]" if bracket else test
    return Key(nodeid, case.server.kind, case.model, case.rate, case.buffer_size)


def match(base: Run, new: Run) -> tuple[Pair, ...]:
    """Return the cases that both runs have, in an order that does not depend on the files'.

    Cases whose measurement is invalid have no figures, and so take no part.
    """
    sides = (_by_key(base), _by_key(new))
    return tuple(Pair(key, sides[0][key], sides[1][key]) for key in sorted(sides[0], key=_order)
                 if key in sides[1])  # fmt: skip


def differences(base: Run, new: Run) -> tuple[Difference, ...]:
    """Return all that makes the runs no equals, each in one line with what both sides have."""
    found = [*_unmatched(base, new), *_machines(base, new), *_schemas(base, new)]
    pairs = match(base, new)
    for about, readers in _FACTS.items():
        for read in readers:
            seen: dict[str, int] = {}
            for pair in pairs:
                old, now = _values(pair.base, read), _values(pair.new, read)
                if old != now:
                    text = f"{old} in BASE, {now} in NEW"
                    seen[text] = seen.get(text, 0) + 1
            found += [
                Difference(
                    about, text + (f" ({counted(number, 'case')})" if len(pairs) > 1 else "")
                )
                for text, number in seen.items()
            ]
    if base.interleaved != new.interleaved:
        ways = {True: "servers took turns", False: "one server after the other"}
        texts = f"{ways[base.interleaved]} in BASE, {ways[new.interleaved]} in NEW"
        found.append(Difference("workload", texts))
    return tuple(found)


def _order(key: Key) -> tuple[str, float, str, int, str, str]:
    """Sort as reports show cases: by test function, rate, server and buffer."""
    function = key.test.partition("[")[0]
    return function, key.rate, key.kind, key.buffer_size, key.test, key.model


def _by_key(run: Run) -> dict[Key, tuple[CaseResult, ...]]:
    found: dict[Key, list[CaseResult]] = {}
    for case in run.cases:
        if case.measured:
            found.setdefault(key_of(case), []).append(case)
    return {key: tuple(sorted(cases, key=_by_repeat)) for key, cases in found.items()}


def _by_repeat(case: CaseResult) -> tuple[int, str]:
    return repeat_of(case), case.records_file


def _unmatched(base: Run, new: Run) -> list[Difference]:
    sides = {"BASE": base, "NEW": new}
    invalid: dict[str, list[str]] = {}
    for side, run in sides.items():
        for case in (one for one in run.cases if not one.measured):
            reason = f": {clean(case.invalid_reason)}" if case.invalid_reason else ""
            text = f"{clean(case.nodeid)}: its measurement is invalid in {{}}{reason}"
            invalid.setdefault(text, []).append(side)
    found = [text.replace("{}", joined(where), 1) for text, where in invalid.items()]
    valid = {side: _by_key(run) for side, run in sides.items()}
    for side, other in (("BASE", "NEW"), ("NEW", "BASE")):
        said = {key_of(case) for case in sides[other].cases if not case.measured}
        for key in sorted(valid[side], key=_order):
            if key not in valid[other] and key not in said:
                found.append(f"{key_text(key)}: only in {side}")
    return [Difference("unmatched", text) for text in found]


def key_text(key: Key) -> str:
    """Return a key for people: what the test's id does not say follows it."""
    model = f" (model {clean(key.model)})" if key.model else ""
    return f"{clean(key.test)}{model}"


def _machines(base: Run, new: Run) -> list[Difference]:
    names = ("cpu", "cores", "system")
    known = [
        name for name in names if base.machine.get(name) is not None and name in new.machine
    ]  # a plain file may not say
    if all(base.machine[name] == new.machine[name] for name in known):
        return []
    texts = [_machine_text(run.machine) for run in (base, new)]
    return [Difference("machine", f"{texts[0]} in BASE, {texts[1]} in NEW")]


def _schemas(base: Run, new: Run) -> list[Difference]:
    versions = (base.schema_version, new.schema_version)
    if set(versions) == {SCHEMA_VERSION}:
        return []
    text = f"version {versions[0]} in BASE, {versions[1]} in NEW; this is read as {SCHEMA_VERSION}"
    return [Difference("schema", text)]


def _machine_text(machine: Mapping[str, Any]) -> str:
    cores = machine.get("cores")
    parts = [machine.get("cpu"), counted(cores, "processor") if isinstance(cores, int) else cores]
    return ", ".join(clean(part) for part in (*parts, machine.get("system")) if part)


def _values(cases: Iterable[CaseResult], read: Callable[[CaseResult], str]) -> str:
    # In the order of the repeats, each of which has a seed of its own.
    return ", ".join(dict.fromkeys(map(read, cases)))


def _duration(case: CaseResult) -> str:
    return f"{plain(case.duration)} s"


def _digest(case: CaseResult) -> str:
    return f"sha256 {clean(case.weights_sha256)[:DIGEST_LENGTH] or 'not known'}"


_FACTS: Final[Mapping[str, Sequence[Callable[[CaseResult], str]]]] = {
    "implementation": [lambda case: clean(case.server.implementation)],
    "weights": [_digest],
    "workload": [
        lambda case: f"seed {case.seed}",
        _duration,
        lambda case: f"{counted(case.workers, 'connection')} of the generator",
        lambda case: f"{clean(case.generator.arrivals)} arrivals",
        lambda case: f"server threads {case.server.threads}",
        lambda case: f"server workers {case.server.workers}",
        lambda case: f"server CPUs {cpu_set(case.server.cpus) or 'any'}",
        lambda case: f"inputs {clean(case.input_source)}",
    ],
}
