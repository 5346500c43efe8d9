"""The servers of ``examples/``: a folder each, with configuration and requirements."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pytest_servebench.servers.config_file import ServerTable, read_tables

ROOT: Final = Path(__file__).resolve().parents[1]
EXAMPLES: Final = ROOT / "examples"


@dataclass(frozen=True)
class Example:
    """A folder.

    Attributes:
        directory: the folder.
        servers: name to table, of the server and of its variants.
    """

    directory: Path
    servers: Mapping[str, ServerTable] = field(hash=False)

    @property
    def file(self) -> Path:
        """Return the configuration file."""
        return self.directory / "servebench.toml"

    @property
    def requirements(self) -> Path:
        """Return the file of pinned packages."""
        return self.directory / "requirements.txt"

    @property
    def has_python(self) -> bool:
        """Return whether it runs in an environment of its own, and not in pytest's."""
        return any("python" in table.values for table in self.servers.values())

    def options(self, python: Path) -> list[str]:
        """Return the server options with which it runs by this interpreter, from anywhere."""
        found = []
        for name, table in self.servers.items():
            if "python" in table.values:
                found.append(f"{name}.python={python}")
            if "command" in table.values:
                found.append(f"{name}.directory={self.directory}")
        return found


def read_examples() -> list[Example]:
    """Return all examples.

    Raises:
        OptionError: a configuration file is wrong.
    """
    folders = sorted(path.parent for path in EXAMPLES.glob("*/servebench.toml"))
    return [Example(folder, read_tables(folder)) for folder in folders]
