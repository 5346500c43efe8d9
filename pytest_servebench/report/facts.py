"""What to know before the figures: what was measured, with what, on which machine."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pytest_servebench.runs.node_ids import function_of, short_labels
from pytest_servebench.runs.plain_benchmarks import is_plain
from pytest_servebench.runs.results import CapacityResult, CaseResult, Origin, Run, ServerInfo
from pytest_servebench.runs.titles import server_titles
from pytest_servebench.text.numbers import DIGEST_LENGTH, cpu_set, percent, plain, significant
from pytest_servebench.text.quantity import quantity
from pytest_servebench.text.safe import clean, counted, display_width, joined

_SHORT_OPTION: Final = 24  # columns of its value
_TRANSPORTS: Final = {"http/1.1": "HTTP/1.1", "http/2": "HTTP/2", "grpc": "gRPC"}
_MOST_NAMED: Final = 3  # servers with equal settings; more are counted


def servers(cases: Iterable[CaseResult | CapacityResult]) -> dict[str, ServerInfo]:
    """Return kind to what was measured, in the order of running."""
    found: dict[str, ServerInfo] = {}
    for case in cases:
        found.setdefault(case.server.kind, case.server)
    return found


def test_id(case: CaseResult) -> str:
    """Return the id of the test function, which keeps cases of different tests apart."""
    return function_of(case.nodeid or case.name)


def test_labels(cases: Iterable[CaseResult]) -> dict[str, str]:
    """Return the id of each test function to its shortest unique name."""
    return {test: clean(label) for test, label in short_labels(map(test_id, cases)).items()}


def cell_name(name: str) -> str:
    """Return a case's id inside its test: ``torchserve-rate10-buffer50``, ``::`` and its label."""
    text = clean(name)
    cell, _, label = text.partition("[")[2].rpartition("]")
    return cell + label or text


def attempt_name(number: int) -> str:
    """Return which attempt it was, such as ``second attempt``."""
    words = {1: "first attempt", 2: "second attempt", 3: "third attempt"}
    return words.get(number, f"attempt {number}")


def distinct(values: Iterable[str]) -> list[str]:
    """Return the distinct ``values``, in their order."""
    return list(dict.fromkeys(value for value in values if value))


def span(values: Iterable[float]) -> str:
    """Return one number, or the range of several, such as ``10 to 50``."""
    numbers = list(values)
    low, high = min(numbers), max(numbers)
    return plain(low) if low == high else f"{plain(low)} to {plain(high)}"


def date_text(started: str) -> str:
    """Return ISO 8601 text to the minute, in its own time zone."""
    return clean(started)[:16].replace("T", " ")


def headline(run: Run) -> list[tuple[str, str]]:
    """Return labels and texts; an empty label continues the one before."""
    if run.origin is not None:
        models = distinct(clean(case.model) for case in run.cases)
        return [*(("model", one) for one in models), *origin_facts(run.origin)]
    cases = [case for case in run.every_case if not is_plain(case)]
    loaded = dataclasses.replace(run, cases=tuple(cases))
    lines: list[tuple[str, str]] = []
    if cases:
        lines.append(("model", model_text(cases)))
        known = servers(cases)
        titles = server_titles(cases)
        label = "server" if len(known) == 1 else "servers"
        for number, (kind, server) in enumerate(known.items()):
            texts = [server_text(titles[kind], server), *_option_texts(server, brief=True)]
            lines.append(("" if number else label, ", ".join(texts)))
        lines.extend(("" if number else "fairness", text)
                     for number, text in enumerate(fairness_texts(loaded)))  # fmt: skip
    lines.append(("machine", machine_text(run.machine)))
    if cases:
        lines.append(("traffic", traffic_text(cases)))
        lines.append(("generator", generator_text(cases)))
        if beside := beside_text(cases):
            lines.append(("beside", beside))
    if others := len(run.every_case) - len(cases):
        lines.append(("no load", f"{counted(others, 'benchmark')} without a server"))
    return lines


def origin_facts(origin: Origin) -> list[tuple[str, str]]:
    """Return which tool measured a case, with which settings, and what it does not record."""
    settings = ", ".join(f"{clean(name)} {clean(one)}" for name, one in origin.settings.items())
    return [
        ("tool", f"{clean(origin)}; {settings}" if settings else clean(origin)),
        ("not told", "; ".join(map(clean, origin.untold))),
    ]


