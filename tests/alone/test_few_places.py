"""Servers of few places: a load's connections leave them to one another."""

import numpy as np
import pytest

from tests.load.in_process import Made
from tests.load.test_misbehaving import CLOSING, OK, Behaviour, always, assert_all, load
from tests.load.test_room import serving_at_once

pytestmark = pytest.mark.servers


def median(result: Made) -> float:
    return float(np.median(result.records.latency()))


@pytest.mark.parametrize("places", [1, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.3])
@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(always(OK, after=0.004), id="keeps-connections"),
        pytest.param(always(CLOSING, close=True, after=0.004), id="closes-connections"),
        pytest.param(always(OK, close=True, after=0.004), id="closes-without-saying"),
    ],
)
def test_a_server_of_few_places_answers_everybody(
    behaviour: Behaviour, warmup: float, places: int
) -> None:
    with serving_at_once(places, behaviour) as port:
        result = load(port, rate=60.0, duration=0.8, workers=10, warmup=warmup, timeout=3.0)
    assert_all(result, "ok")
    # Where idle connections take the places, half of all requests wait for ends of connections.
    assert median(result) < 0.25
