"""TorchServe's configuration files."""

from __future__ import annotations

import math

from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.readiness import Place

_TOKEN_MINUTES = 60 * 24 * 7
_JOB_QUEUE = 1000
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


def config_properties(settings: ServerSettings, place: Place) -> str:
    """Return the text of ``config.properties``.

    Args:
        settings: for the number of workers and ``start_timeout``.
        place: has the address to listen on, and the ports of inference, management, metrics, gRPC
            inference and gRPC management. All five are opened, so all must be chosen.
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
        "job_queue_size": _JOB_QUEUE,
        # TorchServe's own timeout for loading a model must not be shorter.
        "default_startup_timeout": max(_STARTUP_SECONDS, math.ceil(settings.start_timeout)),
        # Otherwise it starts a Python process every minute, during the measurement.
        "disable_system_metrics": "true",
        # By default keys expire after an hour, and a long run would get status 400.
        "token_expiration_min": _TOKEN_MINUTES,
    }
    return "".join(f"{key}={value}\n" for key, value in entries.items())
