"""Figures of each class of a mix of requests."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load import quantities
from pytest_servebench.load.choice import Chosen
from pytest_servebench.load.records import Records
from pytest_servebench.metrics import LATENCY, METRICS, TPOT, TTFT
from pytest_servebench.stats.episodes import nearest_rank
from pytest_servebench.stats.estimates import ClassFigures

NAMES: Final = {
    f"{times.prefix}{one}": times.name for times in (LATENCY, TTFT, TPOT) for one in ("p50", "p99")
}
"""The percentiles of a class, and what they are of."""


def class_figures(
    records: Records, chosen: Chosen, classes: Sequence[str]
) -> tuple[ClassFigures, ...]:
    """Return the figures of each class, in the order of ``classes``.

    Args:
        records: of all arrivals.
        chosen: for each arrival the index of its request.
        classes: of each request; empty if there are none.
    """
    if not classes:
        return ()
    names = list(dict.fromkeys(classes))
    number = {name: place for place, name in enumerate(names)}
    of_request = np.array([number[name] for name in classes])
    of_arrival = of_request[chosen]
    values = {
        name: quantities.seconds(records, quantity)
        for name, quantity in NAMES.items()
        if quantities.knows(records, quantity)
    }
    found = []
    for place, name in enumerate(names):
        members = of_arrival == place
        times = {
            key: _percentile(key, defined)
            for key, each in values.items()
            if len(defined := each[members & ~np.isnan(each)])
        }
        found.append(
            ClassFigures(name, int(members.sum()), int((records.ok & members).sum()), times)
        )
    return tuple(found)


def _percentile(name: str, values: npt.NDArray[np.float64]) -> float | None:
    """Return a nearest rank in seconds; ``None`` if it is infinite."""
    permille = METRICS[name].permille
    assert permille is not None
    value = float(np.sort(values)[nearest_rank(permille, len(values)) - 1])
    return value if np.isfinite(value) else None
