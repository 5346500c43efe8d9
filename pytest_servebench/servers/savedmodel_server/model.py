"""Loading and running the model: the only module that imports TensorFlow."""

import contextlib
import importlib.metadata
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.servers.savedmodel_server.signatures import (
    DTYPES,
    STRING,
    Signature,
    TensorInfo,
)
from pytest_servebench.servers.savedmodel_server.status import CODE_NAMES, ApiError

Array = npt.NDArray[Any]
_DISTRIBUTIONS = ("tensorflow", "tensorflow-cpu", "tensorflow-intel", "tensorflow-macos")
_WARM_UP_RUNS = 3
# TensorFlow's Python puts this before the runtime's message, which is all that the real server has.
_PYTHONS_HEADING = "Graph execution error:\n\n"

_log = logging.getLogger(__name__)


class ModelLoadError(Exception):
    """The model cannot be served; the message names the path and the remedy."""


class TensorFlowMissingError(ModelLoadError):
    """TensorFlow is not installed."""

    def __init__(self, reason: object) -> None:
        super().__init__(
            f"TensorFlow is not installed for {sys.executable} ({reason}). "
            "Remedy: pip install 'pytest-servebench[tensorflow]'"
        )


def tensorflow_version() -> str:
    """Return TensorFlow's version, if possible without the seconds that importing it takes.

    Raises:
        TensorFlowMissingError: it is not installed.
    """
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return str(_import_tensorflow().__version__)


def _import_tensorflow() -> Any:
    # Before the import: TensorFlow reads them once. No GPU: the report compares servers on CPUs.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    try:
        with _held_back_stderr():
            import tensorflow as tf  # noqa: PLC0415 - takes seconds, and may be missing
    except ImportError as error:
        raise TensorFlowMissingError(error) from error
    tf.get_logger().setLevel(logging.ERROR)
    return tf


@contextlib.contextmanager
def _held_back_stderr() -> Iterator[None]:
    """Hold back what C++ prints, and show it only if what happens inside fails.

    TensorFlow announces its use of oneDNN at any log level.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


class Model:
    """A loaded SavedModel. ``run`` may be called from several threads at once."""

    def __init__(
        self,
        name: str,
        version: int,
        path: Path,
        *,
        intra_op_threads: int = 0,
        inter_op_threads: int = 0,
        timeout_ms: int = 0,
    ) -> None:
        """Load it; zero leaves the numbers of threads to TensorFlow, and means no timeout.

        Raises:
            ModelLoadError: it cannot be loaded.
        """
        self.name = name
        self.version = version
        tf = _import_tensorflow()
        self._error_type: type[Exception] = tf.errors.OpError
        # A Session, not tf.saved_model.load: the real server uses one too, so numbers of threads
        # and the timeout mean the same, and a call costs less (a small network on one thread: 82
        # against 116 microseconds, MobileNetV2: 667 against 818). A run lets go of the GIL.
        graph = tf.Graph()
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=intra_op_threads,
            inter_op_parallelism_threads=inter_op_threads,
            operation_timeout_in_ms=timeout_ms,
        )
        try:
            with graph.as_default():
                session = tf.compat.v1.Session(graph=graph, config=config)
                meta_graph = tf.compat.v1.saved_model.load(
                    session, [tf.saved_model.SERVING], str(path)
                )
        except Exception as error:
            raise ModelLoadError(
                f"The SavedModel in {path} cannot be loaded: {_one_line(error)}. "
                "Export it again with model.export() or tf.saved_model.save()."
            ) from error
        self.signatures: dict[str, Signature] = {
            key: _signature(definition) for key, definition in meta_graph.signature_def.items()
        }
        self._calls: dict[str, _Call] = {}
        for key, signature in self.signatures.items():
            if signature.inputs:
                self._calls[key] = _Call(session, signature)

    def run(self, signature: str, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run a signature.

        Raises:
            ApiError: with TensorFlow's code and message.
        """
        try:
            return self._calls[signature](inputs)
        except self._error_type as error:
            code = CODE_NAMES.get(getattr(error, "error_code", 2), "UNKNOWN")
            message = str(getattr(error, "message", error))
            raise ApiError(message.removeprefix(_PYTHONS_HEADING), code) from error

    def warm_up(self) -> None:
        """Run each signature on zeros, so that no client waits for what TensorFlow does once."""
        for name, signature in self.signatures.items():
            zeros = {key: _zeros(info) for key, info in signature.inputs.items()}
            ready = {key: array for key, array in zeros.items() if array is not None}
            if not zeros or len(ready) < len(zeros):
                continue
            try:
                for _ in range(_WARM_UP_RUNS):
                    self.run(name, ready)
            except ApiError as error:
                # For example text that is not a number or a picture; a client may send valid input.
                _log.warning("signature %s does not take zeros to warm up: %s", name, error)


class _Call:
    def __init__(self, session: Any, signature: Signature) -> None:
        self._inputs = sorted(signature.inputs)
        self._outputs = sorted(signature.outputs)
        self._run: Callable[..., list[Any]] = session.make_callable(
            [signature.outputs[name].tensor for name in self._outputs],
            feed_list=[signature.inputs[name].tensor for name in self._inputs],
        )

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        results = self._run(*(inputs[name] for name in self._inputs))
        return {
            name: np.asarray(result) for name, result in zip(self._outputs, results, strict=True)
        }


def _signature(definition: Any) -> Signature:
    return Signature(
        inputs={name: _info(info) for name, info in definition.inputs.items()},
        outputs={name: _info(info) for name, info in definition.outputs.items()},
        method=definition.method_name,
    )


def _info(info: Any) -> TensorInfo:
    shape = info.tensor_shape
    dims = None if shape.unknown_rank else tuple(int(dim.size) for dim in shape.dim)
    return TensorInfo(info.name, DTYPES.get(info.dtype, DTYPES[0]), dims)


def _zeros(info: TensorInfo) -> Array | None:
    if info.dims is None or info.dtype.numpy is None:
        return None
    shape = tuple(1 if size < 0 else size for size in info.dims)
    if info.dtype is STRING:
        return np.full(shape, b"", dtype=object)
    return np.zeros(shape, dtype=info.dtype.numpy)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500].rstrip(".")
