"""The capacity from probes, and the search that places them, against known queues."""

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_servebench.measure.capacity_plan import Capacity, Plan, ProbeOutcome, SearchSettings
from pytest_servebench.measure.capacity_search import CapacitySearch
from pytest_servebench.stats.capacity import Curve, fit, least, limiting_curve
from pytest_servebench.stats.probed import Probed, probed, saturation
from simulation.cases import mm1_records
from simulation.searches import known, search

SERVICE_RATE, BOUND = 200.0, 0.05
CAPACITY = SERVICE_RATE - math.log(100) / BOUND  # of M/M/1 with p99 < BOUND


def expected(rate: float, seconds: float) -> Probed:
    """Return the mean of what a probe of the M/M/1 queue sees, requests taken as independent."""
    share = math.exp(-max(0.0, SERVICE_RATE - rate) * BOUND)
    n = round(rate * seconds)
    return Probed(rate, seconds, n, round(n * share), 1.0, min(rate, SERVICE_RATE))


def curve_of(probes: list[Probed]) -> Curve:
    curve = fit(probes, 0.01)
    assert curve is not None
    return curve


# -- estimate -------------------------------------------------------------------------------------


def test_expected_counts_give_the_exact_capacity() -> None:
    bracket = least([curve_of([expected(factor * CAPACITY, 1000) for factor in (0.9, 1.0, 1.1)])])
    assert bracket.value == pytest.approx(CAPACITY, rel=0.01)
    assert bracket.closed
    assert bracket.low is not None
    assert bracket.high is not None
    assert bracket.low < CAPACITY < bracket.high < 1.1 * bracket.low


@settings(max_examples=20, deadline=None)
@given(
    beyond=st.lists(st.integers(0, 20) | st.integers(0, 60), min_size=3, max_size=6),
    more=st.integers(1, 30),
    scale=st.floats(0.01, 100),
)
def test_properties_of_the_estimate(beyond: list[int], more: int, scale: float) -> None:
    probes = [Probed(100 + 10 * index, 10, 1000, count, 1.0) for index, count in enumerate(beyond)]
    before = curve_of(probes)
    assert before.quantile(0.025) <= before.quantile(0.5) <= before.quantile(0.975)
    # More requests beyond the limit never raise the capacity, but for the grid's resolution. Below
    # or above all probes, where only the slope tells it, they change the slope, too.
    if probes[0].rate <= before.quantile(0.5) <= probes[-1].rate:
        worse = curve_of([replace(one, beyond=one.beyond + more) for one in probes])
        assert worse.quantile(0.5) <= 1.02 * before.quantile(0.5)
    # In another unit of time everything is the same.
    scaled = curve_of(
        [replace(one, rate=one.rate * scale, seconds=one.seconds / scale) for one in probes]
    )
    assert scaled.quantile(0.5) == pytest.approx(scale * before.quantile(0.5), rel=1e-6)


def test_the_least_of_several_limits_is_the_capacity() -> None:
    tight, loose = (
        curve_of([expected(factor * CAPACITY, 300) for factor in (0.9, 1.0, 1.1)]),
        curve_of([replace(expected(rate, 300), rate=2 * rate) for rate in (95.0, 108.0, 120.0)]),
    )
    alone, both = least([tight]), least([loose, tight])
    assert both.value == pytest.approx(alone.value)
    assert both.low is not None
    assert alone.low is not None
    assert both.low <= alone.low * (1 + 1e-9)


def test_a_limit_that_another_outdoes_in_every_probe_is_not_the_first() -> None:
    # Requests wait at 160/s and tokens come as fast as ever; at 320/s answers fail, too, and the
    # server, busy with what it cannot do, does less than before.
    counts = [(80.0, 800, 0, 0), (105.0, 1050, 3, 0), (115.0, 1150, 14, 0), (160.0, 1600, 900, 0),
              (320.0, 629, 617, 187)]  # fmt: skip
    first, tokens = (
        curve_of([
            Probed(rate, n / rate, n, beyond[limit], 2.0 if 0 < beyond[limit] < n else None,
                   {160.0: 140.0, 320.0: 90.0}.get(rate, rate))
            for rate, n, *beyond in counts
        ])
        for limit in (0, 1)
    )  # fmt: skip
    assert least([tokens, first]) == least([first])
    assert least([first]).closed
    assert (limiting_curve([tokens, first]), limiting_curve([first, tokens])) == (1, 0)
    assert 105 < first.quantile(0.5) < 120
    assert tokens.quantile(0.5) > 90  # what it served at 320/s is not all that it can do


