"""Cases: the parametrization over servers and parameters, their ids, and exact ``-k``."""

import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import pytest

from pytest_servebench.errors import OptionError
from pytest_servebench.objectives.slo import parse_slo
from pytest_servebench.plugin import judgement
from pytest_servebench.plugin.option_values import distinct, number_of
from pytest_servebench.plugin.options import SECONDS, SECONDS_OR_NONE
from pytest_servebench.plugin.own_fixtures import has, is_ours, parametrized
from pytest_servebench.plugin.parameters import PARAMETERS, Parameter
from pytest_servebench.plugin.settings import Settings
from pytest_servebench.runs.node_ids import function_of
from pytest_servebench.text.closest import closest

MARKER: Final = "servebench"
_MANY: Final = {one.several: one for one in PARAMETERS.values()}  # keys of several values
_CAPACITY_KEYS: Final = ("capacity_budget", "capacity_precision", "capacity_range")
_MARKER_KEYS: Final = (*_MANY, "duration", "warmup", "timeout", "arrivals", *_CAPACITY_KEYS)
LOADS: Final = ("poisson_load", "find_capacity")
"""The fixtures that send load."""

_OWN_MARK = pytest.StashKey[pytest.Mark]()  # the marker of a case that this plugin has added

_KEYWORDS: Final = "|".join(one.keyword for one in PARAMETERS.values())
_SIZE_WORD: Final = rf"({_KEYWORDS})(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
# What pytest takes for one word of a -k expression, so that only a whole one is a size.
_WORD: Final = r"[\w:+\-.\[\]\\/]"
_KEYWORD: Final = re.compile(rf"(?<!{_WORD}){_SIZE_WORD}(?!{_WORD})", re.IGNORECASE)
_SIZE: Final = re.compile(rf"\b(?:{_KEYWORDS})\s*=?\s*\d", re.IGNORECASE)
_IN_NAME: Final = re.compile(rf"{_SIZE_WORD}(?![\d.])", re.IGNORECASE)

# A keyword of load tests alone while -k is applied. It must be a part of no word that anyone
# writes, as pytest looks for parts of words; a letter (of phonetics), as it takes no other signs.
_LOAD_KEYWORD: Final = "\u02ad"


def exact_keywords(expression: str) -> str:
    """Return a ``-k`` expression in which ``rate10`` selects rate 10 and not rate 100.

    pytest matches substrings; within an id such as ``[torchserve-rate10-buffer50]`` a value ends at
    ``-`` or ``]``.
    """
    return _KEYWORD.sub(r"(\1\2- or \1\2])", expression)


@contextmanager
def exact_selection(config: pytest.Config, items: Sequence[pytest.Item]) -> Iterator[None]:
    """Make ``-k`` select load tests among ``items`` exactly, and other tests as pytest does.

    Only within the context: the user's expression is what everybody else sees.

    Raises:
        pytest.UsageError: the expression cannot be read.
    """
    given = config.option.keyword
    exact = exact_keywords(given)
    measured = loads(items)
    if exact == given or not measured:
        yield
        return
    added = {item: _extra_keywords(item) - item.extra_keyword_matches for item in measured}
    for item, words in added.items():
        item.extra_keyword_matches |= words
    config.option.keyword = (
        f"({_LOAD_KEYWORD} and ({exact})) or (not {_LOAD_KEYWORD} and ({given}))"
    )
    try:
        yield
    except pytest.UsageError:
        config.option.keyword = given  # its error must show what the user wrote, and the place
        if (marks := config.pluginmanager.get_plugin("mark")) is not None:
            marks.pytest_collection_modifyitems(items=list(items), config=config)
        raise
    finally:
        config.option.keyword = given
        for item, words in added.items():
            item.extra_keyword_matches -= words


