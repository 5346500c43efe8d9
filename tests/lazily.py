"""Modules that take seconds to import, for tests that all workers collect and one runs."""

import importlib
from typing import Any


class Lazily:
    """A module that is imported when something of it is asked for."""

    def __init__(self, name: str) -> None:
        """Name the module."""
        self._name = name

    def __getattr__(self, name: str) -> Any:
        """Return what the module has."""
        if name.startswith("_"):  # as pytest asks of all that it collects
            raise AttributeError(name)
        return getattr(importlib.import_module(self._name), name)
