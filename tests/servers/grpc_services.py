"""A gRPC server of the tests, by grpcio: any methods, on the loopback interface."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

Answer = Callable[[bytes, Any], bytes]


def failing(code: str, details: str = "") -> Answer:
    """Return a method that fails."""

    def answer(message: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode[code], details)
        raise AssertionError("unreachable")

    return answer


@contextmanager
def serving(methods: Mapping[str, Answer], **options: Any) -> Iterator[int]:
    """Serve methods, by their paths, and yield the port."""
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)], **options)
    for path, answer in methods.items():
        _, service, name = path.split("/")
        handler = {name: grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handler),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield int(port)
    finally:
        server.stop(None).wait(10)
