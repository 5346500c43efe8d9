"""The SLO of a search for a capacity: the limits that it must keep, and clauses on its result.

``p99<50ms`` is a limit that the capacity keeps; ``capacity>=150/s`` is judged by the interval of
the capacity, like any other clause.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from pytest_servebench.errors import OptionError
from pytest_servebench.metrics import percentiles_of
from pytest_servebench.objectives.limits import Limit, limit_of
from pytest_servebench.objectives.slo import overall
from pytest_servebench.objectives.slo_grammar import Clause
from pytest_servebench.runs.results import CapacityResult, ClauseResult, VerdictWord
from pytest_servebench.stats.probed import OVERLOADED
from pytest_servebench.text.quantity import trimmed

_PER_LOAD: Final = 1.5  # seconds of a search for each second of load that counts
_ROUND: Final = 30  # seconds
_AROUND: Final = 5.0  # factor: how wide a range to suggest around a rate
_NOTHING: Final = "not known"
_FAR: Final = 100  # no advice to search more than this many times as long


# -- limits ---------------------------------------------------------------------------------------


def capacity_limits(clauses: Iterable[Clause]) -> tuple[Limit, ...]:
    """Return the limits whose highest rate can be searched for, at least one.

    Clauses on the capacity itself are left out.

    Raises:
        OptionError: a clause does not limit single requests, or allows too many or too few of them
            to break it; or there is no clause. The message gives the remedy.
    """
    found = []
    for clause in dict.fromkeys(clauses):
        if clause.of_search:
            continue
        limit = limit_of(clause)
        if limit is None:
            raise OptionError(
                f"{clause}: find_capacity needs limits on single requests: a percentile such as "
                "p99<50ms, success_rate>=99% (instead of throughput) or drop_rate<1%. Judge this "
                "clause with poisson_load, in a separate test."
            )
        if not 0 < limit.allowed < OVERLOADED:
            raise OptionError(
                f"{clause}: find_capacity needs limits that more than 0 % and less than "
                f"{100 * OVERLOADED:g} % of the requests may break: beyond that the server is "
                "overloaded, and the share depends on how long the load lasts. This one allows "
                f"{100 * limit.allowed:g} %; give {_instead(limit)}."
            )
        found.append(limit)
    if not found:
        raise OptionError(
            "find_capacity finds the highest rate that keeps an SLO, and the test has none: set "
            'one with @pytest.mark.slo("p99<50ms") or --servebench-slo.'
        )
    return tuple(found)


def _instead(limit: Limit) -> str:
    """Return what to give for a limit that too many or too few requests may break."""
    clause, metric = limit.clause, limit.metric
    if metric.times is None:
        return "success_rate>=99.9%" if clause.at_least else f"{metric.written}<1%"
    low = next(
        one for one in percentiles_of(metric.times)
        if one.permille is not None and 1000 - one.permille < 1000 * OVERLOADED
    )  # fmt: skip
    stricter = str(clause).replace(metric.written, low.written, 1)
    return f"{stricter}, which is stricter, or judge it with poisson_load at the rates that matter"


# -- what was found -------------------------------------------------------------------------------


def judge_capacity(result: CapacityResult, clauses: Iterable[Clause]) -> CapacityResult:
    """Return the result with further clauses on the capacity judged, each once."""
    known = {one.clause for one in result.clauses}
    return with_judged(
        result, [judge_clause(one, result) for one in clauses if str(one) not in known]
    )


def with_judged(result: CapacityResult, further: Sequence[ClauseResult]) -> CapacityResult:
    """Return the result with further clauses, and the verdict on all of them."""
    every = (*result.clauses, *further)
    verdict: VerdictWord = overall(every)
    if not every:
        verdict = {"found": "passed", "generator_limited": "invalid"}.get(  # type: ignore[assignment]
            result.state, "inconclusive"
        )
    return dataclasses.replace(result, clauses=every, verdict=verdict)


def judge_clause(clause: Clause, result: CapacityResult) -> ClauseResult:
    """Return the verdict on one clause such as ``capacity>=150/s``."""
    ends = set(map(clause.met_by, result.ends))
    verdict: VerdictWord
    if ends == {True}:
        verdict, words = "passed", "met"
    elif ends == {False}:
        verdict, words = "failed", "broken"
    elif result.state == "generator_limited":
        verdict, words = "invalid", "invalid"
    else:
        verdict, words = "inconclusive", "inconclusive"
    undecided = verdict in ("inconclusive", "invalid")
    text = explained(result, _longer(clause, result)) if undecided else stated(result)
    message = f"{clause}: {words}: {text}"
    return ClauseResult(
        clause=str(clause), metric=clause.metric, bound=clause.bound, value=result.value,
        low=result.low, high=result.high, verdict=verdict, message=message,
    )  # fmt: skip


def decided(result: CapacityResult, rate: float) -> bool | None:
    """Return whether the capacity is at least a rate; ``None`` if the interval contains it."""
    low, high = result.ends
    return True if low >= rate else False if high < rate else None


def _longer(clause: Clause, result: CapacityResult) -> str:
    """Return how long a search must be to decide a bound inside the interval."""
    text = "the interval contains the bound"
    value, (low, high) = result.value, result.ends
    if not value or not low or math.isinf(high):
        return text
    gap = abs(math.log(value / clause.bound)) if clause.bound else math.inf
    reach = math.log(high / value) if clause.bound > value else math.log(value / low)
    # Intervals shrink with the square root of the time.
    times = (reach / gap) ** 2 if gap else math.inf
    if times > _FAR:
        return f"{text}, and the capacity is too close to it for a longer search to settle it"
    seconds = math.ceil(result.seconds * max(times, 1.1))
    return f"{text}; give --servebench-capacity-budget={seconds}s to settle it"


# -- words ----------------------------------------------------------------------------------------


def stated(result: CapacityResult) -> str:
    """Return what is known about a capacity, such as ``310/s (294 to 327)``, or why nothing is."""
    nothing = "not known, as the server died" if result.state == "server_died" else _NOTHING
    return _known(result) or nothing


def explained(result: CapacityResult, why: str = "") -> str:
    """Return what is known about a capacity, and why not more; ``why`` if no reason is saved."""
    return f"{_known(result) or _NOTHING}: {result.reason or why}".removesuffix(": ")


def _known(result: CapacityResult) -> str:
    low, high = result.low, result.high
    value = "" if result.value is None else f"{trimmed(result.value)}/s"
    if value and result.state in ("open", "server_died"):
        ends = [f"at least {trimmed(low)}/s"] if low is not None else []
        ends += [f"below {trimmed(high)}/s"] if high is not None else []
        return "; ".join([f"about {value}, open", " and ".join(ends)][: 1 + bool(ends)])
    if low is not None and high is not None:
        return f"{value} ({trimmed(low)} to {trimmed(high)})"
    if result.generator_limit is not None:
        known = f"at least {trimmed(low)}/s, " if low is not None else ""
        return f"{known}invalid above {trimmed(result.generator_limit)}/s"
    if low is not None:
        return f"at least {trimmed(low)}/s"
    if high is not None:
        return f"below {trimmed(high)}/s"
    return f"about {value}" if value else ""


def reason(result: CapacityResult) -> str:
    """Return why a search found no interval, and the remedy; empty if it found one."""
    limits = joined_limits(result)
    if result.state == "open":
        return _one_sided(result) if result.value is None else _why_open(result)
    if result.state == "above_range":
        return (
            f"even the highest rate of the range keeps {limits}; raise it, for example with "
            f"--servebench-capacity-range={result.lowest:g}..{result.highest * 10:g}"
        )
    if result.state == "below_range":
        return (
            f"even the lowest rate of the range breaks {limits}; lower it, for example with "
            f"--servebench-capacity-range={result.lowest / 10:g}..{result.highest:g}, or allow more"
        )
    if result.generator_limit is not None:
        return (
            f"the load generator could not make {trimmed(result.generator_limit)}/s, so nothing "
            "is known about the server at that rate; leave it more processors with "
            "--servebench-server-cpus, or run it on another machine"
        )
    if result.state == "server_died":
        at = [f", at {trimmed(one.rate)}/s" for one in result.probes if one.state == "died"]
        return "".join(["the server died during the search", *at])
    return ""


def _why_open(result: CapacityResult) -> str:
    more = result.needed_seconds
    if result.value and more is None and result.high is not None:
        return (
            "near the capacity the server's queue changes so slowly that probes end before it "
            "settles; judge a lower rate with poisson_load and a long duration"
        )
    if result.value and more is None:
        return (
            "the interval reaches beyond the highest rate of the range; raise it, for example with "
            f"--servebench-capacity-range={result.lowest:g}..{result.highest * 10:g}"
        )
    longer = f": about {trimmed(more)} s more of load would be enough" if more else ""
    return (
        f"{trimmed(result.seconds)} s of search saw requests break {joined_limits(result)} too "
        f"rarely{longer}; give {_more(result, more, result.value)}"
    )


def _one_sided(result: CapacityResult) -> str:
    """Return why a search has no estimate: what it measured lies on one side of the capacity."""
    limits, begun = joined_limits(result), f"{trimmed(result.seconds)} s of search"
    used = [one for one in result.probes if one.used]
    rates = [one.rate for one in used]
    if not rates:
        return f"{begun} measured nothing; give {_more(result)}"
    for place, limit in enumerate(result.limits):
        if not any(one.counted[place] for one in used):  # of a class that is rare, for example
            return (
                f"none of the {sum(one.arrivals for one in used)} requests of {begun} counts for "
                f"{limit.clause}; send more such requests, or leave the clause out"
            )
    least = next(one for one in used if one.rate == min(rates))
    seen = zip(result.limits, least.counted, least.beyond, strict=True)
    if any(counted and beyond >= limit.allowed * counted for limit, counted, beyond in seen):
        return (
            f"{begun} found no rate that keeps {limits}, from {trimmed(max(rates))}/s down to "
            f"{trimmed(min(rates))}/s; give {_more(result, near=min(rates))}"
        )
    return (
        f"{begun} reached no rate that breaks {limits}, up to {trimmed(max(rates))}/s; give "
        f"{_more(result, near=max(rates))}"
    )


def _more(result: CapacityResult, load: float | None = None, near: float | None = None) -> str:
    """Return the options of a search that would find more.

    Args:
        result: what was found.
        load: seconds of load that would be enough; twice the budget if unknown.
        near: a rate that is nearer to the capacity than the range's ends.
    """
    wanted = result.budget + (_PER_LOAD * load if load else result.budget)
    options = [f"--servebench-capacity-budget={math.ceil(wanted / _ROUND) * _ROUND}s"]
    if near:
        low, high = (_one_digit(near / _AROUND, math.floor), _one_digit(near * _AROUND, math.ceil))
        if low > result.lowest or high < result.highest:
            low, high = max(low, result.lowest), min(high, result.highest)
            options.append(f"--servebench-capacity-range={low:g}..{high:g}")
    return " and ".join(options)


def _one_digit(rate: float, round_off: Callable[[float], int]) -> float:
    scale = 10.0 ** math.floor(math.log10(rate))
    return round_off(rate / scale) * scale


def joined_limits(result: CapacityResult) -> str:
    """Return the limits in a sentence; the one that is broken first if that is known."""
    return result.limiting or " and ".join(one.clause for one in result.limits)
