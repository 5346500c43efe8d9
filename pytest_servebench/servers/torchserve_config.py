"""TorchServe's configuration files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.readiness import Place
from pytest_servebench.servers.torchserve_properties import escaped

_TOKEN_MINUTES = 60 * 24 * 7
JOB_QUEUE = 1000
"""Requests that may wait, by default."""
_STARTUP_SECONDS = 120  # TorchServe's own default

# By default TorchServe logs about fifteen lines per prediction, to five files and standard output,
# which costs its JVM a sixth of its CPU time. TensorFlow Serving logs none, so TorchServe should
# not pay for it either. What remains is the output of its workers, except one line per prediction,
# and warnings; all in one file, whose tail an error can quote.
LOG4J2 = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="ERROR">
  <Appenders>
    <Console name="log" target="SYSTEM_OUT">
      <RegexFilter regex=".*Backend received inference at.*" onMatch="DENY" onMismatch="ACCEPT"/>
      <PatternLayout pattern="%d{ISO8601} [%-5p] %t %c - %m%n"/>
    </Console>
  </Appenders>
  <Loggers>
    <Logger name="ACCESS_LOG" level="off"/>
    <Logger name="MODEL_LOG" level="info"/>
    <Logger name="MODEL_METRICS" level="off"/>
    <Logger name="TS_METRICS" level="off"/>
    <Logger name="org.pytorch.serve.ModelServer" level="info"/>
    <Root level="warn">
      <AppenderRef ref="log"/>
    </Root>
  </Loggers>
</Configuration>
"""
"""The text of ``log4j2.xml``."""


@dataclass(frozen=True)
class ModelConfig:
    """How TorchServe serves one model.

    Attributes:
        name: of the model.
        version: from its archive.
        batching: TorchServe's names of what is set for it (``batchSize``, ``maxBatchDelay``), and
            the values.
    """

    name: str
    version: str
    batching: Mapping[str, int] = field(default_factory=dict)


def config_properties(
    model: ModelConfig,
    settings: ServerSettings,
    place: Place,
    *,
    job_queue_size: int | None = None,
    properties: Mapping[str, str] | None = None,
) -> str:
    """Return the text of ``config.properties``.

    Args:
        model: what to serve.
        settings: for the number of workers and ``start_timeout``.
        place: has the address to listen on, and the ports of inference, management, metrics, gRPC
            inference and gRPC management. All five are opened, so all must be chosen.
        job_queue_size: requests that may wait; by default, more than ever will.
        properties: more entries, which have been checked.
    """
    host = place.host
    inference, management, metrics, grpc_inference, grpc_management = place.ports
    entries = {
        "inference_address": f"http://{host}:{inference}",
        "management_address": f"http://{host}:{management}",
        "metrics_address": f"http://{host}:{metrics}",
        "grpc_inference_address": host,
        "grpc_management_address": host,
        "grpc_inference_port": grpc_inference,
        "grpc_management_port": grpc_management,
        # The default is the number of CPUs.
        "default_workers_per_model": settings.workers,
        # The generator's buffer sets the limit; this one must never fill.
        "job_queue_size": JOB_QUEUE if job_queue_size is None else job_queue_size,
        # TorchServe's own timeout for loading a model must not be shorter.
        "default_startup_timeout": max(_STARTUP_SECONDS, math.ceil(settings.start_timeout)),
        # Otherwise it starts a Python process every minute, during the measurement.
        "disable_system_metrics": "true",
        # By default keys expire after an hour, and a long run would get status 400.
        "token_expiration_min": _TOKEN_MINUTES,
        **({"models": _models(model)} if model.batching else {}),
        **(properties or {}),
    }
    return "".join(f"{key}={escaped(value)}\n" for key, value in entries.items())


def _models(model: ModelConfig) -> str:
    return json.dumps({model.name: {model.version: dict(model.batching)}})
