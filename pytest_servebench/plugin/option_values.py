"""Parsers of single values of options, ini keys and markers.

Each raises ``ValueError`` saying what to give instead; the caller adds the option and the value.
"""

import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Final

UNITS: Final = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
"""Units of durations, in seconds."""

SIZES: Final = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
"""Units of sizes, in bytes."""

_KIND_VALUE: Final = re.compile(r"\s*([^\s.=]+)\.([^\s=]+)\s*=\s*(.*?)\s*", re.DOTALL)


def number(low: float, *, inclusive: bool, what: str) -> Callable[[str], float]:
    """Return a parser of finite numbers above (or from) ``low``."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"not a number; give {what}") from None
        if not math.isfinite(value) or value < low or (value == low and not inclusive):
            raise ValueError(f"give {what}")
        return value

    return read


def time_span(unit: str, *, inclusive: bool, what: str) -> Callable[[str], float]:
    """Return a parser of durations above (or from) 0, such as ``15`` or ``500ms``.

    Args:
        unit: of plain numbers and of the result: one of ``UNITS``.
        inclusive: whether 0 is allowed.
        what: what to give instead of a wrong value.
    """
    units = ", ".join(UNITS)
    read_number = number(0, inclusive=inclusive, what=f"{what}, or with a unit ({units})")

    def read(text: str) -> float:
        found = re.fullmatch(rf"\s*(.*?)\s*({'|'.join(UNITS)})?\s*", text, re.DOTALL)
        assert found is not None
        span = read_number(found[1])
        if found[2] in (None, unit):
            return span
        return read_number(str(span * UNITS[found[2]] / UNITS[unit]))  # which may be infinite now

    return read


def share(text: str) -> float:
    """Parse a share above 0, such as ``5%`` or ``0.05``."""
    what = "a share above 0, such as 5% or 0.05"
    read = number(0, inclusive=False, what=what)
    found = re.fullmatch(r"\s*(.*?)\s*(%?)\s*", text, re.DOTALL)
    assert found is not None
    value = read(found[1])
    if not found[2] and value > 1:
        raise ValueError(f"give {what}; with a sign if it is a percentage: {value:g}%")
    return value / 100 if found[2] else value


def rate_range(text: str) -> tuple[float, float]:
    """Parse a range of rates, such as ``1..10000``."""
    return _rate_pair(text.split(".."))


def _rate_pair(ends: Sequence[object]) -> tuple[float, float]:
    if len(ends) != 2:
        raise ValueError("give the lowest and the highest rate: 1..10000, or (1, 10000) in Python")
    rates = []
    for one in ends:
        try:
            rates.append(float(number_of(RATE, one)))
        except ValueError as error:
            raise ValueError(f"{one!r}: {error}") from None
    if rates[0] >= rates[1]:
        raise ValueError("the first rate must be below the second, as in 1..10000")
    return rates[0], rates[1]


def whole(low: int, *, what: str) -> Callable[[str], int]:
    """Return a parser of whole numbers from ``low``."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"not a whole number; give {what}") from None
        if value < low:
            raise ValueError(f"give {what}")
        return value

    return read


RATE: Final = number(0, inclusive=False, what="requests per second above 0, such as 10")
BUFFER_SIZE: Final = whole(0, what="a number of requests, 0 or more")
ROWS: Final = whole(1, what="a number of samples in each request, 1 or more")


def number_of(read: Callable[[str], Any], value: object) -> Any:
    """Parse a value given in Python, by a marker or a fixture.

    Strings are read as option values; numbers may be of any type, and 10.0 counts as whole.
    ``True`` is not a number. A list or tuple is a range of rates.
    """
    if isinstance(value, str):
        return read(value)
    if read is rate_range and isinstance(value, (list, tuple)):
        return _rate_pair(value)
    if type(value).__name__ in ("bool", "bool_") or not isinstance(value, (Real, Decimal)):
        return read("?")  # fails, saying what to give
    try:
        plain = float(value)
    except (ValueError, OverflowError):
        return read("?")
    found = read(str(int(plain)) if plain.is_integer() else repr(plain))
    return int(found) if isinstance(value, Integral) else found


