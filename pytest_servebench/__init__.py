"""Serving performance tests for pytest.

The names that tests and conftest files use; everything is imported when it is first asked for,
because pytest loads this package in every run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_servebench.errors import InvalidMeasurementError, ServebenchError
    from pytest_servebench.fixtures import LoadedCase, PoissonLoad
    from pytest_servebench.judgement import InconclusiveWarning
    from pytest_servebench.model import ServedModel
    from pytest_servebench.protocols.base import HttpRequest, PredictionProtocol
    from pytest_servebench.results import CaseResult
    from pytest_servebench.servers.base import RunningServer, ServerKind, ServerSettings

__version__ = "0.1.0"

__all__ = [
    "CaseResult",
    "HttpRequest",
    "InconclusiveWarning",
    "InvalidMeasurementError",
    "LoadedCase",
    "PoissonLoad",
    "PredictionProtocol",
    "RunningServer",
    "ServebenchError",
    "ServedModel",
    "ServerKind",
    "ServerSettings",
]

_HOMES = {
    "CaseResult": "results",
    "HttpRequest": "protocols.base",
    "InconclusiveWarning": "judgement",
    "InvalidMeasurementError": "errors",
    "LoadedCase": "fixtures",
    "PoissonLoad": "fixtures",
    "PredictionProtocol": "protocols.base",
    "RunningServer": "servers.base",
    "ServebenchError": "errors",
    "ServedModel": "model",
    "ServerKind": "servers.base",
    "ServerSettings": "servers.base",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
