"""The figures of one case with their intervals: plain data.

All durations are seconds, rates are per second, shares are fractions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; ``None`` stands for infinite, as JSON has no infinity.

    Attributes:
        value: what was measured.
        low: lower end of the interval.
        high: upper end.
        ceiling: of a percentile whose interval has no upper end: a time far beyond what was seen,
            which the percentile is below with 97.5 % confidence. ``None`` for none, and in files
            of earlier versions.
    """

    value: float | None
    low: float | None
    high: float | None
    ceiling: float | None = None


@dataclass(frozen=True)
class Distribution:
    """Moments and percentiles of n values in seconds; all ``None`` where there are no values.

    Attributes:
        n: number of values.
        mean: arithmetic mean.
        min: least.
        max: greatest.
        stddev: standard deviation.
        percentiles: ``p50``, ``p90``, ``p95``, ``p99`` and ``p999`` (99.9 %).
    """

    n: int
    mean: float | None
    min: float | None
    max: float | None
    stddev: float | None
    percentiles: Mapping[str, float | None]


@dataclass(frozen=True)
class Summary:
    """The figures of one case, computed from its records after the run.

    Attributes:
        arrivals: requests in the schedule.
        outcomes: number of arrivals for each outcome; they add up to ``arrivals``.
        success_rate: ok / arrivals.
        throughput: ok completions inside the arrival window / length of the window.
        offered_rate: the requested rate, of requests or of sessions.
        achieved_rate: requests that arrived per second: the actual rate of the schedule, or what
            sessions made.
        latency: done - arrival of the requests that succeeded.
        estimates: ``p50``, ``p90``, ``p95``, ``p99``, ``p999`` and ``mean`` of the latency in
            which a failed request ranks as infinitely slow (an SLO's quantities), the same of the
            time to the first byte, such as ``ttfb.p50`` (earlier versions saved none), and of
            ``ttft``, ``ttft_sent``, ``itl``, ``tpot`` and ``stall``, with ``output_rate``,
            ``output_tokens`` and ``input_tokens``, of streamed answers as far as these are known,
            ``throughput``, ``throughput_share`` (of the arrivals), ``success_rate``, ``drop_rate``
            and ``error_rate``, each with its interval; ``goodput`` and ``goodput_share`` (of the
            arrivals) if an SLO limits the time of single requests; ``cpu`` where the server's
            processes are seen, and ``cpu_per_request`` in seconds if a request succeeded in the
            window.
        queue_wait: dequeued - enqueued.
        service_time: done - sent of the requests that succeeded.
        generator_lag: enqueued - arrival: the load generator's own lateness.
        without_lag: the estimates that differ if the generator's lag is subtracted from each
            latency, and requests dropped behind late arrivals count as answered; and ``max``, the
            longest latency. Empty if unknown.
    """

    arrivals: int
    outcomes: Mapping[str, int]
    success_rate: float
    throughput: float
    offered_rate: float
    achieved_rate: float
    latency: Distribution
    estimates: Mapping[str, Estimate]
    queue_wait: Distribution
    service_time: Distribution
    generator_lag: Distribution
    without_lag: Mapping[str, Estimate] = field(default_factory=dict)

    def punctual(self) -> Summary:
        """Return the figures as they would be, at best, had the generator never been late."""
        unlagged = dict(self.without_lag)
        longest = unlagged.pop("max", None)
        latency = self.latency if longest is None else replace(self.latency, max=longest.value)
        estimates = {**self.estimates, **unlagged}
        answered, rate = (
            known.value if (known := unlagged.get(name)) is not None else None
            for name in ("success_rate", "throughput")
        )
        return replace(
            self,
            latency=latency,
            estimates=estimates,
            success_rate=self.success_rate if answered is None else answered,
            throughput=self.throughput if rate is None else rate,
        )


@dataclass(frozen=True)
class ClassFigures:
    """The figures of one class of requests.

    Attributes:
        name: of the class.
        summary: of its requests alone; rates are those of the class.
    """

    name: str
    summary: Summary
