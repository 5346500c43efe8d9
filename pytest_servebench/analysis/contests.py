"""Which servers did better than which others, by more than noise.

Two servers differ if their 95 % intervals do not overlap. For equal servers whose
intervals are equally wide, that happens by chance in :data:`RATE` of the comparisons. Twelve
servers make 66 pairs: so that the chance of *any* false "better" among them is not larger, their
intervals are widened to the level that divides this rate by the number of pairs (Bonferroni), 1.4
times for twelve servers. The pairs that differ give a ranking with ties: the servers that no other
beat.

Servers that took turns are compared by what differs within each repeat, since they ran on the
machine at the same time: a randomized block design, with the repeats as blocks. All pairs share the
residual variance (servers and repeats accounted for), or use the pair's own if that is larger;
Student's quantile has Bonferroni's level too, starting at 5 % for one pair. Infinite values have no
ratios, and three repeats that agree say little among twelve servers: there, the intervals decide.
"""

import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean, variance
from typing import Final

from pytest_servebench.metrics import Metric
from pytest_servebench.stats.ratios import Range, Sample
from pytest_servebench.stats.student import NORMAL, Z, student_quantile

MARGIN: Final = 0.05
"""By how much of the larger value CPU or memory must differ."""

RATE: Final = 2 * (1 - NORMAL.cdf(math.sqrt(2) * Z))
"""How often the 95 % intervals of two equal servers do not overlap: 0.6 %."""

_PAIRED_TAIL: Final = 0.05

Pairs = Collection[tuple[str, str]]
"""Better and worse server of each pair with a decided difference."""


def caution(servers: int) -> float:
    """Return the factor by which intervals are widened if this many servers are compared."""
    pairs = math.comb(servers, 2)
    return NORMAL.inv_cdf(1 - RATE / 2 / pairs) / (math.sqrt(2) * Z) if pairs > 1 else 1.0


def widened(metric: Metric, known: Range, servers: int) -> Range:
    """Return an interval at the level that this number of servers requires."""
    if servers <= 2:
        return known
    sampled = known.low < known.value or known.high > known.value
    return Sample(known, share=metric.is_share, sampled=sampled).at(Z * caution(servers))


def by_intervals(metric: Metric, ranges: Mapping[str, Range]) -> Pairs:
    """Return the pairs whose intervals do not overlap.

    Args:
        metric: what is compared.
        ranges: server to its value and interval, already widened.
    """
    return _pairs(
        metric,
        {server: one.value for server, one in ranges.items()},
        lambda better, worse: (
            ranges[better].low > ranges[worse].high
            if metric.larger_is_better
            else ranges[better].high < ranges[worse].low
        ),
    )


def by_repeats(
    metric: Metric,
    values: Mapping[str, float],
    repeats: Mapping[str, Sequence[float]],
    otherwise: Pairs,
) -> Pairs:
    """Return the pairs that differ by more than the variation between repeats.

    Ratios are compared (differences of logarithms), and differences of shares.

    Args:
        metric: what is compared.
        values: server to its value.
        repeats: server to its value in each repeat, the same repeats for all servers, three or
            more.
        otherwise: the pairs by intervals, which decide for servers without ratios (a value is
            infinite or zero).
    """
    sign = -1.0 if metric.larger_is_better else 1.0
    scale = (lambda value: value) if metric.is_share else math.log
    scaled = {
        server: [sign * scale(value) for value in series]
        for server, series in repeats.items()
        if metric.is_share or (min(series) > 0 and not math.isinf(max(series)))
    }
    left = _left(list(scaled.values()))
    tail = _PAIRED_TAIL / max(1, math.comb(len(repeats), 2))
    degrees = (min(map(len, repeats.values()), default=2) - 1) * max(1, len(scaled) - 1)
    reach = student_quantile(tail, degrees)

    def apart(better: str, worse: str) -> bool:
        gaps = [one - other for one, other in zip(scaled[worse], scaled[better], strict=True)]
        gap = fmean(gaps)
        return gap > 0 and gap > reach * math.sqrt(max(variance(gaps), 2 * left) / len(gaps))

    pairs = _pairs(metric, {server: values[server] for server in scaled}, apart)
    return [*pairs, *(pair for pair in otherwise if not scaled.keys() >= {*pair})]


def _left(blocks: Sequence[Sequence[float]]) -> float:
    """Return the residual variance, with servers and repeats accounted for."""
    if len(blocks) < 2:
        return 0.0
    servers = [fmean(series) for series in blocks]
    repeats = [fmean(column) for column in zip(*blocks, strict=True)]
    whole = fmean(servers)
    squares = sum(
        (value - servers[i] - repeats[j] + whole) ** 2
        for i, series in enumerate(blocks)
        for j, value in enumerate(series)
    )
    return squares / ((len(servers) - 1) * (len(repeats) - 1))


def too_small(metric: Metric, better: float, worse: float) -> bool:
    """Return whether a difference is too small to matter even if it is significant."""
    return metric.of_server and better >= worse * (1 - MARGIN)


def _pairs(
    metric: Metric, values: Mapping[str, float], apart: Callable[[str, str], bool]
) -> list[tuple[str, str]]:
    return [
        (better, worse)
        for better, worse in itertools.permutations(values, 2)
        if apart(better, worse) and not too_small(metric, values[better], values[worse])
    ]
