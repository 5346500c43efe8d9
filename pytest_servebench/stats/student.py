"""Student's t: how much wider an interval is if its spread is itself estimated."""

import math
from statistics import NormalDist
from typing import Final

NORMAL: Final = NormalDist()

Z: Final = NORMAL.inv_cdf(0.975)
"""Two-sided 95 % quantile of the normal distribution."""


def student_quantile(tail: float, degrees: float) -> float:
    """Return the two-sided quantile of Student's t, to three digits or better.

    Hill (1970), Algorithm 396, Communications of the ACM 13:619.

    Args:
        tail: probability beyond the quantile on both sides together.
        degrees: of freedom, 1 or more, whole or not.
    """
    if degrees < 1.5:
        return 1 / math.tan(tail * math.pi / 2)
    if degrees == 2:
        return math.sqrt(2 / (tail * (2 - tail)) - 2)
    n = degrees
    a = 1 / (n - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * n
    y = (d * tail) ** (2 / n)
    if y > 0.05 + a:
        x = NORMAL.inv_cdf(tail / 2)
        y = x * x
        if n < 5:
            c += 0.3 * (n - 4.5) * (x + 0.6)
        c += (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = math.expm1(a * y * y)
    else:
        y = ((1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)) * y - 1
             ) * (n + 1) / (n + 2) + 1 / y  # fmt: skip
    return math.sqrt(n * y)


def variance_limit(degrees: float) -> float:
    """Return how many times its estimate a variance is at most, with 95 % confidence.

    By the cube root of chi-squared, which is nearly normal (Wilson and Hilferty 1931, Proceedings
    of the National Academy of Sciences 17:684): to 1 % from 8 degrees of freedom on, and too high
    below.

    Args:
        degrees: of freedom, 1 or more, whole or not.
    """
    spread = 2 / (9 * degrees)
    return 1 / (1 - spread + NORMAL.inv_cdf(0.05) * math.sqrt(spread)) ** 3


def student(degrees: float) -> float:
    """Return by how much Student's 97.5 % quantile exceeds the normal one's.

    Below 2 degrees of freedom, where it is many times as large, it is taken as at 2.
    """
    return student_quantile(0.05, max(2.0, degrees)) / Z
