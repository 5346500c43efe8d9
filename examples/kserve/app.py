"""An ONNX model behind KServe's Python server."""

import argparse
import logging
import os

import kserve
import numpy as np
import onnxruntime


class Onnx(kserve.Model):
    def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options)
        self.input = self.session.get_inputs()[0].name
        self.ready = True

    def predict(self, payload, headers=None):
        x = np.asarray(payload["instances"], np.float32)
        return {"predictions": self.session.run(None, {self.input: x})[0].tolist()}


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)  # or KServe logs three lines for each request
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    model = Onnx(parser.parse_args().model_name)
    model.load()
    kserve.ModelServer().start([model])
