"""What hooks have added to a run's JSON; the page shows all of it."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Final

from pytest_servebench.runs.results import CaseResult, Run
from pytest_servebench.text.safe import clean

_LONGEST: Final = 400
_RUN_FIELDS: Final = {one.name for one in dataclasses.fields(Run)} | {"run"}
_CASE_FIELDS: Final = {one.name for one in dataclasses.fields(CaseResult)} | {"schema_version"}


def added_to_run(report: Mapping[str, Any]) -> dict[str, str]:
    """Return everything in a run's report that is not one of its own fields, as text."""
    return _others(report, _RUN_FIELDS)


def added_to_cases(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the same of each case, in their order, probes after the others."""
    parts = (report.get(name) for name in ("cases", "probes"))
    cases = [case for part in parts if isinstance(part, list) for case in part]
    return [_others(case, _CASE_FIELDS) if isinstance(case, Mapping) else {} for case in cases]


def _others(data: Mapping[str, Any], known: set[str]) -> dict[str, str]:
    return {clean(key): _text(value) for key, value in data.items() if key not in known}


def _text(value: Any) -> str:
    text = clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
