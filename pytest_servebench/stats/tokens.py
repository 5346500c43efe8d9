"""Token counts and token rates of streamed answers."""

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import Records
from pytest_servebench.load.streams import Streams
from pytest_servebench.stats.bootstrap import Floats, binned, bins_for, least_length, moving_blocks
from pytest_servebench.stats.estimates import Estimate
from pytest_servebench.stats.intervals import dispersion_of, poisson_interval
from pytest_servebench.stats.student import Z, student


def token_estimates(records: Records, streams: Streams) -> dict[str, Estimate]:
    """Return ``output_rate`` (1/s), ``output_tokens`` and ``input_tokens``, where they are known.

    Failed requests are left out. If the number is unknown for some answer with output, the figure
    is unknown: a mean of the known ones says nothing about the others. The tokens of an answer are
    spread evenly over its events with output.
    """
    ok = records.ok
    found = {}
    answered = ok & streams.answered()
    for name, tokens in (("output_tokens", streams.tokens), ("input_tokens", streams.input_tokens)):
        chosen = ok & (tokens >= 0)
        if chosen.any() and chosen[answered].all():
            found[name] = _mean(records, tokens, chosen)
    if "output_tokens" in found:
        found["output_rate"] = _rate(records, streams, ok & (streams.tokens >= 0))
    return found


def _rate(records: Records, streams: Streams, known: npt.NDArray[np.bool_]) -> Estimate:
    events = np.diff(streams.offsets)
    each = np.where(known, streams.tokens, 0) / np.maximum(events, 1)
    inside = streams.times <= records.window
    tokens = np.repeat(each, events)[inside]
    bins = bins_for(len(records))
    series = binned(tokens[:, np.newaxis], streams.times[inside], records.window, bins)
    least = least_length(records.memory, records.window, bins)
    blocks = moving_blocks(series - series.mean(axis=0), least)
    total = float(tokens.sum())
    spread = dispersion_of(total, float(blocks.variances[0]), float(blocks.degrees[0]))
    return poisson_interval(total, spread, records.window / 1e9)


def _mean(
    records: Records, tokens: npt.NDArray[np.int32], chosen: npt.NDArray[np.bool_]
) -> Estimate:
    values: Floats = tokens[chosen].astype(np.float64)
    number, mean = len(values), float(values.mean())
    bins = bins_for(len(records))
    errors = (values - mean)[:, np.newaxis]
    series = binned(errors, records.scheduled[chosen], records.window, bins)
    blocks = moving_blocks(series, least_length(records.memory, records.window, bins))
    half = Z * student(float(blocks.degrees[0])) * float(blocks.variances[0]) ** 0.5 / number
    return Estimate(mean, max(0.0, mean - half), mean + half if number > 1 else None)
