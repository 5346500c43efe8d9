"""Every protocol: what a model is sent, and gives back, arrives as it was."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_servebench.protocols import (
    KServeV1,
    OpenInference,
    OpenInferenceGrpc,
    PlainJson,
    RowsProtocol,
    TensorFlowServingGrpc,
    TensorFlowServingRest,
    TorchServeGrpc,
    TorchServeRest,
)
from pytest_servebench.values.arrays import Arrays
from pytest_servebench.values.expectations import disagreement
from tests.examples import examples

from .reference_servers import echo

MANY_ROWS: list[RowsProtocol] = [
    TensorFlowServingRest("m", signature="other"),
    TensorFlowServingRest("m", layout="columns", label="canary"),
    KServeV1("m"),
    TorchServeRest("m", version="1.0"),
    OpenInference("m"),
    OpenInference("m", binary=True, version=3),
    PlainJson(layout="columns", answer="result.0"),
    PlainJson(layout="rows", wrapper="data", input="samples", answer="result.0.data.samples"),
    TensorFlowServingGrpc("m", input="x", version=3),
    TorchServeGrpc("m", version="1.0"),
    OpenInferenceGrpc("m"),
    OpenInferenceGrpc("m", version=3, contents="typed"),
]
ONE_ROW: list[RowsProtocol] = [
    TensorFlowServingRest("m", layout="single"),
    OpenInference("m", layout="single"),
    OpenInference("m", layout="single", binary=True),
    PlainJson(answer="result.0"),
    PlainJson(wrapper="data", answer="result.0.data"),
    TorchServeRest("m", body="multipart"),
    PlainJson(body="multipart", input="file"),
    TensorFlowServingGrpc("m", layout="single", input="x", label="canary"),
    OpenInferenceGrpc("m", layout="single"),
]
TYPED = (OpenInference, OpenInferenceGrpc, TensorFlowServingGrpc)  # types are sent, too


def identified(protocol: RowsProtocol) -> str:
    values = {key: value for key, value in vars(protocol).items() if value not in ("", "m", None)}
    return f"{type(protocol).__name__} {values}"


shapes = hnp.array_shapes(min_dims=0, max_dims=3, max_side=3)
dtypes = st.sampled_from(
    [np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)]
    + [np.dtype(name) for name in ("f2", "f4", "f8", "?", ">f4", ">i8")]
)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@st.composite
def rows_of_one_input(draw: st.DrawFn, rows: int, *, texts: Any = words) -> Sequence[Any]:
    shape = draw(shapes)
    if draw(st.integers(0, 3)) == 0:
        size = int(np.prod(shape))
        elements = st.lists(texts, min_size=size, max_size=size)
        return [np.array(draw(elements), dtype=object).reshape(shape) for _ in range(rows)]
    dtype = draw(dtypes)
    finite = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else {}
    strategy = hnp.arrays(dtype, shape, elements=hnp.from_dtype(dtype, **finite))  # type: ignore[arg-type]
    return [draw(strategy) for _ in range(rows)]


@st.composite
def samples(draw: st.DrawFn, most: int, texts: Any = words) -> Sequence[Arrays]:
    rows = draw(st.integers(1, most))
    names = draw(st.lists(st.sampled_from(["ids", "mask", 'a "b"', "é"]), unique=True))
    if not names:
        return draw(rows_of_one_input(rows, texts=texts))
    columns = {name: draw(rows_of_one_input(rows, texts=texts)) for name in names}
    return [{name: column[row] for name, column in columns.items()} for row in range(rows)]


def check(protocol: Any, sent: Sequence[Arrays]) -> None:
    request = protocol.request_rows(sent)
    assert request == protocol.request_rows(sent)  # a later run is known to send the same
    received = protocol.read_rows(echo(request), len(sent))
    assert len(received) == len(sent)
    for got, expected in zip(received, sent, strict=True):
        assert disagreement(got, expected, rtol=0, atol=0) is None
        for mine, theirs in zip(arrays_of(got), arrays_of(expected), strict=True):
            if isinstance(protocol, TYPED):
                assert mine.dtype == theirs.dtype.newbyteorder("=")
            elif theirs.dtype == object:
                assert mine.tolist() == theirs.tolist()  # text stays text, bytes stay bytes


def arrays_of(values: Arrays) -> list[npt.NDArray[Any]]:
    return [values[name] for name in sorted(values)] if isinstance(values, Mapping) else [values]


@pytest.mark.parametrize("protocol", MANY_ROWS, ids=identified)
@examples(25)
@given(st.data())
def test_rows(protocol: RowsProtocol, data: st.DataObject) -> None:
    in_json = isinstance(protocol, OpenInference) and not protocol.binary
    sent = data.draw(samples(3, words if in_json else words | st.binary(max_size=5)))
    if isinstance(protocol, OpenInferenceGrpc) and protocol.contents == "typed":
        assume(all(array.dtype != np.float16 for one in sent for array in arrays_of(one)))
    check(protocol, sent)


@pytest.mark.parametrize("protocol", ONE_ROW, ids=identified)
@examples(25)
@given(st.data())
def test_a_single_sample(protocol: RowsProtocol, data: st.DataObject) -> None:
    in_json = isinstance(protocol, OpenInference) and not protocol.binary
    (sent,) = data.draw(samples(1, words if in_json else words | st.binary(max_size=5)))
    if isinstance(protocol, PlainJson) and not isinstance(sent, Mapping):
        sent = {protocol.input: sent}
    check(protocol, [sent])
    assert protocol.request(sent) == protocol.request_rows([sent])


@pytest.mark.parametrize("made", [partial(TorchServeRest, "m"), PlainJson])
@given(content=st.binary() | words.filter(str))
def test_raw_bytes(made: Callable[..., Any], content: bytes | str) -> None:
    protocol = made(body="bytes", content_type="image/jpeg")
    request = protocol.request(np.array(content, object))
    assert request.body == (content if isinstance(content, bytes) else content.encode())
    assert dict(request.headers)["Content-Type"] == "image/jpeg"
    assert disagreement(protocol.read(echo(request)), np.array(content, object)) is None


def test_bytes_of_a_form_keep_their_line_ends() -> None:
    sent = {"image": np.array(b"\r\n\xff\x00\r\n--", object), "text": np.array("a\r\nb", object)}
    check(TorchServeRest("m", body="multipart"), [sent])
