"""Tests as reports keep them apart: by their function, and by the user's own parameters."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from pytest_servebench.report.facts import test_id, test_labels
from pytest_servebench.runs.node_ids import cell_id, cell_of, labelled, repeat_of, size_ids, without
from pytest_servebench.runs.plain_benchmarks import is_plain
from pytest_servebench.runs.results import CaseResult, Sizes
from pytest_servebench.text.safe import abridged, clean

_LONGEST: Final = 60  # characters of parameters


def variants(cases: Sequence[CaseResult]) -> list[str]:
    """Return the name of each case's test, in their order.

    It is the shortest unique name of the test function; if needed to distinguish cases of one rate
    and sizes, followed by the user's own parameters in brackets, and by the label of one of a
    test's several loads: ``test_load[8]::warm``.
    """
    labels = test_labels(cases)
    names = own_names(cases)
    return [labels[test_id(case)] + own for case, own in zip(cases, names, strict=True)]


def cell_tests(cases: Sequence[CaseResult]) -> dict[str, str]:
    """Return the id of each cell to the name of its test; empty if there is only one test."""
    names = variants(cases)
    several = len(set(names)) > 1
    return {cell_id(case): name if several else "" for case, name in zip(cases, names, strict=True)}


def own_names(cases: Sequence[CaseResult], *, every_label: bool = False) -> list[str]:
    """Return what distinguishes each case within its test, as :func:`variants`: ``[8]::warm``.

    Long parameters are abridged, and numbered where they then look the same.

    Args:
        cases: all of them.
        every_label: whether to keep a label that is the only one of its rate and sizes.
    """
    parameters = [_own_parameters(case) for case in cases]
    shown = _shown(parameters)
    brackets = [f"[{shown[text]}]" if text else "" for text in parameters]
    labels = [_own_label(case) for case in cases]
    shown_labels = labels if every_label else _parted(cases, labels)
    return list(map(labelled, _parted(cases, brackets), shown_labels))


def _parted(cases: Sequence[CaseResult], texts: Sequence[str]) -> list[str]:
    """Return the texts that distinguish cases of one rate and sizes, and "" for the rest."""
    cells: dict[tuple[str, float, Sizes], set[str]] = {}
    for case, text in zip(cases, texts, strict=True):
        cells.setdefault((test_id(case), case.rate, case.sizes), set()).add(text)
    tests = {test for (test, _, _), found in cells.items() if len(found) > 1}
    return [text if test_id(case) in tests else "" for case, text in zip(cases, texts, strict=True)]


def _shown(texts: Sequence[str]) -> dict[str, str]:
    """Return each text to a safe, short and unique one."""
    found: dict[str, str] = {}
    alike: Counter[str] = Counter()
    for text in dict.fromkeys(texts):
        short = abridged(clean(text), _LONGEST)
        alike[short] += 1
        found[text] = short if alike[short] == 1 else f"{short} ({alike[short]})"
    return found


def _own_parameters(case: CaseResult) -> str:
    """Return the rest of a test's id without server, rate, sizes and repeat."""
    if is_plain(case):
        return ""
    server = (case.server.kind, case.server.base_url)
    ours = (*server, *size_ids(case), f"repeat{repeat_of(case)}")
    return without(cell_of(case.nodeid or case.name), ours)


def _own_label(case: CaseResult) -> str:
    """Return the rest of a case's label without rate and sizes."""
    return clean(without(case.label, size_ids(case)))
