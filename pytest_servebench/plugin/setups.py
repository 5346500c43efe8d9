"""The servers that a session may start: kinds with their options, and variants of them."""

import copy
import dataclasses
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from pytest_servebench.errors import OptionError, ServebenchWarning
from pytest_servebench.model import ServedModel
from pytest_servebench.plugin.kind_values import is_pairs, read_value, secrets_of
from pytest_servebench.plugin.option_values import KindValue
from pytest_servebench.plugin.own_warnings import tell
from pytest_servebench.servers import configurable_kinds
from pytest_servebench.servers.base import ServerKind, ServerSettings, artifact_of
from pytest_servebench.servers.config_file import ServerTable
from pytest_servebench.servers.kind_options import KindOption, options_of, set_options, variable
from pytest_servebench.text.closest import closest, meant
from pytest_servebench.text.safe import sentence

_NOT_INHERITED: Final = ("url", "key_env")
_OWN_KEYS: Final = ("kind", "title")  # of a table, besides the kind's options and COMMON


@dataclass(frozen=True)
class Setup:
    """A server as a session would start it.

    Attributes:
        kind: the kind, under the server's name and with its options.
        bases: names of what it is a variant of, the nearest first.
        own: its own values of what all servers have, by their names in :class:`ServerSettings`.
    """

    kind: ServerKind
    bases: tuple[str, ...] = ()
    own: Mapping[str, Any] = field(default_factory=dict)

    def settings(self, common: ServerSettings) -> ServerSettings:
        """Return the settings to start it with."""
        return dataclasses.replace(common, **self.own)

    @property
    def artifacts(self) -> tuple[str, ...]:
        """Return the keys of artifacts that it could serve, the best first; empty: needs none."""
        own = artifact_of(self.kind)
        if own == self.kind.name:
            return own, *self.bases
        return (own,) if own else ()

    @property
    def chose_artifact(self) -> bool:
        """Return whether its options name the artifact, so that the model must have it."""
        return "artifact" in set_options(self.kind) and artifact_of(self.kind) != self.kind.name

    def model(self, model: ServedModel) -> ServedModel:
        """Return the model with what it has for the bases for this server too."""
        names = (self.kind.name, *self.bases)

        def shared(of: Mapping[str, Any]) -> dict[str, Any]:
            found = [of[name] for name in names if name in of][:1]
            return {**of, **{name: value for value in found for name in names}}

        return dataclasses.replace(
            model, artifacts=shared(model.artifacts), served_names=shared(model.served_names)
        )


def set_up(
    kinds: Mapping[str, ServerKind],
    tables: Mapping[str, ServerTable],
    values: Iterable[KindValue],
) -> tuple[dict[str, Setup], dict[str, str]]:
    """Return the servers by name; and for tables whose kind is unknown, what is wrong with them.

    A kind may come from a ``conftest.py`` beside other tests: its table is an error only if the
    server is needed, and a value for it in the ini file a warning if the name looks like a typo.

    A variant inherits its base's values, except for ``url`` and secrets.

    Args:
        kinds: registered kinds by name.
        tables: of the configuration file, by the server's name.
        values: given on the command line and in the ini file.

    Raises:
        OptionError: a kind or an option is unknown, or a value is invalid.
    """
    given: dict[str, list[KindValue]] = {}
    for table in tables.values():
        given[table.name] = [
            KindValue(table.name, key.replace("-", "_"), value, table.where, table.file.parent,
                      in_table=True)
            for key, value in table.values.items() if key not in _OWN_KEYS
        ]  # fmt: skip
    for value in values:
        given.setdefault(value.kind, []).append(value)
    maker = _Maker(kinds, tables, given)
    for name in (*kinds, *tables):
        maker.make(name)
    for name, each in given.items():
        if name not in maker.setups and name not in maker.unknown:
            _tell_unknown(each[0], maker.setups)
    return maker.setups, maker.unknown


def _tell_unknown(value: KindValue, known: Iterable[str]) -> None:
    message = (
        f"{value.given}: unknown server kind {value.kind!r}{meant(value.kind, known)} "
        f"Known kinds: {', '.join(known)}."
    )
    if value.source.startswith("--"):
        raise OptionError(message)
    if closest(value.kind, known):
        tell(warnings.warn, ServebenchWarning(message))


