"""The least width of an interval of a capacity, by simulation and in closed form."""

import pytest

from simulation.floors import exceedances, mm1_floor
from simulation.searches import known


@pytest.mark.slow
def test_the_simulated_floor_of_mm1_is_the_closed_one() -> None:
    server, capacity = next((one, rate) for one, rate in known().items() if one.name == "M/M/1")
    load = capacity / server.most
    found = exceedances(server, capacity)
    # s = exp(-(μ - r) d) is 1 % at r*.
    assert found.elasticity == pytest.approx(capacity * server.bound, rel=0.05)
    assert found.dispersion == pytest.approx(((1 + load) / (1 - load)) ** 2, rel=0.2)
    assert found.floor(10_000) == pytest.approx(mm1_floor(load, 10_000), rel=0.1)
    assert found.floor(40_000) == pytest.approx(found.floor(10_000) / 2)
