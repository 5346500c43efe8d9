"""What a right answer is: outputs within tolerances, or what a function accepts."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import ModelError
from pytest_servebench.values.arrays import Array, Arrays, as_array, holds_text

TOLERANCE: Final = 1e-4
"""The default of relative and absolute tolerances."""

Tolerance = float | Mapping[str, float]
"""One for all outputs, or by their names; outputs that are not named have the default."""

Expectation = Callable[[Any, Any], str | bool | None]
"""``(got, expected)``: says what is wrong with a prediction, or returns ``False``, if it is wrong.

Both are arrays, or mappings of names to arrays. ``expected`` is ``None`` for a model without
outputs. The function may also raise ``AssertionError``.
"""

_LONGEST: Final = 200  # characters of a value in a message


def disagreement(
    got: Arrays,
    expected: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    *,
    rtol: Tolerance = TOLERANCE,
    atol: Tolerance = TOLERANCE,
) -> str | None:
    """Return how a prediction differs from the expected output; ``None`` if they agree.

    Outputs must have the same names; a single output may have a name on one side only. If the
    model's are floats, they are compared with the tolerances, and NaN agrees with NaN; the answer
    is first rounded to the model's type. Whole numbers, booleans and text must be equal.
    """
    got = paired(got, expected)
    if isinstance(expected, Mapping):
        if not isinstance(got, Mapping) or got.keys() != expected.keys():
            return f"its prediction has {_names(got)}, the model's has {_names(expected)}"
        for name, want in expected.items():
            allowed = _of(rtol, name), _of(atol, name)
            if wrong := _difference(got[name], as_array(want), *allowed):
                return f"output {name!r}: {wrong}"
        return None
    if isinstance(got, Mapping):
        return f"its prediction has {_names(got)}, the model's has {_names(expected)}"
    return _difference(got, as_array(expected), _of(rtol, ""), _of(atol, ""))


def paired(got: Arrays, expected: object) -> Arrays:
    """Return a prediction with or without the name of its single output, like the expected one."""
    if isinstance(expected, Mapping):
        if not isinstance(got, Mapping) and len(expected) == 1:
            return dict.fromkeys(expected, got)
    elif isinstance(got, Mapping) and expected is not None and len(got) == 1:
        return next(iter(got.values()))
    return got


def said_by(expect: Expectation, got: Arrays, expected: Arrays | None) -> str | None:
    """Return what an expectation says is wrong with a prediction; ``None`` if it accepts it.

    If the model's outputs have names, so has the prediction.
    """
    try:
        said = expect(paired(got, expected) if isinstance(expected, Mapping) else got, expected)
    except AssertionError as error:
        said = str(error).strip() or False
    if isinstance(said, str):
        return said or None
    if said is None:
        return None
    if isinstance(said, (bool, np.bool_)):
        return None if said else f"{_title(expect)} does not accept its prediction"
    return f"{_title(expect)} returned {_shown(said)}: return text, True, False or None"


def _title(expect: Expectation) -> str:
    return str(getattr(expect, "__name__", type(expect).__name__))


def argmax_equal(got: Arrays, expected: Arrays) -> str | None:
    """Expect that each output is largest at the same place, along its last axis.

    If the expected output is one text, it is the name of the largest output: some servers answer
    with a score for each label.
    """
    if isinstance(got, Mapping) and not isinstance(expected, Mapping) and expected is not None:
        label = as_array(expected)
        if label.ndim == 0 and holds_text(label):
            return _best_name(got, label.item())
    return _each(_argmax, got, expected)


def cosine(least: float) -> Expectation:
    """Expect that each output, as a vector, has at least this cosine similarity.

    Args:
        least: from -1 to 1, such as 0.999; along the last axis of the output.

    Raises:
        ModelError: ``least`` is no such number.
    """
    if not -1 <= least <= 1:
        raise ModelError(f"cosine({least!r}): give a number from -1 to 1, such as 0.999.")

    def check(got: Arrays, expected: Arrays) -> str | None:
        return _each(lambda one, other: _cosine(one, other, least), got, expected)

    check.__name__ = f"cosine({least:g})"
    return check


def fields(
    *names: str, expect: Expectation | None = None, rtol: float = TOLERANCE, atol: float = TOLERANCE
) -> Expectation:
    """Expect these outputs only, such as some members of a JSON answer, whatever else there is.

    Args:
        names: of the outputs.
        expect: decides on them; by default, they must agree within the tolerances.
        rtol: relative tolerance.
        atol: absolute tolerance.

    Raises:
        ModelError: there is no name.
    """
    if not names:
        raise ModelError("fields(): give the names of the outputs to compare.")

    def check(got: Arrays, expected: Arrays | None) -> str | None:
        found = paired(got, dict.fromkeys(names))
        missing = [name for name in names if not isinstance(found, Mapping) or name not in found]
        if missing:
            return f"its prediction has {_names(found)}, and no {missing[0]!r}"
        assert isinstance(found, Mapping)
        some = {name: found[name] for name in names}
        if isinstance(expected, Mapping):
            if unknown := [name for name in names if name not in expected]:
                return f"the model has {_names(expected)}, and no {unknown[0]!r}"
            expected = {name: expected[name] for name in names}
        if expect is not None:
            return said_by(expect, paired(some, expected), expected)
        if expected is None:
            return "the model has no outputs to compare with"
        return disagreement(some, expected, rtol=rtol, atol=atol)

    check.__name__ = f"fields({', '.join(map(repr, names))})"
    return check


def _each(
    compare: Callable[[Array, Array], str | None], got: Arrays, expected: Arrays | None
) -> str | None:
    if expected is None:
        return "the model has no outputs to compare with"
    got = paired(got, expected)
    ours, theirs = (one if isinstance(one, Mapping) else {"": one} for one in (got, expected))
    if ours.keys() != theirs.keys():
        return f"its prediction has {_names(got)}, the model's has {_names(expected)}"
    for name, want in theirs.items():
        one, other = as_array(ours[name]), as_array(want)
        wrong = _no_vectors(one, other) or compare(one, other)
        if wrong:
            return f"output {name!r}: {wrong}" if name else wrong
    return None


def _no_vectors(got: Array, want: Array) -> str | None:
    if got.shape != want.shape:
        return f"its prediction has shape {got.shape}, the model's has {want.shape}"
    if not want.ndim or not want.size:
        return f"an output of shape {want.shape} has no axis to compare along"
    if holds_text(got) or holds_text(want):
        return f"its prediction is of {_sort(got)}, the model's of {_sort(want)}: no numbers"
    return None


def _argmax(got: Array, want: Array) -> str | None:
    if got.dtype.kind == "f" and np.isnan(got).any():
        return f"its prediction has NaN: {_short(got)}"
    places, wanted = got.argmax(axis=-1), want.argmax(axis=-1)
    if np.array_equal(places, wanted):
        return None
    return f"its prediction is largest at {_short(places)}, the model's at {_short(wanted)}"


def _best_name(scores: Mapping[str, Array], label: str | bytes) -> str | None:
    values = [as_array(each).reshape(-1) for each in scores.values()]
    if not values or any(each.dtype.kind not in "iuf" or each.size != 1 for each in values):
        return f"its prediction has {_names(scores)}, which are not all single numbers"
    numbers = np.concatenate(values)
    if np.isnan(numbers).any():
        return f"its prediction has NaN: {_short(numbers)}"
    best = list(scores)[int(numbers.argmax())]
    if _comparable(best) == _comparable(label):
        return None
    return f"its prediction is largest for {_shown(best)}, not for {_shown(label)}"


def _cosine(got: Array, want: Array, least: float) -> str | None:
    one, other = got.astype(np.float64), want.astype(np.float64)
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = float(np.min((one * other).sum(axis=-1) / lengths))
    # Not "found < least": NaN, of a vector without length, is wrong too.
    if found >= least:
        return None
    return f"its prediction has a cosine similarity of {found:.6g} to the model's, below {least:g}"


def _of(tolerance: Tolerance, name: str) -> float:
    return tolerance.get(name, TOLERANCE) if isinstance(tolerance, Mapping) else tolerance


def _names(outputs: object) -> str:
    if isinstance(outputs, Mapping):
        return f"outputs named {_cut(', '.join(map(repr, outputs)))}"
    return "one output without a name"


def _difference(got: Array, want: Array, rtol: float, atol: float) -> str | None:
    if want.dtype.name == "bfloat16":
        want = want.astype(np.float32)
    if got.shape != want.shape:
        return f"its prediction has shape {got.shape}, the model's has {want.shape}"
    sorts = _sort(got), _sort(want)
    if sorts[0] != sorts[1]:
        return f"its prediction is of {sorts[0]}, the model's of {sorts[1]}"
    if want.dtype.kind != "f":
        left, right = (list(map(_comparable, each.reshape(-1).tolist())) for each in (got, want))
        places = [n for n, pair in enumerate(zip(left, right, strict=True)) if pair[0] != pair[1]]
        if not places:
            return None
        return (
            f"{len(places)} of {want.size} values of its prediction differ from the model's; "
            f"the first: got {_shown(left[places[0]])}, "
            f"expected {_shown(right[places[0]])}"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        one, other = got.astype(want.dtype).astype(np.float64), want.astype(np.float64)
        if np.allclose(one, other, rtol=rtol, atol=atol, equal_nan=True):
            return None
        if not np.array_equal(np.isnan(one), np.isnan(other)):
            difference = "has NaN where the model's has none, or the reverse"
        else:
            worst = np.nanmax(np.abs(one - other))
            difference = f"differs from the model's by up to {worst:.3g}"
    return (
        f"its prediction {difference} "
        f"(allowed: rtol={rtol:g}, atol={atol:g}); got {_short(got)}, expected {_short(want)}"
    )


def _sort(array: Array) -> str:
    if holds_text(array):
        return "text"
    if array.dtype.kind == "O":
        return "booleans" if set(map(type, array.flat)) == {bool} else "numbers"
    return "booleans" if array.dtype.kind == "b" else "numbers"


def _comparable(value: object) -> object:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _short(values: Array) -> str:
    return np.array2string(values, precision=4, threshold=12, separator=", ").replace("\n", "")


def _shown(value: object) -> str:
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
