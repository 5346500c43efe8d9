"""What a search finds, with the queue that its probes fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pytest_servebench.measure.capacity_plan import Capacity
from pytest_servebench.measure.capacity_search import CapacitySearch
from pytest_servebench.objectives.limits import Limit
from pytest_servebench.sizing.expected import Settled, expected, model_of

_NEAR: Final = 1.6  # as a factor: probes farther from the capacity do not count


def with_queue(
    search: CapacitySearch, probes: Mapping[int, Settled], limits: Sequence[Limit]
) -> Capacity:
    """Return the result of a search, which also rests on the queue that its probes fit.

    Without such a queue, or if the machine's speed varied, so that services did, it is the result
    of the counts alone.

    Args:
        search: that has ended.
        probes: around its estimate, by their index, with their records.
        limits: of the search.
    """
    found = search.capacity()
    value = found.value
    if value is None or found.slowdowns or found.state not in ("found", "open"):
        return found
    near = [
        probe for index, probe in probes.items()
        if index in found.used and value / _NEAR <= probe.case.rate <= value * _NEAR
    ]  # fmt: skip
    model = model_of(near)
    if model is None:
        return found
    each = (expected(model, near, limit, value) for limit in limits)
    return search.capacity({index: one for index, one in enumerate(each) if one is not None})
