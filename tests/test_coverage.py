"""How often intervals hold the truth, on queues whose percentiles are known exactly."""

import functools
import math
import time

import numpy as np
import pytest

from pytest_servebench.load import quantities
from pytest_servebench.stats.summary import summarize
from simulation import batching, coverage, distributions, queueing, sessions, traffic
from simulation.cases import failures, queue
from simulation.queues import LAWS, Law, mean, percentile

REPLICATIONS = 100
# The worst queue has 93 %: of 100 of its intervals fewer than 84 would hold it once in 1,000 times.
# All laws at all loads are held to more by ``python -m benchmarks --parts intervals``.
LEAST = 0.84
# Requests that tell the truth: it errs by a tenth of what a run of 2,000 does.
TRUTH = 200_000
SLOW = pytest.mark.slow
cell = functools.cache(coverage.cell)


@pytest.mark.parametrize(
    ("law", "load", "number"),
    [
        (LAWS[0], 0.6, 1000),
        *(pytest.param(law, 0.8, 1000, marks=SLOW) for law in LAWS),
        *(pytest.param(law, 0.3, 5000, marks=SLOW) for law in LAWS),
    ],
)
def test_intervals_of_percentiles_hold_the_truth(law: Law, load: float, number: int) -> None:
    found = cell(law, load, number, REPLICATIONS)
    for metric in coverage.METRICS:
        assert coverage.coverage(found, found["counts"][metric]) >= LEAST, found


@pytest.mark.slow
def test_too_few_requests_for_a_percentile_leave_its_interval_open() -> None:
    """Inconclusive, then, whatever the bound, unless it is already broken."""
    found = cell("M/M/1", 0.8, 1000, REPLICATIONS)
    assert coverage.too_few(0.8, 1000, "p99")
    assert found["counts"]["p99"]["open"] >= 90
    enough = cell("M/M/1", 0.3, 10_000, 30)
    assert not coverage.too_few(0.3, 10_000, "p99")
    assert enough["counts"]["p99"]["open"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("of", [sessions.Chats(slots=1000, load=0.01), sessions.Chats(alike=0.0)])
def test_requests_of_a_session_are_not_taken_for_independent_ones(of: sessions.Chats) -> None:
    """The worst of these has 91 %; fewer than 81 of 100 would be one in 1,000."""
    found = coverage.of_sessions(of, 2000, 100, TRUTH)
    for metric in (*sessions.PERMILLES, "mean"):
        assert coverage.coverage(found, found["counts"][metric]) >= 0.81, found


@pytest.mark.slow
def test_intervals_of_a_class_know_that_its_requests_wait_in_one_queue_with_others() -> None:
    """The mean has 94 %; fewer than 19 of 25 would be one in 1,000."""
    found = coverage.of_class("M/M/1", 0.8, 2000, 0.2, 25)
    for metric in (*coverage.METRICS, "mean"):
        assert coverage.coverage(found, found["counts"][metric]) >= 19 / 25, found


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 8])
def test_rare_pauses_and_bursts_are_allowed_for(index: int) -> None:
    """90 % are promised; fewer than 80 of 100 would be one in 1,000. A wrong *passed*: 2.5 %."""
    of = traffic.RARE[index]
    found = coverage.rare(of, 2000, 100, TRUTH)
    for metric in (*traffic.PERCENTILES, "mean"):
        assert coverage.coverage(found, found["counts"][metric]) >= 0.80, found
    verdicts = coverage.decisions(of, 2000, 100, TRUTH)["verdicts"]
    assert verdicts[0]["passed"] <= 8, verdicts


@pytest.mark.slow
def test_intervals_of_streamed_answers_hold_the_truth() -> None:
    """90 % are promised; fewer than 29 of 40 would be one in 1,000."""
    found = coverage.streamed(0.8, 500, 40, TRUTH)
    for counts in found["counts"].values():
        assert coverage.coverage(found, counts) >= 0.725, found


def test_simulated_batching_has_its_closed_forms() -> None:
    """Alone, a request's tokens take an iteration each; beyond capacity, batches are full."""
    server = batching.Server(prompt=0.0, noise=0.0)
    alone = batching.run(server, 0.005, 2000, 1)
    tokens = quantities.sample(alone, "tpot")
    assert tokens is not None
    assert np.median(tokens.values) == pytest.approx(server.fixed + server.each)
    dice = np.random.default_rng(1)
    full = batching.simulate(server, np.zeros(20_000), dice)
    assert len(full.arrivals) / full.ends[-1] == pytest.approx(server.capacity, rel=0.05)
    steps = np.diff(full.ends)
    assert steps.max() == pytest.approx(server.fixed + server.most * server.each)
    assert (full.begins[1:] >= full.begins[:-1]).all()


