"""Percentiles and intervals: what holds always, and how often intervals hold the truth."""

import dataclasses
import json
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load.quantities import Cause
from pytest_servebench.load.records import Outcome, Records
from pytest_servebench.stats.bootstrap import (
    Blocks,
    block_length,
    degrees_of_freedom,
    moving_blocks,
)
from pytest_servebench.stats.episodes import (
    SHARES,
    Lengths,
    at_most,
    heaviness,
    length_of,
    lengths,
    lower_rank,
    nearest_rank,
    upper_rank,
)
from pytest_servebench.stats.intervals import poisson_interval, wilson_interval
from pytest_servebench.stats.student import variance_limit
from pytest_servebench.stats.summary import PERMILLES, distribution, summarize
from simulation import queueing
from simulation.cases import mm1_records, records, steady
from tests.examples import examples

Floats = npt.NDArray[np.float64]

latencies = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=60).map(np.array)


@st.composite
def any_records(draw: st.DrawFn) -> Records:
    """Return any records that a run can leave, none at all included."""
    n = draw(st.integers(0, 40))
    window = draw(st.floats(0.1, 100))
    part = st.lists(st.floats(0, 1, exclude_max=True), min_size=n, max_size=n)
    arrivals = np.sort(np.array(draw(part))) * window
    latency = np.array(draw(st.lists(st.floats(0, 50), min_size=n, max_size=n)))
    rows = records(arrivals, latency, window)
    outcomes = draw(st.lists(st.sampled_from(list(Outcome)), min_size=n, max_size=n))
    return dataclasses.replace(rows, outcome=np.array(outcomes, dtype=np.uint8))


def up(value: float | None) -> float:
    return math.inf if value is None else value


# -- what holds always ----------------------------------------------------------------------------


@given(latencies)
def test_percentiles_are_values_in_order_between_the_extremes(values: Floats) -> None:
    found = distribution(values)
    percentiles = [found.percentiles[name] for name in PERMILLES]
    assert all(one in values for one in percentiles)
    known = [one for one in percentiles if one is not None]
    assert known == sorted(known)
    assert found.min is not None
    assert found.max is not None
    assert found.mean is not None
    assert found.min <= known[0] <= known[-1] <= found.max
    assert found.min <= found.mean <= found.max


@given(latencies, st.randoms())
def test_a_distribution_does_not_know_the_order(values: Floats, random: object) -> None:
    shuffled = values.tolist()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert distribution(np.array(shuffled)) == distribution(values)


@given(latencies)
def test_percentiles_are_nearest_ranks(values: Floats) -> None:
    found = distribution(values)
    for name, permille in PERMILLES.items():
        rank = nearest_rank(permille, len(values))
        assert rank == math.ceil(len(values) * permille / 1000 - 1e-9)
        assert found.percentiles[name] == np.sort(values)[rank - 1]


def test_no_values_have_no_percentiles() -> None:
    found = distribution(np.empty(0))
    assert (found.n, found.mean, found.min, found.max, found.stddev) == (0, None, None, None, None)
    assert found.percentiles == dict.fromkeys(PERMILLES)


@examples(150)
@given(any_records())
def test_any_summary_is_plain_and_consistent(rows: Records) -> None:
    found = summarize(rows, 10.0)
    # Neither infinity nor NaN nor NumPy's own numbers: JSON knows none of them.
    text = json.dumps(dataclasses.asdict(found), allow_nan=False)
    assert json.loads(text)["arrivals"] == len(rows)
    assert sum(found.outcomes.values()) == found.arrivals
    for name, one in found.estimates.items():
        assert type(one.value) in (float, type(None)), name
        if len(rows):
            assert up(one.low) <= up(one.value) <= up(one.high), name
    for name in ("success_rate", "drop_rate", "error_rate", "throughput_share"):
        share = found.estimates[name]
        if len(rows):
            assert share.low is not None
            assert share.high is not None
            assert 0 <= share.low <= share.high <= 1
    values = [up(found.estimates[name].value) for name in PERMILLES]
    assert values == sorted(values)