def _extra_keywords(item: pytest.Item) -> set[str]:
    """Return what marks a load test, and the sizes in all of its keywords but the cell.

    ``-k rate10`` finds ``test_rate10_alone[toy-rate5]`` too: a name goes on where a cell would end.
    """
    nodes = [node for node in item.listchain() if not isinstance(node, pytest.Session)]
    if isinstance(nodes[0], pytest.Directory):
        del nodes[0]  # the root is not a keyword for pytest either
    names = {node.name.partition("[")[0] for node in nodes} | item.listextrakeywords()
    names |= {marker.name for marker in item.iter_markers()}
    names |= set(getattr(getattr(item, "function", None), "__dict__", ()))
    sizes = (found[0] for name in names for found in _IN_NAME.finditer(name))
    return {_LOAD_KEYWORD, *(f"{size}-" for size in sizes)}


def names_a_size(expression: str) -> bool:
    """Return whether a ``-k`` or ``-m`` expression selects a rate, a buffer size or rows."""
    return _SIZE.search(expression) is not None


def offered(items: Sequence[pytest.Item]) -> str:
    """Return the rates, buffer sizes and rows of ``items``, and where each can be set."""
    parts = []
    for one in PARAMETERS.values():
        found: dict[str, set[float]] = {}
        for item in items:
            value = _param(item, one.name)
            if isinstance(value, (int, float)):  # of a test's own, it may be anything
                found.setdefault(_given_by(item, one), set()).add(value)
        texts = [
            f"{', '.join(f'{value:g}' for value in sorted(values))} ({giver})"
            for giver, values in found.items()
        ]
        if texts:
            parts.append(f"{one.words} {', '.join(texts)}")
    return ", ".join(parts)


def _given_by(item: pytest.Item, parameter: Parameter) -> str:
    """Return where a parameter of a test is set, which is the only place to change it."""
    if parameter.name in given_by(item):
        return "@pytest.mark.parametrize"
    if any(parameter.several in marker.kwargs for marker in _markers(item)):
        return f"@pytest.mark.{MARKER}"
    return parameter.option


def given_by(node: pytest.Item) -> set[str]:
    """Return the names that a test's ``parametrize`` markers set."""
    names: set[str] = set()
    for marker in node.iter_markers("parametrize"):
        given = marker.args[0] if marker.args else marker.kwargs["argnames"]
        names |= {name.strip() for name in (given.split(",") if isinstance(given, str) else given)}
    return names


def _of_marker(
    markers: Iterable[pytest.Mark], key: str, read: Any, default: Sequence[Any]
) -> Sequence[Any]:
    """Return the closest marker's values for ``key``, each checked like an option's."""
    for marker in markers:
        if key not in marker.kwargs:
            continue
        given = marker.kwargs[key]
        several = key in _MANY and isinstance(given, Iterable) and not isinstance(given, str)
        try:
            return distinct([number_of(read, one) for one in (given if several else [given])])
        except ValueError as error:
            raise OptionError(f"@pytest.mark.{MARKER}({key}={given!r}): {error}.") from None
    return default


def given_by_marker(
    item: pytest.Item, parameter: Parameter, default: Sequence[Any]
) -> Sequence[Any]:
    """Return a parameter's values from a test's closest marker, or the default.

    Raises:
        OptionError: one cannot be used.
    """
    return _of_marker(_markers(item), parameter.several, parameter.read, default)


def _markers(item: pytest.Item) -> Iterator[pytest.Mark]:
    """Yield the user's markers of a test, the closest first, without the one of :func:`mark`."""
    own = item.stash.get(_OWN_MARK, None)
    return (marker for marker in item.iter_markers(MARKER) if marker is not own)


def own_markers(item: pytest.Item) -> list[pytest.Mark]:
    """Return the user's markers of the test alone, not those of its class or module."""
    own = {id(marker) for marker in item.own_markers}
    return [marker for marker in _markers(item) if id(marker) in own]


