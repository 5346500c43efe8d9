"""Any value becomes JSON that every reader takes, and none raises."""

import dataclasses
import datetime
import decimal
import enum
import json
import math
from collections import OrderedDict, deque
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench import HttpRequest
from pytest_servebench.text.json_text import plain, to_json


class Level(enum.Enum):
    HIGH = object()


class Priority(enum.IntEnum):
    LOW = 3


@dataclasses.dataclass
class Shape:
    size: Any
    token: str = dataclasses.field(default="geheim", repr=False)


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no words")

    def tolist(self) -> NoReturn:
        raise RuntimeError("no list")


def refuse(name: str) -> NoReturn:
    raise AssertionError(f"{name} is no JSON")


def strict(text: str) -> Any:
    return json.loads(text.encode(), parse_constant=refuse)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.array([[1.0, math.nan]]), [[1.0, "nan"]]),
        (np.datetime64("2026-01-02"), "2026-01-02"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (b"\xff{}", "\\xff{}"),
        (bytearray(5000), "\0" * 1000 + "… (5000 bytes)"),
        (Path("a/b"), "a/b"),
        (PurePosixPath("/c"), "/c"),
        (Level.HIGH, "Level.HIGH"),
        (Priority.LOW, 3),
        (Shape((1, 2)), {"size": [1, 2]}),
        (Shape, repr(Shape)),
        (HttpRequest("GET", "/x", (("Authorization", "key"),)), {"method": "GET", "path": "/x"}),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", 1}), [1, "b"]),
        (deque([1]), [1]),
        (OrderedDict(a=range(2)), {"a": "range(0, 2)"}),
        ({1: "a", "1": "b", None: "c", (2,): "d"}, {"1": "a", "1'": "b", "null": "c", "[2]": "d"}),
        (datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC), "2026-01-02T03:00:00+00:00"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.timedelta(seconds=90), 90.0),
        (decimal.Decimal("1.10"), "1.10"),
        (1 + 2j, "(1+2j)"),
        ("\ud800x", "\\ud800x"),
        (10**5000, hex(10**5000)),
        (Broken(), "<Broken>"),
        ([Broken()], ["<Broken>"]),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_json_does_not_have(value: object, expected: object) -> None:
    assert plain(value) == expected
    assert strict(to_json(value)) == expected


def test_what_holds_itself_ends() -> None:
    ring: list[Any] = [1]
    ring.append({"again": ring})
    assert strict(to_json(ring))[0] == 1
    deep: Any = 0
    for _ in range(5000):
        deep = [deep]
    strict(to_json(deep))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(_JSON)
def test_json_stays_what_it_is(value: object) -> None:
    assert strict(to_json(value)) == value


@given(
    st.recursive(
        st.floats() | st.binary() | st.text(st.characters()) | st.complex_numbers() | st.dates(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.integers() | st.binary(), inner)
            | st.frozensets(st.integers() | st.text()) | st.tuples(inner)
        ),
    )
)  # fmt: skip
def test_everything_is_written(value: object) -> None:
    strict(to_json(value))