def test_the_same_records_give_the_same_intervals() -> None:
    rows = mm1_records(50, 100, 300, seed=1)
    assert summarize(rows, 50) == summarize(rows, 50)


@examples(30)
@given(st.lists(st.floats(1e-3, 1e2), min_size=2, max_size=40), st.floats(0.01, 100))
def test_intervals_have_no_unit(values: list[float], factor: float) -> None:
    # Milliseconds or seconds: ranks stay where they are. The window is long beside any of them, as
    # what is done inside of it has a part in the length of blocks.
    rate = 1e-5
    plain = summarize(steady(np.array(values), rate), rate).estimates["p50"]
    scaled = summarize(steady(np.array(values) * factor, rate), rate).estimates["p50"]
    assert scaled.value == pytest.approx(up(plain.value) * factor, abs=2e-9, rel=1e-6)
    if plain.high is not None and scaled.high is not None:
        assert scaled.high == pytest.approx(plain.high * factor, abs=2e-9, rel=1e-6)


# -- failed requests ------------------------------------------------------------------------------


def test_failed_requests_rank_as_infinitely_slow() -> None:
    found = summarize(steady(np.full(100, 0.005), failed=8), 10)
    assert found.estimates["p90"].value == pytest.approx(0.005)
    assert found.estimates["p95"].value is None
    assert found.estimates["mean"].value is None
    assert found.latency.n == 92
    assert found.latency.percentiles["p99"] == pytest.approx(0.005)
    assert found.estimates["error_rate"].value == pytest.approx(0.08)
    assert found.estimates["drop_rate"].value == 0


def test_all_failed_is_certainly_infinite() -> None:
    p50 = summarize(steady(np.full(30, 0.005), failed=30), 10).estimates["p50"]
    assert (p50.value, p50.low, p50.high) == (None, None, None)


def test_a_single_burst_of_failures_proves_less_than_as_many_scattered() -> None:
    number, found = np.arange(1000), []
    for failed in (number % 12 == 0, (number >= 400) & (number < 484)):
        rows = records(number / 100, np.full(1000, 0.01), 10.0, failed)
        found.append(summarize(rows, 100).estimates["p95"])
    scattered, burst = found
    assert (scattered.value, scattered.low) == (None, None)
    assert burst.value is None
    assert burst.low == pytest.approx(0.01)


def test_dropped_is_not_an_error() -> None:
    lost = np.arange(50) < 5
    rows = records(np.arange(50) / 10, np.full(50, 0.01), 5.0, lost, Outcome.DROPPED)
    found = summarize(rows, 10).estimates
    assert found["drop_rate"].value == pytest.approx(0.1)
    assert found["error_rate"].value == 0


def test_throughput_counts_what_was_done_inside_the_window() -> None:
    latency = np.full(100, 0.01)
    latency[-20:] = 5.0  # done after the window of 10 s
    found = summarize(steady(latency), 10)
    assert found.throughput == pytest.approx(8.0)
    assert found.success_rate == 1
    assert found.achieved_rate == pytest.approx(10.0)
    assert found.estimates["throughput_share"].value == pytest.approx(0.8)


# -- few requests ---------------------------------------------------------------------------------


def test_p99_of_fifteen_requests_has_no_upper_limit() -> None:
    values = np.random.default_rng(0).exponential(0.005, 15)
    found = summarize(steady(values, 1.0), 1).estimates
    assert found["p99"].value == pytest.approx(values.max(), abs=1e-9)
    assert found["p99"].high is None
    assert up(found["p99"].low) > 0
    assert found["p50"].high is not None


@pytest.mark.parametrize(("permille", "fewest"), [(500, 6), (900, 36), (950, 72), (990, 368)])
def test_order_statistics_are_exact_for_independent_values(permille: int, fewest: int) -> None:
    """The largest of n values is above the percentile with probability 1 - q^n."""
    share = permille / 1000
    assert upper_rank(permille, fewest, 1.0) <= fewest
    assert upper_rank(permille, fewest - 1, 1.0) == fewest
    assert share**fewest <= 0.025 < share ** (fewest - 1)
    low, high = lower_rank(permille, 1000, 1.0), upper_rank(permille, 1000, 1.0)
    chances = np.array([math.comb(1000, k) * share**k * (1 - share) ** (1000 - k)
                        for k in range(1001)])  # fmt: skip
    assert chances[:low].sum() <= 0.025 < chances[: low + 1].sum()
    assert chances[high:].sum() <= 0.025 < chances[high - 1 :].sum()


