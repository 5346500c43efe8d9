"""Read runs that were saved: our own ``run.json``, or any file of pytest-benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from pytest_servebench.decoding import as_object, decode
from pytest_servebench.errors import NoSuchRunError, SavedRunError
from pytest_servebench.plain_benchmarks import plain_case
from pytest_servebench.report.text import clean
from pytest_servebench.results import SCHEMA_VERSION, CaseResult, Run

RUN_FILE: Final = "run.json"
LATEST: Final = "latest"
RESULTS: Final = Path("servebench_results")


def read_run(name: str | Path, results: Path = RESULTS, *, any_schema: bool = False) -> Run:
    """Return a saved run.

    Args:
        name: a file, a run's directory, a directory of results (its latest run is meant), or the
            name of a run in ``results``, ``latest`` included.
        results: where runs are looked for by their names.
        any_schema: whether to try a file of another version of the schema.

    Raises:
        SavedRunError: there is no such run, or it cannot be read.
    """
    path = find_run(name, results)
    return _checked(path, _load(path), any_schema=any_schema)


def read_run_and_report(path: Path) -> tuple[Run, Mapping[str, Any]]:
    """Return the run of a file, and what stands there of it, also what hooks have added.

    Raises:
        SavedRunError: it cannot be read.
    """
    data = _load(path)
    run = _checked(path, data)
    return run, data.get("servebench") or {}


def find_run(name: str | Path, results: Path = RESULTS) -> Path:
    """Return the file of a saved run; arguments and errors as for :func:`read_run`."""
    for path in (Path(name), results / name):
        if path.is_file():
            return path
        if path.is_dir():
            return _in_directory(path)
    raise NoSuchRunError(
        f"{str(name)!r}: there is no such file or directory, and no run of this name in "
        f"{results}/. Give a run.json, a run's directory or a run's name; "
        "'pytest-servebench list' shows those that there are."
    )


def run_files(results: Path) -> list[Path]:
    """Return the files of all runs in a directory of results, by name.

    Raises:
        SavedRunError: the directory cannot be read.
    """
    try:
        return sorted(
            one / RUN_FILE
            for one in results.iterdir()
            if one.name != LATEST and (one / RUN_FILE).is_file()
        )
    except OSError as error:
        raise SavedRunError(
            f"{str(results)!r}: {error.strerror}. Give the directory of results by --results."
        ) from error


def directories_without_run(results: Path) -> list[Path]:
    """Return the directories of sessions that have left logs or records and no run, by name."""
    return sorted(
        one
        for one in results.iterdir()
        if not one.is_symlink()
        and not (one / RUN_FILE).exists()
        and ((one / "servers").is_dir() or (one / "records").is_dir())
    )


def _in_directory(directory: Path) -> Path:
    for path in (directory / RUN_FILE, directory / LATEST / RUN_FILE):
        if path.is_file():
            return path
    # A file system without links has no "latest".
    if runs := run_files(directory):
        return runs[-1]
    raise SavedRunError(
        f"{str(directory)!r}: holds no {RUN_FILE}, and no directory of it does: the run did not "
        "end, or this is no directory of results. Give another."
    )


def _load(path: Path) -> Any:
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        _refuse(path, f"{error.strerror}. Give a file that can be read")
    except UnicodeDecodeError:
        _refuse(path, "is not JSON: it is not even text. Give a run.json")
    if not text.strip():
        _refuse(path, "is empty. Run the suite again, or give another file")
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
            _refuse(
                path, f"was cut off in line {error.lineno}. Copy it again, or run the suite again"
            )
        _refuse(path, f"is not JSON: {error.msg} in line {error.lineno}. Give a run.json")
    except (ValueError, RecursionError) as error:
        _refuse(path, f"is not JSON: {error}. Give a run.json")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds the number {name}, which JSON does not have")


def _checked(path: Path, data: Any, *, any_schema: bool = False) -> Run:
    try:
        return _run(path, data, any_schema=any_schema)
    except ValueError as error:
        _refuse(path, f"{error}. Was it changed, or saved by another version? Run the suite again")


def _run(path: Path, data: Any, *, any_schema: bool) -> Run:
    if not isinstance(data, Mapping):
        _refuse(path, "is JSON, but no saved run. Give a run.json")
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
            "has neither 'servebench' nor 'benchmarks': it is no saved run. Give a run.json, or a "
            "file of --benchmark-json",
        )
    if not run.cases:
        _refuse(path, "holds no cases: nothing was measured. Run the suite again")
    return run


def _check_schema(path: Path, data: Mapping[str, Any], any_schema: bool) -> None:
    version = data.get("schema_version")
    if version != SCHEMA_VERSION and not any_schema:
        _refuse(
            path,
            f"has schema_version {version!r}, and this pytest-servebench reads {SCHEMA_VERSION}. "
            "Use the version that saved it, or try with --allow schema",
        )


def _of_benchmarks(path: Path, data: Mapping[str, Any], *, any_schema: bool) -> Run:
    """Return what a file of pytest-benchmark says: all of our own cases, little of any others."""
    cases: list[CaseResult] = []
    for index, one in enumerate(data["benchmarks"]):
        where = f"benchmarks[{index}]"
        entry = as_object(one, where)
        extra = entry.get("extra_info")
        own = extra.get("servebench") if isinstance(extra, Mapping) else None
        if isinstance(own, Mapping):
            _check_schema(path, own, any_schema)
            cases.append(from_dict(own, f"{where}.extra_info.servebench"))
        else:
            cases.append(plain_case(entry, where))
    return Run(
        name=path.stem,
        started=str(data.get("datetime", "")),
        machine=_machine(data.get("machine_info")),
        versions={},
        cases=tuple(cases),
    )


def _machine(info: Any) -> dict[str, Any]:
    """Return the facts that our own runs have, as far as pytest-benchmark knows them."""
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
    return {name: fact for name, fact in facts.items() if fact}


def from_dict(data: Mapping[str, Any], where: str = "case") -> CaseResult:
    """Return the case that :meth:`~pytest_servebench.results.CaseResult.to_dict` gave.

    What hooks have added to it is left out.

    Raises:
        ValueError: a field is missing or has a wrong value.
    """
    return decode(CaseResult, {key: data[key] for key in data if key != "records"}, where)


def _refuse(path: Path, problem: str) -> NoReturn:
    raise SavedRunError(f"{str(path)!r}: {clean(problem)}.")
