"""Which of several servers did better, and that chance says so no more often than is stated."""

import math
from collections.abc import Mapping

import numpy as np
import pytest

from pytest_servebench.analysis import contests
from pytest_servebench.metrics import METRICS
from pytest_servebench.stats.ratios import Range
from pytest_servebench.stats.student import Z

P50, SUCCESS = METRICS["p50"], METRICS["success_rate"]
TWELVE = [f"server{number}" for number in range(12)]


def measured(means: Mapping[str, float], dice: np.random.Generator) -> dict[str, Range]:
    """Return logarithms of latencies, measured with a standard error of 2 %, as seconds."""
    found = {}
    for server, mean in means.items():
        value = mean * math.exp(dice.normal(0, 0.02))
        found[server] = Range(value, value * math.exp(-0.02 * Z), value * math.exp(0.02 * Z))
    return found


def told_apart(ranges: Mapping[str, Range], *, widened: bool = True) -> contests.Pairs:
    number = len(ranges) if widened else 2
    wide = {server: contests.widened(P50, one, number) for server, one in ranges.items()}
    return contests.by_intervals(P50, wide)


def test_two_servers_are_compared_by_their_own_intervals() -> None:
    assert contests.caution(2) == 1
    # Twice the standard error of a difference, sqrt(2), times 1.96 of each.
    assert pytest.approx(math.erfc(Z)) == contests.RATE
    known = Range(0.01, 0.009, 0.012)
    assert contests.widened(P50, known, 2) == known


@pytest.mark.parametrize("servers", [3, 12, 50])
def test_the_rate_is_divided_among_all_pairs(servers: int) -> None:
    # Two intervals that are equally wide stop to overlap at a difference of sqrt(2) z errors.
    reach = math.sqrt(2) * Z * contests.caution(servers)
    tail = math.erfc(reach / math.sqrt(2))
    assert math.comb(servers, 2) * tail == pytest.approx(contests.RATE)


@pytest.mark.slow
def test_of_twelve_equal_servers_hardly_any_is_called_better() -> None:
    dice = np.random.default_rng(1)
    runs = 1500
    equal = dict.fromkeys(TWELVE, 0.010)
    drawn = [measured(equal, dice) for _ in range(runs)]
    false = sum(bool(told_apart(one)) for one in drawn) / runs
    assert false <= contests.RATE + 3.3 * math.sqrt(contests.RATE / runs)
    # As two servers are compared, one run in five would call some server better.
    assert sum(bool(told_apart(one, widened=False)) for one in drawn) / runs > 0.1


def test_the_best_are_found_with_their_ties() -> None:
    dice = np.random.default_rng(2)
    means = dict.fromkeys(TWELVE, 0.010) | {"server3": 0.005, "server7": 0.005}
    pairs = told_apart(measured(means, dice))
    beaten = {worse for _, worse in pairs}
    assert [one for one in TWELVE if one not in beaten] == ["server3", "server7"]
    assert {better for better, _ in pairs} == {"server3", "server7"}


def repeated(means: Mapping[str, float], dice: np.random.Generator) -> dict[str, list[float]]:
    """Return three repeats, of which the machine makes each 20 % faster or slower for all."""
    machine = dice.normal(0, 0.2, 3)
    return {
        server: (mean * np.exp(machine + dice.normal(0, 0.03, 3))).tolist()
        for server, mean in means.items()
    }


@pytest.mark.slow
def test_servers_that_took_turns_are_ranked_within_each_repeat() -> None:
    def pairs(means: Mapping[str, float]) -> contests.Pairs:
        series = repeated(means, dice)
        return contests.by_repeats(P50, {one: series[one][1] for one in series}, series, ())

    dice = np.random.default_rng(3)
    runs = 200
    false = sum(bool(pairs(dict.fromkeys(TWELVE, 0.010))) for _ in range(runs)) / runs
    assert false <= 0.05 + 3.3 * math.sqrt(0.05 / runs)
    best = dict.fromkeys(TWELVE, 0.010) | {"server3": 0.007}
    assert {("server3", one) for one in TWELVE if one != "server3"} == set(pairs(best))


def test_the_intervals_decide_where_there_are_no_ratios() -> None:
    series = {"a": [0.9, 0.8, 0.9], "b": [1.0, 1.0, 1.0], "c": [1.0, 1.0, 1.0]}
    shares = contests.by_repeats(SUCCESS, {"a": 0.9, "b": 1.0, "c": 1.0}, series, ())
    assert set(shares) <= {("b", "a"), ("c", "a")}
    latencies = {"a": [0.02, 0.03, math.inf], "b": [0.01, 0.01, 0.01], "c": [0.005, 0.005, 0.005]}
    values = {one: series[1] for one, series in latencies.items()}
    told = contests.by_repeats(P50, values, latencies, [("c", "a"), ("b", "c")])
    assert set(told) == {("c", "a"), ("c", "b")}
