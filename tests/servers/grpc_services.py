"""A gRPC server of the tests, by grpcio: any methods, on the loopback interface."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
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
def serving(
    methods: Mapping[str, Answer],
    *,
    certificate: Path | None = None,
    socket: Path | None = None,
    **options: Any,
) -> Iterator[int]:
    """Serve methods, by their paths, and yield the port.

    ``certificate`` has a key, too; ``socket`` is a Unix socket beside the port.
    """
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)], **options)
    for path, answer in methods.items():
        _, service, name = path.split("/")
        handler = {name: grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handler),))
    if certificate is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        pair = (certificate.read_bytes(), certificate.read_bytes())
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    if socket is not None:
        server.add_insecure_port(f"unix:{socket}")
    server.start()
    try:
        yield int(port)
    finally:
        server.stop(None).wait(10)