def size(text: str) -> int:
    """Read a size above 0 in bytes, such as ``1000`` or ``16MiB``."""
    found = re.fullmatch(r"\s*(.*?)\s*([a-z]*)\s*", text, re.IGNORECASE | re.DOTALL)
    assert found is not None
    units = {unit.lower(): factor for unit, factor in SIZES.items()}
    factor = units.get(found[2].lower())
    what = f"bytes above 0, or a size such as 16MiB (units: {', '.join(SIZES)})"
    read = number(0, inclusive=False, what=what)
    # With an unknown unit the text is not a number; and the product may overflow.
    return max(1, int(read(str(read(found[1] if factor else text) * (factor or 1)))))


def several(read: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    """Return a parser of lists without duplicates, separated by commas or white space."""

    def read_list(text: str) -> tuple[Any, ...]:
        parts = text.replace(",", " ").split()
        return distinct([item(part) if len(parts) > 1 else read(part) for part in parts])

    def item(part: str) -> Any:
        try:
            return read(part)
        except ValueError as error:
            raise ValueError(f"{part!r}: {error}") from None

    return read_list


def distinct(values: Sequence[Any]) -> tuple[Any, ...]:
    """Return the values, which must be at least one and all different."""
    if not values:
        raise ValueError("the list is empty; give at least one value")
    if len(set(values)) != len(values):
        raise ValueError("a value is given twice; give each once")
    return tuple(values)


def choice(*words: str) -> Callable[[str], str]:
    """Return a parser that accepts one of ``words``."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"give one of {', '.join(words)}")
        return text

    return read


def names(*words: str) -> Callable[[str], frozenset[str]]:
    """Return a parser of comma-separated ``words``; the list may be empty."""

    def read(text: str) -> frozenset[str]:
        given = frozenset(part.strip() for part in text.split(",") if part.strip())
        if not given <= set(words):
            raise ValueError(f"choose from {', '.join(words)}")
        return given

    return read


def run_name(text: str) -> str:
    """Parse the name of a run, which must be a valid directory name."""
    from pytest_servebench.system.files import LONGEST_NAME

    if text and (not re.fullmatch(r"[\w][\w.+-]*", text) or text == "latest"):
        raise ValueError(
            "use letters, digits, '_' and, after the first character, '.', '+' and '-'; 'latest' "
            "is reserved"
        )
    if len(os.fsencode(text)) > LONGEST_NAME:
        raise ValueError(f"too long for a directory name: give at most {LONGEST_NAME} bytes")
    return text


def server_name(text: str) -> str:
    """Parse a host name or an address; empty for none."""
    if text and (not re.fullmatch(r"[A-Za-z0-9_.:-]+", text) or text.startswith(".")):
        raise ValueError("give a host name, such as models.example")
    return text


def truth(text: str) -> bool:
    """Parse a boolean as ini files write it."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off", ""):
        return False
    raise ValueError("give true or false")


def processors(text: str) -> tuple[int, ...]:
    """Parse a set of CPUs such as ``0,2-3``; empty for all that this process may use."""
    allowed = _allowed_processors()
    if not text.strip():
        return tuple(sorted(allowed))
    wanted: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            wanted.update(range(int(first), int(last if dash else first) + 1))
        except ValueError:
            raise ValueError("give numbers and ranges such as 0,2-3") from None
    if not wanted or not wanted <= allowed:
        raise ValueError(f"give some of the CPUs that this process may use: {sorted(allowed)}")
    return tuple(sorted(wanted))


def _allowed_processors() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


@dataclass(frozen=True)
class KindValue:
    """A user's value for one option of a server kind.

    Attributes:
        kind: name of the kind, as given.
        key: name of the option, with underscores.
        value: a text; from a table of the configuration file, of TOML's own types.
        source: option, ini key, or file and table that gave it.
        directory: base of relative paths.
        in_table: whether a table gave it.
    """

    kind: str
    key: str
    value: object
    source: str = ""
    directory: Path = Path()
    in_table: bool = False

    @property
    def given(self) -> str:
        """Return where it was given, with the key, for messages."""
        return f"{self.source}{' ' if self.in_table else f'={self.kind}.'}{self.key}"

    @property
    def shown(self) -> str:
        """Return it as given, for messages."""
        return f"{self.given} = {self.value!r}" if self.in_table else f"{self.given}={self.value}"


def read_kind_value(text: str) -> tuple[KindValue]:
    """Parse ``KIND.KEY=VALUE``."""
    found = _KIND_VALUE.fullmatch(text)
    if found is None:
        raise ValueError("give KIND.KEY=VALUE, such as torchserve.url=http://HOST:PORT")
    return (KindValue(found[1], found[2].replace("-", "_"), found[3]),)
