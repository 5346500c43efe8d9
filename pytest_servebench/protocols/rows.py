"""Requests with several rows: samples that a server predicts together."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from pytest_servebench.errors import ModelError
from pytest_servebench.protocols.base import PredictionProtocol, Request
from pytest_servebench.protocols.json_values import Bad, checked_array
from pytest_servebench.values.arrays import Array, Arrays

R_co = TypeVar("R_co", bound=Request, covariant=True)


class RowsProtocol(PredictionProtocol, Protocol):
    """A protocol whose requests may carry several samples."""

    def request_rows(self, samples: Sequence[Arrays]) -> Request:
        """Return one request for the predictions of one or more samples, in their order.

        Raises:
            ModelError: the samples cannot be sent, or not in one request.
        """
        ...

    def read_rows(self, answer: Any, rows: int) -> Sequence[Arrays]:
        """Return the prediction of each of ``rows`` samples, in the order of the request.

        Raises:
            BadResponseError: the answer is not this number of predictions.
        """
        ...


class _Asking(Protocol[R_co]):
    def request_rows(self, samples: Sequence[Arrays]) -> R_co: ...


class OneOrMore:
    """Asks for the prediction of one sample as of one row."""

    def request(self: _Asking[R_co], inputs: Arrays) -> R_co:
        """Return the request for a prediction of one sample input."""
        return self.request_rows((inputs,))

    def read(self: RowsProtocol, answer: Any) -> Arrays:
        """Return the prediction for one sample input."""
        (prediction,) = self.read_rows(answer, 1)
        return prediction


def only(samples: Sequence[Arrays], setting: str, other: str) -> Arrays:
    """Return the single sample of a request.

    Args:
        samples: of the request.
        setting: the setting with which a request has one sample.
        other: the settings with which it has several.

    Raises:
        ModelError: there are several.
    """
    if len(samples) != 1:
        raise ModelError(
            f"{len(samples)} rows cannot be sent with {setting}, where a request has one sample: "
            f"give {other}."
        )
    return samples[0]


def columns(samples: Sequence[Arrays]) -> Mapping[str, list[Array]] | list[Array]:
    """Return samples as one list for each input, by name if they have names.

    Raises:
        ModelError: the samples differ in names or shapes, so they cannot be rows of one tensor.
    """
    if not samples:
        raise ModelError("A request needs at least one sample.")
    first = samples[0]
    if not isinstance(first, Mapping):
        return _column("", samples)
    for each in samples:
        if not isinstance(each, Mapping) or each.keys() != first.keys():
            raise ModelError("The samples of one request have inputs of different names.")
    return {name: _column(name, [each[name] for each in samples]) for name in first}


def _column(name: str, values: Sequence[Any]) -> list[Array]:
    arrays = [checked_array(value) for value in values]
    shapes = list(dict.fromkeys(array.shape for array in arrays))
    if len(shapes) > 1:
        whose = f"input {name!r}" if name else "the input"
        raise ModelError(
            f"{whose.capitalize()} has samples of shapes {shapes[0]} and {shapes[1]}, which cannot "
            "be rows of one tensor: pad them to one shape, or send one row in a request."
        )
    return arrays


def stacked(column: Sequence[Array]) -> Array:
    """Return samples of one shape as one array with a leading axis."""
    return np.stack([np.asarray(each) for each in column])


def tensors(samples: Sequence[Arrays], layout: str, unnamed: str) -> dict[str, Array]:
    """Return samples as one tensor for each input.

    Args:
        samples: of a request.
        layout: ``"columns"``: with a leading axis of samples; ``"single"``: the one sample as it
            is.
        unnamed: the name of an input without a name.

    Raises:
        ModelError: the samples cannot be in one tensor, or an input is empty.
    """
    if layout == "single":
        sample = only(samples, 'layout = "single"', 'layout = "columns"')
        inputs = sample if isinstance(sample, Mapping) else {unnamed: sample}
        arrays = {name: checked_array(value) for name, value in inputs.items()}
    else:
        lists = columns(samples)
        named = lists if isinstance(lists, Mapping) else {unnamed: lists}
        arrays = {name: stacked(column) for name, column in named.items()}
    for name, array in arrays.items():
        if array.size == 0:
            raise ModelError(f"The input {name!r} of shape {array.shape} has no numbers to send.")
    return arrays


def predictions(outputs: Mapping[str, Array], layout: str, rows: int, bad: Bad) -> Sequence[Arrays]:
    """Return the prediction of each row from tensors as :func:`tensors` makes them of inputs.

    A single output has no name.

    Raises:
        BadResponseError: there is no output, or one has another number of rows.
    """
    if not outputs:
        raise bad("has no outputs")
    values = outputs if len(outputs) > 1 else next(iter(outputs.values()))
    return [values] if layout == "single" else split(values, rows, bad)


def split(values: Arrays, rows: int, bad: Bad) -> list[Arrays]:
    """Return the prediction of each row from outputs with a leading axis of rows.

    Raises:
        BadResponseError: an output has no such axis, or another number of rows.
    """
    if not isinstance(values, Mapping):
        return list(_rows("", values, rows, bad))
    parts = {name: _rows(name, each, rows, bad) for name, each in values.items()}
    return [{name: part[row] for name, part in parts.items()} for row in range(rows)]


def _rows(name: str, values: Array, rows: int, bad: Bad) -> list[Array]:
    found = values.shape[0] if values.ndim else 0
    if found != rows:
        where = f" in output {name!r}" if name else ""
        raise bad(f"has {found} predictions for {counted(rows)}{where}")
    return [values[row : row + 1].reshape(values.shape[1:]) for row in range(rows)]


def counted(rows: int) -> str:
    """Return a number of inputs in words."""
    return "one input" if rows == 1 else f"{rows} inputs"