def test_too_few_events_leave_it_open_with_the_seconds_that_would_do() -> None:
    bracket = least([curve_of([Probed(rate, 5, int(5 * rate), 0, None) for rate in (50.0, 100.0)])])
    assert not bracket.closed
    assert bracket.needed_seconds is not None
    assert bracket.needed_seconds > 0


@pytest.mark.parametrize(("dispersion", "closed"), [(260.0, True), (400.0, False)])
def test_one_independent_event_closes_it(dispersion: float, closed: bool) -> None:
    def steep(rate: float, seconds: float) -> Probed:  # three times as near to saturation
        one = expected(rate, seconds)
        return replace(one, rate=SERVICE_RATE - (SERVICE_RATE - rate) / 3)

    seen = [
        replace(steep(factor * CAPACITY, 60), dispersion=dispersion)
        for factor in (0.9, 1.0, 1.1, 1.2)
    ]
    curve = curve_of([*seen, expected(320.0, 10)])
    assert curve.quantile(0.975) < 2 * curve.quantile(0.025)
    assert (curve.events >= 1) is closed
    assert least([curve]).closed is closed


def test_an_open_bracket_has_the_ends_that_the_probes_show() -> None:
    # Counts that vary a hundred times as much as independent ones.
    seen = [replace(expected(rate, 40), dispersion=100.0) for rate in (5.0, 100.0, CAPACITY)]
    few, more = least([curve_of(seen)]), least([curve_of([*seen, expected(320.0, 10)])])
    assert not few.closed
    assert not more.closed
    assert few.high is None  # nothing saturated the server
    assert more.low is not None
    assert more.high is not None
    assert 5 < more.low < CAPACITY < 320 <= more.high


def test_a_queue_that_forgets_slowly_leaves_it_open() -> None:
    # Nearly saturated at the capacity: probes that settle for seconds have too short a queue.
    seen = [Probed(rate, 60, int(60 * rate), beyond, 2.0, rate) for rate, beyond in (
        (20.0, 0), (180.0, 40), (187.0, 112), (191.0, 200),
    )]  # fmt: skip
    bracket = least([curve_of([*seen, Probed(256, 10, 2560, 2300, None, 200.0)])])
    assert not bracket.closed
    assert bracket.needed_seconds is None
    assert bracket.low is not None
    assert bracket.low < 187


def test_records_are_counted_without_settling() -> None:
    records = mm1_records(100.0, 200.0, 2000, seed=1)
    beyond = records.latency() >= 0.02
    seconds = records.window / 1e9
    whole, later = probed(records, beyond, 100.0), probed(records, beyond, 100.0, seconds / 2)
    assert whole.arrivals == len(records)
    assert whole.beyond == int(beyond.sum())
    assert later.seconds == pytest.approx(seconds / 2)
    assert later.arrivals == int((records.scheduled >= records.window / 2).sum())
    assert whole.dispersion is not None
    assert whole.dispersion > 1.5  # requests that wait in one queue go beyond together
    assert saturation([whole]) is None


# -- search ---------------------------------------------------------------------------------------

Answer = Callable[[Plan], ProbeOutcome]


def queue(plan: Plan) -> ProbeOutcome:
    """Return what the M/M/1 queue gives on average."""
    seen = expected(plan.rate, plan.seconds - plan.settle)
    return ProbeOutcome(plan.rest + plan.seconds + 0.5, (seen,))


def overdue(plan: Plan) -> ProbeOutcome:
    """Return what a server gives whose every answer takes too long."""
    seen = expected(plan.rate, plan.seconds - plan.settle)
    return replace(queue(plan), limits=(replace(seen, beyond=seen.arrivals, dispersion=None),))


def failing(plan: Plan) -> ProbeOutcome:
    """Return what a server gives of which no answer is a success."""
    (seen,) = overdue(plan).limits
    return replace(queue(plan), limits=(replace(seen, throughput=0.0),))


