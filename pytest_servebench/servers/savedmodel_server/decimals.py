"""How the real server prints floating point numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def format_floats(values: npt.NDArray[Any]) -> list[str]:
    """Return the numbers of a float32 or float64 array, in order, as the real server prints them.

    Six significant digits where they give the number back, else as many as its type can need
    (9 or 17), and always a point or an exponent.
    """
    doubles: list[float] = values.ravel().tolist()
    short = [f"{value:.6g}" for value in doubles]
    with np.errstate(over="ignore"):
        back = np.array([float(text) for text in short]).astype(values.dtype)
    digits = 9 if values.dtype == np.float32 else 17
    texts = []
    for text, value, same in zip(short, doubles, (back == values.ravel()).tolist(), strict=True):
        best = text if same else f"{value:.{digits}g}"
        if "." not in best and "e" not in best:
            best = _NOT_FINITE.get(best) or f"{best}.0"
        texts.append(best)
    return texts
