"""The settings of a protocol, which are fields of its frozen dataclass."""

import dataclasses
from dataclasses import MISSING, dataclass, field
from types import UnionType
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pytest_servebench.errors import OptionError

_METADATA: Final = "servebench"
T = TypeVar("T")


def setting(help: str, default: Any = MISSING) -> Any:
    """Make a field of a protocol a setting that users can give.

    Args:
        help: what it does, as a phrase after its name.
        default: its default value; without one, it must be given.
    """
    return field(default=default, metadata={_METADATA: help})


@dataclass(frozen=True)
class Setting:
    """One setting of a protocol.

    Attributes:
        name: of the field.
        help: what it does.
        required: whether it has no default.
        default: of the field; ``None`` if it is required.
        type: of the field, such as ``str`` or a ``Literal`` of words.
    """

    name: str
    help: str
    required: bool
    default: object
    type: Any

    def problem(self, value: object) -> str | None:
        """Return what to give instead of a value that this setting cannot have."""
        wanted = _alternatives(self.type)
        words = [word for one in wanted if get_origin(one) is Literal for word in get_args(one)]
        if value in words and isinstance(value, str):
            return None
        if words:
            return f"give one of {', '.join(map(repr, words))}"
        types = [one for one in wanted if isinstance(one, type)]
        if type(value) in types:  # True is not the number 1
            return None
        return f"give {' or '.join(_TITLES[one] for one in types)}"


_TITLES: Final = {str: "a string", int: "a whole number", bool: "true or false"}


def _alternatives(of: Any) -> tuple[Any, ...]:
    return get_args(of) if get_origin(of) in (Union, UnionType) else (of,)


def settings_of(protocol: object) -> dict[str, Setting]:
    """Return the settings of a protocol, or of its class, by name."""
    owner = protocol if isinstance(protocol, type) else type(protocol)
    types = get_type_hints(owner)
    return {
        each.name: Setting(
            name=each.name,
            help=each.metadata[_METADATA],
            required=each.default is MISSING,
            default=None if each.default is MISSING else each.default,
            type=types[each.name],
        )
        for each in dataclasses.fields(owner)
        if _METADATA in each.metadata
    }


class Configured:
    """A protocol with settings, which it checks when it is made."""

    def __post_init__(self) -> None:
        """Check all settings.

        Raises:
            OptionError: one has a value that it cannot have.
        """
        for name, each in settings_of(self).items():
            value = getattr(self, name)
            if problem := each.problem(value):
                raise OptionError(f"{name} = {value!r}: {problem}.")
            if each.required and not value:
                raise OptionError(f"{name} = {value!r}: it is empty; give {each.help}.")