def above(rate: float, state: str) -> Answer:
    """Return the queue, whose generator or server fails from a rate on."""

    def answer(plan: Plan) -> ProbeOutcome:
        if plan.rate < rate:
            return queue(plan)
        return ProbeOutcome(plan.seconds + 0.5, state=state)  # type: ignore[arg-type]

    return answer


def drive(answer: Answer, settings: SearchSettings, limits: int = 1) -> tuple[Capacity, list[Plan]]:
    search = CapacitySearch([0.01] * limits, settings)
    plans = []
    while (plan := search.next()) is not None:
        assert search.next() is plan
        plans.append(plan)
        search.add(answer(plan))
    return search.capacity(), plans


@pytest.mark.parametrize(
    ("answer", "lowest", "highest", "state", "low", "high"),
    [
        (queue, 1, 10_000, "found", True, True),
        (queue, 5, 60, "above_range", True, False),
        (queue, 170, 1000, "below_range", False, True),
        (overdue, 1, 1000, "below_range", False, True),
        (failing, 1, 1000, "below_range", False, True),
        (lambda plan: (queue if plan.rate < 50 else failing)(plan), 5, 100, "open", True, False),
        (above(50, "invalid"), 5, 1000, "generator_limited", True, False),
        (above(0, "invalid"), 5, 1000, "generator_limited", False, False),
        (above(150, "died"), 5, 1000, "server_died", False, False),
        (above(200, "invalid"), 5, 1000, "found", True, True),
    ],
)
def test_ends_of_a_search(
    answer: Answer, lowest: float, highest: float, state: str, low: bool, high: bool
) -> None:
    found, plans = drive(answer, SearchSettings(lowest=lowest, highest=highest, budget=120))
    assert found.state == state
    assert (found.low is not None, found.high is not None) == (low, high)
    assert found.seconds <= 120 + max(plan.seconds for plan in plans)
    assert all(lowest <= plan.rate <= highest for plan in plans)
    assert not found.slow_recovery
    if state == "found":
        assert found.low is not None
        assert found.high is not None
        assert found.low < CAPACITY < found.high
    elif low:
        assert found.low is not None
        assert found.low <= CAPACITY


def slowed(plan: Plan) -> ProbeOutcome:
    """Return the queue at half as much again, as if other programs had slowed the server down."""
    seen = replace(expected(1.5 * plan.rate, plan.seconds - plan.settle), rate=plan.rate)
    return replace(queue(plan), limits=(seen,), state="disturbed")


@pytest.mark.parametrize(
    ("spoiled", "counted"),
    [
        ({1, 4, 5, 9}, False),
        ({0, 1, 2, 3, 4, 8}, False),  # they counted until the machine was quiet
        (range(99), True),
    ],
)
def test_probes_beside_other_programs_count_only_if_hardly_any_other_is_to_be_had(
    spoiled: Collection[int], counted: bool
) -> None:
    number = -1

    def answer(plan: Plan) -> ProbeOutcome:
        nonlocal number
        number += 1
        if number not in spoiled:
            return queue(plan)
        return replace(queue(plan), state="disturbed") if counted else slowed(plan)

    found, _ = drive(answer, SearchSettings(lowest=1, highest=1000, budget=180))
    assert found.state == "found"
    assert found.low is not None
    assert found.high is not None
    assert found.low < CAPACITY < found.high
    assert bool(set(spoiled) & set(found.used)) == counted


@pytest.mark.parametrize(
    ("answer", "lowest", "budget"),
    [(above(0, "invalid"), 5, 9), (queue, 5, 9), (queue, 115, 6)],
    ids=["nothing measured", "all kept", "all broken"],
)
def test_a_short_search_gives_no_estimate_from_one_side_of_the_capacity(
    answer: Answer, lowest: float, budget: float
) -> None:
    settings = SearchSettings(lowest=lowest, highest=1000, budget=budget)
    found, plans = drive(answer, settings)
    assert plans
    assert (found.state, found.value, found.needed_seconds) == ("open", None, None)
    assert found.limiting is None


