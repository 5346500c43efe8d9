"""From JSON to tensors and back: no value changes on the way, and none is read as another type."""

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pytest_servebench.servers.savedmodel_server import render, tensors
from pytest_servebench.servers.savedmodel_server.number_lists import read_numbers
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
from tests.examples import examples

Array = npt.NDArray[Any]
BY_WORD = {dtype.word: dtype for dtype in DTYPES.values()}


def signature(**inputs: DType) -> Signature:
    return Signature(
        {name: TensorInfo(f"{name}:0", dtype, None) for name, dtype in inputs.items()}, {}
    )


SIGNATURES = {
    "serving_default": signature(x=FLOAT),
    **{word: signature(x=dtype) for word, dtype in BY_WORD.items()},
    "two": signature(a=FLOAT, b=BY_WORD["int32"]),
}


def read(body: bytes) -> PredictRequest:
    return tensors.predict_request(tensors.parse_predict(body), SIGNATURES)


def read_x(word: str, values: str | bytes) -> Array:
    """Read the values of one input, written as JSON, as that type."""
    values = values.encode() if isinstance(values, str) else values
    body = b'{"signature_name": "%s", "inputs": %s}' % (word.encode(), values)
    return read(body).inputs["x"]


def error_of(word: str, values: str | bytes) -> ApiError:
    with pytest.raises(ApiError) as raised:
        read_x(word, values)
    return raised.value


# Right requests.

separators = st.sampled_from([(", ", ": "), (",", ":"), (" ,\n", " :\t"), ("\r\n,", ":")])
after = st.sampled_from(["", "\n", " trailing {", ']}{"inputs": [1]}'])


@pytest.mark.parametrize("word", ["float", "double", "int32", "int64", "uint32", "uint64", "bool"])
@given(
    data=st.data(),
    separators=separators,
    after=after,
    form=st.sampled_from(["instances", "named instances", "inputs", "named inputs"]),
)
def test_arrays_arrive_in_each_format(
    word: str, data: st.DataObject, separators: tuple[str, str], after: str, form: str
) -> None:
    dtype = BY_WORD[word].numpy
    assert dtype is not None
    array = data.draw(arrays(dtype, array_shapes(max_dims=4, max_side=3)))
    *_, key = form.split()
    value: Any = array.tolist()
    if form == "named instances":
        value = [{"x": one} for one in value]
    elif form == "named inputs":
        value = {"x": value}
    document = {"signature_name": word, key: value}
    request = read((json.dumps(document, separators=separators) + after).encode())
    assert (request.row, request.signature_name) == (key == "instances", word)
    np.testing.assert_array_equal(request.inputs["x"], array, strict=True)


def test_several_inputs() -> None:
    for body in (
        b'{"signature_name": "two", "instances": [{"a": [1, 2.5], "b": 3}, {"b": 4, "a": [5, 6]}]}',
        b'{"signature_name": "two", "inputs": {"a": [[1, 2.5], [5, 6]], "b": [3, 4], "c": 1}}',
    ):
        inputs = read(body).inputs
        a = np.array([[1, 2.5], [5, 6]], np.float32)
        np.testing.assert_array_equal(inputs["a"], a, strict=True)
        np.testing.assert_array_equal(inputs["b"], np.array([3, 4], np.int32), strict=True)


@pytest.mark.parametrize(
    ("word", "values", "array"),
    [
        ("int32", "16777217", 16777217),
        ("int64", "[9007199254740993, -9223372036854775808]", [2**53 + 1, -(2**63)]),
        ("uint64", "[18446744073709551615, 1]", [2**64 - 1, 1]),
        ("uint8", "[255, 257, -1]", [255, 1, 255]),
        ("float", "[1, 2.5, 1e39, -1e39]", [1, 2.5, math.inf, -math.inf]),
        ("float", "[NaN, Infinity, -Infinity, 7]", [math.nan, math.inf, -math.inf, 7]),
        ("float", "[36893488147419103232]", [2.0**65]),
        ("float", "[NaN, 36893488147419103232]", [math.nan, 2.0**65]),
        ("double", "[16777217, 1e-400, 0.1e309, 5e-324]", [16777217, 0, 1e308, 5e-324]),
        ("bool", "[[true], [false]]", [[True], [False]]),
        ("float", "[]", []),
        ("int32", "[[], []]", [[], []]),
        ("bool", "[]", []),
    ],
)
def test_values_keep_their_type(word: str, values: str, array: Any) -> None:
    expected = np.array(array, dtype=object).astype(BY_WORD[word].numpy)
    if word == "uint8":
        expected = np.array([255, 1, 255], np.uint8)  # read as int32, and then cut off
    np.testing.assert_array_equal(read_x(word, values), expected, strict=True)


