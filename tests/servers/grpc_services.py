"""A gRPC server of the tests, by grpcio: any methods."""

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
    ask_for_one: bool = False,
    address: str = "127.0.0.1:0",
    socket: Path | None = None,
    **options: Any,
) -> Iterator[int]:
    """Serve methods, by their paths, and yield the port.

    ``certificate`` has a key, too, and with ``ask_for_one`` clients need it; ``socket`` is a Unix
    socket beside the port.
    """
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)], **options)
    for path, answer in methods.items():
        _, service, name = path.split("/")
        handler = {name: grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handler),))
    if certificate is None:
        port = server.add_insecure_port(address)
    else:
        pair = (certificate.read_bytes(), certificate.read_bytes())
        trusted = certificate.read_bytes() if ask_for_one else None
        credentials = grpc.ssl_server_credentials([pair], trusted, ask_for_one)
        port = server.add_secure_port(address, credentials)
    if socket is not None:
        server.add_insecure_port(f"unix:{socket}")
    server.start()
    try:
        yield int(port)
    finally:
        server.stop(None).wait(10)
