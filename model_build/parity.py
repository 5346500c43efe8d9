"""Check that the formats of one model give the same outputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import ModelError

RTOL = 1e-4
"""Relative tolerance between two formats' logits."""

ATOL = 1e-4
"""Absolute tolerance between two formats' logits."""


class ParityError(ModelError):
    """The packaged formats of one model do not give the same outputs."""


def check_parity(logits: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Compare the logits of every format with those of the first.

    Args:
        logits: name of a format to its logits ``(n, 10)`` for the same images; with fewer than
            two formats there is nothing to compare.

    Raises:
        ParityError: two formats differ by more than ``ATOL + RTOL * |reference|`` in any logit,
            or one of them gave NaN; the message names both formats and the largest difference.
    """
    reference, *others = logits
    expected = logits[reference]
    for name in others:
        actual = logits[name]
        if actual.shape != expected.shape:
            raise ParityError(
                f"{reference} and {name} disagree: outputs of shape {expected.shape} and "
                f"{actual.shape}"
            )
        difference = np.abs(actual.astype(np.float64) - expected)
        # Written so that a NaN counts as a difference.
        within = difference <= ATOL + RTOL * np.abs(expected)
        if not within.all():
            raise ParityError(
                f"{reference} and {name} disagree: {(~within).any(axis=1).sum()} of "
                f"{len(expected)} images have logits that differ by more than {ATOL:g} + "
                f"{RTOL:g}*|logit|, the largest difference is {difference.max():.3g}. They are "
                f"not the same model; delete the cache directory to rebuild them."
            )