def unseen(plan: Plan) -> ProbeOutcome:
    """Return what a queue gives whose first limit counts no request, and its second all."""
    (seen,) = queue(plan).limits
    none = replace(seen, arrivals=0, beyond=0, dispersion=None, uncounted=seen.arrivals)
    return replace(queue(plan), limits=(none, seen))


@pytest.mark.parametrize(
    ("answer", "after", "value", "low", "high"),
    [
        (queue, 3, False, False, False),  # no probe broke the limit: the prior alone
        (queue, 12, True, True, True),
        (unseen, 5, False, False, True),
    ],
)
def test_a_dead_server_has_the_capacity_that_its_probes_showed(
    answer: Answer, after: int, value: bool, low: bool, high: bool
) -> None:
    made = count()

    def dying(plan: Plan) -> ProbeOutcome:
        return answer(plan) if next(made) < after else ProbeOutcome(1, state="died")

    limits = len(answer(Plan(1, 10, 1, 0, "ladder")).limits)
    found, _ = drive(dying, SearchSettings(lowest=5, highest=1000), limits)
    assert found.state == "server_died"
    known = [one is not None for one in (found.value, found.low, found.high)]
    assert known == [value, low, high]


@pytest.mark.parametrize(
    ("lowest", "highest", "state", "broken"),
    [(5, 1000, "open", True), (5, 60, "open", False), (170, 1000, "below_range", True)],
)
def test_a_limit_that_counted_no_request_is_neither_kept_nor_broken(
    lowest: float, highest: float, state: str, broken: bool
) -> None:
    found, _ = drive(unseen, SearchSettings(lowest=lowest, highest=highest), limits=2)
    assert (found.state, found.value, found.low) == (state, None, None)
    assert (found.high is not None, found.limiting) == (broken, 1 if broken else None)
    assert found.seconds < SearchSettings().budget / 2  # a longer search does not help


def test_limits_that_counted_no_request_end_the_search() -> None:
    def answer(plan: Plan) -> ProbeOutcome:
        (seen,) = queue(plan).limits
        none = replace(seen, arrivals=0, beyond=0, dispersion=None, uncounted=seen.arrivals)
        return replace(queue(plan), limits=(none,))

    found, plans = drive(answer, SearchSettings(lowest=80, highest=160))
    assert (found.state, found.low, found.high) == ("open", None, None)
    assert len(plans) < 4


def test_a_slow_recovery_is_told_from_a_lower_capacity() -> None:
    overloaded = rested = 0.0

    def answer(plan: Plan) -> ProbeOutcome:
        nonlocal overloaded, rested
        rested += plan.rest
        outcome = queue(plan)
        (seen,) = outcome.limits
        if overloaded and rested < 5:
            seen = replace(seen, beyond=seen.arrivals)
        elif seen.share > 0.5:
            overloaded, rested = 1.0, 0.0
        return replace(outcome, limits=(seen,))

    found, plans = drive(answer, SearchSettings(lowest=10, highest=1000, budget=120))
    assert found.slow_recovery
    assert found.recovery_seconds is not None
    assert found.recovery_seconds >= 5
    assert {plan.stage for plan in plans} == {"ladder", "estimate", "recovery"}
    assert found.low is not None
    assert found.high is not None
    assert found.low < CAPACITY < found.high


@pytest.mark.parametrize(("allowed", "settings"), [
    ((), SearchSettings()), ((0.01,), SearchSettings(lowest=10, highest=5)),
])  # fmt: skip
def test_what_cannot_be_searched_for_is_refused(
    allowed: tuple[float, ...], settings: SearchSettings
) -> None:
    with pytest.raises(ValueError, match="give"):
        CapacitySearch(allowed, settings)


@pytest.mark.slow
def test_intervals_hold_the_capacity_of_simulated_queues() -> None:
    held = closed = 0
    for server, truth in known().items():
        for seed in range(8):
            found = search(server, SearchSettings(), seed).found
            assert found.seconds <= 180 + 26
            if found.low is not None and found.high is not None:
                closed += 1
                held += found.low <= truth <= found.high
    assert closed >= 21
    assert held >= (0.95 - 3 * math.sqrt(0.95 * 0.05 / closed)) * closed