@given(st.integers(1, 3000), st.floats(1, 100), st.sampled_from(sorted(PERMILLES.values())))
def test_ranks_hold_the_percentile(n: int, length: float, permille: int) -> None:
    low, high = lower_rank(permille, n, length), upper_rank(permille, n, length)
    assert 0 <= low <= nearest_rank(permille, n) <= high <= n + 1


@pytest.mark.parametrize(("number", "tail", "length"), [(600, 0.1, 3.0), (2000, 0.01, 5.0)])
def test_episodes_have_the_moments_and_the_gaps_of_their_closed_forms(
    number: int, tail: float, length: float
) -> None:
    below = np.array([at_most(k, number, tail, length) for k in range(number + 200)])
    assert below[0] == pytest.approx((1 - tail) ** int(number / length))  # none came
    chances, k = np.diff(below, prepend=0.0), np.arange(len(below))
    mean = float(chances @ k)
    variance = float(chances @ (k - mean) ** 2)
    assert mean == pytest.approx(number * tail, rel=0.01)
    dispersion = variance / (number * tail * (1 - tail))
    assert length_of(dispersion, tail) == pytest.approx(length, rel=0.01)


def test_a_slowest_request_that_exponential_times_may_have_is_not_heavy() -> None:
    dice = np.random.default_rng(3)
    found = [heaviness(np.sort(dice.exponential(0.01, 2000))) for _ in range(50)]
    assert np.median(found) < 1.1
    assert np.mean(found) < 1.2


@given(st.integers(20, 500), st.floats(1, 1000), st.integers(0, 20), st.floats(1e-6, 1e3))
def test_heaviness_is_that_of_the_slowest_that_was_answered(
    n: int, times: float, failed: int, unit: float
) -> None:
    values = np.concatenate([np.ones(n - 1), [times], np.full(failed, math.inf)])
    usual = (math.log(n) + np.euler_gamma) / math.log(10)
    assert heaviness(unit * values) == pytest.approx(max(1.0, times / usual))
    assert heaviness(unit * values[-failed - 1 :]) == 1


@pytest.mark.parametrize("nothing", [0.0, 1e-6])
def test_where_most_times_are_nothing_the_others_are_compared(nothing: float) -> None:
    dice = np.random.default_rng(3)
    found, outliers = [], []
    for _ in range(50):
        values = np.sort(np.where(dice.random(2000) < 0.05, dice.exponential(0.01, 2000), nothing))
        found.append(heaviness(values))
        values[-1] = 1.0
        outliers.append(heaviness(values))
    # Of 100 exponential times the slowest is about ln 100 + 0.58 = 5.2 means. They are half of the
    # slowest tenth: (ln 200 + 0.58) / 2 = 2.9 means.
    assert np.median(found) == pytest.approx(1.8, rel=0.2)
    assert np.median(outliers) == pytest.approx(100 / 2.9, rel=0.2)