class _Maker:
    def __init__(
        self,
        kinds: Mapping[str, ServerKind],
        tables: Mapping[str, ServerTable],
        given: Mapping[str, list[KindValue]],
    ) -> None:
        self._kinds = kinds
        self._tables = tables
        self._given = given
        self._making: list[str] = []
        self._secret_of: dict[str, str] = {}
        self.setups: dict[str, Setup] = {}
        self.unknown: dict[str, str] = {}

    def make(self, name: str) -> Setup | None:
        """Return the server called ``name``; ``None`` if its kind is unknown."""
        if name not in self.setups and name not in self.unknown:
            if name in self._making:
                circle = " -> ".join([*self._making[self._making.index(name) :], name])
                raise OptionError(f"{self._tables[name].where} kind is circular: {circle}.")
            self._making.append(name)
            if (setup := self._made(name)) is not None:
                self.setups[name] = setup
            self._making.pop()
        return self.setups.get(name)

    def _made(self, name: str) -> Setup | None:
        table = self._tables.get(name)
        if table is None:
            return self._changed(name, Setup(self._kinds[name]), "")
        kind, title = (_text(table, key) for key in _OWN_KEYS)
        if name in self._kinds:
            if kind not in ("", name):
                raise OptionError(
                    f"{table.where} kind = {kind!r}: {name!r} is itself a kind of server; give "
                    "this variant another name."
                )
            return self._changed(name, Setup(self._kinds[name]), title)
        makers = configurable_kinds()
        kind = kind or next(
            (each for each, maker in makers.items() if {*maker.told_by} & table.values.keys()), ""
        )
        if kind in makers:
            return self._new(makers[kind], table, title)
        if kind not in self._kinds and kind not in self._tables:
            self.unknown[name] = self._told_unknown(table, kind, makers)
            return None
        base = self.make(kind)
        if base is None:
            self.unknown[name] = self.unknown[kind]
            return None
        return self._changed(name, dataclasses.replace(base, bases=(kind, *base.bases)), title)

    def _told_unknown(self, table: ServerTable, kind: str, makers: Mapping[str, Any]) -> str:
        known = [*self._kinds, *(name for name in self._tables if name != table.name), *makers]
        there_are = f"Known kinds: {', '.join(known)}."
        if kind:
            return f"{table.where} kind = {kind!r}: unknown{meant(kind, known)} {there_are}"
        keys = [*_OWN_KEYS, *(key for maker in makers.values() for key in maker.told_by)]
        typos = "".join(f" {key!r} is unknown{meant(key, keys)}" for key in table.values
                        if key not in keys and closest(key, keys))  # fmt: skip
        return (
            f"{table.where}: give {', '.join(keys[len(_OWN_KEYS) :])} or kind.{typos} {there_are}"
        )

    def _new(self, maker: Callable[..., ServerKind], table: ServerTable, title: str) -> Setup:
        values, own = self._read(table.name, options_of(maker), None)
        with _refused(table.name, self._given[table.name]):
            kind = maker(name=table.name, title=title or table.name, home=table.file.parent,
                         **values)  # fmt: skip
        return Setup(kind, own=own)

    def _changed(self, name: str, base: Setup, title: str) -> Setup:
        """Return a server with the values that are given for it."""
        options = options_of(base.kind)
        values, own = self._read(name, options, base.kind)
        variant = name != base.kind.name
        for key, each in options.items() if variant else ():
            # It starts a separate server, and a key for one server must not reach another.
            if key in _NOT_INHERITED or each.secret:
                values.setdefault(key, each.default)
        kind: Any = base.kind
        if values:
            with _refused(name, self._given.get(name, [])):
                kind = dataclasses.replace(kind, **values)
        title = title or (name if variant else base.kind.title)
        return Setup(_named(kind, name, title), base.bases, {**base.own, **own})

    def _read(
        self, name: str, options: Mapping[str, KindOption], base: ServerKind | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the values for a server: of its kind's options, and of what all servers have.

        Pairs of texts, such as environment variables, are added to those of its base.
        """
        read = secrets_of(name, options)
        for source in (variable(name, key) for key in read):
            if (other := self._secret_of.setdefault(source, name)) != name:
                raise OptionError(
                    f"{other} and {name} would both have the secret in the environment variable "
                    f"{source}: give one of these servers another name."
                )
        for value in self._given.get(name, []):
            new = read_value(name, options, value)
            if is_pairs(options.get(value.key)):
                new = {**(read.get(value.key) or getattr(base, value.key, None) or {}), **new}
            read[value.key] = new
        own = {key: value for key, value in read.items() if key not in options}
        return {key: value for key, value in read.items() if key in options}, own


def _text(table: ServerTable, key: str) -> str:
    text = table.values.get(key, "")
    if not isinstance(text, str):
        raise OptionError(f"{table.where} {key} = {text!r}: give a string in quotes.")
    return text


@contextmanager
def _refused(name: str, given: Iterable[KindValue]) -> Iterator[None]:
    """Name the source of values that a kind refuses; the kind knows which do not go together."""
    try:
        yield
    except (ValueError, OptionError) as error:
        sources = (value.source if value.in_table else value.given for value in given)
        where = ", ".join(dict.fromkeys(sources)) or name
        raise OptionError(f"{where}: {sentence(str(error))}") from None


def _named(kind: ServerKind, name: str, title: str) -> ServerKind:
    """Return a kind under another name, which may be an attribute of its class."""
    if (kind.name, kind.title) == (name, title):
        return kind
    named = copy.copy(kind)
    try:
        object.__setattr__(named, "name", name)  # it may be frozen
        object.__setattr__(named, "title", title)
    except AttributeError:
        raise OptionError(
            f"{name}: {kind.name} cannot have variants or another title: name and title of "
            f"{type(kind).__qualname__} cannot be set; make them plain attributes or fields."
        ) from None
    return named
