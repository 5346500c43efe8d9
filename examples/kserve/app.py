"""An ONNX model behind KServe's Python server, over REST and gRPC."""

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
        if isinstance(payload, kserve.InferRequest):  # gRPC, and the Open Inference Protocol
            logits = self.logits(payload.inputs[0].as_numpy())
            output = kserve.InferOutput("logits", list(logits.shape), "FP32")
            output.set_data_from_numpy(logits)
            return kserve.InferResponse(payload.id, self.name, [output])
        return {"predictions": self.logits(payload["instances"]).tolist()}

    def logits(self, images):
        return self.session.run(None, {self.input: np.asarray(images, np.float32)})[0]


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)  # or KServe logs three lines for each request
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    model = Onnx(parser.parse_args().model_name)
    model.load()
    kserve.ModelServer().start([model])
