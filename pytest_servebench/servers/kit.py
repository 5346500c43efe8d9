"""Building blocks for your own kind of server: ``from pytest_servebench.servers import kit``.

A kind that starts its server with :func:`launch` has all guarantees of the built-in kinds.
"""

from pytest_servebench.servers.attached import AttachedServer, attach
from pytest_servebench.servers.container import Container, ContainerOptions
from pytest_servebench.servers.environment import artifact, checked_name
from pytest_servebench.servers.first_prediction import Ask, Judge, Refusal, by_status
from pytest_servebench.servers.interpreter import Interpreter
from pytest_servebench.servers.kind_options import option
from pytest_servebench.servers.launch import Program, StartedServer, launch
from pytest_servebench.servers.logs import FatalLine
from pytest_servebench.servers.readiness import Place, Readiness, url

__all__ = [
    "Ask", "AttachedServer", "Container", "ContainerOptions", "FatalLine", "Interpreter", "Judge",
    "Place", "Program", "Readiness", "Refusal", "StartedServer", "artifact", "attach",
    "by_status", "checked_name", "launch", "option", "url",
]  # fmt: skip
