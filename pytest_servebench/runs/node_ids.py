"""What a test's node id says: its test function and its cell."""

import re
from collections.abc import Iterable
from typing import Final

from pytest_servebench.runs.results import CapacityResult, CaseResult

_REPEAT: Final = re.compile(r"-repeat(\d+)-")


def function_of(nodeid: str) -> str:
    """Return the id of the test function, such as ``dir/test_it.py::TestC::test_load``."""
    return _parts(nodeid)[0]


def cell_of(nodeid: str) -> str:
    """Return the part in brackets, such as ``torchserve-rate10-buffer50``; empty if none."""
    return _parts(nodeid)[1]


def labelled(name: str, label: str) -> str:
    """Return a case's id: ``test_it[toy-rate10]::warm``; without a label, its test's."""
    return f"{name}::{label}" if label else name


def without(cell: str, parts: Iterable[str]) -> str:
    """Return a cell without ``parts``, each of which is removed once if present.

    Parts are separated by dashes: ``8-torchserve-rate10`` without server and rate is ``8``.
    A part is found as it is or as pytest escapes it in an id (``ä`` as ``\\xe4``), with any amount
    of white space between its words.
    """
    left = f"-{cell}-"
    for part in parts:
        left = _spellings(part).sub("-", left, count=1)
    return left.strip("-")


def _spellings(part: str) -> re.Pattern[str]:
    escaped = part.encode("unicode_escape").decode("ascii")
    either = "|".join(r"\s+".join(map(re.escape, text.split())) for text in (part, escaped))
    return re.compile(rf"-\s*(?:{either})\s*-")


def short_labels(functions: Iterable[str]) -> dict[str, str]:
    """Return the shortest unique ending of each function's id.

    ``test_load`` if the name is unique; else with its class, its file and as many directories as
    needed.
    """
    known = list(dict.fromkeys(functions))
    return {one: _label(one, [other for other in known if other != one]) for one in known}


def _parts(nodeid: str) -> tuple[str, str]:
    # Directory names may contain brackets too.
    path, separator, rest = nodeid.partition("::")
    if not separator:
        path, rest = "", nodeid
    function, _, rest = rest.partition("[")
    cell, bracket, _ = rest.rpartition("]")  # the label of a case may follow
    return path + separator + function, cell if bracket else rest


def _label(function: str, others: Iterable[str]) -> str:
    starts = [one.end() for one in re.finditer("::|/", function)]
    for start in reversed(starts):
        if not any(_ends_with(other, function[start:]) for other in others):
            return function[start:]
    return function


def _ends_with(function: str, label: str) -> bool:
    return function == label or function.endswith((f"::{label}", f"/{label}"))


def rate_id(rate: float) -> str:
    """Return a rate's part of the id, such as ``rate10`` or ``rate0.5``."""
    return f"rate{rate:g}" if rate == float(f"{rate:g}") else f"rate{rate!r}"


def buffer_id(size: int) -> str:
    """Return a buffer size's part of the id, such as ``buffer50``."""
    return f"buffer{size}"


def rows_id(rows: int) -> str:
    """Return the part of the id for rows a request, such as ``rows8``."""
    return f"rows{rows}"


def size_ids(case: CaseResult) -> tuple[str, ...]:
    """Return the parts of a case's id for rate, buffer size and rows, which need not be in it."""
    return rate_id(case.rate), buffer_id(case.buffer_size), rows_id(case.rows)


def cell_id(case: CaseResult | CapacityResult) -> str:
    """Return the part of an id that results of the same cell on other servers share.

    It is the id without the server's kind, or without the name and the URL that a test gave it.
    """
    parts = f"-{without(cell_of(case.nodeid), [case.server.kind, case.server.base_url])}-"
    cell = f"{function_of(case.nodeid)}[{_REPEAT.sub('-', parts).strip('-')}]"
    return labelled(cell, case.label)


def without_repeat(nodeid: str) -> str:
    """Return a test's node id as in a run without repeats, and with one row in each request."""
    test, _, cell = nodeid.partition("[")
    parts = _REPEAT.sub("-", f"-{cell.removesuffix(']')}-", count=1)
    left = without(parts, [rows_id(1)])
    return f"{test}[{left}]" if left else test


def repeat_of(case: CaseResult | CapacityResult) -> int:
    """Return the number of a case's repeat, as its id gives it; 1 where it has none."""
    found = _REPEAT.search(f"-{cell_of(case.nodeid)}-")
    return int(found[1]) if found else 1
