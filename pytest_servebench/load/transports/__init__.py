"""Transports: one module each, which the engine knows only by name."""

from importlib import import_module
from typing import Final, cast

from pytest_servebench.load.transports.base import TransportFactory

TRANSPORTS: Final = {
    "http/1.1": "pytest_servebench.load.transports.http1:Http1",
    "http/2": "pytest_servebench.load.transports.http2.transport:Http2",
    "grpc": "pytest_servebench.load.transports.http2.transport:Grpc",
}
"""Name to factory, as ``module:name``; imported only when a load uses it."""

SHARING: Final = frozenset({"http/2", "grpc"})
"""Those whose workers share connections if :attr:`.Terms.streams` says so."""


def transport_factory(name: str) -> TransportFactory:
    """Return the factory of a transport: one of :data:`TRANSPORTS`, or any as ``module:name``."""
    module, _, factory = TRANSPORTS.get(name, name).partition(":")
    return cast(TransportFactory, getattr(import_module(module), factory))
