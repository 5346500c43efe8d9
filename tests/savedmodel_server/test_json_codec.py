"""Reading JSON the quick ways and the exact way, and writing numbers."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pytest_servebench.servers.savedmodel_server import fast_json, rapid_json, tensors
from pytest_servebench.servers.savedmodel_server.decimals import format_floats
from pytest_servebench.servers.savedmodel_server.rapid_json import JsonObject
from pytest_servebench.servers.savedmodel_server.signatures import (
    BOOL,
    DTYPES,
    FLOAT,
    STRING,
    DType,
    Signature,
    TensorInfo,
)
from pytest_servebench.servers.savedmodel_server.status import ApiError
from pytest_servebench.servers.savedmodel_server.tensors import PredictRequest

INT32, INT8, INT64, DOUBLE, HALF = DTYPES[3], DTYPES[6], DTYPES[9], DTYPES[2], DTYPES[19]


def signature(**inputs: tuple[DType, tuple[int, ...] | None]) -> Signature:
    return Signature(
        {name: TensorInfo(f"{name}:0", dtype, dims) for name, (dtype, dims) in inputs.items()}, {}
    )


SIGNATURES = {
    "serving_default": signature(x=(FLOAT, (-1, 2, 3))),
    "flat": signature(x=(FLOAT, (-1,))),
    "pixels": signature(x=(FLOAT, (-1, 2, 2, 1))),
    "open": signature(x=(FLOAT, None)),
    "doubles": signature(x=(DOUBLE, (-1, 2))),
    "ints": signature(x=(INT32, (-1, 2))),
    "bytes": signature(x=(INT8, (-1,))),
    "longs": signature(x=(INT64, (-1,))),
    "words": signature(x=(STRING, (-1,))),
    "flags": signature(x=(BOOL, (-1,))),
    "halves": signature(x=(HALF, (-1,))),
    "two": signature(a=(FLOAT, (-1, 2)), b=(INT32, (-1,))),
}


def exactly(body: bytes) -> PredictRequest:
    return tensors.predict_request(rapid_json.parse(body), SIGNATURES)


def assert_same(fast: PredictRequest, exact: PredictRequest) -> None:
    assert (fast.row, fast.signature_name) == (exact.row, exact.signature_name)
    assert fast.inputs.keys() == exact.inputs.keys()
    for name, array in fast.inputs.items():
        assert array.dtype == exact.inputs[name].dtype
        np.testing.assert_array_equal(array, exact.inputs[name], strict=True)


def assert_quick_ways_agree(body: bytes) -> None:
    """Either a quick way refuses, or it reads what the exact way reads."""
    for read in (fast_json.decode_dense, fast_json.decode_plain):
        fast = read(body, SIGNATURES)
        if fast is not None:
            assert_same(fast, exactly(body))


numbers = st.one_of(
    st.floats(),
    st.floats(width=32),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, -0.0, 1e39, 1e308, 5e-324, 2**31, 2**63, 2**64, -(2**63) - 1]),
)
leaves = st.one_of(numbers, st.booleans(), st.none(), st.text(max_size=3))
nested = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4), max_leaves=20)
shaped = st.sampled_from([(1, 2, 3), (2, 2, 3), (3, 2), (2, 2, 2, 1), (4,), (0,), (2, 0), (3, 3)])
names = st.sampled_from([*SIGNATURES, "", "nope"])
separators = st.sampled_from([(", ", ": "), (",", ":"), (" ,\n", " :\t"), ("\r\n,", ":")])


@st.composite
def rectangular(draw: st.DrawFn) -> list[Any]:
    elements = draw(st.sampled_from([st.floats(width=32), st.integers(-300, 300), numbers]))
    shape = draw(shaped)
    flat = draw(st.lists(elements, min_size=math.prod(shape), max_size=math.prod(shape)))
    array = np.empty(len(flat), dtype=object)
    array[:] = flat
    as_list: list[Any] = array.reshape(shape).tolist()
    return as_list


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Requests that are right, or nearly so."""
    value: Any = draw(st.one_of(rectangular(), nested))
    document: dict[str, Any] = {}
    if draw(st.booleans()):
        document["signature_name"] = draw(names)
    key = draw(st.sampled_from(["instances", "inputs"]))
    form = draw(st.sampled_from(["plain", "named", "pair"]))
    if form == "named":
        value = {"x": value} if key == "inputs" else [{"x": one} for one in _listed(value)]
    elif form == "pair":
        other = draw(nested)
        value = (
            {"a": value, "b": other}
            if key == "inputs"
            else [{"a": one, "b": 1} for one in _listed(value)]
        )
    document[key] = value
    if draw(st.integers(0, 9)) == 0:
        document[draw(st.sampled_from(["inputs", "extra", "signature_name"]))] = draw(leaves)
    text = json.dumps(document, separators=draw(separators))
    return (draw(st.sampled_from(["", " ", "\n"])) + text).encode()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Requests with some bytes replaced, left out or put in."""
    body = bytearray(draw(bodies()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        length = draw(st.integers(0, 2))
        body[at : at + length] = draw(
            st.lists(st.sampled_from(b'[]{},:0123456789.-+eE "\\ntfN\x00\xff'), max_size=2)
        )
    return bytes(body)


@settings(max_examples=400, deadline=None)
@given(bodies())
def test_quick_ways_read_what_the_exact_way_reads(body: bytes) -> None:
    assert_quick_ways_agree(body)


@settings(max_examples=600, deadline=None)
@given(damaged())
@example(b'{"instances":[1[[2,3],[4,5,6]]]}')
@example(b'{"instances":[[[1,2,3],[4,5,6]1]]}')
@example(b'{"instances":[[[1,2,3],[4,5 6]]]}')
@example(b'{"instances":[[[1,2,3],[4,,6]]]}')
@example(b'{"instances":[[[1,2,3],[4,05,6]]]}')
@example(b'{"instances":[[[1,2,3],[4,+5,6]]]}')
@example(b'{"instances":[[[1,2,3],[4,5.,6]]]}')
@example(b'{"instances":[[[1,2,3],[4,5,6]]]]}')
@example(b'{"instances":[[[1,2,3],[4,5,6]]]},{"inputs":[1]}')
@example(b'{"signature_name":"flat","instances":[1,2],"instances":[3]}')
@example(b'{"inputs":{"a":[[1,2]],"b":[1],"b":[2]},"signature_name":"two"}')
def test_damage_is_never_read_differently(body: bytes) -> None:
    assert_quick_ways_agree(body)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.binary(max_size=60), damaged(), st.text(max_size=40).map(str.encode)))
@example(b"\xef\xbb\xbf{}")
@example(b'{"signature_name":"words","instances":[{"b64":"\xff"}]}')
def test_no_bytes_make_it_crash(body: bytes) -> None:
    assert_quick_ways_agree(body)
    with contextlib.suppress(ApiError):
        exactly(body)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_depth_is_limited_by_the_server_not_by_the_stack(opening: bytes) -> None:
    body = b'{"instances":' + opening * 100_000
    assert fast_json.decode(body, SIGNATURES) is None
    with pytest.raises(ApiError, match=r"Terminate parsing due to Handler error\. at offset: "):
        rapid_json.parse(body)


@settings(deadline=None)
@given(arrays(np.float32, st.sampled_from([(1, 2, 3), (5, 2, 3)])))
@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":")])
def test_ordinary_requests_take_the_quick_way(
    separators: tuple[str, str], array: np.ndarray[Any, Any]
) -> None:
    document = {"signature_name": "serving_default", "instances": array.tolist()}
    body = json.dumps(document, separators=separators).encode()
    dense, plain = (
        read(body, SIGNATURES) for read in (fast_json.decode_dense, fast_json.decode_plain)
    )
    if not np.isfinite(array).all():
        assert dense is plain is None
        array_back = exactly(body).inputs["x"]
    else:
        assert dense is not None
        assert plain is not None
        assert_same(dense, plain)
        array_back = dense.inputs["x"]
    np.testing.assert_array_equal(array_back, array, strict=True)


@pytest.mark.parametrize("piece", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("body", "right"),
    [
        (b'{"instances":[[[1,2,3],[4,5,6]],[[7,8,9],[10,11,12]]]}', True),
        (b'{"instances":[[[1,2,3],[4,,6]],[[7,8,9],[10,11,12]]]}', False),
        (b'{"instances":[[[,2,3],[4,5,6]],[[7,8,9],[10,11,12]]]}', False),
        (b'{"instances":[[[1,2,3],[4,5,6]],[[7,8,9],[10,11,]]]}', False),
        (b'{"instances":[[[1,2,3],[4,5, ]],[[7,8,9],[10,11,12]]]}', False),
    ],
)
def test_pieces_are_read_like_the_whole(
    monkeypatch: pytest.MonkeyPatch, piece: int, body: bytes, right: bool
) -> None:
    monkeypatch.setattr(fast_json, "_PIECE", piece)
    fast = fast_json.decode_dense(body, SIGNATURES)
    if right:
        assert fast is not None
        assert_same(fast, exactly(body))
    else:
        assert fast is None


def test_named_inputs_take_a_quick_way() -> None:
    row = (
        b'{"signature_name": "two", "instances": [{"a": [1, 2.5], "b": 3}, {"b": 4, "a": [5, 6]}]}'
    )
    columns = b'{"signature_name": "two", "inputs": {"a": [[1, 2.5], [5, 6]], "b": [3, 4]}}'
    for body in (row, columns):
        fast = fast_json.decode(body, SIGNATURES)
        assert fast is not None
        assert_same(fast, exactly(body))
        np.testing.assert_array_equal(
            fast.inputs["a"], np.array([[1, 2.5], [5, 6]], np.float32), strict=True
        )
        np.testing.assert_array_equal(fast.inputs["b"], np.array([3, 4], np.int32), strict=True)


def _plain(value: rapid_json.Json) -> Any:
    if isinstance(value, JsonObject):
        return {name.decode(): _plain(member) for name, member in value.members}
    if isinstance(value, list):
        return [_plain(element) for element in value]
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value


documents = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False),
        st.text(st.characters(exclude_categories=["Cs"])),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=5),
    ),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text("abc"), documents), st.booleans())
def test_the_exact_way_reads_json(document: dict[str, Any], ascii_only: bool) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only)
    assert _plain(rapid_json.parse(text.encode() + b" trailing {")) == document


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b" \n", "The document is empty. at offset: 2"),
        (b'{"instances": [', "Invalid value. at offset: 15"),
        (b'{"a": nul}', "Invalid value. at offset: 9"),
        (b'{"a": tru', "Invalid value. at offset: 9"),
        (b"{a: 1}", "Missing a name for object member. at offset: 1"),
        (b'{"a": 1,}', "Missing a name for object member. at offset: 8"),
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a": 1 "b"}', "Missing a comma or } after an object member. at offset: 8"),
        (b'{"a": [1 2]}', "Missing a comma or ] after an array element. at offset: 9"),
        (b'{"a": [01]}', "Missing a comma or ] after an array element. at offset: 8"),
        (b'{"a": [1,]}', "Invalid value. at offset: 9"),
        (b'{"a": "x', "Missing a closing quotation mark in string. at offset: 8"),
        (b'{"a": "\n"}', "Invalid encoding in string. at offset: 7"),
        (b'{"a": "\\x"}', "Invalid escape character in string. at offset: 7"),
        (b'{"a": "\\u12G4"}', "Incorrect hex digit after \\u escape in string. at offset: 7"),
        (b'{"a": "\\ud800x"}', "The surrogate pair in string is invalid. at offset: 7"),
        (b'{"a": "\\udc00"}', "The surrogate pair in string is invalid. at offset: 7"),
        (b'{"a": 1.}', "Miss fraction part in number. at offset: 8"),
        (b'{"a": 1e+}', "Miss exponent in number. at offset: 9"),
        (b'{"a": -}', "Invalid value. at offset: 7"),
        (b'{"a": 1e309}', "Number too big to be stored in double. at offset: 6"),
        (b'{"a": -' + b"9" * 400 + b"}", "Number too big to be stored in double. at offset: 6"),
        (b'{"a": Nan}', "Invalid value. at offset: 8"),
        (b'{"a": Infinite}', "Invalid value. at offset: 13"),
    ],
)
def test_parse_errors_name_the_offset(body: bytes, error: str) -> None:
    with pytest.raises(ApiError) as raised:
        rapid_json.parse(body)
    assert raised.value.message == f"JSON Parse error: {error}"


@pytest.mark.parametrize(
    ("token", "value"),
    [
        (b"NaN", math.nan),
        (b"-NaN", math.nan),
        (b"Inf", math.inf),
        (b"-Infinity", -math.inf),
        (b"1e-400", 0.0),
        (b"0.1e309", 1e308),
        (b"1e-99999999999999999999", 0.0),
        (b"18446744073709551615", 2**64 - 1),
        (b"18446744073709551616", 2.0**64),
        (b"-9223372036854775809", -(2.0**63)),
    ],
)
def test_unusual_numbers(token: bytes, value: float) -> None:
    ((_, read),) = rapid_json.parse(b'{"a":' + token + b"}").members
    assert type(read) is type(value)
    assert read == pytest.approx(value, rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        (-0.0, "-0.0"),
        (100.0, "100.0"),
        (1e21, "1e21"),
        (1e20, "100000000000000000000.0"),
        (1.5e22, "1.5e22"),
        (0.001, "0.001"),
        (1e-6, "0.000001"),
        (1.25e-7, "1.25e-7"),
        (-123.456, "-123.456"),
        (b'a"\\\n\x01\xc3\xa9', '"a\\"\\\\\\n\\u0001é"'),
        (None, "null"),
        (JsonObject([]), "{}"),
        ([1, [], True], "[1, [], true]"),
        (JsonObject([(b"a", [1]), (b"b", JsonObject([(b"c", b"d")]))]),
         '{\n    "a": [1],\n    "b": {\n        "c": "d"\n    }\n}'),
    ],
)  # fmt: skip
def test_values_are_quoted_as_the_real_server_does(value: rapid_json.Json, text: str) -> None:
    assert rapid_json.quoted(value) == text


@given(st.lists(st.integers(0, 10**6), max_size=200))
def test_quoted_values_are_cut_between_elements(value: list[int]) -> None:
    text = rapid_json.quoted(list(value))
    assert str(value).startswith(text)
    assert len(text) < 256 + 7 or text == str(value)


@settings(max_examples=300, deadline=None)
@given(arrays(np.float32, array_shapes(max_dims=1, max_side=8)))
@example(np.array([0.1, 0.0, -0.0, 9e6, 3e-5, 123456.0, 1234567.0, 3.4028235e38], np.float32))
def test_numbers_come_back_as_float32(array: np.ndarray[Any, Any]) -> None:
    texts = format_floats(array)
    back = np.array([float(text) for text in texts], np.float32)
    np.testing.assert_array_equal(back, array)
    np.testing.assert_array_equal(np.signbit(back[array == 0]), np.signbit(array[array == 0]))
    for text in texts:
        assert text in ("NaN", "Infinity", "-Infinity") or "." in text or "e" in text
        digits = text.lstrip("-").partition("e")[0].replace(".", "").lstrip("0")
        assert len(digits) <= 10 if text.endswith(".0") else len(digits) <= 9 or digits == "NaN"


@settings(deadline=None)
@given(arrays(np.float64, 5))
def test_numbers_come_back_as_doubles(array: np.ndarray[Any, Any]) -> None:
    back = np.array([float(text) for text in format_floats(array)])
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        # Of the recorded answers.
        (-0.0941808, "-0.0941808"),
        (0.0392234325, "0.0392234325"),
        (-0.00477746269, "-0.00477746269"),
        (0.0, "0.0"),
        (-0.27770251, "-0.27770251"),
        (0.0757063, "0.0757063"),
        # Of the real server's source: six digits, and an exponent from 1e6 on.
        (9000000.0, "9e+06"),
        (0.00003, "3e-05"),
        (1.0, "1.0"),
    ],
)
def test_numbers_are_printed_as_the_real_server_does(number: float, text: str) -> None:
    assert format_floats(np.array([number], np.float32)) == [text]
