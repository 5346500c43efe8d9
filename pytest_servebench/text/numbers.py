"""Numbers for people: a few significant digits, never wider than a table's column."""

import math
from collections.abc import Iterable

MISSING = "-"
INFINITE = "∞"
_MILLION = 1e6


def compact(value: float | None, decimals: int = 1) -> str:
    """Return ``value`` in at most eight characters, with a suffix beyond a million."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return INFINITE if value > 0 else f"-{INFINITE}"
    if abs(value) >= _MILLION:
        return _with_suffix(value)
    return f"{value:.{decimals}f}"


def _with_suffix(value: float) -> str:
    for suffix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if size <= abs(value) < 999.5 * size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.0e}"


def decimals_for(values: Iterable[float | None]) -> int:
    """Return the number of decimals for a column, so that its decimal points align."""
    finite = [abs(value) for value in values if value is not None and math.isfinite(value)]
    largest = max(finite, default=0.0)
    if largest < 100:
        return 2
    return 1 if largest < 100_000 else 0


def significant(value: float | None) -> str:
    """Return ``value`` alone, with three significant digits and without an exponent."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value) or abs(value) >= _MILLION:
        return compact(value)
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude < -3:
        return f"{value:.1g}"
    return f"{value:.{max(0, 2 - magnitude)}f}"


def milliseconds(seconds: float | None) -> float | None:
    """Return seconds as milliseconds."""
    return None if seconds is None else seconds * 1e3


def megabytes(size: float | None) -> float | None:
    """Return bytes as MB (10^6 bytes)."""
    return None if size is None else size / 1e6


def percent(fraction: float | None, digits: int = 1) -> str:
    """Return a fraction in percent without its sign; 100 only if it is exactly 1."""
    if fraction is None or math.isnan(fraction):
        return MISSING
    text = f"{100 * fraction:.{digits}f}"
    rounds_up = fraction < 1 and float(text) >= 100
    return f"{100 - 10.0**-digits:.{digits}f}" if rounds_up else text


def plain(value: float) -> str:
    """Return a setting as given: ``10`` for 10.0, ``0.5`` for 0.5."""
    return f"{value:g}" if abs(value) < _MILLION else compact(value)


DIGEST_LENGTH = 12


def cpu_set(cpus: Iterable[int]) -> str:
    """Return processors as ranges, such as ``0-3,6``."""
    ranges: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)
