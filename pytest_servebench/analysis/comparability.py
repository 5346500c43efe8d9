"""Whether two runs can be compared at all.

A comparison says something about the servers only if everything else was the same. Whatever was not
is a :class:`Difference`, with the name under which it can be allowed.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pytest_servebench.analysis.capacities import comparable
from pytest_servebench.analysis.pairs import Pair, by_key, key_of, key_text, match, near, order
from pytest_servebench.runs.node_ids import labelled
from pytest_servebench.runs.plain_benchmarks import is_plain
from pytest_servebench.runs.results import SCHEMA_VERSION, CaseResult, Run, Workload
from pytest_servebench.text.numbers import DIGEST_LENGTH, cpu_set, plain
from pytest_servebench.text.safe import clean, counted, joined

_OTHER_TURNS: Final = 1.05  # ratio of the numbers of requests that sessions made


@dataclass(frozen=True)
class Difference:
    """Why two runs are not comparable: a key of ``ALLOWABLE``, and a line for the user."""

    about: str
    text: str


def differences(base: Run, new: Run) -> tuple[Difference, ...]:
    """Return every difference between the runs, a line each with the values of both sides."""
    found = [
        *_unfinished(base, new),
        *_unmatched(base, new),
        *_machines(base, new),
        *_schemas(base, new),
    ]
    pairs = match(base, new)
    seen = Counter(one for pair in pairs for one in _of_pair(pair))
    for about in _FACTS:
        found += [
            Difference(about, text + (f" ({counted(number, 'case')})" if len(pairs) > 1 else ""))
            for (word, text), number in seen.items()
            if word == about
        ]
    if base.interleaved != new.interleaved:
        ways = {True: "servers took turns", False: "one server after the other"}
        texts = f"{ways[base.interleaved]} in BASE, {ways[new.interleaved]} in NEW"
        found.append(Difference("workload", texts))
    return tuple(found)


def _of_pair(pair: Pair) -> Iterator[tuple[str, str]]:
    """Yield how two cases differ, and the name under which that can be allowed."""
    for about, readers in _FACTS.items():
        for read in readers:
            old, now = _values(pair.base, read), _values(pair.new, read)
            if None not in (old, now) and old != now:
                yield about, f"{old} in BASE, {now} in NEW"
    if any(case.origin is not None for case in pair.every):
        yield from _by_tools(pair)
    elif text := _other_arrivals(pair):
        yield "workload", text


def _by_tools(pair: Pair) -> Iterator[tuple[str, str]]:
    """Yield how two cases differ if another tool measured one of them, as far as its file says."""
    (old, *_), (now, *_) = pair.base, pair.new
    rates = [f"{plain(one.rate)} {one.unit}s/s" for one in (old, now)]
    if old.rate and now.rate and rates[0] != rates[1]:
        yield "workload", f"{rates[0]} in BASE, {rates[1]} in NEW"
    if old.origin is None or now.origin is None or old.origin.tool != now.origin.tool:
        return
    before, after = old.origin.settings, now.origin.settings
    for name in dict.fromkeys((*before, *after)):
        values = [clean(one.get(name, "not set")) for one in (before, after)]
        if values[0] != values[1]:
            yield "workload", f"{clean(name)} {values[0]} in BASE, {values[1]} in NEW"


def _other_arrivals(pair: Pair) -> str:
    """Return how the arrivals differ: by schedule, or by name if a schedule is unknown."""
    names = [_values(side, _arrivals) for side in (pair.base, pair.new)]
    plans = [_values(side, _schedule) for side in (pair.base, pair.new)]
    if None not in plans:
        if plans[0] == plans[1]:
            return ""
        if names[0] == names[1]:
            # A different seed or duration changes the arrivals, and is reported already.
            alike = _setting(pair.base) == _setting(pair.new)
            return f"{names[0]}, {plans[0]} in BASE, {plans[1]} in NEW" if alike else ""
    return "" if names[0] == names[1] else f"{names[0]} in BASE, {names[1]} in NEW"


def _setting(cases: Iterable[CaseResult]) -> list[tuple[object, ...]]:
    return [(case.seed, case.duration) for case in cases]


def _unfinished(base: Run, new: Run) -> list[Difference]:
    return [
        Difference(
            "unfinished",
            f"{side} was cut short or is still running; "
            f"{counted(run.not_measured, 'selected case')} not measured",
        )
        for side, run in (("BASE", base), ("NEW", new))
        if not run.finished
    ]


def _unmatched(base: Run, new: Run) -> list[Difference]:
    sides = {"BASE": base, "NEW": new}
    invalid: dict[str, list[str]] = {}
    for side, run in sides.items():
        for case in (one for one in comparable(run) if not one.measured):
            reason = f": {clean(case.invalid_reason)}" if case.invalid_reason else ""
            name = clean(labelled(case.nodeid, case.label))
            text = f"{name}: its measurement is invalid in {{}}{reason}"
            invalid.setdefault(text, []).append(side)
    found = [text.replace("{}", joined(where), 1) for text, where in invalid.items()]
    valid = {side: by_key(run) for side, run in sides.items()}
    pairs = match(base, new)
    matched = {
        "BASE": {key_of(case) for pair in pairs for case in pair.base},
        "NEW": {key_of(case) for pair in pairs for case in pair.new},
    }
    for side, other in (("BASE", "NEW"), ("NEW", "BASE")):
        there = comparable(sides[other])
        said = {key_of(case) for case in there if not case.measured}
        for key in sorted(valid[side], key=order):
            if key not in matched[side] and key not in said:
                nearest = near(valid[side][key][0], there)
                found.append(
                    f"{key_text(key)}: only in {side}"
                    + (f"; in {other}, {nearest}" if nearest and side == "NEW" else "")
                )
    return [Difference("unmatched", text) for text in found]


def _machines(base: Run, new: Run) -> list[Difference]:
    sides = [base.machine.get("memory"), new.machine.get("memory")]
    memory = [side for side in sides if isinstance(side, int) and side > 0]
    other_memory = len(memory) == 2 and max(memory) / min(memory) > _MEMORY
    alike = not other_memory
    for name, read in _MACHINE.items():
        old, now = (read(run.machine.get(name)) for run in (base, new))
        alike = alike and (old == now or not old or not now)  # a plain file may not say
    if alike:
        return []
    texts = [_machine_text(run.machine, memory=other_memory) for run in (base, new)]
    return [Difference("machine", f"{texts[0]} in BASE, {texts[1]} in NEW")]


def notes(base: Run, new: Run) -> tuple[str, ...]:
    """Return what does not prevent a comparison but may explain its outcome, a line each."""
    found = []
    releases = [clean(run.machine.get("system", "")).partition(" ")[2] for run in (base, new)]
    if all(releases) and releases[0] != releases[1]:
        found.append(f"The OS release was {releases[0]} in BASE and is {releases[1]} in NEW.")
    unknown = [
        side
        for side, run in (("BASE", base), ("NEW", new))
        if any(case.workload is None and not is_plain(case) for case in run.cases)
        and run.origin is None
    ]
    if unknown and any(case.workload is not None for case in (*base.cases, *new.cases)):
        found.append(
            f"Schedule, requests, timeout and warm-up could not be checked: {joined(unknown)} "
            "does not record them. Save the run again to have them checked."
        )
    pairs = match(base, new)
    found += filter(None, map(_other_turns, pairs))
    found += dict.fromkeys(text for pair in pairs for text in _other_classes(pair))
    by_tool: dict[tuple[str, str], list[str]] = {}
    for side, run in (("BASE", base), ("NEW", new)):
        if run.origin is not None:
            untold = joined(map(clean, run.origin.untold))
            by_tool.setdefault((clean(run.origin), untold), []).append(side)
    for (tool, untold), where in by_tool.items():
        found.append(
            f"{joined(where)}: measured by {tool}, which does not record {untold}; server, "
            "machine and requests could not be checked."
        )
    for side, run in (("BASE", base), ("NEW", new)):
        found += [f"{side}: {clean(one)}." for one in run.left_out]
    return tuple(found)


def _other_turns(pair: Pair) -> str:
    """Return a note if the sessions of one side made many more requests than those of the other."""
    sides = [
        [one.begun + one.dependent for case in side if (one := case.sessions) is not None]
        for side in (pair.base, pair.new)
    ]
    if not all(sides):
        return ""
    old, now = (sum(side) / len(side) for side in sides)
    if max(old, now) <= _OTHER_TURNS * min(old, now):
        return ""
    return (
        f"{key_text(pair.key)}: its sessions made {old:,.0f} requests in BASE and {now:,.0f} in "
        "NEW. Later turns wait for the server, and some start only after the window, so the two "
        "sides measure different shares of them. A longer --servebench-duration reduces the "
        "effect."
    )


def _other_classes(pair: Pair) -> Iterator[str]:
    """Yield which classes of requests have no part in a comparison, as some cases lack them."""
    base, new = (
        dict.fromkeys(name for case in side for name in case.class_names)
        for side in (pair.base, pair.new)
    )
    every = set.intersection(*(set(case.class_names) for case in pair.every))
    for where, names in (
        ("BASE", [name for name in base if name not in new]),
        ("NEW", [name for name in new if name not in base]),
        ("some repeats", [name for name in base if name in new and name not in every]),
    ):
        if names:
            word, verb = ("class", "is") if len(names) == 1 else ("classes", "are")
            quoted = joined(repr(clean(name)) for name in names)
            yield (
                f"{key_text(pair.key)}: {word} {quoted} of requests {verb} only in {where}, and "
                "not compared."
            )


def _schemas(base: Run, new: Run) -> list[Difference]:
    versions = (base.schema_version, new.schema_version)
    if set(versions) == {SCHEMA_VERSION}:
        return []
    text = f"version {versions[0]} in BASE, {versions[1]} in NEW; read as {SCHEMA_VERSION}"
    return [Difference("schema", text)]


def _machine_text(machine: Mapping[str, Any], *, memory: bool) -> str:
    cores = machine.get("cores")
    parts = [
        machine.get("cpu"),
        counted(cores, "processor") if isinstance(cores, int) else cores,
        f"{machine['memory'] / 2**30:.3g} GiB" if memory else None,
    ]
    return ", ".join(clean(part) for part in (*parts, machine.get("system")) if part)


_MEMORY: Final = 1.1
"""Ratio of memory sizes that means another machine: kernels differ in what they reserve."""

_MACHINE: Final[Mapping[str, Callable[[Any], object]]] = {
    "cpu": lambda cpu: clean(cpu or ""),
    "cores": lambda cores: cores,
    "system": lambda system: clean(system or "").partition(" ")[0],  # without its release
}
"""The facts of machines that are compared, and how each is read; unknown facts are skipped."""


def _values(cases: Iterable[CaseResult], read: Callable[[CaseResult], str | None]) -> str | None:
    """Return what is read from some cases; ``None`` if it is unknown for one of them."""
    found = [None if case.origin is not None else read(case) for case in cases]
    known = [one for one in found if one is not None]
    # In the order of the repeats, each of which has its own seed.
    return ", ".join(dict.fromkeys(known)) if len(known) == len(found) else None


def _duration(case: CaseResult) -> str:
    return f"{plain(case.duration)} s"


def _digest(case: CaseResult) -> str:
    return f"sha256 {clean(case.weights_sha256)[:DIGEST_LENGTH] or 'unknown'}"


def _arrivals(case: CaseResult) -> str:
    return f"{clean(case.generator.arrivals)} arrivals"


def _options(options: Mapping[str, str]) -> str:
    texts = (f"{name}={clean(value)}" for name, value in sorted(options.items()))
    return f"server options {', '.join(texts) or 'not set'}"


def _schedule(case: CaseResult) -> str | None:
    if case.workload is None:
        return None
    return f"schedule sha256 {clean(case.workload.schedule_sha256)[:DIGEST_LENGTH]}"


def _sent(read: Callable[[Workload], str]) -> Callable[[CaseResult], str | None]:
    return lambda case: None if case.workload is None else read(case.workload)


_FACTS: Final[Mapping[str, Sequence[Callable[[CaseResult], str | None]]]] = {
    "implementation": [lambda case: clean(case.server.implementation)],
    "weights": [_digest],
    "workload": [
        lambda case: f"seed {case.seed}",
        _duration,
        lambda case: f"{counted(case.workers, 'worker')} of the generator",
        lambda case: f"server threads {case.server.threads}",
        lambda case: f"server workers {case.server.workers}",
        lambda case: f"server CPUs {cpu_set(case.server.cpus) or 'any'}",
        lambda case: _options(case.server.options),
        lambda case: f"inputs {clean(case.input_source)}",
        _sent(lambda sent: f"requests sha256 {clean(sent.requests_sha256)[:DIGEST_LENGTH]}"),
        _sent(lambda sent: f"timeout {plain(sent.timeout)} s"),
        _sent(lambda sent: f"warm-up {plain(sent.warmup)} s"),
        _sent(lambda sent: f"drain {plain(sent.drain)} s"),
        _sent(lambda sent: f"keep-alive {'on' if sent.keep_alive else 'off'}"),
        _sent(lambda sent: f"{counted(sent.streams, 'worker')} to a connection"),
        _sent(lambda sent: f"sent over {clean(sent.transport)}"),
        lambda case: None if case.streamed is None else f"tokens by {case.streamed.counted}",
    ],
}
