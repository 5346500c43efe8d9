"""An ONNX file as a model of the Open Inference Protocol, in JSON."""

import gc
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnxruntime

DATATYPES: dict[str, tuple[str, Any]] = {
    "tensor(bool)": ("BOOL", np.bool_),
    **{f"tensor(int{n})": (f"INT{n}", np.dtype(f"i{n // 8}")) for n in (8, 16, 32, 64)},
    **{f"tensor(uint{n})": (f"UINT{n}", np.dtype(f"u{n // 8}")) for n in (8, 16, 32, 64)},
    "tensor(float16)": ("FP16", np.float16),
    "tensor(float)": ("FP32", np.float32),
    "tensor(double)": ("FP64", np.float64),
    "tensor(string)": ("BYTES", np.object_),
}
"""ONNX Runtime's name of a type to the protocol's, and to NumPy's."""


class OnnxModel:
    """Computes predictions.

    Attributes:
        inputs: name to ONNX Runtime's description of an input.
        outputs: the same of the outputs.
    """

    def __init__(self, path: str, threads: int) -> None:
        """Load a file; ``threads`` compute one operation."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # A thread that waits for work in a loop takes the CPU of the load generator.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.inputs = {each.name: each for each in self._session.get_inputs()}
        self.outputs = {each.name: each for each in self._session.get_outputs()}
        for each in (*self.inputs.values(), *self.outputs.values()):
            if each.type not in DATATYPES:
                raise ValueError(f"{each.name!r} is a {each.type}, which cannot be sent")
        # What is loaded by now stays: the collector need not scan it during requests.
        gc.collect()
        gc.freeze()

    def predict(self, arrays: dict[str, Any]) -> list[Any]:
        """Return one array for each output.

        Raises:
            Exception: of ONNX Runtime's, about inputs that do not fit the model.
        """
        predicted: list[Any] = self._session.run(None, arrays)
        return predicted

    def infer(self, tensors: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the output tensors for input tensors, both as the protocol's JSON has them.

        Text may also be bytes.

        Raises:
            Exception: the inputs do not fit the model.
        """
        arrays = {}
        for tensor in tensors:
            name = tensor["name"]
            if name not in self.inputs:
                raise ValueError(f"no input is called {name!r}, only {', '.join(self.inputs)}")
            dtype = DATATYPES[self.inputs[name].type][1]
            array = np.array(tensor["data"], dtype).reshape(tensor["shape"])
            if dtype is np.object_:  # over gRPC it is bytes
                texts = [each.decode() if isinstance(each, bytes) else each for each in array.flat]
                array = np.array(texts, dtype).reshape(array.shape)
            arrays[name] = array
        return [
            {
                "name": name,
                "datatype": DATATYPES[output.type][0],
                "shape": list(array.shape),
                "data": array.ravel().tolist(),
            }
            for (name, output), array in zip(
                self.outputs.items(), self.predict(arrays), strict=True
            )
        ]
