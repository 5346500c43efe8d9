"""The sizing model against queues whose services and percentiles are known."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_servebench.errors import OptionError
from pytest_servebench.load.store import NEVER, Outcome
from pytest_servebench.objectives.slo_grammar import parse_slo
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.sizing.answers import highest_rate, replicas_needed
from pytest_servebench.sizing.draws import Resamples
from pytest_servebench.sizing.fit import fit
from pytest_servebench.sizing.intervals import Moments, Widening
from pytest_servebench.sizing.inversion import (
    Floats,
    fifo_services,
    shared_services,
    unordered_services,
)
from pytest_servebench.sizing.model import Caution, Misfit, ServerModel, Unfit
from pytest_servebench.sizing.prediction import Setting, predict
from pytest_servebench.sizing.queue import ROUTINGS, Routing
from pytest_servebench.sizing.self_check import check_itself, pauses, trusted
from pytest_servebench.sizing.slots import combined
from pytest_servebench.stats.episodes import heaviness
from pytest_servebench.stats.estimates import Estimate
from simulation import queueing
from simulation.queues import Law
from simulation.servers import KNOWN, OTHERS, Server, fifo, last_come_first, shared


def fitted(server: Server, seed: int = 0, seconds: float = 30.0) -> ServerModel | Unfit:
    dice = np.random.default_rng(seed)
    return fit([server.case(load, seconds, dice) for load in (0.2, 0.5)])


def model_of(services: Floats, slots: int = 1, **changes: object) -> ServerModel:
    made = ServerModel(
        slots=slots, overhead=0.0, services=services, failed=np.zeros(len(services), dtype=bool),
        sizes=(len(services),), loads=(0.5,), rates=(1.0,), memory=1, deviation=0.0,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def exponential(number: int = 5_000, mean: float = 0.01) -> Floats:
    """Return services whose distribution is nearly exact: evenly spaced quantiles, shuffled."""
    values: Floats = -mean * np.log1p(-(np.arange(number) + 0.5) / number)
    return np.random.default_rng(0).permutation(values)


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


@pytest.mark.parametrize("seed", [8, 11, 32])
def test_slots_are_told_by_the_requests_on_which_two_numbers_disagree(seed: int) -> None:
    """By the correlation over all requests alone, five slots fit these as well."""
    model = fitted(next(one for one in KNOWN if one.slots == 4), seed)
    assert isinstance(model, ServerModel)
    assert model.slots == 4
    assert Caution.SLOTS_UNSURE not in model.cautions


@pytest.mark.parametrize("server", OTHERS, ids=lambda one: one.name)
def test_other_servers_are_refused(server: Server) -> None:
    assert isinstance(fitted(server), Unfit)


@pytest.mark.parametrize("law", ["M/M/1", "M/D/1", "M/G/1"])
def test_another_order_is_no_contention(law: Law) -> None:
    server = dataclasses.replace(OTHERS[-1], law=law)
    model = fitted(server)
    assert isinstance(model, Unfit)
    assert model.reasons == (Misfit.OTHER_ORDER,)
    dice = np.random.default_rng(1)
    arrivals, drawn = np.cumsum(dice.exponential(1.0, 500)), dice.exponential(0.7, 500)
    found = unordered_services(arrivals, last_come_first(arrivals, drawn))
    assert found == pytest.approx(drawn)


# -- intervals ------------------------------------------------------------------------------------


def test_intervals_reach_as_far_as_the_moment_that_decides_is_uncertain() -> None:
    dice = np.random.default_rng(3)
    services = 0.005 * dice.lognormal(-0.55, 1.05, 4_000)
    model = model_of(services)
    pool = Resamples(model, 200, dice)
    moments = Moments(model, pool)
    squares, cubes = (np.log((pool.ordered[pool.chosen] ** power).mean(axis=1)) for power in (2, 3))
    assert moments.widening(squares) == moments.of_waiting
    assert moments.widening(cubes).above > moments.of_waiting.above > 1
    assert moments.widening(cubes).heavy
    heavy = heaviness(np.sort(services))
    assert heavy > 2
    assert moments.of_waiting.above >= math.sqrt(heavy)
    assert moments.widening(cubes).above >= heavy
    cubes[0] = math.nan  # a percentile that no request of this resample has
    assert moments.widening(cubes).above > moments.of_waiting.above
    few = model_of(np.minimum(services, 16 * services.mean()))  # that saw none of the slowest
    assert Moments(few, Resamples(few, 50, dice)).of_waiting.above > 1.25
    constant = model_of(np.full(1_000, 0.005))
    calm = Moments(constant, Resamples(constant, 50, dice))
    assert calm.widening(np.zeros(50)) == Widening()


@pytest.mark.slow
@pytest.mark.parametrize(("law", "heavy"), [("M/G/1", True), ("M/M/1", False), ("M/D/1", False)])
def test_a_tail_that_few_services_decide_is_told(law: Law, heavy: bool) -> None:
    server = dataclasses.replace(KNOWN[0], law=law)
    for seed in range(3):
        model = fitted(server, seed)
        assert isinstance(model, ServerModel)
        prediction = predict(model, Setting(0.7 * server.saturation), resamples=50)
        assert (Caution.HEAVY_TAIL in prediction.cautions) is heavy


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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("routing", "slots", "replicas", "workers", "buffer_size"),
    [("least_loaded", 1, 4, 4, 8), ("random", 1, 1, 4, 6), ("random", 3, 2, 1, 4)],
)
def test_replicas_agree_with_closed_forms(
    routing: Routing, slots: int, replicas: int, workers: int, buffer_size: int
) -> None:
    """No more connections than slots: a free replica is found at once, or one connection is all."""
    services = exponential()
    servers = min(workers, slots * replicas)
    rate = 0.9 * servers / float(services.mean())
    setting = Setting(rate, workers, buffer_size, replicas, routing)
    found = predict(model_of(services, slots), setting, resamples=8)
    exact = queueing.mmck(rate, 1 / float(services.mean()), servers, workers + buffer_size)
    assert found.drop_rate.value == pytest.approx(exact.blocking, abs=0.01)
    assert found.estimates["throughput"].value == pytest.approx(
        rate * (1 - exact.blocking), rel=0.01
    )


@pytest.mark.slow
def test_better_routing_is_faster() -> None:
    model = model_of(exponential())
    # Connections without a limit, and so many that they hardly are one.
    p99 = {
        (routing, workers): predict(
            model, Setting(200.0, workers, 10, 3, routing), resamples=8
        ).p99.value
        or math.inf
        for routing in ROUTINGS
        for workers in (None, 40)
    }
    for workers in (None, 40):
        assert p99["least_loaded", workers] < 0.9 * p99["round_robin", workers]
        assert p99["round_robin", workers] < 0.9 * p99["random", workers]
    for routing in ROUTINGS:
        assert p99[routing, 40] == pytest.approx(p99[routing, None], rel=0.12)


def test_failures_and_drops_rank_as_infinitely_slow() -> None:
    services = exponential(2000)
    failed = np.arange(2000) % 40 == 0
    found = predict(model_of(services, failed=failed), Setting(20.0), resamples=8)
    assert found.estimates["error_rate"].value == pytest.approx(0.025, abs=0.003)
    assert found.p95.value is not None
    assert found.p99 == Estimate(None, None, None)
    assert found.estimates["mean"].value is None


EXACT = 100 - math.log(100) / 0.1
"""The rate for p99 < 100 ms and services of 10 ms: μ - λ = ln(100) / bound."""


@pytest.mark.slow
def test_the_highest_rate_agrees_with_the_closed_form() -> None:
    model, (clause,) = model_of(exponential()), parse_slo("p99<100ms")
    found = highest_rate(model, Setting(1.0), [clause], resamples=8)
    assert found.value == pytest.approx(EXACT, rel=0.05)
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
    assert found.limiting == clause


def test_the_number_of_replicas_agrees_with_the_closed_form() -> None:
    model, (clause,) = model_of(exponential()), parse_slo("p99<100ms")
    rate = 4.5 * EXACT
    needed = replicas_needed(model, Setting(rate), [clause], resamples=8)
    assert needed.value == 5
    assert needed.low is not None
    assert needed.high is not None
    assert needed.low <= needed.value <= needed.high
    assert needed.limiting == clause


def test_what_no_rate_and_no_number_of_replicas_keeps() -> None:
    model, hopeless = model_of(exponential()), parse_slo("p50<1ms")
    assert highest_rate(model, Setting(1.0), hopeless, resamples=8).value == 0
    assert replicas_needed(model, Setting(500.0), hopeless, resamples=8).value is None


def test_what_is_not_predicted_is_refused() -> None:
    model = model_of(exponential(400))
    for text in ("cpu<50%", "ttfb.p99<5ms"):
        with pytest.raises(OptionError, match=text):
            replicas_needed(model, Setting(10), parse_slo(text))
    with pytest.raises(OptionError, match="throughput"):
        highest_rate(model, Setting(10), parse_slo("throughput>5/s"))


# -- the check of itself --------------------------------------------------------------------------


def test_the_model_predicts_cases_that_it_was_not_fitted_to() -> None:
    server, dice = KNOWN[0], np.random.default_rng(1)
    cases = [server.case(load, 15.0, dice) for load in (0.3, 0.5, 0.7)]
    checks = check_itself(cases)
    model = fit(cases)
    assert [check.rate for check in checks] == [case.rate for case in cases]
    assert all(check.metrics["p50"].inside or not check.missed for check in checks)
    assert trusted(model, checks) is model
    assert check_itself(cases[:1]) == ()


def test_a_model_that_mispredicts_is_unfit() -> None:
    dice = np.random.default_rng(2)
    calm, slow = KNOWN[0], dataclasses.replace(KNOWN[0], mean=1.5 * KNOWN[0].mean)
    cases = [calm.case(0.3, 15.0, dice), calm.case(0.5, 15.0, dice), slow.case(0.9, 15.0, dice)]
    checks = check_itself(cases)
    assert checks[2].missed
    refused = trusted(fit(cases[:2]), checks)
    assert isinstance(refused, Unfit)
    assert refused.reasons == (Misfit.MISPREDICTS,)


def test_slow_services_that_come_together_are_pauses() -> None:
    services = np.full(3000, 0.01)
    services[::200] = 0.2
    assert not pauses(model_of(services))
    for shift in range(3):
        services[shift::200] = 0.2
    assert pauses(model_of(services))


# -- what a model is refused for ------------------------------------------------------------------


def lost(case: CaseResult, share: float) -> CaseResult:
    """Return a case in which a share of the requests, evenly spread, times out."""
    assert case.records is not None
    outcome = case.records.outcome.copy()
    outcome[np.arange(len(outcome)) % round(1 / share) == 0] = Outcome.TIMEOUT
    return dataclasses.replace(case, records=dataclasses.replace(case.records, outcome=outcome))


def test_refusals_name_their_reason() -> None:
    dice, server = np.random.default_rng(3), KNOWN[0]
    case = server.case(0.4, 30.0, dice)
    slower = dataclasses.replace(server, mean=1.3 * server.mean)
    wide = Server("M/M/64", "M/M/1", 64, fifo(64), 0.3)
    wider = Server("M/M/1200", "M/M/1", 1200, fifo(1200), 0.3)  # than is tried
    for cases, reason in (
        ([server.case(0.4, 2.0, dice)], Misfit.TOO_FEW),
        ([lost(case, 0.05)], Misfit.UNANSWERED),
        ([wide.case(0.3, 30.0, dice)], Misfit.NEVER_QUEUED),
        ([wider.case(0.3, 3.0, dice)], Misfit.NEVER_QUEUED),
        ([case, slower.case(0.4, 30.0, dice)], Misfit.DIFFERS_BETWEEN_CASES),
    ):
        model = fit(cases)
        assert isinstance(model, Unfit)
        assert reason in model.reasons
    some = fit([lost(case, 0.005)])
    assert isinstance(some, ServerModel)
    assert Caution.SOME_UNANSWERED in some.cautions
    assert case.records is not None
    unsent = dataclasses.replace(case.records, sent=np.full(len(case.records), NEVER))
    model = fit([case, dataclasses.replace(case, records=unsent)])
    assert isinstance(model, ServerModel)
    assert model.sizes == (len(case.records),)
    with pytest.raises(ValueError, match="records"):
        fit([dataclasses.replace(case, records=None)])
    with pytest.raises(ValueError, match="rows"):
        fit([case, dataclasses.replace(case, rows=8)])


def test_time_on_the_network_is_no_service() -> None:
    dice = np.random.default_rng(4)
    server = dataclasses.replace(KNOWN[1], overhead=0.001)
    model = fit([server.case(load, 15.0, dice) for load in (0.2, 0.5)])
    assert isinstance(model, ServerModel)
    assert model.slots == 1
    assert model.overhead == pytest.approx(0.001, rel=0.1)
    assert model.mean_service == pytest.approx(server.mean, rel=0.01)
