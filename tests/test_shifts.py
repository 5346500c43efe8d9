"""What the requests of two runs tell of a percentile or a mean."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.analysis.pairs import match
from pytest_servebench.analysis.request_shifts import records_of, request_shifts
from pytest_servebench.stats.bootstrap import Floats
from pytest_servebench.stats.shifts import Shift, Side, mean_shift, percentile_shifts
from pytest_servebench.stats.student import Z
from simulation import batching, saved
from simulation.cases import steady
from tests.examples import examples

PERMILLES = (500, 900, 950, 990)


def side(values: Floats) -> Side:
    """Return requests that come evenly, a second each."""
    return Side(values, np.arange(len(values)) * 10**9, len(values) * 10**9)


def every(base: Floats, new: Floats) -> list[Shift | None]:
    sides = side(base), side(new)
    return [*percentile_shifts(*sides, PERMILLES), mean_shift(*sides)]


def known(base: Floats, new: Floats) -> list[Shift]:
    """Return the shifts, of which none may be unknown."""
    found = [shift for shift in every(base, new) if shift is not None]
    assert len(found) == len(PERMILLES) + 1
    return found


def drawn(seed: int, number: int = 1200) -> Floats:
    return np.random.default_rng(seed).exponential(0.01, number)


@examples(25)
@given(st.integers(0, 10**6), st.integers(40, 400), st.integers(40, 400), st.floats(0.2, 5))
def test_swapped_sides_turn_the_ratio_round(seed: int, few: int, many: int, factor: float) -> None:
    base, new = drawn(seed, few), factor * drawn(seed + 1, many)
    for one, other in zip(known(base, new), known(new, base), strict=True):
        wide, narrow, back = one.at(0.001), one.at(0.05), other.at(0.05)
        assert wide.low <= narrow.low <= one.value <= narrow.high <= wide.high
        assert back.value == pytest.approx(1 / narrow.value)
        assert back.high == pytest.approx(1 / narrow.low if narrow.low else math.inf)


@examples(25)
@given(st.integers(0, 10**6), st.floats(0.2, 5))
def test_what_takes_longer_by_one_factor_for_all_is_known_exactly(seed: int, factor: float) -> None:
    base = drawn(seed, 300)
    for shift in known(base, factor * base):
        found = shift.at(0.01)
        assert found.value == pytest.approx(factor)
        assert found.low <= factor * (1 + 1e-9)
        assert found.high >= factor * (1 - 1e-9)


def test_a_slower_body_is_no_slower_tail() -> None:
    """Everything below p90 takes a quarter longer, what is above as long as before."""
    worse = dict.fromkeys(PERMILLES, 0)
    for seed in range(40):
        base, new = drawn(2 * seed), drawn(2 * seed + 1)
        new = np.where(new < 0.01 * math.log(10), np.minimum(1.25 * new, 0.01 * math.log(10)), new)
        for permille, shift in zip(PERMILLES, known(base, new), strict=False):
            worse[permille] += shift.at(0.01).low > 1
    assert worse[500] > 30
    assert worse[950] <= 2
    assert worse[990] <= 2


@pytest.mark.parametrize("pauses", [1, 2, 3, 5])
def test_a_few_long_pauses_are_no_slower_tail(pauses: int) -> None:
    """With either sign equally likely, five of them are on one side in one pair of sixteen."""
    base, new = drawn(1), drawn(2)
    for pause in range(pauses):
        new[100 + 200 * pause :][:15] += 0.2
    shift = known(base, new)[3]
    assert shift.value > 1.1
    for tail in (0.01, 1e-3, 1e-4, 1e-6):
        assert shift.at(tail).low <= 1


@pytest.mark.parametrize(("place", "permille"), list(enumerate(PERMILLES)))
def test_independent_requests_give_the_textbooks_interval(place: int, permille: int) -> None:
    number, tail = 4000, 1 - permille / 1000
    found = [known(drawn(seed, number), 1.2 * drawn(seed + 99, number)) for seed in range(6)]
    ranges = [shifts[place].at(0.05) for shifts in found]
    widths = [math.log(one.high / one.low) / 2 for one in ranges]
    error = math.sqrt(2 * (1 - tail) / (tail * number)) / -math.log(tail)
    assert np.mean(widths) == pytest.approx(Z * error, rel=0.25)
    assert sum(one.low < 1.2 < one.high for one in ranges) >= 5


@pytest.mark.parametrize(
    ("lost", "infinite", "worse"),
    [
        (np.arange(1200) < 5, False, False),  # of 12 requests beyond p99
        (np.arange(1200) < 50, True, False),  # at once, which is no more than one event
        (np.arange(1200) % 24 == 0, True, True),
    ],
)
def test_failures_are_slower_than_anything(
    lost: npt.NDArray[np.bool_], infinite: bool, worse: bool
) -> None:
    base = drawn(1)
    failed = np.where(lost, math.inf, drawn(2))
    (*most, p99, mean), back = every(base, failed), every(failed, base)[3]
    assert None not in most
    assert mean is None  # any makes it infinite
    assert p99 is not None
    assert back is not None
    assert math.isinf(p99.value) == (back.value == 0) == infinite
    assert (p99.at(0.01).low > 1) == (back.at(0.01).high < 1) == worse
    assert every(failed, failed)[3] is None or not infinite
    assert every(np.empty(0), failed) == [None] * 5


def test_a_tail_of_few_requests_has_no_limits() -> None:
    shift = every(drawn(1, 100), 3 * drawn(2, 100))[3]
    assert shift is not None
    assert (shift.at(0.05).low, shift.at(0.05).high) == (0, math.inf)


def test_records_are_read_from_memory_or_from_the_runs_directories(tmp_path: Path) -> None:
    rows = [steady(drawn(seed, 300)) for seed in range(4)]
    rows[3].save(tmp_path / "1.npz")
    made = [saved.case(one, repeat=1 + number % 2) for number, one in enumerate(rows)]
    cases = [dataclasses.replace(case, records=one) for case, one in zip(made, rows, strict=True)]
    cases[3] = dataclasses.replace(cases[3], records=None, records_file="1.npz")
    (pair,) = match(saved.run(cases[:2]), saved.run(cases[2:]))
    found = request_shifts(*records_of(pair, (None, tmp_path)))
    both = [np.concatenate([one.latency() for one in rows[two : two + 2]]) for two in (0, 2)]
    assert found["mean"].value == pytest.approx(both[1].mean() / both[0].mean())
    assert found["p50"].value == pytest.approx(np.median(both[1]) / np.median(both[0]), rel=0.05)
    assert found["ttfb.p99"].value == found["p99"].value
    assert request_shifts(*records_of(pair, (None, None))) == {}  # those of one repeat are missing


@pytest.mark.slow
def test_batches_of_requests_are_slow_together() -> None:
    """By the correlation of the difference alone, six of these pairs had another mean."""
    other = 0
    for seed in range(16):
        runs = [batching.run(batching.Server(), 0.8, 400, [side, seed]) for side in (7, 8)]
        shift = request_shifts(runs[:1], runs[1:])["mean"].at(0.01)
        other += shift.low > 1 or shift.high < 1
    assert other <= 2