def test_a_single_narrow_number_is_cut_off_as_in_a_list() -> None:
    one, other = read_x("uint8", "257"), read_x("int8", "-129")
    np.testing.assert_array_equal(one, np.array(1, np.uint8), strict=True)
    np.testing.assert_array_equal(other, np.array(127, np.int8), strict=True)


@pytest.mark.parametrize(
    ("values", "strings"),
    [
        (b'"a"', b"a"),
        (b'["\\u00e9\\n", "\\ud83d\\ude00", ""]', ["é\n".encode(), "😀".encode(), b""]),
        (b'["\xff", "NaN", "true"]', [b"\xff", b"NaN", b"true"]),
        (b'[{"b64": "/wA="}, {"b64": "/wA"}, "x"]', [b"\xff\0", b"\xff\0", b"x"]),
        (b'{"b64": "AAA="}', b"\0\0"),
        (b"[]", []),
    ],
)
def test_strings_and_binary_data(values: bytes, strings: Any) -> None:
    assert read_x("string", values).tolist() == strings


def test_a_byte_order_mark_is_skipped() -> None:
    assert read(b'\xef\xbb\xbf {"inputs": 1}').inputs["x"] == 1


@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":")])
@given(
    array=arrays(
        np.float32,
        array_shapes(max_dims=5, max_side=4),
        elements={"min_value": -(2.0**62), "max_value": 2.0**62},
    )
)
def test_numbers_alone_take_the_quick_way(separators: tuple[str, str], array: Array) -> None:
    for value in (array.tolist(), {"x": array.tolist()}):
        document = {"signature_name": "float", "inputs": value}
        quick = read_numbers(json.dumps(document, separators=separators).encode())
        assert quick is not None
        np.testing.assert_array_equal(quick[1].astype(np.float32), array, strict=True)


@pytest.mark.parametrize(
    "value",
    ["[1[[2,3],[4,5,6]]]", "[[[1,2,3],[4,5,6]1]]", "[[[1,2,3],[4,5 6]]]", "[[[1,2,3],[4,,6]]]",
     "[[[,2,3],[4,5,6]]]", "[[[1,2,3],[4,5,]]]", "[[[1,2,3],[4,05,6]]]", "[[[1,2,3],[4,+5,6]]]",
     "[[[1,2,3],[4,5.,6]]]", "[[[1,2,3],[4,5,6]]]]", "[[[1,2,3],[4,5]]]", "[[1,2],[3],[4,5,6]]",
     "[[1,2]3,[4,5]]", "[[1,2],3[4,5]]", "[1]2", "[1,2]]", "[[1,2]", "[[]]", "[[],[]]",
     "[1,true]", '["1"]', "[NaN]", "[1,[2]]", "[\x141\0]", "[" * 40 + "1" + "]" * 40, "[" * 50_000,
     "[1]}{[1]"],
    ids=lambda value: str(value)[:24],
)  # fmt: skip
def test_what_is_odd_or_wrong_takes_no_quick_way(value: str) -> None:
    assert read_numbers(b'{"inputs":%s}' % value.encode()) is None