def model_text(cases: Iterable[CaseResult]) -> str:
    """Return the model, its weights' digest and the inputs' source."""
    texts = distinct(
        clean(case.model) + _digest_text(case) + f"; inputs: {clean(case.input_source)}"
        for case in cases
    )
    if len(texts) > 1:
        return f"NOT the same in all cases: {' / '.join(texts)}"
    return joined(texts)


def _digest_text(case: CaseResult) -> str:
    digest = clean(case.weights_sha256)[:DIGEST_LENGTH]
    return f", weights sha256 {digest}" if digest else ""


def server_text(title: str, server: ServerInfo, *, protocol: bool = True) -> str:
    """Return a server's name with program, version and protocol."""
    text = program_text(server) if protocol else clean(server.implementation)
    named = text.casefold().startswith(title.casefold())
    return text if named else f"{title}: {text}"


def program_text(server: ServerInfo) -> str:
    """Return a server's program, version and protocol."""
    text = clean(server.implementation)
    # An attached server is identified by its address.
    attached = server.threads is None and server.workers is None
    url = clean(server.base_url)
    text += f" at {url}" if attached and url not in text else ""
    return f"{text}, {clean(server.protocol)}"


def fairness_texts(run: Run) -> list[str]:
    """Return the servers' resource limits: one text if all are the same."""
    known = servers(run.cases)
    titles = server_titles(run.cases)
    texts = {kind: settings_text(server) for kind, server in known.items()}
    if len(set(texts.values())) == 1:
        turns = "all running, one loaded at a time: " if run.interleaved else "each server alone: "
        each = turns if len(texts) > 1 else ""
        return [each + next(iter(texts.values()))]
    alike: dict[str, list[str]] = {}
    for kind, text in texts.items():
        alike.setdefault(text, []).append(titles[kind])
    usual = max(alike, key=lambda text: len(alike[text]))
    if len(alike[usual]) > _MOST_NAMED:
        number = len(alike.pop(usual))
        alike[usual] = [f"the other {number}"]
    return [
        "NOT the same for all servers",
        *(f"{', '.join(names)}: {text}" for text, names in alike.items()),
    ]


def settings_text(server: ServerInfo) -> str:
    """Return processors, threads and workers of a server."""
    if server.threads is None and server.workers is None:
        return "attached: its processors, threads and workers are unknown"
    parts = [f"CPUs {cpu_set(server.cpus)}" if server.cpus else "all CPUs"]
    if server.threads is not None:
        parts.append(counted(server.threads, "thread"))
    if server.workers is not None:
        parts.append(counted(server.workers, "worker"))
    return ", ".join(parts)


def start_text(servers: Iterable[ServerInfo]) -> str:
    """Return how long a server took to start, and its memory at rest; of each start, if several.

    Empty if neither is known. Memory is PSS unless the text says otherwise.
    """
    known = list(dict.fromkeys((one.start_seconds, one.rest_memory, one.rest_measure)
                               for one in servers))  # fmt: skip
    times = [quantity("time", seconds) for seconds, _, _ in known if seconds is not None]
    sizes = [quantity("memory", size) for _, size, _ in known if size is not None]
    resident = any(measure == "rss" for _, _, measure in known)
    parts = []
    if times:
        parts.append(f"ready in {joined(times)}")
    if sizes:
        parts.append(f"{joined(sizes)} at rest{' (RSS)' if resident else ''}")
    return ", ".join(parts)


def starts(cases: Iterable[CaseResult | CapacityResult]) -> dict[str, str]:
    """Return kind to the text of its starts; see :func:`start_text`."""
    found: dict[str, list[ServerInfo]] = {}
    for case in cases:
        found.setdefault(case.server.kind, []).append(case.server)
    return {kind: start_text(servers) for kind, servers in found.items()}


def setup_text(server: ServerInfo, *, brief: bool = False) -> str:
    """Return processors, threads, workers and options of a server.

    ``brief``: without options that have long values, such as a command.
    """
    return ", ".join([settings_text(server), *_option_texts(server, brief=brief)])


