"""From plain data, as JSON gives it, to dataclasses whose fields have the right types."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_NAMES: Final[Mapping[type, str]] = {
    int: "a whole number", float: "a number", str: "a text", bool: "true or false",
    type(None): "null",
}  # fmt: skip


def decode(kind: type[T], data: object, where: str = "") -> T:
    """Return the dataclass ``kind`` with the fields of ``data``.

    What ``data`` has beyond the fields is ignored; fields with a default may be missing.

    Args:
        kind: a dataclass of numbers, texts, lists, mappings and other dataclasses.
        data: a mapping.
        where: how messages name it, such as ``cases[2]``.

    Raises:
        ValueError: a field is missing or has a wrong value; the message names it.
    """
    given = as_object(data, where)
    values = {}
    for name, (hint, required) in _fields(kind).items():  # type: ignore[arg-type]
        if name in given:
            values[name] = _value(hint, given[name], f"{where}.{name}" if where else name)
        elif required:
            raise ValueError(f"{where}.{name} is missing" if where else f"{name} is missing")
    return kind(**values)


@cache
def _fields(kind: Any) -> Mapping[str, tuple[Any, bool]]:
    """Return the type of each field, and whether it must be given: slow to look up."""
    hints = get_type_hints(kind)
    return {
        one.name: (
            hints[one.name],
            one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING,
        )
        for one in dataclasses.fields(kind)
    }


def as_object(data: object, where: str) -> Mapping[str, Any]:
    """Return ``data`` if it is a mapping.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(data, Mapping):
        raise _wrong(where, "an object", data)
    return data


def _value(hint: Any, data: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return decode(hint, data, where)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return _one_of(arguments, data, where)
    if origin in (Union, types.UnionType):
        (other,) = (one for one in arguments if one is not type(None))
        return None if data is None else _value(other, data, where)
    if origin in (tuple, list):
        if not isinstance(data, list):
            raise _wrong(where, "a list", data)
        items = [_value(arguments[0], one, f"{where}[{i}]") for i, one in enumerate(data)]
        return tuple(items) if origin is tuple else items
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {
            key: _value(arguments[1], one, f"{where}.{key}")
            for key, one in as_object(data, where).items()
        }
    return data if hint is Any else _scalar(hint, data, where)


def _one_of(choices: Sequence[Any], data: Any, where: str) -> Any:
    if data not in choices:
        raise _wrong(where, " or ".join(map(repr, choices)), data)
    return data


def _scalar(hint: type, data: Any, where: str) -> Any:
    if hint is float and isinstance(data, int | float) and not isinstance(data, bool):
        try:
            number = float(data)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):  # JSON can write 1e999
            raise ValueError(f"{where} is not a finite number")
        return number
    if type(data) is not hint:
        raise _wrong(where, _NAMES.get(hint, hint.__name__), data)
    return data


def _wrong(where: str, expected: str, data: object) -> ValueError:
    shown = repr(data)
    shown = shown if len(shown) <= 40 else f"{shown[:39]}…"
    return ValueError(f"{where or 'it'} is {shown}, not {expected}")