# Wrong requests.


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("float", "[1, true]"), ("float", "[0.5, false]"), ("float", "[null]"), ("float", '["1"]'),
        ("float", "[NaN, null]"), ("float", '{"b64": "AA=="}'), ("float", '[1, {"b64": "AA=="}]'),
        ("double", "[true]"), ("double", '["NaN"]'),
        ("int32", "[1.0]"), ("int32", "[1, 2.5]"), ("int32", "[true, 1]"), ("int32", "[NaN]"),
        ("int64", "[1e3]"), ("int64", "[36893488147419103232]"),
        ("bool", "[1]"), ("bool", "[true, 0]"), ("bool", "[null]"), ("bool", '["true"]'),
        ("string", "[1]"), ("string", "[true]"), ("string", "[null]"), ("string", '["a", 1.5]'),
    ],
)  # fmt: skip
def test_values_of_another_type_are_refused(word: str, values: str) -> None:
    error = error_of(word, values)
    assert error.http_status == 400
    assert word in error.message


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("int8", 2**31), ("int32", 2**31), ("int32", -(2**31) - 1), ("int64", 2**63),
        ("int64", -(2**63) - 1), ("uint32", -1), ("uint32", 2**32), ("uint64", 2**64),
        ("uint64", -1),
    ],
)  # fmt: skip
def test_integers_have_ranges(word: str, number: int) -> None:
    assert word in error_of(word, f"[1, {number}]").message


@pytest.mark.parametrize("word", ["float", "int32", "bool", "string"])
@pytest.mark.parametrize(
    "lists",
    ["[[#], [#, #]]", "[[[#]], [[#], [#]]]", "[#, [#]]", "[[#], #]", "[[#], []]", '[[#], "ab"]',
     "[[], [[]]]", '[[], ""]', '[[], {"b64": ""}]', "[" * 70 + "#" + "]" * 70],
)  # fmt: skip
def test_lists_that_are_no_tensor_are_refused(word: str, lists: str) -> None:
    leaf = {"float": "0.5", "int32": "1", "bool": "true", "string": '"a"'}[word]
    assert error_of(word, lists.replace("#", leaf)).http_status == 400


@pytest.mark.parametrize("values", ['{"b64": "?"}', '{"b64": "é"}', '{"b64": "AA=="}{'])
def test_what_is_not_base64(values: str) -> None:
    assert error_of("string", values).http_status == 400


@pytest.mark.parametrize(
    "values",
    ["[", "nul", "[1,]", "[1 2]", "[01]", "[1.]", "[1e+]", "[-]", "[+1]", "[1e309]", "[NaN, 1e309]",
     "9" * 400, "[NaN, " + "9" * 400 + "]", "[NaN, " + "9" * 5000 + "]", "[Nan]", "[Infinite]",
     '["\\x"]', '["\\u12G4"]', '["\\ud800x"]', '["\n"]', "{a: 1}", '{"a" 1}', "[" * 100_000,
     '{"a": ' * 100_000],
    ids=lambda values: str(values)[:12],
)  # fmt: skip
def test_what_is_not_json_is_refused(values: str) -> None:
    for word in ("float", "string"):
        assert error_of(word, values).http_status == 400


@pytest.mark.parametrize("body", [b"", b" \n", b"[1, 2]", b"1", b"null", b'"a"', b"\xff"])
def test_what_is_not_an_object_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError) as raised:
        tensors.parse(body)
    assert raised.value.http_status == 400


# Requests of all kinds.

