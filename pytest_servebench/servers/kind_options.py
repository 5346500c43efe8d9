"""The options of one kind of server, which are fields of its frozen dataclass.

Users set them with ``--servebench-server-option KIND.KEY=VALUE``; the plugin makes a copy of the
kind with these values.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_type_hints

from pytest_servebench.errors import OptionError
from pytest_servebench.text.numbers import DIGEST_LENGTH

OPTION: Final = "--servebench-server-option"
"""Sets an option of a kind on the command line."""

_METADATA: Final = "servebench"
T = TypeVar("T")


@dataclass(frozen=True)
class KindOption:
    """One option of a kind.

    Attributes:
        name: of the field.
        help: what it does.
        default: of the field.
        type: of the field, such as ``str`` or ``Path | None``.
        secret: whether it is read only from the environment, and never shown.
        read: converts a text to the value; ``None``: by the field's type.
        compared: whether it changes what is measured: runs with other values are not comparable.
    """

    name: str
    help: str
    default: object
    type: Any
    secret: bool
    read: Callable[[str], object] | None
    compared: bool | Literal["content"]


def option(
    default: T,
    help: str,
    *,
    secret: bool = False,
    read: Callable[[str], T] | None = None,
    compared: bool | Literal["content"] = True,
) -> T:
    """Make a field of a kind an option that users can set.

    Args:
        default: its default value.
        help: what it does, as a phrase after its name.
        secret: whether it is read from the environment (``SERVEBENCH_KIND_KEY``), which keeps it
            out of command lines, logs and reports.
        read: converts a text to the value; raises ``ValueError`` with what to give instead. By
            default, the field's type decides: ``str``, ``int``, ``float``, ``bool``, ``Path``, a
            ``Literal`` of words, or one of these or ``None``.
        compared: whether it changes what is measured. Its value is then part of saved runs, and
            runs with other values are not comparable. Secrets never are, and paths only as
            ``"content"``: by what the file contains.
    """
    told = {"help": help, "secret": secret, "read": read, "compared": not secret and compared}
    made: T = field(default=default, repr=not secret, metadata={_METADATA: told})
    return made


def options_of(kind: object) -> dict[str, KindOption]:
    """Return the options of a kind by name, its own before those of its bases.

    A kind that is not a dataclass has none.
    """
    declared = [each for each in _fields(kind) if _METADATA in each.metadata]
    if not declared:
        return {}
    owner = kind if isinstance(kind, type) else type(kind)
    inherited = {each.name for base in owner.__bases__ for each in _fields(base)}
    declared.sort(key=lambda each: each.name in inherited)
    try:
        types = get_type_hints(owner)
    except NameError as error:
        raise OptionError(
            f"The options of the server kind {owner.__qualname__} have no types at run time: "
            f"{error}. Import what they are annotated with outside of TYPE_CHECKING."
        ) from None
    return {
        each.name: KindOption(
            name=each.name, default=each.default, type=types[each.name], **each.metadata[_METADATA]
        )
        for each in declared
    }


def _fields(kind: object) -> tuple[Field[Any], ...]:
    return fields(kind) if is_dataclass(kind) else ()


def set_options(kind: object) -> dict[str, str]:
    """Return the options of a kind that change what is measured and are set, as text."""
    found = {}
    for name, each in options_of(kind).items():
        value = getattr(kind, name)
        if not each.compared or value == each.default:
            continue
        if not isinstance(value, Path):
            found[name] = _text(value)
        elif each.compared == "content":
            try:
                digest = hashlib.sha256(value.read_bytes()).hexdigest()[:DIGEST_LENGTH]
            except OSError as error:
                found[name] = f"{value.name} ({error.strerror})"
            else:
                found[name] = f"{value.name} (sha256 {digest})"
    return found


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_text(value[key])}" for key in sorted(value))
    if isinstance(value, tuple):
        return " ".join(map(_text, value))
    return str(value)


def spelled(kind: str, key: str) -> str:
    """Return an option of a kind as on the command line, without its value."""
    return f"{OPTION}={kind}.{key}"


def variable(kind: str, key: str) -> str:
    """Return the environment variable that a secret option is read from."""
    return re.sub(r"\W", "_", f"SERVEBENCH_{kind}_{key}").upper()


def at_least(low: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from ``low``, for :func:`option`."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            raise ValueError(f"give a whole number, {low} or more")
        return value

    return read


def words(text: str) -> tuple[str, ...]:
    """Return the arguments in a text, as a shell splits it."""
    return tuple(shlex.split(text))


def pairs(text: str) -> Mapping[str, str]:
    """Return the mapping in a text ``NAME=VALUE NAME=VALUE``.

    Raises:
        ValueError: it is another text.
    """
    found = [word.partition("=") for word in words(text)]
    if not all(name and equals for name, equals, _ in found):
        raise ValueError("give NAME=VALUE, separated by spaces")
    return {name: value for name, _, value in found}


def check_started(kind: object, url: str, names: Iterable[str]) -> None:
    """Check that no option is set that only a server started here can have.

    Raises:
        ValueError: names those that are, if ``url`` attaches to a running server.
    """
    declared = options_of(kind)
    given = [name for name in names if getattr(kind, name) != declared[name].default]
    if url and given:
        # The URL is not repeated: it may hold a password.
        raise ValueError(
            f"{' and '.join(given)} cannot be set for a server that runs already: omit url to "
            "start one"
        )
