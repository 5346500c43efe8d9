"""Apply ``KIND.KEY=VALUE`` options to server kinds."""

from __future__ import annotations

import dataclasses
import difflib
import os
import types
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pytest_servebench.errors import OptionError, ServebenchWarning
from pytest_servebench.plugin.option_values import KindValue, choice, number, truth, whole
from pytest_servebench.plugin.own_warnings import tell
from pytest_servebench.servers.base import ServerKind
from pytest_servebench.servers.kind_options import KindOption, options_of, spelled, variable
from pytest_servebench.text.redaction import SHORTEST, hide, redact


def with_options(
    kinds: Mapping[str, ServerKind], values: Iterable[KindValue]
) -> dict[str, ServerKind]:
    """Return the kinds with the options that users and environment variables give.

    An ini file may name a kind that a ``conftest.py`` beside other tests defines: that is not an
    error, but a warning if the name looks like a typo of a known kind.

    Raises:
        OptionError: the kind or the option is unknown, or the value is invalid.
    """
    read: dict[str, dict[str, Any]] = {name: _secrets(kind) for name, kind in kinds.items()}
    for value in values:
        kind = kinds.get(value.kind)
        if kind is None:
            message = (
                f"{value.given}: unknown server kind {value.kind!r}"
                f"{meant(value.kind, kinds)} Known kinds: {', '.join(kinds)}."
            )
            if value.source.startswith("--"):
                raise OptionError(message)
            if _closest(value.kind, kinds):
                tell(warnings.warn, ServebenchWarning(message))
            continue
        read[value.kind][value.key] = _read(kind, value)
    return {name: _replaced(kind, read[name]) for name, kind in kinds.items()}


def _replaced(kind: ServerKind, values: Mapping[str, Any]) -> ServerKind:
    if not values:
        return kind
    try:
        return dataclasses.replace(kind, **values)  # type: ignore[type-var]
    except ValueError as error:  # of its __post_init__, which knows what does not go together
        options = ", ".join(spelled(kind.name, key) for key in values)
        raise OptionError(f"{options}: {error}.") from None


def _secrets(kind: ServerKind) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, option in options_of(kind).items():
        secret = os.environ.get(variable(kind.name, name)) if option.secret else None
        if secret:
            about = f"The environment variable {variable(kind.name, name)} ({option.help})"
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


def _read(kind: ServerKind, value: KindValue) -> object:
    options = options_of(kind)
    option = options.get(value.key)
    if option is None:
        settable = {name: each for name, each in options.items() if not each.secret}
        there_are = ", ".join(f"{name} ({each.help})" for name, each in settable.items())
        raise OptionError(
            f"{value.given}: {kind.name} has no option {value.key!r}{meant(value.key, settable)} "
            f"It has {there_are or 'none'}."
        )
    if option.secret:
        hide(value.text)
        raise OptionError(
            f"{value.given}: do not put a secret on the command line or in a file; set the "
            f"environment variable {variable(kind.name, value.key)}."
        )
    try:
        return _reader(option, value.directory)(value.text)
    except ValueError as error:
        raise OptionError(f"{value.given}={value.text}: {error}.") from None


def _reader(option: KindOption, directory: Path) -> Callable[[str], object]:
    if option.read is not None:
        return option.read
    choices = (option.type,)
    if get_origin(option.type) in (Union, types.UnionType):
        choices = get_args(option.type)
    (wanted,) = (each for each in choices if each is not types.NoneType)
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


def _closest(word: str, known: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), "")


def meant(word: str, known: Iterable[str]) -> str:
    """Return a question for messages, such as ``, did you mean 'url'?``; a full stop if none."""
    close = _closest(word, known)
    return f", did you mean {close!r}?" if close else "."