def check_marker(marker: pytest.Mark) -> None:
    """Refuse keywords that the marker does not have.

    Raises:
        OptionError: a keyword is unknown.
    """
    unknown = sorted(set(marker.kwargs) - set(_MARKER_KEYS))
    if unknown or marker.args:
        close = [(key, one) for one in unknown if (key := closest(one, _MARKER_KEYS))]
        meant = "."
        if close:
            key, given = close[0]
            meant = f"; did you mean {_written(key, marker.kwargs[given])}?"
        raise OptionError(
            f"@pytest.mark.{MARKER} does not take "
            f"{', '.join(unknown) or 'positional values'}; "
            f"it takes {', '.join(_MARKER_KEYS)}{meant}"
        )


def _written(key: str, value: object) -> str:
    several = key in _MANY and not isinstance(value, (list, tuple))
    return f"{key}={reprlib.repr([value] if several else value)}"


def check_markers(item: pytest.Item) -> None:
    """Refuse invalid ``servebench`` markers of a test, and markers that have no effect.

    Raises:
        OptionError: a marker cannot be used; or gives rates to a single one of a test's parameters.
    """
    single = getattr(getattr(item, "callspec", None), "marks", ())
    for marker in _markers(item):
        check_marker(marker)
        if (many := sorted(set(marker.kwargs) & set(_MANY))) and marker in single:
            raise OptionError(
                f"{item.nodeid}: @pytest.mark.{MARKER}({many[0]}=…) has no effect in pytest.param, "
                "as pytest reads it too late. Mark the test, or parametrize "
                f"{_MANY[many[0]].name} as well."
            )


def wrong_slos(items: Iterable[pytest.Item]) -> list[str]:
    """Return errors in ``slo`` markers, once per test, not per case."""
    found: dict[str, None] = {}
    for item in items:
        try:
            _check_slo_values(item)
            judgement.marked_slos(item)
            _refuse_capacity(item)
        except OptionError as error:
            found[f"{function_of(item.nodeid)}: @pytest.mark.slo: {error}"] = None
    return list(found)


def _check_slo_values(item: pytest.Item) -> None:
    for marker in item.iter_markers("slo"):
        if marker.kwargs or not all(isinstance(one, str) for one in marker.args):
            given = marker.kwargs or marker.args
            raise OptionError(f'{given!r}: give strings, such as "p99<50ms".')


def _refuse_capacity(item: pytest.Item) -> None:
    """Refuse a clause on a capacity of a test that finds none."""
    if has(item, "find_capacity"):
        return
    for marker in item.own_markers:
        for text in marker.args if marker.name == "slo" else ():
            if asked := [str(one) for one in parse_slo(text) if one.of_search]:
                raise OptionError(
                    f"{asked[0]}: only find_capacity finds a capacity, and this test does not use "
                    "it: capacity = find_capacity(model_server)."
                )


def parametrize(metafunc: pytest.Metafunc, settings: Settings) -> None:
    """Parametrize a test that uses ``model_server`` or a fixture that sends load over its cells.

    Raises:
        OptionError: a ``servebench`` marker has a keyword or value that cannot be used.
    """
    markers = list(metafunc.definition.iter_markers(MARKER))
    for marker in markers:
        check_marker(marker)
    given = given_by(metafunc.definition) | parametrized(metafunc)
    names = {
        name for name in metafunc.fixturenames if name not in given and is_ours(metafunc, name)
    }
    if "model_server" in names:
        servers = list(settings.servers)
        metafunc.parametrize("model_server", servers, ids=servers, indirect=True, scope="session")
    if not names.intersection(LOADS):
        return
    for name, one in PARAMETERS.items():
        if name not in names:
            continue
        values = _of_marker(markers, one.several, one.read, getattr(settings, one.several))
        if (*values,) != (one.usual,):
            metafunc.parametrize(name, values, ids=[*map(one.id, values)], indirect=True)
    if "repeat" in names and settings.repeats > 1:
        numbers = range(1, settings.repeats + 1)
        ids = [f"repeat{number}" for number in numbers]
        metafunc.parametrize("repeat", numbers, ids=ids, indirect=True)


