"""Tests as the page keeps them apart: by their function, and by the user's own parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from pytest_servebench.report.facts import test_id, test_labels
from pytest_servebench.runs.node_ids import cell_of, rate_id, repeat_of, without
from pytest_servebench.runs.plain_benchmarks import is_plain
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.text.safe import abridged, clean

_LONGEST: Final = 60  # characters of parameters


def variants(cases: Sequence[CaseResult]) -> list[str]:
    """Return the name of each case's test, in their order.

    It is the shortest name of the test function that tells it from the others, and in brackets
    the parameters of the user's own, where those alone tell cases of one rate and buffer apart:
    ``test_load[8]``. Long ones are abridged, and numbered where they then look the same.
    """
    labels = test_labels(cases)
    own = [_own(case) for case in cases]
    found: dict[tuple[str, float, int], set[str]] = {}
    for case, text in zip(cases, own, strict=True):
        found.setdefault((test_id(case), case.rate, case.buffer_size), set()).add(text)
    parted = {test for (test, _, _), texts in found.items() if len(texts) > 1}
    shown = _shown(own)
    return [
        labels[test_id(case)] + (f"[{shown[text]}]" if text and test_id(case) in parted else "")
        for case, text in zip(cases, own, strict=True)
    ]


def _shown(texts: Sequence[str]) -> dict[str, str]:
    """Return each text to one that is safe and short, and no other one's."""
    found: dict[str, str] = {}
    alike: Counter[str] = Counter()
    for text in dict.fromkeys(texts):
        short = abridged(clean(text), _LONGEST)
        alike[short] += 1
        found[text] = short if alike[short] == 1 else f"{short} ({alike[short]})"
    return found


def _own(case: CaseResult) -> str:
    """Return the parameters of the user's own as they stand in the node id."""
    if is_plain(case):
        return ""
    ours = (
        case.server.kind, rate_id(case.rate), f"buffer{case.buffer_size}",
        f"repeat{repeat_of(case)}",
    )  # fmt: skip
    return without(cell_of(case.nodeid or case.name), ours)
