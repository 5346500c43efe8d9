"""An ONNX model behind Ray Serve."""

import os
import sys

import ray
from ray import serve
from ray.serve.schema import LoggingConfig
from starlette.requests import Request

port, workers, directory = sys.argv[1:]


@serve.deployment(num_replicas=int(workers), ray_actor_options={"num_cpus": 0.1})
class Onnx:
    def __init__(self):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options)
        self.name = self.session.get_inputs()[0].name

    async def __call__(self, request: Request):
        import numpy as np

        x = np.asarray((await request.json())["instances"], np.float32)
        return {"predictions": self.session.run(None, {self.name: x})[0].tolist()}


if __name__ == "__main__":
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        _node_ip_address="127.0.0.1",
        _temp_dir=directory,  # short, as it holds Unix sockets
        runtime_env={"env_vars": {key: os.environ[key] for key in ("MODEL", "OMP_NUM_THREADS")}},
    )
    quiet = LoggingConfig(enable_access_log=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)}, logging_config=quiet)
    serve.run(Onnx.options(logging_config=quiet).bind(), route_prefix="/predict", blocking=True)