def _option_texts(server: ServerInfo, *, brief: bool) -> list[str]:
    values = {clean(name): clean(value) for name, value in server.options.items()}
    return [f"{name}={value}" for name, value in values.items()
            if not brief or display_width(value) <= _SHORT_OPTION]  # fmt: skip


def machine_text(machine: Mapping[str, object]) -> str:
    """Return the machine in one line; unknown facts are left out."""
    parts = [clean(machine["cpu"])] if machine.get("cpu") else []
    cores, memory = machine.get("cores"), machine.get("memory")
    if isinstance(cores, int):
        parts.append(counted(cores, "processor"))
    if isinstance(memory, int | float):
        parts.append(f"{memory / 2**30:.3g} GiB")
    if machine.get("system"):
        parts.append(clean(machine["system"]))
    if machine.get("python"):
        parts.append(f"Python {clean(machine['python'])}")
    return ", ".join(parts) or "not known"


def traffic_text(cases: Iterable[CaseResult]) -> str:
    """Return which load was generated."""
    known = list(cases)
    seeds = distinct(str(case.seed) for case in known)
    seed = f"seed {seeds[0]}" if len(seeds) == 1 else counted(len(seeds), "seed")
    workers = workers_text(span(case.workers for case in known), (one.streams for one in known))
    processes = "/".join(distinct(clean(case.generator.arrivals) for case in known))
    rows = sorted({case.rows for case in known})
    several = f"requests of {joined(map(str, rows))} rows, " if rows != [1] else ""
    of_sessions = [bool(case.sessions) for case in known]
    if any(of_sessions):
        sessions = "sessions whose turns wait for each other"
        processes += f" {sessions}" if all(of_sessions) else f" requests or {sessions}"
    return (
        f"open-loop {processes}, {several}{span(case.duration for case in known)} s per case, "
        f"{workers}{_transports(known)}, {seed}"
    )


def _transports(cases: Sequence[CaseResult]) -> str:
    """Return the transports of the requests, unless all used HTTP/1.1."""
    used = {case.workload.transport for case in cases if case.workload is not None}
    if used <= {"http/1.1"}:
        return ""
    return f", {joined(_TRANSPORTS.get(name, clean(name)) for name in sorted(used))}"


def workers_text(workers: str, streams: Iterable[int]) -> str:
    """Return how many workers there were, as connections unless several shared one."""
    shared = sorted(set(streams))
    if shared == [1]:
        return f"{workers} {'connection' if workers == '1' else 'connections'}"
    return f"{workers} workers, {joined(map(str, shared))} to a connection"


def generator_text(cases: Iterable[CaseResult]) -> str:
    """Return how the load generator performed, at its worst."""
    known = list(cases)
    parts = [
        "/".join(distinct(clean(getattr(case.generator, name)) for case in known))
        for name in ("pacing", "event_loop")
    ]
    parts.append("/".join(distinct(priority_text(case) for case in known)))
    lags = [lag for case in known if (lag := lag_p99(case)) is not None]
    if lags:
        worst = "" if len(known) == 1 else "at most "
        parts.append(f"lag p99 {worst}{significant(max(lags) * 1e3)} ms")
    implausible = sum(not case.generator.arrivals_plausible for case in known)
    if implausible:
        processes = "/".join(distinct(clean(case.generator.arrivals) for case in known))
        parts.append(f"arrivals NOT plausibly {processes} in {counted(implausible, 'case')}")
    return ", ".join(part for part in parts if part)


def beside_text(cases: Iterable[CaseResult]) -> str:
    """Return what other programs used, if it may have slowed a server down; otherwise empty."""
    known = list(cases)
    shares = [case.resources.others_share or 0.0 for case in known if case.resources.crowded]
    if not shares:
        return ""
    low, high = percent(min(shares), 0), percent(max(shares), 0)
    return (
        f"other programs or guests of the host used {low if low == high else f'{low} to {high}'} % "
        f"of the servers' processors in {len(shares)} of {counted(len(known), 'case')}: measure "
        "again without them"
    )


def priority_text(case: CaseResult) -> str:
    """Return the scheduling of the generator's process."""
    return f"{clean(case.generator.priority)} priority"


def lag_p99(case: CaseResult) -> float | None:
    """Return the 99th percentile of the generator's lateness in seconds."""
    return case.summary.generator_lag.percentiles.get("p99")
