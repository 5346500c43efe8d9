"""The checked rate, buffer size, rows and repeat of one test.

They come from the plugin's parametrization, from the test's, or from a user's fixture of the same
name. A test that pytest cannot parametrize (``unittest.TestCase``, a fixture requested while the
test runs) gets the only value configured.
"""

from collections.abc import Mapping, Sequence
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
from pytest_servebench.plugin.option_values import number_of, whole
from pytest_servebench.plugin.own_fixtures import is_ours, wrapper_of
from pytest_servebench.plugin.parameters import PARAMETERS
from pytest_servebench.plugin.state import session_of

_READERS: Final = {
    **{name: one.read for name, one in PARAMETERS.items()},
    "repeat": whole(1, what="a whole number, 1 or more"),
}


@dataclass(frozen=True)
class Cell:
    """The load of one test, and which repeat it is; a search for a capacity finds its own rates."""

    buffer_size: int
    rows: int
    repeat: int
    rate: float = 1.0


NO_WORKERS: Final = (
    "-n: load tests that run in parallel distort each other's results. Run them without -n, or "
    "with -n 0; -m 'not servebench' leaves them out."
)


def join(item: pytest.Item) -> None:
    """Count a test as a case if it requests its load only while running.

    Other tests are counted at collection.

    Raises:
        ServebenchError: the session cannot run load tests.
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


def cell_of(item: pytest.Item, values: Mapping[str, object]) -> Cell:
    """Return the cell of a test with the values of these fixtures.

    Raises:
        OptionError: a value or a marker is invalid.
    """
    check_markers(item)
    if wrong := wrong_slos([item]):
        raise OptionError("\n".join(wrong))
    values = {**values, "repeat": _repeat(item, values["repeat"])}
    return Cell(**{name: checked(item, name, value) for name, value in values.items()})


def checked(item: pytest.Item, name: str, value: object) -> Any:
    """Return the checked value of a test's fixture: a rate, buffer size, rows or repeat.

    Raises:
        OptionError: it is invalid.
    """
    own = wrapper_of(item, name)
    try:
        read = number_of(_READERS[name], value)
    except ValueError as error:
        where = _origin(item, name, own)
        raise OptionError(f"{item.nodeid}: {name}={value!r} from {where}: {error}.") from None
    param = params_of(item).get(name)
    if own and is_ours(item, name) and name not in given_by(item) and param != read:
        raise OptionError(
            f"{item.nodeid}: the fixture {own} returns {name}={value!r}, but the test's id says "
            f"{param!r}. Set the values by {PARAMETERS[name].option} or by "
            f"@pytest.mark.parametrize({name!r}, …)."
        )
    return read


def _origin(item: pytest.Item, name: str, own: str) -> str:
    """Say where a value comes from."""
    if own and name not in given_by(item):
        return f"the fixture {own}"
    return "the test's own parameters" if name in params_of(item) else "the options"


def _repeat(item: pytest.Item, value: object) -> object:
    """Return a test's repeat; 1 if the fixture of this name is the user's."""
    if "repeat" in given_by(item):
        return value
    own = wrapper_of(item, "repeat")
    if not own:
        return value
    repeats = session_of(item.config).settings.repeats
    if repeats > 1:
        raise OptionError(
            f"{item.nodeid}: --servebench-repeats={repeats} needs the fixture 'repeat', but {own} "
            "overrides it: rename that fixture."
        )
    return 1


def only(request: pytest.FixtureRequest, name: str) -> Any:
    """Return the value of a fixture: its parameter, or the only one configured.

    Raises:
        OptionError: several are configured, and pytest could not parametrize the test.
    """
    if hasattr(request, "param"):
        return request.param
    item = request.node if isinstance(request.node, pytest.Item) else None
    settings = session_of(request.config).settings
    parameter = PARAMETERS.get(name)
    option, marked, fixture = "--servebench-servers", "", "model_server"
    values: Sequence[Any] = settings.servers
    if parameter is not None:
        option, fixture = parameter.option, "poisson_load"
        values = getattr(settings, parameter.several)
        if item is not None:
            values = given_by_marker(item, parameter, values)
            marked = f"@pytest.mark.{MARKER}({parameter.several}=…) or "
    if len(values) == 1:
        return values[0]
    shown = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    raise OptionError(
        f"{name}: there are several values ({shown}), but pytest cannot run the test once for "
        f"each, as it learns too late that this test uses {name}. Give one value by {marked}"
        f"{option}=…, or add {fixture} to the arguments of a test function or to its "
        "@pytest.mark.usefixtures."
    )
