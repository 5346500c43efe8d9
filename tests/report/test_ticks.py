"""Round numbers for axes."""

import math
from collections.abc import Callable

import pytest

from pytest_servebench.report.axes import Axis, from_zero, logarithmic
from pytest_servebench.report.ticks import linear_ticks, logarithmic_ticks


@pytest.mark.parametrize("make", [logarithmic, from_zero])
@pytest.mark.parametrize("values", [[], [math.inf, math.inf]])
def test_infinite_values_alone_have_no_numbers_on_their_axis(
    make: Callable[[list[float]], Axis], values: list[float]
) -> None:
    axis = make(values)
    assert axis.ticks == ()
    assert axis.place([math.inf]).tolist() == [1.0]
    assert make([3.0, math.inf]).ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.9, 12, [1, 2, 5, 10]),
        (0.9, 1200, [1, 10, 100, 1000]),
        (0.9, 120, [1, 3, 10, 30, 100]),
        (4, 22, [4, 5, 7, 10, 15, 20]),
    ],
)
def test_logarithmic_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    ticks = logarithmic_ticks(low, high)
    assert set(expected) <= set(ticks)
    assert 3 <= len(ticks) <= 10


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-0.3, 0.35, [-0.2, 0.0, 0.2]),
        (90.0, 100.0, [90, 92, 94, 96, 98, 100]),
        (0.0, 30_000.0, [0, 5000, 10_000, 15_000, 20_000, 25_000, 30_000]),
        (0.0, 3e-6, [0.0, 5e-7, 1e-6, 1.5e-6, 2e-6, 2.5e-6, 3e-6]),
    ],
)
def test_linear_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert linear_ticks(low, high, 6) == expected


def test_whole_numbers_have_no_ticks_between_them() -> None:
    assert linear_ticks(0.0, 2.2, 6, whole=True) == [0, 1, 2]
