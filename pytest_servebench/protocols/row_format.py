"""Samples in JSON, as rows or columns: the bodies of several protocols.

Rows are one list of samples, as in TensorFlow Serving's ``instances``; columns are a list for each
input, as in its ``inputs``.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from pytest_servebench.errors import ModelError
from pytest_servebench.protocols.answers import bad
from pytest_servebench.protocols.base import Answer
from pytest_servebench.protocols.json_values import (
    Bad,
    in_json,
    in_list,
    in_object,
    is_binary,
    output,
    parsed_object,
    prediction,
)
from pytest_servebench.protocols.rows import counted, split
from pytest_servebench.values.arrays import Array, Arrays

JSON_TYPE: Final = ("Content-Type", "application/json")


def rows_in_json(samples: Sequence[Arrays]) -> str:
    """Return ``[sample, …]``; a sample with names is an object.

    Raises:
        ModelError: an input is empty, or has something that JSON cannot represent.
    """
    if not samples:
        raise ModelError("A request needs at least one sample.")
    return in_list([in_json(sample) for sample in samples])


def columns_in_json(columns: Mapping[str, list[Array]] | list[Array]) -> str:
    """Return ``[…]``, or ``{"name": […], …}`` if the inputs have names."""
    if isinstance(columns, Mapping):
        return in_object({name: rows_in_json(column) for name, column in columns.items()})
    return rows_in_json(columns)


def instances_body(samples: Sequence[Arrays], **further: str) -> bytes:
    """Return ``{"instances": [sample, …]}``, after ``further`` members that are JSON already."""
    return in_object({**further, "instances": rows_in_json(samples)}).encode("ascii")


def read_predictions(answer: Answer, rows: int) -> list[Arrays]:
    """Return the predictions in ``{"predictions": [outputs, …]}``, by name if named.

    Raises:
        BadResponseError: the answer is anything else; the message holds its beginning.
    """
    wrong = partial(bad, answer=answer, expected='{"predictions": [[…]]}')
    said = parsed_object(answer.body, wrong)
    if "predictions" not in said:
        raise wrong('has no "predictions"')
    return read_rows(said["predictions"], "predictions", rows, wrong)


def read_rows(values: Any, name: str, rows: int, wrong: Bad) -> list[Arrays]:
    """Return the predictions in a list of one for each row.

    Raises:
        BadResponseError: it is not such a list.
    """
    if not isinstance(values, list):
        raise wrong(f'has "{name}" that are not a list')
    if len(values) != rows:
        raise wrong(f"has {len(values)} predictions for {counted(rows)}")
    return [prediction(value, wrong) for value in values]


def read_columns(values: Any, rows: int, wrong: Bad) -> list[Arrays]:
    """Return the predictions in a list for each output.

    Raises:
        BadResponseError: it is anything else.
    """
    if isinstance(values, dict) and not is_binary(values):
        return split({name: output(value, wrong) for name, value in values.items()}, rows, wrong)
    return split(output(values, wrong), rows, wrong)
