"""Read users' values for the options of server kinds: ``KIND.KEY=VALUE``, or a table's key."""

import os
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

from pytest_servebench.errors import OptionError
from pytest_servebench.plugin.option_values import KindValue, choice, number, truth, whole
from pytest_servebench.plugin.options import OPTIONS
from pytest_servebench.servers.attached import parsed_target
from pytest_servebench.servers.kind_options import KindOption, variable
from pytest_servebench.text.closest import closest, meant
from pytest_servebench.text.redaction import SHORTEST, hide, redact

_LONG: Final = {option.name.replace("-", "_"): option for option in OPTIONS}
COMMON: Final = {
    key: _LONG[name]
    for key, name in {
        "workers": "server_workers", "threads": "server_threads", "cpus": "server_cpus",
        "start_timeout": "start_timeout", "stop_grace": "stop_grace",
    }.items()
}  # fmt: skip
"""Settings that each kind has in addition to its options: key to the option for all kinds."""


def secrets_of(kind: str, options: Mapping[str, KindOption]) -> dict[str, Any]:
    """Return the secret options of a server that environment variables give.

    Raises:
        OptionError: one is invalid.
    """
    found: dict[str, Any] = {}
    for name, option in options.items():
        secret = os.environ.get(variable(kind, name)) if option.secret else None
        if secret:
            about = f"The environment variable {variable(kind, name)} ({option.help})"
            if len(secret.strip()) < SHORTEST:
                raise OptionError(
                    f"{about} has fewer than {SHORTEST} characters: so short a secret cannot be "
                    "hidden in logs and reports. Set the whole secret, or unset the variable."
                )
            hide(secret)
            try:
                found[name] = _reader(option, Path.cwd())(secret)
            except ValueError as error:
                raise OptionError(f"{about}: {redact(str(error))}.") from None
    return found


def read_value(kind: str, options: Mapping[str, KindOption], value: KindValue) -> Any:
    """Return a value in the type of one of a server's options, or of what all servers have.

    Raises:
        OptionError: there is no such option, or the value is invalid.
    """
    option = options.get(value.key)
    if option is None and value.key not in COMMON:
        raise OptionError(_unknown(kind, options, value))
    if option is not None and option.secret:
        if isinstance(value.value, str):
            hide(value.value)
        raise OptionError(
            f"{value.given}: do not put a secret on the command line or in a file; set the "
            f"environment variable {variable(kind, value.key)}."
        )
    try:
        if option is None:
            return COMMON[value.key].read(_text(value.value, many=COMMON[value.key].many))
        found = _value(option, value)
    except ValueError as error:
        raise OptionError(f"{value.shown}: {error}.") from None
    if value.key == "url" and isinstance(found, str) and found:
        # Here, as the kind that attaches to it does not know what gave it.
        parsed_target(found, value.given)
    return found


def _unknown(kind: str, options: Mapping[str, KindOption], value: KindValue) -> str:
    helps = {name: each.help for name, each in options.items() if not each.secret}
    helps |= {name: each.help for name, each in COMMON.items()}
    names = [*helps, *(("title", "kind") if value.in_table else ())]
    close = closest(value.key, names)
    # Without a guess, the help of each may help.
    there_are = names if close else (f"{name} ({text})" for name, text in helps.items())
    return (
        f"{value.given}: {kind} has no option {value.key!r}{meant(value.key, names)} "
        f"It has {', '.join(there_are)}."
    )


def _value(option: KindOption, value: KindValue) -> object:
    given, forms = value.value, dict(_forms(option))
    if isinstance(given, list):
        if tuple not in forms:
            raise ValueError("give a single value, not a list")
        return tuple(_string(each) for each in given)
    if isinstance(given, dict):
        if Mapping not in forms:
            raise ValueError("give a single value, not a table")
        return {name: _text(each) if is_pairs(option) else each for name, each in given.items()}
    texts = {str, Path, tuple, Mapping} & forms.keys()
    return _reader(option, value.directory)(_string(given) if texts else _text(given))


def is_pairs(option: KindOption | None) -> bool:
    """Return whether an option has names with texts, such as environment variables."""
    return option is not None and get_args(dict(_forms(option)).get(Mapping)) == (str, str)


def _string(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"{_toml(value)} is not a string; put it in quotes")


def _text(value: object, *, many: bool = False) -> str:
    """Return a single value as on a command line."""
    if isinstance(value, bool):
        return _toml(value)
    if isinstance(value, str | int | float):
        return str(value)
    if many and isinstance(value, list):
        return ",".join(map(_text, value))
    raise ValueError("give a string, a number, true or false")


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _forms(option: KindOption) -> Iterator[tuple[type, Any]]:
    """Yield the types of an option, without ``None``: as a class, and as annotated."""
    several = get_origin(option.type) in (Union, types.UnionType)
    for each in get_args(option.type) if several else (option.type,):
        if each is not types.NoneType:
            origin = get_origin(each)
            yield (Mapping if isinstance(origin, type) and issubclass(origin, Mapping)
                   else origin or each), each  # fmt: skip


def _reader(option: KindOption, directory: Path) -> Callable[[str], object]:
    """Return what converts a text to the option's type; relative paths are below ``directory``."""
    if option.read is not None:
        return option.read
    forms = dict(_forms(option))
    if forms.keys() == {str, Path}:  # a name, or a path, which has a slash
        return lambda text: _path(text, directory) if "/" in text else text
    if forms.keys() == {str, Mapping}:
        return str
    (wanted,) = forms.values()
    if get_origin(wanted) is Literal:
        return choice(*get_args(wanted))
    readers: dict[type, Callable[[str], object]] = {
        str: str,
        bool: truth,
        int: whole(0, what="a whole number, 0 or more"),
        float: number(0, inclusive=True, what="a number, 0 or more"),
        Path: lambda text: _path(text, directory),
    }
    if wanted not in readers:
        raise OptionError(
            f"The option {option.name!r} of a server kind has the type {wanted!r}, which cannot be "
            "parsed from text: pass a parser as option(read=...)."
        )
    return readers[wanted]


def _path(text: str, directory: Path) -> Path:
    if not text:
        raise ValueError("give a path")
    return directory / Path(text).expanduser()
