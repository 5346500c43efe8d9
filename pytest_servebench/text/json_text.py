"""Any Python value as JSON: whatever users add to our figures, the file must get written."""

import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import math
import os
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import singledispatch
from typing import Any, Final

from pytest_servebench.text.redaction import redact

_DEEPEST: Final = 100  # levels; json itself gives up at some thousand
_LONGEST: Final = 1000  # bytes, and characters of the texts of foreign objects
_LARGEST_INT: Final = 2**1023  # beyond it, readers get infinity, or refuse it


def to_json(value: object, *, indent: int | None = 1) -> str:
    """Return any ``value`` as JSON text; see :func:`plain`."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)


def plain(value: object) -> Any:
    """Return ``value`` as JSON types: numbers, strings, booleans, null, lists and objects.

    Other types become the closest of these: a dataclass an object, a set a sorted list, an array
    its elements, an enum member its name, a date its ISO 8601 text, and a number that is not finite
    the string ``"nan"``, ``"inf"`` or ``"-inf"``, as null means something else. Anything else
    becomes its ``repr()``. Never raises.
    """
    return _plain(value, ())


def _plain(value: object, above: tuple[int, ...]) -> Any:
    if id(value) in above or len(above) >= _DEEPEST:
        return _shown(value)
    try:
        return _converted(value, (*above, id(value)))
    except Exception:  # of a foreign object's own methods
        return _shown(value)


@singledispatch
def _converted(value: object, above: tuple[int, ...]) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # Fields without repr are left out: they are long, or secret.
        fields = (one.name for one in dataclasses.fields(value) if one.repr)
        return _object(((name, getattr(value, name)) for name in fields), above)
    # Arrays, and the scalars of NumPy, tensors, and series have this in common.
    to_list: Callable[[], object] | None = getattr(value, "tolist", None)
    if callable(to_list) and not isinstance(value, type):
        return _plain(to_list(), above)
    return _shown(value)


@_converted.register(Mapping)
def _mapping(value: Mapping[object, object], above: tuple[int, ...]) -> dict[str, Any]:
    return _object(value.items(), above)


def _items(value: Iterable[object], above: tuple[int, ...]) -> list[Any]:
    return [_plain(one, above) for one in value]


def _set(value: Iterable[object], above: tuple[int, ...]) -> list[Any]:
    # In an order that is the same in each run, which that of hashes is not.
    return sorted(_items(value, above), key=_order)


def _integer(value: int, _: object) -> int | str:
    number = int.__int__(value)
    return number if -_LARGEST_INT < number < _LARGEST_INT else hex(number)


def _real(value: float, _: object) -> float | str:
    number = float.__float__(value)
    return number if math.isfinite(number) else repr(number)


def _bytes(value: bytes, _: object) -> str:
    content = bytes(value)
    text = redact(content[:_LONGEST].decode("utf-8", "backslashreplace"))
    return text if len(content) <= _LONGEST else f"{text}… ({len(content)} bytes)"


_FORMS: Final[Mapping[Callable[[Any, tuple[int, ...]], Any], Sequence[type]]] = {
    lambda value, _: value: (type(None), bool),
    _integer: (int,),
    _real: (float,),
    lambda value, _: _text(str.__str__(value)): (str,),
    _items: (list, tuple, deque),
    _set: (set, frozenset),
    _bytes: (bytes, bytearray, memoryview),
    lambda value, _: _text(f"{type(value).__name__}.{value.name}"): (enum.Enum,),
    lambda value, _: value.isoformat(): (datetime.date, datetime.time),
    lambda value, _: value.total_seconds(): (datetime.timedelta,),
    lambda value, _: _text(os.fsdecode(value)): (os.PathLike,),
    lambda value, _: str(value): (decimal.Decimal, fractions.Fraction, complex, uuid.UUID),
}
for _form, _types in _FORMS.items():
    for _type in _types:
        _converted.register(_type, _form)


def _object(items: Iterable[tuple[object, object]], above: tuple[int, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in items:
        name = _plain(key, above)
        if not isinstance(name, str):
            name = json.dumps(name)
        while name in found:  # 1 and "1" are two keys
            name += "'"
        found[name] = _plain(value, above)
    return found


def _order(value: Any) -> tuple[str, Any]:
    if isinstance(value, int | float):
        return "", value
    return type(value).__name__, json.dumps(value)


def _text(text: str) -> str:
    """Return the text without secrets, and with halves of characters (surrogates) written out."""
    text = redact(text)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def _shown(value: object) -> str:
    try:
        text = _text(repr(value))
    except Exception:
        return f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
