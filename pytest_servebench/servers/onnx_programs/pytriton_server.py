"""Serve an ONNX file with Triton.

``pytriton_server.py FILE NAME HTTP_PORT GRPC_PORT WORKERS MAX_BATCH_SIZE``; without gRPC its port
is 0.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from onnx_model import DATATYPES, OnnxModel  # type: ignore[import-not-found]
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def _tensor(described: Any, *, batching: bool) -> Tensor:
    shape = [size if isinstance(size, int) else -1 for size in described.shape]
    dtype = DATATYPES[described.type][1]
    return Tensor(
        name=described.name,
        dtype=np.bytes_ if dtype is np.object_ else np.dtype(dtype).type,
        shape=tuple(shape[1:] if batching else shape),
    )


def _text(array: Any) -> Any:
    return np.char.decode(array.astype(np.bytes_), "utf-8").astype(object)


def main() -> None:
    """Serve until a signal ends it."""
    path, name, port, grpc_port, workers, max_batch_size = sys.argv[1:]
    model = OnnxModel(path, int(os.environ["OMP_NUM_THREADS"]))
    described = (*model.inputs.values(), *model.outputs.values())
    # Triton batches tensors whose first axis, that of samples, has no fixed size.
    batching = all(len(each.shape) > 1 and not isinstance(each.shape[0], int) for each in described)

    def infer(**inputs: Any) -> dict[str, Any]:
        arrays = {
            name: _text(array) if array.dtype.kind in "SO" else array
            for name, array in inputs.items()
        }
        outputs = zip(model.outputs, model.predict(arrays), strict=True)
        return {
            name: np.char.encode(array.astype(str), "utf-8") if array.dtype.kind == "O" else array
            for name, array in outputs
        }

    def infer_one(requests: Any) -> list[dict[str, Any]]:
        return [infer(**request.data) for request in requests]

    config = TritonConfig(
        http_address="127.0.0.1", http_port=int(port),
        allow_grpc=grpc_port != "0", allow_metrics=False, log_verbose=0,
        **({"grpc_address": "127.0.0.1", "grpc_port": int(grpc_port)} if grpc_port != "0" else {}),
    )  # fmt: skip
    with Triton(config=config, workspace=Path.cwd() / "workspace") as triton:
        triton.bind(
            model_name=name,
            infer_func=[batch(infer) if batching else infer_one] * int(workers),
            inputs=[_tensor(each, batching=batching) for each in model.inputs.values()],
            outputs=[_tensor(each, batching=batching) for each in model.outputs.values()],
            config=ModelConfig(batching=batching, max_batch_size=int(max_batch_size)),
        )
        triton.serve()


if __name__ == "__main__":
    main()
