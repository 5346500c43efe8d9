"""ONNX Runtime behind uvicorn and Starlette, and nothing else: ``uvicorn plain_server:app``."""

import json
import os

from onnx_model import OnnxModel  # type: ignore[import-not-found]
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

NAME = os.environ["SERVED_NAME"]
model = OnnxModel(os.environ["SERVED_FILE"], int(os.environ["OMP_NUM_THREADS"]))


async def infer(request: Request) -> JSONResponse:
    """Predict in the event loop: one prediction at a time in each of uvicorn's workers."""
    body = await request.body()
    try:
        asked = json.loads(body)
        outputs = model.infer(asked["inputs"])
    except Exception as error:
        return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 400)
    return JSONResponse({"id": asked.get("id", ""), "model_name": NAME, "outputs": outputs})


async def ready(_: Request) -> Response:
    """Answer once the model is loaded, as it is before uvicorn listens."""
    return Response()


app = Starlette(
    routes=[
        Route(f"/v2/models/{NAME}/infer", infer, methods=["POST"]),
        Route(f"/v2/models/{NAME}/ready", ready),
    ]
)
