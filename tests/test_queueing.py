"""Queueing formulas against each other, and against simulated queues."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation import queueing
from simulation.distributions import Seconds
from simulation.queues import fifo_waits, waits

rates = st.floats(0.1, 1000)
loads = st.floats(0.01, 0.95)


# -- against each other ---------------------------------------------------------------------------


@given(rates, loads)
def test_mm1_in_closed_form(service_rate: float, load: float) -> None:
    queue = queueing.mmc(load * service_rate, service_rate, 1)
    assert queue.mean_wait == pytest.approx(load / (service_rate * (1 - load)))
    assert queue.mean_number == pytest.approx(load / (1 - load))
    assert queue.utilisation == pytest.approx(load)


@given(rates, st.floats(0.01, 0.9), st.integers(1, 20))
def test_mmck_without_limit_is_mmc(service_rate: float, load: float, servers: int) -> None:
    arrival_rate = load * servers * service_rate
    limited = queueing.mmck(arrival_rate, service_rate, servers, servers + 600)
    free = queueing.mmc(arrival_rate, service_rate, servers)
    assert limited.blocking < 1e-9
    for name in ("mean_wait", "mean_response", "mean_number", "utilisation"):
        assert getattr(limited, name) == pytest.approx(getattr(free, name), rel=1e-6), name


@given(rates, st.floats(0.01, 5).filter(lambda load: abs(load - 1) > 1e-3), st.integers(1, 60))
def test_mm1k_in_closed_form(service_rate: float, load: float, capacity: int) -> None:
    queue = queueing.mmck(load * service_rate, service_rate, 1, capacity)
    assert queue.blocking == pytest.approx(
        (1 - load) * load**capacity / (1 - load ** (capacity + 1)), rel=1e-6
    )


@given(st.integers(1, 200))
def test_mm1k_at_load_one_has_all_states_alike(capacity: int) -> None:
    queue = queueing.mmck(7.0, 7.0, 1, capacity)
    assert queue.blocking == pytest.approx(1 / (capacity + 1))
    assert queue.mean_number == pytest.approx(capacity / 2)


@given(st.floats(0.01, 100), st.integers(1, 100))
def test_without_a_buffer_it_is_erlangs_loss_formula(offered: float, servers: int) -> None:
    queue = queueing.mmck(offered, 1.0, servers, servers)
    assert queue.blocking == pytest.approx(queueing.erlang_b(offered, servers), rel=1e-9)
    assert queue.mean_wait == 0


def test_erlangs_tables() -> None:
    # Published tables: 10 erlangs offered to 10 lines; 5 erlangs to 8 agents.
    assert queueing.erlang_b(10, 10) == pytest.approx(0.2146, abs=1e-4)
    assert queueing.erlang_c(5, 8) == pytest.approx(0.1673, abs=1e-4)


@given(rates, loads)
def test_mg1_with_exponential_services_is_mm1(service_rate: float, load: float) -> None:
    mean = 1 / service_rate
    general = queueing.mg1(load * service_rate, mean, mean**2)
    assert general.mean_wait == pytest.approx(
        queueing.mmc(load * service_rate, service_rate, 1).mean_wait
    )
    fixed = queueing.md1_mean_wait(load * service_rate, mean)
    assert fixed == pytest.approx(general.mean_wait / 2)


@given(rates, st.floats(0.01, 20), st.integers(1, 10), st.integers(0, 100))
def test_flows_balance(service_rate: float, load: float, servers: int, buffer_size: int) -> None:
    arrival_rate = load * servers * service_rate
    queue = queueing.mmck(arrival_rate, service_rate, servers, servers + buffer_size)
    admitted = arrival_rate * (1 - queue.blocking)
    # What goes in comes out, and Little's law.
    assert admitted == pytest.approx(queue.utilisation * servers * service_rate, rel=1e-6)
    assert queue.mean_number == pytest.approx(admitted * queue.mean_response, rel=1e-6)
    assert queue.mean_number <= servers + buffer_size
    larger = queueing.mmck(arrival_rate, service_rate, servers, servers + buffer_size + 1)
    assert larger.blocking <= queue.blocking * (1 + 1e-9)
    assert larger.mean_wait >= queue.mean_wait * (1 - 1e-9)


def test_hundreds_of_servers_stay_within_numbers() -> None:
    queue = queueing.mmck(5000, 1.0, 1000, 11_000)
    assert queue.blocking == pytest.approx(0.8, abs=1e-9)


@given(rates, loads)
def test_percentiles_of_mm1(service_rate: float, load: float) -> None:
    arrival_rate = load * service_rate
    median = queueing.mm1_response_percentile(arrival_rate, service_rate, 0.5)
    mean = queueing.mmc(arrival_rate, service_rate, 1).mean_response
    assert median == pytest.approx(math.log(2) * mean)
    assert queueing.mm1_wait_percentile(arrival_rate, service_rate, (1 - load) * 0.99) == 0
    assert queueing.mm1_wait_percentile(arrival_rate, service_rate, 0.999) < (
        queueing.mm1_response_percentile(arrival_rate, service_rate, 0.999)
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda: queueing.mmck(0, 1, 1, 1),
        lambda: queueing.mmck(1, math.nan, 1, 1),
        lambda: queueing.mmck(1, 1, 0, 1),
        lambda: queueing.mmck(1, 1, 2, 1),
        lambda: queueing.mmc(2, 1, 2),
        lambda: queueing.erlang_c(3, 3),
        lambda: queueing.mg1(1, 0, 0),
        lambda: queueing.mg1(1, 0.5, -1),
        lambda: queueing.md1_mean_wait(2, 0.5),
        lambda: queueing.mm1_response_percentile(1, 1, 0.5),
        lambda: queueing.mm1_wait_percentile(1, 2, 1.0),
    ],
)
def test_what_has_no_answer_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"\d|nan"):
        call()


# -- against simulated queues ---------------------------------------------------------------------


def batch_error(values: Seconds) -> float:
    """Return the standard error of a mean from batch means: neighbours are alike."""
    batches = np.array([batch.mean() for batch in np.array_split(values, 40)])
    return float(batches.std(ddof=1) / math.sqrt(len(batches)))


@pytest.mark.parametrize("load", [0.3, 0.7])
@pytest.mark.parametrize("law", ["exponential", "fixed", "two kinds"])
def test_lindleys_recursion(load: float, law: str) -> None:
    dice = np.random.default_rng(4)
    n, mean = 400_000, 0.01
    services = {
        "exponential": dice.exponential(mean, n),
        "fixed": np.full(n, mean),
        "two kinds": np.where(dice.random(n) < 0.9, mean / 2, 5.5 * mean),
    }[law]
    arrivals = np.cumsum(dice.exponential(mean / load, n))
    waited = waits(arrivals, services)[1000:]
    variance = {"exponential": mean**2, "fixed": 0.0, "two kinds": 2.25 * mean**2}[law]
    exact = queueing.mg1_mean_wait(load / mean, mean, variance)
    assert waited.mean() == pytest.approx(exact, abs=4 * batch_error(waited))
    assert batch_error(waited) < 0.05 * exact
    if law == "exponential":
        for share in (0.9, 0.99):
            found = float(np.quantile(waited, share, method="inverted_cdf"))
            exact = queueing.mm1_wait_percentile(load / mean, 1 / mean, share)
            assert found == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize(
    ("load", "servers", "buffer_size"), [(0.8, 1, 3), (1.5, 2, 5), (0.95, 4, 10), (2.0, 3, 0)]
)
def test_limited_queues(load: float, servers: int, buffer_size: int) -> None:
    dice = np.random.default_rng(5)
    n, service_rate = 150_000, 100.0
    arrival_rate = load * servers * service_rate
    found = fifo_waits(
        np.cumsum(dice.exponential(1 / arrival_rate, n)),
        dice.exponential(1 / service_rate, n),
        servers,
        servers + buffer_size,
    )
    blocked = np.isnan(found)
    waited = found[~blocked]
    exact = queueing.mmck(arrival_rate, service_rate, servers, servers + buffer_size)
    error = batch_error(blocked.astype(np.float64))
    assert blocked.mean() == pytest.approx(exact.blocking, abs=4 * error)
    assert waited.mean() == pytest.approx(exact.mean_wait, abs=4 * batch_error(waited) + 1e-12)