@pytest.mark.slow
def test_pauses_that_seldom_meet_are_allowed_for() -> None:
    """By the variance of the blocks alone, intervals of p95 and mean held the truth in 80 %."""
    found = coverage.rare(traffic.RARE[1], 2000, 100, TRUTH)
    for metric in ("p90", "p95", "mean"):
        assert coverage.coverage(found, found["counts"][metric]) >= 0.88, found


@pytest.mark.slow
def test_a_bound_far_away_is_decided_from_few_requests() -> None:
    """By the effective number of requests, 25 of 100 runs were decided."""
    found = coverage.decisions(traffic.Traffic(1.0, 1, 0.5), 2000, 100, TRUTH)
    verdicts = found["verdicts"]
    assert verdicts[coverage.BOUNDS.index(5.0)]["passed"] >= 40, verdicts
    assert verdicts[coverage.BOUNDS.index(1.0)]["passed"] <= 8, verdicts


def test_modulated_arrivals_have_the_rate_and_the_dispersion_of_their_closed_forms() -> None:
    """Of a MMPP-2: variance of counts over their mean (Fischer and Meier-Hellstern 1993)."""
    bursts = traffic.Bursts(4.0, 0.2, 20.0)
    runs = traffic.runs(traffic.Traffic(0.0, 1, 0.1, bursts=bursts), 2000, 200)
    counts = np.array([len(one.records) for one in runs])
    calm = 1 / (1 - 0.2 + 0.2 * 4)
    leaving = (1 / 20) / (1 - 0.2)  # both rates of leaving together
    dispersion = 1 + 2 * 0.2 * 0.8 * (3 * calm) ** 2 / leaving
    assert counts.mean() == pytest.approx(2000, rel=0.02)
    assert sum(one.rare for one in runs) / counts.sum() == pytest.approx(0.2 * 4 * calm, rel=0.05)
    assert counts.var() / counts.mean() == pytest.approx(dispersion, rel=0.35)


def test_a_run_counts_its_pauses() -> None:
    """Of many idle servers, what takes long is a pause."""
    of = traffic.Traffic(0.0, 40, 0.02, traffic.Pauses(0.01, 20))
    for run in traffic.runs(of, 300, 20):
        latency = run.records.latency()
        assert run.rare == (latency > 2 * latency.min()).sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    "share", [pytest.param(0.9, marks=SLOW), pytest.param(0.99, marks=SLOW), 0.999]
)
def test_intervals_of_success_rates_near_1_hold_the_truth(share: float) -> None:
    found = coverage.success(share, 1, 1000, 200)
    assert coverage.coverage(found, found["counts"]) >= 0.88, found


def test_intervals_take_no_time() -> None:
    records = queue("M/M/1", 0.6, 10_000, 0)
    summarize(records, 0.6)
    start = time.process_time()
    summarize(records, 0.6)
    assert time.process_time() - start < 0.3


# -- the truth itself -----------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS)
def test_simulated_queues_have_their_percentiles_and_means(law: Law) -> None:
    load, runs = 0.6, [queue(law, 0.6, 20_000, seed) for seed in range(10)]
    latencies = [run.latency() for run in runs]
    for share in (0.5, 0.9, 0.99):
        truth = percentile(law, load, share)
        below = sum((one <= truth + 2e-9).mean() for one in latencies) / len(runs)
        assert below == pytest.approx(share, abs=0.25 * (1 - share))
    average = sum(one.mean() for one in latencies) / len(runs)
    assert average == pytest.approx(mean(law, load), rel=0.05)


def test_percentiles_are_those_of_the_closed_forms() -> None:
    assert percentile("M/M/1", 0.5, 0.5) == pytest.approx(2 * math.log(2))
    assert percentile("M/D/1", 0.3, 0.5) == pytest.approx(1.0)  # 70 % need not wait
    wait = percentile("M/D/1", 0.6, 0.9) - 1
    assert distributions.md1_wait(0.6, 1.0)(wait) == pytest.approx(0.9, abs=1e-6)
    assert mean("M/M/1", 0.5) == pytest.approx(queueing.mmc(0.5, 1.0, 1).mean_response)


def test_failures_come_as_often_and_as_long_as_was_asked() -> None:
    runs = [failures(0.1, 5, 20_000, seed) for seed in range(5)]
    failed = [~run.ok for run in runs]
    assert sum(one.mean() for one in failed) / 5 == pytest.approx(0.1, rel=0.1)
    begins = sum((one[1:] & ~one[:-1]).sum() for one in failed)
    assert sum(one.sum() for one in failed) / begins == pytest.approx(5, rel=0.1)
