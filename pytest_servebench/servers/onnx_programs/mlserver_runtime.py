"""A runtime of MLServer for ONNX files: ``"implementation": "mlserver_runtime.OnnxRuntime"``."""

import os

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from onnx_model import OnnxModel  # type: ignore[import-not-found]


class OnnxRuntime(MLModel):  # type: ignore[misc]
    """Serves the file that its settings name as ``uri``."""

    async def load(self) -> bool:
        """Load the file."""
        uri = self.settings.parameters.uri
        self.model = OnnxModel(uri, int(os.environ["OMP_NUM_THREADS"]))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Predict; what is wrong with a request is answered with status 500."""
        tensors = [
            {"name": each.name, "shape": each.shape, "data": each.data.root}
            for each in payload.inputs
        ]
        outputs = [ResponseOutput(**each) for each in self.model.infer(tensors)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
