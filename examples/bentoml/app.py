"""An ONNX model behind BentoML."""

import os

import bentoml
import numpy as np
import onnxruntime


# By default it logs a line for each request.
@bentoml.service(workers=int(os.environ["WORKERS"]), logging={"access": {"enabled": False}})
class Onnx:
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options)
        self.name = self.session.get_inputs()[0].name

    # The parameter's name is the key in the request.
    @bentoml.api(route="/predict")
    def predict(self, instances: list) -> dict:
        (predictions,) = self.session.run(None, {self.name: np.asarray(instances, np.float32)})
        return {"predictions": predictions.tolist()}
