"""Putting the parts together: load, warm up, listen, serve until told to stop."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys

from pytest_servebench.servers.savedmodel_server.flags import Flags
from pytest_servebench.servers.savedmodel_server.http import Server
from pytest_servebench.servers.savedmodel_server.model import Model
from pytest_servebench.servers.savedmodel_server.repository import newest_version
from pytest_servebench.servers.savedmodel_server.rest import RestApi
from pytest_servebench.servers.savedmodel_server.workers import Workers

_SWEEP_SECONDS = 5.0
# How long a thread may keep the others waiting for the GIL: by default 5 ms, several times what
# a small model takes, and then a large body would hold up every other answer.
_SWITCH_SECONDS = 0.0005

_log = logging.getLogger(__name__)


class ListenError(Exception):
    """The port cannot be listened on."""


def serve(flags: Flags) -> None:
    """Serve until a signal comes; does not return.

    Raises:
        RepositoryError, ModelLoadError, ListenError: it cannot; the message says why.
    """
    version, path = newest_version(flags.model_base_path)
    for flag in flags.ignored:
        _log.info("%s has no effect here", flag)
    try:
        listener = _bind(flags.rest_api_address, flags.rest_api_port)
    except OSError as error:
        raise _listen_error(flags, error) from error
    with contextlib.closing(listener):
        if flags.port:  # is bound by gRPC itself, but only once there is a model
            try:
                _bind(flags.rest_api_address, flags.port).close()
            except OSError as error:
                raise _grpc_error(flags, error) from error
        _log.info("loading %s as version %d of %s", path, version, flags.model_name)
        model = Model(
            flags.model_name,
            version,
            path,
            intra_op_threads=flags.tensorflow_intra_op_parallelism,
            inter_op_threads=flags.tensorflow_inter_op_parallelism,
            timeout_ms=flags.rest_api_timeout_in_ms,
        )
        model.warm_up()
        grpc_server = _listen_grpc(flags, model)  # lives as long as the process
        # What is loaded by now stays: the collector need not scan it during requests.
        gc.collect()
        gc.freeze()
        sys.setswitchinterval(_SWITCH_SECONDS)
        runner = _runner()
        with runner:
            runner.run(_serve(flags, model, listener))
        del grpc_server


def _listen_grpc(flags: Flags, model: Model) -> object:
    """Return the server of the gRPC API; ``None`` without a port for it."""
    if not flags.port:
        return None
    try:
        from pytest_servebench.servers.savedmodel_server.grpc_api import listen  # noqa: PLC0415
    except ImportError as error:
        raise ListenError(
            f"--port={flags.port}: gRPC needs grpcio and protobuf ({error}): pip install grpcio "
            "'pytest-servebench[grpc]'."
        ) from None
    try:
        server = listen(model, flags.rest_api_address, flags.port, flags.rest_api_num_threads)
    except OSError as error:
        raise _grpc_error(flags, error) from None
    _log.info(
        "ready: grpc://%s:%d, %d threads for calls",
        flags.rest_api_address,
        flags.port,
        flags.rest_api_num_threads,
    )
    return server


def _runner() -> asyncio.Runner:
    try:
        import uvloop  # noqa: PLC0415 - there is none for Windows
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _bind(address: str, port: int) -> socket.socket:
    """Take a port early, to fail before the seconds of loading; nobody can connect to it yet."""
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
    except OSError:
        listener.close()
        raise
    return listener


def _listen_error(flags: Flags, error: OSError) -> ListenError:
    # Starts like the real server's message, so that log watchers understand this one too.
    return ListenError(
        f"Failed to start HTTP Server on port {flags.rest_api_port} of {flags.rest_api_address}: "
        f"{error.strerror}. Choose another --rest_api_port."
    )


def _grpc_error(flags: Flags, error: OSError) -> ListenError:
    return ListenError(
        f"Failed to bind port {flags.port} of {flags.rest_api_address} for gRPC: {error}. "
        "Choose another --port."
    )


async def _serve(flags: Flags, model: Model, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    server = Server(RestApi(model, flags.metrics), Workers(flags.rest_api_num_threads), loop)
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, _end, number)
    try:
        await loop.create_server(server.connection, sock=listener, backlog=1024)
    except OSError as error:
        raise _listen_error(flags, error) from error
    _log.info(
        "ready: http://%s:%d/v1/models/%s, version %d, %d threads for requests",
        flags.rest_api_address,
        flags.rest_api_port,
        model.name,
        model.version,
        flags.rest_api_num_threads,
    )
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        server.sweep()


def _end(number: signal.Signals) -> None:
    _log.info("shutting down on %s", number.name)
    # Not sys.exit(): a thread may be inside a model's run, and TensorFlow's own take time to end.
    # Requests in flight are dropped, as by the real server.
    logging.shutdown()
    os._exit(0)
