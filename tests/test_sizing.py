"""The sizing model against queues whose services and percentiles are known."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_servebench.errors import OptionError
from pytest_servebench.objectives.slo_grammar import parse_slo
from pytest_servebench.sizing.answers import highest_rate, replicas_needed
from pytest_servebench.sizing.fit import combined, fit
from pytest_servebench.sizing.inversion import Floats, fifo_services, shared_services
from pytest_servebench.sizing.model import Caution, ServerModel, Unfit
from pytest_servebench.sizing.prediction import Setting, predict
from pytest_servebench.stats.estimates import Estimate
from simulation import queueing
from simulation.servers import KNOWN, OTHERS, Server, fifo, shared


def fitted(server: Server, seed: int = 0, seconds: float = 30.0) -> ServerModel | Unfit:
    dice = np.random.default_rng(seed)
    return fit([server.case(load, seconds, dice) for load in (0.2, 0.5)])


def model_of(services: Floats, slots: int = 1, **changes: object) -> ServerModel:
    made = ServerModel(
        slots=slots, overhead=0.0, services=services, failed=np.zeros(len(services), dtype=bool),
        sizes=(len(services),), loads=(0.5,), rates=(1.0,), memory=1, deviation=0.0,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def exponential(number: int = 20_000, mean: float = 0.01) -> Floats:
    """Return services whose distribution is nearly exact: evenly spaced quantiles."""
    values: Floats = -mean * np.log1p(-(np.arange(number) + 0.5) / number)
    return values


# -- inversion ------------------------------------------------------------------------------------

gaps_and_services = st.lists(
    st.tuples(st.floats(0.0, 3.0), st.floats(0.001, 10.0)), min_size=1, max_size=60
)


@settings(max_examples=40, deadline=None)
@given(gaps_and_services, st.integers(1, 5), st.floats(0.0, 2.0))
def test_the_services_of_a_fifo_queue_are_found_exactly(
    drawn: list[tuple[float, float]], slots: int, overhead: float
) -> None:
    gaps, services = np.array(drawn).T
    arrivals = np.cumsum(gaps)
    done = fifo(slots)(arrivals, services) + overhead
    assert fifo_services(arrivals, done, slots, overhead) == pytest.approx(services, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(gaps_and_services, st.integers(1, 5))
def test_the_services_of_shared_processors_are_found_exactly(
    drawn: list[tuple[float, float]], slots: int
) -> None:
    gaps, services = np.array(drawn).T
    arrivals = np.cumsum(gaps + 1e-6)
    done = shared(slots)(arrivals, services)
    assert shared_services(arrivals, done, slots) == pytest.approx(services, abs=1e-9)


def test_scores_combine_as_chi_squared() -> None:
    assert combined([-3.2]) == pytest.approx(3.2)
    # The upper 0.27 % point of chi-squared with 2 and 10 degrees of freedom: 11.83, 26.90.
    assert combined([math.sqrt(11.83 / 2)] * 2) == pytest.approx(3, abs=0.05)
    assert combined([math.sqrt(26.90 / 10)] * 10) == pytest.approx(3, abs=0.05)


# -- the fit --------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", KNOWN, ids=lambda one: one.name)
def test_known_queues_are_recognized(server: Server) -> None:
    model = fitted(server)
    assert isinstance(model, ServerModel)
    assert model.slots == server.slots
    assert model.mean_service == pytest.approx(server.mean, rel=0.1)
    assert model.loads == pytest.approx((0.2, 0.5), rel=0.15)


@pytest.mark.parametrize("server", OTHERS, ids=lambda one: one.name)
def test_other_servers_are_refused(server: Server) -> None:
    assert isinstance(fitted(server), Unfit)


# -- predictions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "slots", "workers", "buffer_size"),
    [(0.7, 1, None, 0), (0.85, 4, 10, 5), (1.3, 2, 4, 6)],
)
def test_predictions_agree_with_closed_forms(
    load: float, slots: int, workers: int | None, buffer_size: int
) -> None:
    services = exponential()
    rate = load * slots / float(services.mean())
    setting = Setting(rate, workers, buffer_size)
    found = predict(model_of(services, slots), setting, resamples=20)
    capacity = 10_000 if workers is None else workers + buffer_size
    exact = queueing.mmck(rate, 1 / float(services.mean()), slots, capacity)
    assert found.drop_rate.value == pytest.approx(exact.blocking, abs=0.01)
    assert found.utilisation.value == pytest.approx(exact.utilisation, abs=0.01)
    if workers is None:
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            assert found.estimates[name].value == pytest.approx(
                queueing.mm1_response_percentile(load, 1.0, share) * 0.01, rel=0.05
            )
        assert found.estimates["mean"].value == pytest.approx(exact.mean_response, rel=0.05)
    assert (Caution.SATURATED in found.cautions) == (load > 1)


@pytest.mark.parametrize(
    ("workers", "replicas", "limits"), [(None, 3, False), (6, 3, False), (5, 3, True), (1, 1, True)]
)
def test_connections_that_limit_the_replicas_are_told(
    workers: int | None, replicas: int, limits: bool
) -> None:
    setting = Setting(20.0, workers, replicas=replicas)
    found = predict(model_of(exponential(400), 2), setting, resamples=20)
    assert (Caution.WORKERS_LIMIT in found.cautions) == limits


def test_a_queue_that_grows_without_end_has_no_percentiles() -> None:
    model = model_of(exponential(), 2)
    found = predict(model, Setting(3.0 * model.saturation, replicas=2), resamples=20)
    assert found.p50 == found.p99 == Estimate(None, None, None)
    assert found.estimates["throughput"].value == pytest.approx(2 * model.saturation)


def test_what_is_not_predicted_is_refused() -> None:
    model = model_of(exponential(400))
    for text in ("cpu<50%", "ttfb.p99<5ms"):
        with pytest.raises(OptionError, match=text):
            replicas_needed(model, Setting(10), parse_slo(text))
    with pytest.raises(OptionError, match="throughput"):
        highest_rate(model, Setting(10), parse_slo("throughput>5/s"))
