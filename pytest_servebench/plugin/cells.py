"""The rate, buffer size and repeat of one test, from whatever gives them, and checked.

They come from the plugin's parametrization, from the test's own, or from a fixture of the user's
own of the same name. A test that pytest cannot repeat for each value (``unittest.TestCase``, a
fixture that is asked for as the test runs) gets the only value there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pytest

from pytest_servebench.errors import OptionError
from pytest_servebench.plugin.cases import (
    MARKER,
    check_markers,
    given_by,
    given_by_marker,
    mark,
    params_of,
    wrong_slos,
)
from pytest_servebench.plugin.option_values import BUFFER_SIZE, RATE, number_of, whole
from pytest_servebench.plugin.own_fixtures import is_ours, wrapper_of
from pytest_servebench.plugin.state import session_of

_READERS: Final[dict[str, Callable[[str], float | int]]] = {
    "rate": RATE,
    "buffer_size": BUFFER_SIZE,
    "repeat": whole(1, what="a whole number, 1 or more"),
}


@dataclass(frozen=True)
class Cell:
    """What is asked of the server in one test, and how often it was asked before."""

    rate: float
    buffer_size: int
    repeat: int


NO_WORKERS: Final = (
    "-n: servers that are loaded at the same time make each other's numbers wrong. Run load tests "
    "without -n, or with -n 0; -m 'not servebench' leaves them out."
)


def join(item: pytest.Item) -> None:
    """Have a test count as a case that has asked for its load only as it runs.

    Others have been counted when they were collected.

    Raises:
        ServebenchError: the session can have no loads.
    """
    state = session_of(item.config)
    if item.nodeid in state.lines:
        return
    if hasattr(item.config, "workerinput"):
        raise OptionError(NO_WORKERS)
    if state.baseline is None:
        state.read_baseline()
    state.directory()
    state.orderly_end.install()
    state.expect(item)
    mark(item)


def cell_of(item: pytest.Item, rate: object, buffer_size: object, repeat: object) -> Cell:
    """Return the cell of a test that has got these values from its fixtures.

    Raises:
        OptionError: a value or a marker cannot be used.
    """
    check_markers(item)
    if wrong := wrong_slos([item]):
        raise OptionError("\n".join(wrong))
    return Cell(
        rate=checked(item, "rate", rate),
        buffer_size=int(checked(item, "buffer_size", buffer_size)),
        repeat=int(checked(item, "repeat", _repeat(item, repeat))),
    )


def checked(item: pytest.Item, name: str, value: object) -> float | int:
    """Return the value of a test's fixture, a rate, buffer size or repeat.

    Raises:
        OptionError: it is none.
    """
    own = wrapper_of(item, name)
    try:
        read: float | int = number_of(_READERS[name], value)
    except ValueError as error:
        where = _origin(item, name, own)
        raise OptionError(f"{item.nodeid}: {name}={value!r} of {where}: {error}.") from None
    param = params_of(item).get(name)
    if own and is_ours(item, name) and name not in given_by(item) and param != read:
        option = "--servebench-" + ("rates" if name == "rate" else "buffer-sizes")
        raise OptionError(
            f"{item.nodeid}: {name}={value!r} of the fixture {own}, but {param!r} stands in the "
            f"test's id. Give the values themselves, by {option} or by "
            f"@pytest.mark.parametrize({name!r}, …)."
        )
    return read


def _origin(item: pytest.Item, name: str, own: str) -> str:
    """Return where a value comes from, in words."""
    if own and name not in given_by(item):
        return f"the fixture {own}"
    return "the test's own parameters" if name in params_of(item) else "the options"


def _repeat(item: pytest.Item, value: object) -> object:
    """Return a test's repeat; 1 where a fixture of this name has nothing to do with repeats."""
    if "repeat" in given_by(item):
        return value
    own = wrapper_of(item, "repeat")
    if not own:
        return value
    repeats = session_of(item.config).settings.repeats
    if repeats > 1:
        raise OptionError(
            f"{item.nodeid}: --servebench-repeats={repeats} works by the fixture 'repeat', and "
            f"{own} has taken that name: give it another one."
        )
    return 1


def only(request: pytest.FixtureRequest, name: str) -> Any:
    """Return the value of a fixture: its parameter, or else the only one there is.

    Raises:
        OptionError: there are several, of which pytest could not make one test each.
    """
    if hasattr(request, "param"):
        return request.param
    item = request.node if isinstance(request.node, pytest.Item) else None
    settings = session_of(request.config).settings
    values: Sequence[Any]
    key, option, values = {
        "rate": ("rates", "--servebench-rates", settings.rates),
        "buffer_size": ("buffer_sizes", "--servebench-buffer-sizes", settings.buffer_sizes),
        "model_server": ("", "--servebench-servers", settings.servers),
    }[name]
    marked = ""
    if key and item is not None:
        values = given_by_marker(item, key, values)
        marked = f"@pytest.mark.{MARKER}({key}=…) or "
    if len(values) == 1:
        return values[0]
    shown = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    raise OptionError(
        f"{name}: there are several values ({shown}), and pytest cannot make one test of each, as "
        f"it learns too late that this test uses {name}. Give one value by {marked}"
        f"{option}=…, or name {'model_server' if not key else 'poisson_load'} among the arguments "
        "of a test function or in its @pytest.mark.usefixtures."
    )
