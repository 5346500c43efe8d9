"""What the protocol sends arrives at a model in its own type, and comes back so."""

from collections.abc import Mapping
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.protocols.base import HttpAnswer
from pytest_servebench.protocols.tensorflow_serving import TensorFlowServingRest
from pytest_servebench.servers.savedmodel_server.rest import RestApi
from pytest_servebench.servers.savedmodel_server.signatures import DTYPES, Signature, TensorInfo
from pytest_servebench.values.expectations import disagreement

BY_WORD = {dtype.word: dtype for dtype in DTYPES.values()}
PROTOCOL = TensorFlowServingRest("echo", version=3)


class Echo:
    """Gives back what it gets, of one element type."""

    name = "echo"
    version = 3

    def __init__(self, word: str, output: str = "y") -> None:
        info = TensorInfo("x:0", BY_WORD[word], None)
        self.signatures = {"serving_default": Signature({"x": info}, {output: info})}
        self.output = output
        self.seen: npt.NDArray[Any] = np.empty(0)

    def run(
        self, signature: str, inputs: Mapping[str, npt.NDArray[Any]]
    ) -> Mapping[str, npt.NDArray[Any]]:
        self.seen = inputs["x"]
        return {self.output: self.seen}


def there_and_back(model: Echo, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    request = PROTOCOL.request(value)
    reply = RestApi(model).answer(request.method, request.path, request.body)
    assert reply.status == 200, reply.body
    return np.asarray(PROTOCOL.read(HttpAnswer(200, reply.body)))


def arrays(dtype: type, **elements: Any) -> st.SearchStrategy[npt.NDArray[Any]]:
    shapes = hnp.array_shapes(min_dims=1, max_dims=3, max_side=3)
    return hnp.arrays(dtype, shapes, elements=elements or None)


@pytest.mark.parametrize(
    ("word", "dtype"),
    [
        ("int8", np.int8), ("uint8", np.uint8), ("int16", np.int16), ("int32", np.int32),
        ("uint32", np.uint32), ("int64", np.int64), ("uint64", np.uint64), ("bool", np.bool_),
        ("float", np.float32), ("double", np.float64), ("float", np.float16),
    ],
)  # fmt: skip
@given(data=st.data())
def test_numbers(word: str, dtype: type, data: st.DataObject) -> None:
    fractions = {"allow_nan": False, "allow_infinity": False}
    of_fractions = np.dtype(dtype).kind == "f"
    value = data.draw(arrays(dtype, **(fractions if of_fractions else {})))
    model = Echo(word)
    back = there_and_back(model, value)
    np.testing.assert_array_equal(model.seen[0], value)
    # float32 is written with as few digits as give it back, and read as a double.
    assert disagreement(back, value, rtol=1e-6 if of_fractions else 0, atol=0) is None


@pytest.mark.parametrize(
    ("output", "values"),
    [
        ("y", ["", "é€😀", 'quo"te\\', "a\n"]),
        ("y_bytes", ["text", "é"]),
        ("y_bytes", [b"\x00\xff\xd8", b""]),
    ],
)
def test_text_and_bytes(output: str, values: list[str] | list[bytes]) -> None:
    model = Echo("string", output)
    arrays = [np.array(values, object)]
    if isinstance(values[0], str):  # of a fixed length, bytes lose what they end with
        arrays.append(np.array(values))
    for value in arrays:
        assert disagreement(there_and_back(model, value), value, rtol=0, atol=0) is None
        assert model.seen[0].tolist() == [
            one.encode() if isinstance(one, str) else one for one in values
        ]
