"""Differences between two runs that a user may allow in a comparison of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

ALLOWABLE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "unmatched": "a case has no partner, or one whose measurement is invalid",
        "machine": "processors, memory or system are others",
        "implementation": "the server is another program or version",
        "weights": "the model has other weights",
        "schema": "a file is of another version of the schema",
        "unfinished": "a session did not come to its end, or runs still",
        "workload": "arrivals, requests, times, connections, threads or inputs are others",
    }
)
"""What can be allowed, and what it means."""
