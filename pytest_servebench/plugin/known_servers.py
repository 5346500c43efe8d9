"""The servers of one session: what is registered and what the configuration file adds."""

from collections.abc import Iterator

import pytest

from pytest_servebench.errors import OptionError, described
from pytest_servebench.model import ServedModel
from pytest_servebench.plugin.settings import Settings
from pytest_servebench.plugin.setups import Setup, set_up
from pytest_servebench.servers import builtin_kinds, collect_kinds
from pytest_servebench.servers.base import ServerSettings, is_attached, own_model
from pytest_servebench.servers.config_file import FILES, read_tables
from pytest_servebench.text.closest import meant


class KnownServers:
    """Every server that could run, by name: the plugin's kinds, those of others, and variants.

    Do not make it before collection has ended: any ``conftest.py`` may define kinds.

    Raises:
        OptionError: a kind is defined twice, the hook for kinds failed, the configuration file is
            wrong, or an option of a kind is invalid.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        try:
            groups = config.hook.pytest_servebench_server_kinds(config=config)
        except Exception as error:
            raise OptionError(
                f"A hook pytest_servebench_server_kinds failed: {described(error)}. Look at where "
                "your conftest.py or plugin defines it."
            ) from error
        kinds = collect_kinds([builtin_kinds(), *groups])
        self._common = settings.server
        self._directory = config.rootpath
        self._setups, self._unknown = set_up(
            kinds, read_tables(self._directory), settings.kind_values
        )

    def __contains__(self, name: object) -> bool:
        return name in self._setups

    def __iter__(self) -> Iterator[str]:
        return iter(self._setups)

    def __getitem__(self, name: str) -> Setup:
        """Return the server called ``name``, as it would be started.

        Raises:
            OptionError: it is unknown.
        """
        if name in self._unknown:
            raise OptionError(self._unknown[name])
        if name not in self._setups:
            raise OptionError(
                f"--servebench-servers: unknown server kind {name!r}{meant(name, self)} "
                f"Known kinds: {', '.join(self)}; servers of your own are read from "
                f"{' or '.join(FILES)} in pytest's rootdir, {self._directory}."
            )
        return self._setups[name]

    def settings(self, name: str) -> ServerSettings:
        """Return the settings to start a server with."""
        return self[name].settings(self._common)

    def attached(self, name: str) -> bool:
        """Return whether a server already runs, so that it is not ours to start."""
        return is_attached(self[name].kind, self.settings(name))

    def serves_own_model(self, name: str) -> bool:
        """Return whether a server needs nothing of the session's model."""
        return name in self and own_model(self[name].kind) is not None

    def artifacts(self, name: str) -> tuple[str, ...]:
        """Return the keys of artifacts that a server could serve, the best first.

        Empty if it needs none.
        """
        return () if self.attached(name) else self[name].artifacts

    def packaged(self, name: str, model: ServedModel) -> bool:
        """Return whether a model has what a server needs of it."""
        keys = self.artifacts(name)
        return not keys or not model.artifacts.keys().isdisjoint(keys)
