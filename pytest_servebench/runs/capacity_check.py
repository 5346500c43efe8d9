"""Whether a saved capacity is consistent: an edited one would be judged and compared."""

from collections.abc import Mapping
from typing import Final

from pytest_servebench.runs.capacity import CapacityProbe, CapacityResult, CapacityState

_HAS: Final[Mapping[CapacityState, tuple[str, ...]]] = {
    "found": ("value", "low", "high"),
    "above_range": ("low",),
    "below_range": ("high",),
    "generator_limited": ("generator_limit",),
    "open": (),
    "server_died": (),
}
_CANNOT_HAVE: Final[Mapping[CapacityState, tuple[str, ...]]] = {
    "found": ("needed_seconds",),
    "above_range": ("value", "high", "needed_seconds"),
    "below_range": ("value", "low", "needed_seconds"),
    "generator_limited": ("value", "high", "needed_seconds"),
    "open": (),
    "server_died": ("needed_seconds",),
}


def check_capacity(one: CapacityResult, where: str) -> None:
    """Refuse a result that no search can have.

    Args:
        one: as it was read.
        where: how messages name it.

    Raises:
        ValueError: a field contradicts another; the message names both.
    """
    low, high = one.ends
    if low > high or (one.value is not None and not low <= one.value <= high):
        raise ValueError(f"{where}: low, value and high are {one.low}, {one.value} and {one.high}")
    if not 0 < one.lowest <= one.highest:
        raise ValueError(f"{where}: lowest and highest are {one.lowest} and {one.highest}")
    for names, known in ((_HAS, False), (_CANNOT_HAVE, True)):
        for name in names[one.state]:
            if (getattr(one, name) is not None) is known:
                raise ValueError(
                    f"{where}.{name} is {getattr(one, name)}, but its state is {one.state!r}"
                )
    if one.limiting and one.limiting not in (limit.clause for limit in one.limits):
        raise ValueError(f"{where}.limiting is {one.limiting!r}, which is none of its limits")
    if one.recovery_seconds is not None and not one.slow_recovery:
        raise ValueError(f"{where}.recovery_seconds is {one.recovery_seconds}, but not slow")
    for number, probe in enumerate(one.probes):
        _check_probe(probe, len(one.limits), f"{where}.probes[{number}]")


def _check_probe(probe: CapacityProbe, limits: int, where: str) -> None:
    measured = probe.state in ("measured", "disturbed")
    for name, numbers in (("beyond", probe.beyond), ("counted", probe.counted)):
        if len(numbers) != (limits if measured else 0):
            raise ValueError(
                f"{where}.{name} has {len(numbers)} numbers, for {limits} limits of a probe that "
                f"is {probe.state!r}"
            )
    for beyond, counted in zip(probe.beyond, probe.counted, strict=True):
        if not 0 <= beyond <= counted <= probe.arrivals:
            raise ValueError(
                f"{where}: beyond, counted and arrivals are {beyond}, {counted} and "
                f"{probe.arrivals}"
            )
    if probe.slowdown is not None and not (measured and probe.slowdown > 0):
        raise ValueError(
            f"{where}.slowdown is {probe.slowdown}, of a probe that is {probe.state!r}"
        )
    if probe.used and not measured:
        raise ValueError(f"{where}.used is true, but its state is {probe.state!r}")