numbers = st.one_of(
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, -0.0, 1e39, 1e308, 5e-324, 2**31, 2**63, 2**64, -(2**63) - 1]),
)
leaves = st.one_of(numbers, st.booleans(), st.none(), st.text(max_size=3))
nested = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4), max_leaves=12)
words = st.sampled_from(["float", "double", "int32", "int64", "uint64", "bool", "string"])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Requests that are right, or nearly so."""
    rectangular = arrays(object, array_shapes(max_dims=3, max_side=3), elements=leaves)
    value: Any = draw(st.one_of(rectangular.map(np.ndarray.tolist), nested))
    key = draw(st.sampled_from(["instances", "inputs"]))
    document = {"signature_name": draw(words), key: value}
    return json.dumps(document, separators=draw(separators)).encode()


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


def _leaves(value: object, shape: tuple[int, ...]) -> Iterator[object]:
    if not shape:
        yield value
        return
    assert isinstance(value, list)
    assert len(value) == shape[0]
    for one in value:
        yield from _leaves(one, shape[1:])


@examples(500)
@given(st.one_of(bodies(), damaged(), st.binary(max_size=60)))
@example(b'{"instances":[1[[2,3],[4,5,6]]]}')
@example(b'{"instances":[[[1,2,3],[4,5 6]]]}')
@example(b'{"instances":[[[1,2,3],[4,,6]]]}')
@example(b'{"signature_name":"string","instances":[{"b64":"\xff"}]}')
def test_whatever_is_read_is_what_was_written(body: bytes) -> None:
    """Either it is refused, or all values are there, each of a type that the input takes."""
    try:
        request = read(body)
    except ApiError:
        return
    text = body.decode("utf-8", "surrogateescape")
    document, _ = json.JSONDecoder().raw_decode(text.lstrip(" \t\n\r\ufeff"))
    for name, array in request.inputs.items():
        value = document["instances" if request.row else "inputs"]
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif request.row and isinstance(value[0], dict) and name in value[0]:
            value = [one[name] for one in value]
        info = SIGNATURES[request.signature_name or "serving_default"].inputs[name]
        assert array.dtype == info.dtype.numpy
        types: dict[str, tuple[type, ...]]
        types = {"f": (int, float), "i": (int,), "u": (int,), "b": (bool,), "O": (str, dict)}
        for leaf, read_value in zip(
            _leaves(value, array.shape), array.ravel().tolist(), strict=True
        ):
            assert isinstance(leaf, types[array.dtype.kind])
            assert isinstance(leaf, bool) == (info.dtype is BOOL)
            if isinstance(leaf, str):
                assert read_value == leaf.encode("utf-8", "surrogateescape")
            elif info.dtype is not STRING:
                with np.errstate(over="ignore"):
                    expected = np.array(leaf, dtype=object).astype(array.dtype).item()
                np.testing.assert_equal(read_value, expected)


# Answers.


def written(array: Array, name: str = "y", *, row: bool = False) -> bytes:
    return render.predictions_body({name: array}, row=row)


@examples(300)
@pytest.mark.parametrize(("dtype", "digits"), [(np.float32, 9), (np.float64, 17)])
@given(data=st.data())
def test_fractions_come_back_in_few_digits(
    dtype: type[np.floating[Any]], digits: int, data: st.DataObject
) -> None:
    array = data.draw(arrays(dtype, array_shapes(min_dims=0, max_dims=2, max_side=6)))
    text = written(array).decode()
    back = np.array(json.loads(text)["outputs"]).astype(dtype)
    np.testing.assert_array_equal(back, array)
    np.testing.assert_array_equal(np.signbit(back[array == 0]), np.signbit(array[array == 0]))
    if np.isfinite(array).all():
        for token in text.removeprefix('{"outputs":').strip("{}[]").replace("[", "").split(","):
            shown = token.strip("]-").partition("e")[0].replace(".", "").strip("0")
            assert len(shown) <= digits


@pytest.mark.parametrize("number", [0.1, 16777216.0, 1e-7, 3.4028235e38])
def test_float32_is_written_in_the_fewest_digits(number: float) -> None:
    (token,) = json.loads(written(np.array([number], np.float32)), parse_float=str)["outputs"]
    assert float(token) == number


def test_what_is_not_finite_is_written_as_the_real_server_does() -> None:
    array = np.array([[math.nan, math.inf], [-math.inf, 0.5]], np.float32)
    assert b"null" not in written(array)
    np.testing.assert_array_equal(json.loads(written(array))["outputs"], array)


@given(arrays(np.int64, array_shapes(max_dims=2)))
def test_integers_come_back(array: Array) -> None:
    back = json.loads(written(array))["outputs"]
    assert back == array.tolist()
    assert all(type(number) is int for number in np.array(back, dtype=object).ravel())


@given(arrays(object, array_shapes(max_dims=2, max_side=3), elements=st.binary(max_size=4)))
def test_binary_data_comes_back(array: Array) -> None:
    body = written(array, "y_bytes").replace(b'"outputs"', b'"inputs"')
    body = body.removesuffix(b"}") + b', "signature_name": "string"}'
    assert read(body).inputs["x"].tolist() == array.tolist()


@given(arrays(object, array_shapes(max_dims=2, max_side=3), elements=st.binary(max_size=4)))
@example(np.array([b"\xff", b'"\n'], dtype=object))
def test_text_comes_back_whatever_its_bytes(array: Array) -> None:
    body = written(array).replace(b'"outputs"', b'"inputs"', 1)
    body = body.removesuffix(b"}") + b', "signature_name": "string"}'
    assert read(body).inputs["x"].tolist() == array.tolist()