def test_a_heavy_tail_makes_longer_episodes_only_of_requests_that_delay_each_other() -> None:
    n, dice = 2000, np.random.default_rng(1)
    alone = dice.random(n) < 0.1
    together = np.repeat(dice.random(n // 10) < 0.1, 10)
    found = {}
    for name, slow in (("alone", alone), ("together", together)):
        series = np.repeat((slow - slow.mean())[:, None], len(SHARES), axis=1)
        blocks = moving_blocks(series)
        means = dict.fromkeys(SHARES, float(slow.mean()))
        found[name] = [lengths(blocks, means, n, 900, heavy).high for heavy in (1.0, 5.0)]
    plain, heavy = found["together"]
    assert heavy > 2.5 * plain
    assert found["alone"][1] < 2


def test_the_cause_of_slow_times_decides_what_larger_shares_show() -> None:
    n = 20_000
    means = {share: share / 1000 for share in SHARES}
    # Half are slow in the same seconds, and the slowest tenth each for itself.
    variances = np.array([(40 if p <= 0.1 else 400) * n * p * (1 - p) for p in means.values()])

    def found(permille: int, cause: Cause, degrees: float = 30.0, heavy: float = 1.0) -> Lengths:
        blocks = Blocks(np.zeros((1, len(SHARES))), 30.0, variances, np.full(len(SHARES), degrees))
        return lengths(blocks, means, n, permille, heavy, cause=cause)

    queue, token = found(900, "queue"), found(900, "token")
    own, limit = (length_of(times * 40, 0.1) for times in (1, variance_limit(30)))
    assert own < token.low == token.high == max(token.far) == pytest.approx(limit)
    assert min(queue.low, queue.high, *queue.far) > 5 * limit
    # Of p90 itself, nothing is known.
    assert found(900, "token", 1.0, heavy=9.0) == found(900, "queue", 1.0)
    queue, stall = found(950, "queue"), found(950, "stall")
    assert queue.low < 50 < stall.low == pytest.approx(length_of(400, 0.05))
    assert (queue.high, queue.far) == (stall.high, stall.far)


@pytest.mark.parametrize(("degrees", "lowest"), [(8, 2.7326), (20, 10.8508), (100, 77.9295)])
def test_the_limit_of_a_variance_is_that_of_chi_squared(degrees: int, lowest: float) -> None:
    assert variance_limit(degrees) == pytest.approx(degrees / lowest, rel=0.01)


def test_one_request_and_none() -> None:
    one = summarize(records(np.array([0.5]), np.array([0.004]), 1.0), 1)
    assert one.estimates["mean"].value == pytest.approx(0.004)
    assert one.estimates["mean"].high is None
    assert one.estimates["p50"].high is None
    none = summarize(records(np.empty(0), np.empty(0), 1.0), 1)
    assert none.arrivals == 0
    assert none.estimates["p50"].value is None
    assert none.estimates["throughput"].value == 0
    assert up(none.estimates["throughput"].high) == pytest.approx(3.84, abs=0.01)


# -- intervals ------------------------------------------------------------------------------------


def test_wilson_near_one() -> None:
    all_of_fifteen = wilson_interval(1.0, 15)
    assert (all_of_fifteen.value, all_of_fifteen.high) == (1.0, 1.0)
    assert all_of_fifteen.low == pytest.approx(15 / (15 + 3.8415), abs=1e-4)
    some = wilson_interval(81 / 263, 263)  # Newcombe (1998, Statistics in Medicine 17), table I
    assert some.low == pytest.approx(0.2553, abs=1e-4)
    assert some.high == pytest.approx(0.3662, abs=1e-4)


def test_a_regular_server_has_a_sure_throughput() -> None:
    # A saturated server finishes one request every 10 ms, whatever arrives.
    n = 1000
    arrivals = np.sort(np.random.default_rng(2).uniform(0, 5, n))
    done = 0.01 * (np.arange(n) + 1)
    rows = records(arrivals, np.maximum(done - arrivals, 0), 10.0)
    estimate = summarize(rows, 200).estimates["throughput"]
    poisson = poisson_interval(1000, 1.0, 10.0)
    assert up(estimate.high) - up(estimate.low) < 0.3 * (up(poisson.high) - up(poisson.low))


def test_bursts_of_failures_widen_the_success_rate() -> None:
    spread = np.zeros(1000, dtype=np.bool_)
    spread[::25] = True
    burst = np.zeros(1000, dtype=np.bool_)
    burst[400:440] = True
    widths = []
    for failed in (spread, burst):
        rows = records(np.arange(1000) / 100, np.full(1000, 0.01), 10.0, failed)
        one = summarize(rows, 100).estimates["success_rate"]
        assert one.value == pytest.approx(0.96)
        widths.append(up(one.high) - up(one.low))
    assert widths[1] > 2 * widths[0]


def autoregressive(memory: float, n: int, seed: int) -> Floats:
    series, last = np.empty(n), 0.0
    for i, one in enumerate(np.random.default_rng(seed).normal(size=n)):
        last = memory * last + one
        series[i] = last
    return series


@pytest.mark.parametrize("memory", [0.3, 0.6, 0.9])
def test_block_length_of_autoregressive_series(memory: float) -> None:
    # The exact optimum of Politis and White: G = 2 sum k r^k, long-run variance sum r^|k|.
    n = 4000
    lags = memory ** np.arange(1, 400) * np.arange(1, 400)
    g, long_run = 2 * lags.sum(), (1 + memory) / (1 - memory)
    best = (2 * g**2 / (4 / 3 * long_run**2) * n) ** (1 / 3)
    lengths = [block_length(autoregressive(memory, n, seed)) for seed in range(20)]
    assert np.median(lengths) == pytest.approx(1.5 * best, rel=0.25)


def test_block_length_without_memory() -> None:
    lengths = [block_length(autoregressive(0.0, 2000, seed)) for seed in range(20)]
    assert np.median(lengths) <= 3
    assert block_length(np.ones(50)) == 1
    assert block_length(np.array([1.0])) == 1


@pytest.mark.parametrize("memory", [0.0, 0.6, 0.9])
def test_blocks_tell_the_variance_of_a_sum(memory: float) -> None:
    # That of n values of an autoregressive series is about n / (1 - memory)^2.
    n = 2000
    found = [
        float(moving_blocks(autoregressive(memory, n, seed)[:, None]).variances[0])
        for seed in range(40)
    ]
    truth = n / (1 - memory) ** 2
    assert np.mean(found) == pytest.approx(truth, rel=0.15)
    assert np.mean(found) > 0.98 * truth  # what bias there is, is to the safe side


@given(st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=60), st.floats(0.01, 100))
def test_variances_of_blocks_have_no_unit(values: list[float], factor: float) -> None:
    plain = moving_blocks(np.array(values)[:, None])
    scaled = moving_blocks(np.array(values)[:, None] * factor)
    assert plain.variances[0] >= 0
    assert scaled.variances[0] == pytest.approx(plain.variances[0] * factor**2, rel=1e-3, abs=1e-6)


@given(st.floats(3, 1e6))
def test_degrees_of_freedom_of_normal_values(number: float) -> None:
    assert degrees_of_freedom(number, 3.0) == pytest.approx(number - 1)


@given(st.floats(0, 1e6), st.floats(0, 1e9))
def test_degrees_of_freedom_stay_within_bounds(number: float, kurtosis: float) -> None:
    assert 1 <= degrees_of_freedom(number, kurtosis) <= max(1.0, number - 1)


def test_one_event_has_one_degree_of_freedom_or_two() -> None:
    # A single block of n that is unlike the others: its kurtosis is about n.
    assert 1 <= degrees_of_freedom(100, 100.0) < 2.1


# -- how often intervals hold the truth -----------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("load", "number", "least"),
    [
        (0.1, 150, 0.90),
        pytest.param(0.5, 1000, 0.87, marks=pytest.mark.slow),
        pytest.param(0.5, 4000, 0.88, marks=pytest.mark.slow),
        pytest.param(0.8, 3000, 0.86, marks=pytest.mark.slow),  # of the mean, too
    ],
)
def test_coverage_on_mm1_queues(load: float, number: int, least: float) -> None:
    """95 % is promised; 120 runs leave 2 % of doubt, and dependence costs the rest."""
    service_rate, runs = 100.0, 120
    rate = load * service_rate
    truth = {
        name: queueing.mm1_response_percentile(rate, service_rate, permille / 1000)
        for name, permille in PERMILLES.items()
    }
    truth["mean"] = queueing.mmc(rate, service_rate, 1).mean_response
    truth["throughput"] = rate
    hits = dict.fromkeys(truth, 0)
    for seed in range(runs):
        found = summarize(mm1_records(rate, service_rate, number, seed), rate).estimates
        for name, value in truth.items():
            hits[name] += up(found[name].low) <= value <= up(found[name].high)
    shares = {name: count / runs for name, count in hits.items()}
    assert min(shares.values()) >= least, shares
