"""What runs of pytest saved in the directory of a test, in which pytester has it run."""

import json
from pathlib import Path
from typing import Any, NoReturn

RESULTS = Path("servebench_results")


def saved_run() -> tuple[Path, dict[str, Any]]:
    """Return the directory of the run that was saved last, and what is in its file."""
    file = max(RESULTS.glob("2*/run.json"), key=lambda one: one.stat().st_mtime_ns)
    return file.parent.resolve(), json.loads(file.read_text(), parse_constant=_no_constant)


def saved_cases() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = saved_run()[1]["servebench"]["cases"]
    return cases


def saved_case() -> dict[str, Any]:
    (case,) = saved_cases()
    return case


def _no_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} is no JSON")
