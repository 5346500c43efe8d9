"""Differences between two runs that a user may allow when comparing them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

ALLOWABLE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "unmatched": "a case has no counterpart, or its counterpart is invalid",
        "machine": "CPUs, memory or operating system differ",
        "implementation": "the server is a different program or version",
        "weights": "the model has different weights",
        "schema": "a file has a different schema version",
        "unfinished": "a session was cut short or is still running",
        "workload": "arrivals, requests, times, connections, server settings or inputs differ",
    }
)
"""The differences that can be allowed, and what each means."""
