"""The pytest plugin: options, cases, fixtures and hooks.

This is the entry point: pytest takes fixtures and hooks from here.
"""

from pytest_servebench.plugin.fixtures import (
    buffer_size,
    find_capacity,
    model_server,
    poisson_load,
    rate,
    repeat,
    rows,
    served_model,
    tensorflow_serving,
    torchserve,
)
from pytest_servebench.plugin.hooks import *  # noqa: F403 - whatever pytest looks for

__all__ = [
    "buffer_size", "find_capacity", "model_server", "poisson_load", "rate", "repeat", "rows",
    "served_model", "tensorflow_serving", "torchserve",
]  # fmt: skip
