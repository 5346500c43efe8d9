"""Serving performance tests for pytest.

The public names for tests and conftest files; each is imported on first use, because pytest loads
this package in every run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pytest_servebench._version import __version__ as __version__

if TYPE_CHECKING:
    from pytest_servebench.errors import BadResponseError, InvalidMeasurementError, ServebenchError
    from pytest_servebench.load.arrivals import Constant, Gamma, Poisson, Ramp, Steps, Trace
    from pytest_servebench.model import ServedModel
    from pytest_servebench.plugin.capacity_fixture import FindCapacity
    from pytest_servebench.plugin.capacity_judgement import FoundCapacity
    from pytest_servebench.plugin.judgement import (
        FailedRequestsWarning,
        InconclusiveWarning,
        NoLoadWarning,
    )
    from pytest_servebench.plugin.load_fixture import LoadedCase, PoissonLoad
    from pytest_servebench.protocols.base import HttpAnswer, HttpRequest, PredictionProtocol
    from pytest_servebench.protocols.grpc import GrpcAnswer, GrpcRequest, GrpcStatus
    from pytest_servebench.protocols.http2 import Http2Request
    from pytest_servebench.runs.results import CaseResult
    from pytest_servebench.servers.base import RunningServer, ServerKind, ServerSettings
    from pytest_servebench.servers.shared import ExposedServerWarning, ServerRestartedWarning
    from pytest_servebench.streaming.events import StreamEvent, StreamReading
    from pytest_servebench.streaming.formats import StreamFormat
    from pytest_servebench.values.expectations import argmax_equal, cosine, fields
    from pytest_servebench.workloads.conversations import Conversations, synthetic_conversations
    from pytest_servebench.workloads.openai import chat_requests, chat_sessions, completion_requests
    from pytest_servebench.workloads.prompts import Prompts, synthetic_prompts
    from pytest_servebench.workloads.requests import Requests, mix
    from pytest_servebench.workloads.sessions import sessions
    from pytest_servebench.workloads.traces import trace_prompts


__all__ = [
    "BadResponseError", "CaseResult", "Constant", "Conversations", "ExposedServerWarning",
    "FailedRequestsWarning", "FindCapacity", "FoundCapacity", "Gamma", "GrpcAnswer", "GrpcRequest",
    "GrpcStatus", "Http2Request", "HttpAnswer", "HttpRequest", "InconclusiveWarning",
    "InvalidMeasurementError", "LoadedCase", "NoLoadWarning", "Poisson", "PoissonLoad",
    "PredictionProtocol", "Prompts", "Ramp", "Requests", "RunningServer", "ServebenchError",
    "ServedModel", "ServerKind", "ServerRestartedWarning", "ServerSettings", "Steps", "StreamEvent",
    "StreamFormat", "StreamReading", "Trace", "argmax_equal", "chat_requests", "chat_sessions",
    "completion_requests", "cosine", "fields", "mix", "sessions", "synthetic_conversations",
    "synthetic_prompts", "trace_prompts",
]  # fmt: skip

_HOMES = {
    name: home
    for home, names in (
        ("errors", "BadResponseError InvalidMeasurementError ServebenchError"),
        ("values.expectations", "argmax_equal cosine fields"),
        ("load.arrivals", "Constant Gamma Poisson Ramp Steps Trace"),
        ("model", "ServedModel"),
        ("plugin.capacity_fixture", "FindCapacity"),
        ("plugin.capacity_judgement", "FoundCapacity"),
        (
            "plugin.judgement",
            "BadIsAskedWarning FailedRequestsWarning InconclusiveWarning NoLoadWarning",
        ),
        ("plugin.load_fixture", "LoadedCase PoissonLoad"),
        ("protocols.base", "HttpAnswer HttpRequest PredictionProtocol"),
        ("protocols.grpc", "GrpcAnswer GrpcRequest GrpcStatus"),
        ("protocols.http2", "Http2Request"),
        ("runs.results", "CaseResult"),
        ("servers.base", "RunningServer ServerKind ServerSettings"),
        ("servers.shared", "ExposedServerWarning ServerRestartedWarning"),
        ("streaming.events", "StreamEvent StreamReading"),
        ("streaming.formats", "StreamFormat"),
        ("workloads.conversations", "Conversations synthetic_conversations"),
        ("workloads.openai", "chat_requests chat_sessions completion_requests"),
        ("workloads.prompts", "Prompts synthetic_prompts"),
        ("workloads.requests", "Requests mix"),
        ("workloads.sessions", "sessions"),
        ("workloads.traces", "trace_prompts"),
    )
    for name in names.split()
}


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
