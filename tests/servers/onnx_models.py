"""ONNX files that cost nothing to make."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from pytest_servebench.model import ServedModel


def two_types(path: Path, *, inputs_of_model: bool = True) -> ServedModel:
    """Return a model of token ids with their mask, and a text: sums up the one, doubles the other.

    ``inputs_of_model``: whether the model's inputs are those of the file.
    """
    ids, mask = (
        helper.make_tensor_value_info(name, TensorProto.INT64, ["n", 4]) for name in ("ids", "mask")
    )
    text = helper.make_tensor_value_info("text", TensorProto.STRING, ["n"])
    total = helper.make_tensor_value_info("total", TensorProto.INT64, ["n"])
    twice = helper.make_tensor_value_info("twice", TensorProto.STRING, ["n"])
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["ids", "mask"], ["masked"]),
            helper.make_node("ReduceSum", ["masked", "axes"], ["total"], keepdims=0),
            helper.make_node("StringConcat", ["text", "text"], ["twice"]),
        ],
        "two_types",
        [ids, mask, text],
        [total, twice],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path
    )
    # Beyond 2**53, where floats would lose them.
    numbers = np.array([[2**60 + 1, 5, -3, 2], [1, 2, 3, 4]], np.int64)
    ones = np.array([[1, 0, 1, 1], [1, 1, 0, 0]], np.int64)
    inputs = {"ids": numbers, "mask": ones, "text": np.array(["müde", "a b"], object)}
    outputs = {
        "total": (numbers * ones).sum(axis=1),
        "twice": np.array(["müdemüde", "a ba b"], object),
    }
    if not inputs_of_model:
        del inputs["mask"]
    return ServedModel("two types", {"onnx": path}, inputs, outputs)