def in_order(items: Sequence[pytest.Item], *, interleave: bool) -> list[pytest.Item]:
    """Return the tests with repeats spread over the time of the run.

    All cases run once, then all of them again: what changes on the machine meanwhile is then seen
    between the repeats. Without ``interleave`` this is so for each server, which is started once;
    with it, for the whole run: the servers take turns in each cell, and the one that was first in
    one repeat is last in the next. Tests without repeats, or of a single server, keep their places.
    """
    places = [place for place, item in enumerate(items) if is_load(item)]
    servers = list(dict.fromkeys(repr(_param(items[place], "model_server")) for place in places))
    cells = list(dict.fromkeys(_cell(items[place]) for place in places))

    def key(place: int) -> tuple[int, ...]:
        item = items[place]
        repeat = int(_param(item, "repeat") or 1) if is_ours(item, "repeat") else 1
        server = servers.index(repr(_param(item, "model_server")))
        cell = cells.index(_cell(item))
        if interleave:
            return repeat, cell, server if repeat % 2 else -server
        return server, repeat, cell

    ordered = list(items)
    for place, taken in zip(places, sorted(places, key=key), strict=True):
        ordered[place] = items[taken]
    return ordered


def loads(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Return the load tests."""
    return [item for item in items if is_load(item)]


def is_load(item: pytest.Item) -> bool:
    """Return whether a test is a load test: it requests the plugin's fixtures that send load."""
    return any(has(item, name) for name in LOADS)


def kinds_of(items: Iterable[pytest.Item]) -> Iterator[str]:
    """Yield the server kinds that tests use, by a kind's fixture or as a parameter."""
    for item in items:
        params = params_of(item)
        if has(item, "model_server") and "model_server" in params:
            yield str(params["model_server"])
        yield from (kind for kind in ("tensorflow_serving", "torchserve") if has(item, kind))


def params_of(item: pytest.Item) -> Mapping[str, Any]:
    """Return the parameters of a test."""
    callspec = getattr(item, "callspec", None)
    return {} if callspec is None else callspec.params


def _param(item: pytest.Item, name: str) -> Any:
    return params_of(item).get(name)


def _cell(item: pytest.Item) -> tuple[object, ...]:
    """Return what servers and repeats of one cell have in common."""
    shared = (repr(value) for name, value in params_of(item).items()
              if name not in ("model_server", "repeat"))  # fmt: skip
    return (item.nodeid.partition("[")[0], *shared)


def mark(item: pytest.Item) -> None:
    """Add the marker by which ``-m 'servebench(rate=10, buffer=50)'`` selects.

    One marker for all of the cell: pytest compares the values of one marker at a time, and knows
    whole numbers and strings only.
    """
    params = params_of(item)
    values: dict[str, Any] = {}
    if isinstance(server := params.get("model_server"), str):
        values["server"] = server
    for name, one in PARAMETERS.items():
        try:
            value = number_of(one.read, params[name])
        except (KeyError, ValueError):
            continue  # an invalid value fails the test when it runs
        values[one.keyword] = int(value) if value == int(value) else str(value)
    item.add_marker(added := pytest.mark.servebench(**values))
    item.stash[_OWN_MARK] = added.mark


def marked_text(item: pytest.Item, key: str) -> str | None:
    """Return a string from the test's marker; ``None`` if it is not set."""
    found = next((m.kwargs[key] for m in item.iter_markers(MARKER) if key in m.kwargs), None)
    return None if found is None else str(found)


def marked_value(item: pytest.Item, key: str, read: Callable[[str], Any], default: Any) -> Any:
    """Return a value of the test's marker, checked like an option's, or the default."""
    return _of_marker(item.iter_markers(MARKER), key, read, [default])[0]


def marked_seconds(item: pytest.Item, key: str, default: float) -> float:
    """Return a number of seconds from the test's marker, or the default."""
    read = SECONDS_OR_NONE if key == "warmup" else SECONDS
    return float(marked_value(item, key, read, default))
