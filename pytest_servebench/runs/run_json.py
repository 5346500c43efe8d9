"""The files of saved runs: our own ``run.json``, a file of pytest-benchmark, or another tool's."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import orjson

from pytest_servebench.errors import SavedRunError
from pytest_servebench.runs.capacity import CAPACITY_KEY
from pytest_servebench.runs.capacity_check import check_capacity
from pytest_servebench.runs.decoding import as_object, decode
from pytest_servebench.runs.foreign.readers import READERS, Reader, reader_of
from pytest_servebench.runs.node_ids import labelled
from pytest_servebench.runs.plain_benchmarks import is_plain, left_out, plain_case
from pytest_servebench.runs.results import (
    SCHEMA_VERSION,
    CapacityResult,
    CaseResult,
    ClauseResult,
    Run,
    VerdictWord,
)
from pytest_servebench.stats.estimates import Estimate, Summary
from pytest_servebench.text.safe import clean, joined

_T = TypeVar("_T")
RUN_FILE: Final = "run.json"
_CUT_WITHIN: Final = (
    "true", "false", "null", "NaN", "Infinity", "-Infinity", ".", "e-", "e+", "E-", "E+"
)  # fmt: skip
"""Literals within which truncated JSON may end."""


@dataclass(frozen=True, slots=True)
class ServerHeading:
    """What a list of runs shows of a server."""

    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class CaseHeading:
    """What a list of runs shows of a case, or of a capacity."""

    server: ServerHeading
    verdict: VerdictWord = "passed"
    clauses: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Heading:
    """What is needed to find and list a saved run; its figures are not read.

    Attributes:
        run: its name.
        started: when, ISO 8601.
        cases: in the order of running, without probes.
        capacities: likewise.
        probes: likewise.
        finished: whether its session ran to completion.
        not_measured: selected cases without a result.
    """

    run: str
    started: str
    cases: tuple[CaseHeading, ...]
    capacities: tuple[CaseHeading, ...] = ()
    probes: tuple[CaseHeading, ...] = ()
    finished: bool = True
    not_measured: int = 0


def read_file(
    path: Path, *, any_schema: bool = False, any_tool: bool = False
) -> tuple[Run, Mapping[str, Any]]:
    """Return the run in a file, and its raw JSON, including what hooks have added.

    Args:
        path: the file.
        any_schema: whether to try a file with another schema version.
        any_tool: whether a load by another tool will do.

    Raises:
        SavedRunError: it cannot be read.
    """
    data = _load(path, _bytes(path))
    run = _checked(path, lambda: _run(path, data, any_schema=any_schema))
    if not any_tool and (origin := run.origin) is not None:
        _refuse(
            path,
            f"was written by {origin}, and holds too little for this. Give a run of "
            "pytest-servebench; 'pytest-servebench show' and 'compare' read this file",
        )
    return run, data.get("servebench") or {} if isinstance(data, Mapping) else {}


def read_heading(path: Path) -> tuple[Heading, bytes]:
    """Return what a run is listed by, and a digest that identifies copies of its file.

    Raises:
        SavedRunError: the file is not a saved run.
    """
    content = _bytes(path)
    try:
        data = orjson.loads(content)  # in a fraction of json's time
    except orjson.JSONDecodeError:
        data = _load(path, content)  # which reads more, and says what is wrong with the rest
    heading = _checked(path, lambda: _heading(path, data))
    # A copy from another system may have other line endings.
    return heading, hashlib.sha1(content.replace(b"\r", b""), usedforsecurity=False).digest()


def _heading(path: Path, data: Any) -> Heading:
    if not (isinstance(data, Mapping) and "servebench" in data):
        run = _run(path, data, any_schema=False)
        cases = tuple(
            CaseHeading(
                ServerHeading(case.server.kind, case.server.title), case.verdict, case.clauses
            )
            for case in run.cases
        )
        return Heading(run.name, run.started, cases)
    report = as_object(data["servebench"], "servebench")
    heading = decode(Heading, report, "servebench")
    _refuse_empty(path, (*heading.cases, *heading.capacities, *heading.probes))
    return heading


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        _refuse(path, f"{error.strerror}. Give a readable file")


def _load(path: Path, content: bytes) -> Any:
    constants: list[str] = []

    def constant(name: str) -> float:
        constants.append(name)
        return float(name)

    try:
        text = content.decode(json.detect_encoding(content))  # of UTF-8, UTF-16 and UTF-32
    except UnicodeDecodeError:
        _refuse(path, "is not JSON: it is not even text. Give a run.json")
    if not text.strip():
        _refuse(path, "is empty. Run the suite again, or give another file")
    try:
        data = json.loads(text, parse_constant=constant)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _lines(path, text)
        left = text.rstrip()[error.pos :]
        in_string = error.msg.startswith("Unterminated string") or (
            error.msg.startswith("Invalid \\uXXXX") and len(left) <= len("u1234")
        )
        if in_string or any(token.startswith(left) for token in _CUT_WITHIN):
            _refuse(
                path, f"was cut off in line {error.lineno}. Copy it again, or run the suite again"
            )
        _refuse(path, f"is not JSON: {error.msg} in line {error.lineno}. Give a run.json")
    except (ValueError, RecursionError) as error:
        _refuse(path, f"is not JSON: {error}. Give a run.json")

    # pytest-benchmark writes them: parts that are not read may contain any.
    if constants and isinstance(data, Mapping) and "servebench" in data:
        _refuse(
            path,
            f"is not JSON: it contains {constants[0]}, which is not a JSON number. Give a run.json",
        )
    return data


def _lines(path: Path, text: str) -> list[Any]:
    """Return the values of JSON lines."""
    found = []
    # Not splitlines(), which also splits at characters that JSON may have within a text.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                found.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                problem = error.msg if isinstance(error, json.JSONDecodeError) else error
                _refuse(
                    path,
                    f"is not JSON, nor are its lines: {problem} in line {number}. Was it cut off? "
                    "Copy it again, or give a run.json",
                )
    return found


def _checked(path: Path, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except ValueError as error:
        _refuse(path, f"{error}. Was it changed, or saved by another version? Run the suite again")


def _run(path: Path, data: Any, *, any_schema: bool) -> Run:
    if (reader := reader_of(data)) is not None:
        return _foreign(path, data, reader)
    if not isinstance(data, Mapping):
        _refuse(path, "is JSON, but not a saved run. Give a run.json")
    if "servebench" in data:
        report = as_object(data["servebench"], "servebench")
        _check_schema(path, report, any_schema)
        about = {"name": report.get("run"), "schema_version": report.get("schema_version", 0)}
        run = decode(Run, {**report, **about}, "servebench")
    elif isinstance(data.get("benchmarks"), list):
        run = _of_benchmarks(path, data, any_schema=any_schema)
    else:
        _refuse(
            path,
            "has neither 'servebench' nor 'benchmarks': it is not a saved run. Give a run.json, a "
            "file written by --benchmark-json, or one of another tool that 'show' and 'compare' "
            f"read: {joined(one.TOOL for one in READERS)}",
        )
    _refuse_empty(path, (*run.every_case, *run.capacities))
    for part, cases in (("cases", run.cases), ("probes", run.probes)):
        for index, case in enumerate(cases):
            _check_figures(case, f"{part}[{index}]")
        _check_ids(cases, part)
    for index, one in enumerate(run.capacities):
        check_capacity(one, f"capacities[{index}]")
        _check_clauses(one.clauses, f"capacities[{index}]")
    _check_ids(run.capacities, "capacities")
    return run


def _foreign(path: Path, data: Any, reader: Reader) -> Run:
    try:
        return reader.read(data, path.stem)
    except ValueError as error:
        _refuse(
            path,
            f"seems to be of {reader.TOOL}, but {error}. Copy it again, or run the load again",
        )


def _check_figures(case: CaseResult, where: str) -> None:
    """Refuse impossible figures, which would break reports and comparisons."""
    series = case.resources.series
    for name, value in (
        ("rate", case.rate),
        ("duration", case.duration),
        ("buffer_size", case.buffer_size),
        ("workers", case.workers),
    ):
        if value < 0:
            raise ValueError(f"{where}.{name} is {value}, below 0")
    if case.rows < 1:
        raise ValueError(f"{where}.rows is {case.rows}, below 1")
    _check_summary(case.summary, f"{where}.summary")
    if len(set(case.class_names)) < len(case.classes):
        raise ValueError(f"{where}.classes: two have the same name")
    for number, part in enumerate(case.classes):
        _check_summary(part.summary, f"{where}.classes[{number}].summary")
    _check_clauses(case.clauses, where)
    if series and "time" not in series:
        raise ValueError(f"{where}.resources.series.time is missing")
    if len({len(column) for column in series.values()}) > 1:
        raise ValueError(f"{where}.resources.series has columns of different lengths")


def _check_summary(summary: Summary, where: str) -> None:
    for word, number in summary.outcomes.items():
        if number < 0:
            raise ValueError(f"{where}.outcomes.{word} is {number}, below 0")
    if sum(summary.outcomes.values()) != summary.arrivals:
        raise ValueError(f"{where}.outcomes do not add up to its {summary.arrivals} arrivals")
    for part, estimates in (("estimates", summary.estimates), ("without_lag", summary.without_lag)):
        for name, one in estimates.items():
            _check_interval(one, f"{where}.{part}.{name}")


def _check_clauses(clauses: Sequence[ClauseResult], where: str) -> None:
    for number, clause in enumerate(clauses):
        if clause.low is not None and clause.high is not None and clause.low > clause.high:
            raise ValueError(
                f"{where}.clauses[{number}].low is {clause.low}, above its high, {clause.high}"
            )


def _check_interval(one: Estimate, where: str) -> None:
    value = math.inf if one.value is None else one.value
    if one.low is not None and one.low > value:
        raise ValueError(f"{where}.low is {one.low}, above its value, {value}")
    if one.high is not None and one.high < value:
        raise ValueError(f"{where}.high is {one.high}, below its value, {value}")


def _check_ids(cases: Sequence[CaseResult | CapacityResult], part: str) -> None:
    """Refuse two cases of one test and label, which a comparison would take for repeats."""
    seen: dict[tuple[str, str], int] = {}
    for index, case in enumerate(cases):
        first = seen.setdefault((case.nodeid, case.label), index)
        if first != index and not (isinstance(case, CaseResult) and is_plain(case)):
            raise ValueError(
                f"{part}[{index}] has the nodeid and label of {part}[{first}]: "
                f"{labelled(case.nodeid, case.label)}"
            )


def _refuse_empty(path: Path, cases: Sequence[object]) -> None:
    if not cases:
        _refuse(path, "holds no cases: nothing was measured. Run the suite again")


def _check_schema(path: Path, data: Mapping[str, Any], any_schema: bool) -> None:
    version = data.get("schema_version")
    if version != SCHEMA_VERSION and not any_schema:
        _refuse(
            path,
            f"has schema_version {version!r}, but this pytest-servebench reads {SCHEMA_VERSION}. "
            "Use the version that saved it. To compare it all the same, use 'pytest-servebench "
            "compare --allow schema' or --servebench-baseline-allow=schema",
        )


def _of_benchmarks(path: Path, data: Mapping[str, Any], *, any_schema: bool) -> Run:
    """Return what a pytest-benchmark file contains: our own cases in full, others in brief."""
    cases: list[CaseResult] = []
    capacities: list[CapacityResult] = []
    missing: list[str] = []
    unread: list[str] = []
    for index, one in enumerate(data["benchmarks"]):
        where = f"benchmarks[{index}]"
        extra = one.get("extra_info") if isinstance(one, Mapping) else None
        extra = extra if isinstance(extra, Mapping) else {}
        own = extra.get("servebench")
        if isinstance(found := extra.get(CAPACITY_KEY), Mapping):
            capacities.append(decode(CapacityResult, found, f"{where}.extra_info.{CAPACITY_KEY}"))
        if isinstance(own, Mapping):
            _check_schema(path, own, any_schema)
            cases.append(from_dict(own, f"{where}.extra_info.servebench"))
            continue
        try:
            cases.append(plain_case(as_object(one, where), where))
        except ValueError as error:
            unread.append(str(error))
            continue
        missing += filter(None, [left_out(one, where)])
    if unread and not cases and not capacities:
        raise ValueError(unread[0])
    missing += [f"{problem}: this benchmark is left out" for problem in unread]
    return Run(
        name=path.stem,
        started=str(data.get("datetime", "")),
        machine=_machine(data.get("machine_info")),
        versions={},
        cases=_unprobed(cases, probe=False),
        probes=_unprobed(cases, probe=True),
        capacities=tuple(capacities),
        left_out=tuple(missing),
    )


def _machine(info: Any) -> dict[str, Any]:
    """Return the facts that our own runs have, as far as pytest-benchmark records them."""
    if not isinstance(info, Mapping):
        return {}
    known = info.get("cpu")
    cpu = known if isinstance(known, Mapping) else {}
    facts = {
        "cpu": cpu.get("brand_raw"),
        "cores": cpu.get("count"),
        "system": f"{info.get('system', '')} {info.get('release', '')}".strip(),
        "python": info.get("python_version"),
    }
    return {name: fact for name, fact in facts.items() if fact and isinstance(fact, str | int)}


def _unprobed(cases: Sequence[CaseResult], *, probe: bool) -> tuple[CaseResult, ...]:
    return tuple(case for case in cases if case.probe is probe)


def from_dict(data: Mapping[str, Any], where: str = "case") -> CaseResult:
    """Return the case that :meth:`~pytest_servebench.runs.results.CaseResult.to_dict` gave.

    Anything that hooks added to it is left out.

    Raises:
        ValueError: a field is missing or has a wrong value.
    """
    return decode(CaseResult, {key: data[key] for key in data if key != "records"}, where)


def _refuse(path: Path, problem: str) -> NoReturn:
    raise SavedRunError(f"{str(path)!r}: {clean(problem)}.")
