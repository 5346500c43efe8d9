"""What the server adds to the model's own time, for one image at a time.

Run by hand, on a quiet machine:

    python -m tests.savedmodel_server.measure_overhead DIRECTORY [BODY.json] [REQUESTS]

DIRECTORY holds DIRECTORY/1/saved_model.pb. Requests over one kept-alive connection alternate with
runs of the same model in this process, on one thread each, so that what disturbs the one disturbs
the other. The client's own time (a blocking socket) is counted as the server's.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pytest_servebench.servers.savedmodel_server import tensors
from pytest_servebench.servers.savedmodel_server.model import Model
from tests.savedmodel_server.running import Running, post, read_response, running

_WARM_UP = 50
_THREADS = ("--tensorflow_intra_op_parallelism=1", "--tensorflow_inter_op_parallelism=1")


def main(directory: Path, body: bytes, requests: int) -> None:
    """Measure and print."""
    model = Model("fashion", 1, directory / "1", intra_op_threads=1, inter_op_threads=1)
    model.warm_up()
    request = tensors.predict_request(tensors.parse_predict(body), model.signatures)
    with (
        tempfile.TemporaryDirectory() as scratch,
        running(directory, Path(scratch) / "log", *_THREADS) as server,
    ):
        served, alone, status = _measure(server, model, body, request.inputs, requests)
    print(f"{requests} requests of {len(body)} bytes; microseconds")
    print(f"{'':28}{'median':>8}{'10 %':>8}{'90 %':>8}")
    for title, times in (
        ("served prediction", served),
        ("the model alone", alone),
        ("GET status (HTTP alone)", status),
    ):
        low, middle, high = np.percentile(times, [10, 50, 90])
        print(f"{title:28}{middle:8.0f}{low:8.0f}{high:8.0f}")
    print(f"{'overhead (of the medians)':28}{np.median(served) - np.median(alone):8.0f}")


def _measure(
    server: Running, model: Model, body: bytes, inputs: dict[str, tensors.Array], requests: int
) -> tuple[list[float], list[float], list[float]]:
    predict = post("/v1/models/fashion:predict", body)
    get = b"GET /v1/models/fashion HTTP/1.1\r\nHost: localhost\r\n\r\n"
    served, alone, status = [], [], []
    with server.connect() as connection:
        for number in range(_WARM_UP + requests):
            start = time.perf_counter()
            connection.sendall(predict)
            answer = connection.recv(65536)
            middle = time.perf_counter()
            model.run("serving_default", inputs)
            end = time.perf_counter()
            connection.sendall(get)
            connection.recv(65536)
            last = time.perf_counter()
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert answer.endswith(b"}")
            if number >= _WARM_UP:
                served.append((middle - start) * 1e6)
                alone.append((end - middle) * 1e6)
                status.append((last - end) * 1e6)
        connection.sendall(get)
        assert read_response(connection).status == 200
    return served, alone, status


def _default_body() -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (1, 28, 28, 1)) / 255
    return json.dumps({"instances": pixels.tolist()}).encode()


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        Path(sys.argv[2]).read_bytes() if sys.argv[2:] else _default_body(),
        int(sys.argv[3]) if sys.argv[3:] else 500,
    )
