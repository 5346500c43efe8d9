"""An ONNX model behind FastAPI."""

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = onnxruntime.InferenceSession(os.environ["MODEL"], options)
name = session.get_inputs()[0].name
app = FastAPI()


class Body(BaseModel):
    instances: list[list[list[list[float]]]]


# "async def": each worker computes one prediction at a time, as the other servers do. A "def" runs
# in up to 40 threads.
@app.post("/predict")
async def predict(body: Body):
    (predictions,) = session.run(None, {name: np.asarray(body.instances, np.float32)})
    return {"predictions": predictions.tolist()}
