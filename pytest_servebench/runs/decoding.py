"""From plain data, as JSON gives it, to dataclasses whose fields have the right types."""

import dataclasses
import math
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_NAMES: Final[Mapping[type, str]] = {
    int: "a whole number", float: "a number", str: "a string", bool: "true or false",
    type(None): "null",
}  # fmt: skip


def decode(kind: type[T], data: object, where: str = "") -> T:
    """Return the dataclass ``kind`` with the fields of ``data``.

    Keys without a field are ignored; fields with a default may be missing.

    Args:
        kind: a dataclass of numbers, strings, lists, mappings and other dataclasses.
        data: a mapping.
        where: how messages name it, such as ``cases[2]``.

    Raises:
        ValueError: a field is missing or has a wrong value; the message names it.
    """
    given = as_object(data, where)
    before = f"{where}." if where else ""
    values = {}
    for name, read, required in _fields(kind):  # type: ignore[arg-type]
        if name in given:
            values[name] = read(given[name], before + name)
        elif required:
            raise ValueError(f"{before}{name} is missing")
    return kind(**values)


@cache
def _fields(kind: Any) -> Sequence[tuple[str, Callable[[Any, str], Any], bool]]:
    """Return each field's name, what reads its values, and whether it must be given."""
    hints = get_type_hints(kind)
    return [
        (
            one.name,
            _reader(hints[one.name]),
            one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING,
        )
        for one in dataclasses.fields(kind)
        if one.metadata.get("saved", True)
    ]


def as_object(data: object, where: str) -> Mapping[str, Any]:
    """Return ``data`` if it is a mapping.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(data, Mapping):
        raise _wrong(where, "an object", data)
    return data


@cache
def _reader(hint: Any) -> Callable[[Any, str], Any]:
    """Return a reader for values of a type; cached, as inspecting types is slow."""
    read: Callable[..., Any] = partial(_scalar, hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        read = partial(decode, hint)
    elif origin is Literal:
        read = partial(_one_of, arguments)
    elif origin in (Union, types.UnionType):
        (other,) = (one for one in arguments if one is not type(None))
        read = partial(_optional, _reader(other))
    elif origin in (tuple, list):
        read = partial(_items, origin, _reader(arguments[0]))
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        read = partial(_mapping, _reader(arguments[1]))
    elif hint is Any:
        read = _anything
    return read


def _anything(data: Any, _: str) -> Any:
    return data


def _optional(read: Callable[[Any, str], Any], data: Any, where: str) -> Any:
    return None if data is None else read(data, where)


def _items(kind: type, read: Callable[[Any, str], Any], data: Any, where: str) -> Any:
    if not isinstance(data, list):
        raise _wrong(where, "a list", data)
    return kind([read(one, f"{where}[{index}]") for index, one in enumerate(data)])


def _mapping(read: Callable[[Any, str], Any], data: Any, where: str) -> Mapping[str, Any]:
    return {key: read(one, f"{where}.{key}") for key, one in as_object(data, where).items()}


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
