"""The servers of a project's configuration file: ``pyproject.toml`` or ``servebench.toml``."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pytest_servebench.errors import OptionError
from pytest_servebench.text.closest import meant

FILES: Final = {"pyproject.toml": ("tool", "servebench"), "servebench.toml": ()}
"""Name of each file to the tables around ``servers``."""

# Part of test ids and of --servebench-server-option NAME.KEY=VALUE.
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_CELL: Final = re.compile(r"(?:^|-)(?:rate|buffer|rows|repeat)[\d.]+(?:-|$)")


@dataclass(frozen=True)
class ServerTable:
    """The table of one server, as it was written.

    Attributes:
        name: of the server.
        values: key to value.
        file: which has the table; its paths are relative to this file's directory.
        heading: such as ``[tool.servebench.servers.fastapi]``.
    """

    name: str
    values: Mapping[str, Any]
    file: Path
    heading: str

    @property
    def where(self) -> str:
        """Return file and heading, for messages."""
        return f"{self.file.name}: {self.heading}"


def read_tables(directory: Path) -> dict[str, ServerTable]:
    """Return the tables of a directory's configuration file by the servers' names.

    Raises:
        OptionError: a file cannot be read, has an unknown key or a wrong name, or both files have
            servers.
    """
    found = {name: tables for name in FILES if (tables := _tables_of(directory / name))}
    if len(found) > 1:
        raise OptionError(
            f"Both {' and '.join(found)} in {directory} configure servers: keep them in one file."
        )
    return next(iter(found.values()), {})


def _tables_of(file: Path) -> dict[str, ServerTable]:
    around = FILES[file.name]
    document: Any = _document(file)
    for number, key in enumerate(around, 1):
        document = _table(document.get(key, {}), file, ".".join(around[:number]))
    if around != FILES["pyproject.toml"] or document:
        _check_keys(document, file, around)
    heading = ".".join((*around, "servers"))
    servers = _table(document.get("servers", {}), file, heading)
    return {
        _checked_name(name, file, heading): ServerTable(
            name, _table(values, file, f"{heading}.{name}"), file, f"[{heading}.{name}]"
        )
        for name, values in servers.items()
    }


def _document(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise OptionError(f"{file}: not UTF-8, which TOML is: {error}. Save it as UTF-8.") from None
    except OSError as error:
        raise OptionError(f"{file}: cannot be read: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise OptionError(f"{file}: not valid TOML: {error}.") from None


def _check_keys(document: Mapping[str, Any], file: Path, around: tuple[str, ...]) -> None:
    for key in document:
        if key != "servers":
            where = f"[{'.'.join(around)}] " if around else ""
            raise OptionError(
                f"{file.name}: {where}has an unknown key {key!r}{meant(key, ['servers'])} Servers "
                f"are tables [{'.'.join((*around, 'servers'))}.NAME]; options of the plugin are "
                "keys servebench_… of pytest's own configuration."
            )


def _table(value: object, file: Path, heading: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise OptionError(f"{file.name}: {heading} is {value!r}: it must be a table, [{heading}].")
    return value


def _checked_name(name: str, file: Path, heading: str) -> str:
    if not _NAME.fullmatch(name) or _CELL.search(name):
        raise OptionError(
            f"{file.name}: [{heading}.{name!r}]: a server cannot have this name, which is part of "
            "test ids: use letters, digits, '_' and '-', and no part such as rate10 or buffer50."
        )
    return name
