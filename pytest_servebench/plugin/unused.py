"""Settings without an effect: refused in a test's own marker, reported from the command line."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pytest

from pytest_servebench.metrics import METRICS
from pytest_servebench.plugin.cases import MARKER, own_markers
from pytest_servebench.plugin.own_fixtures import has
from pytest_servebench.plugin.parameters import PARAMETERS
from pytest_servebench.plugin.state import session_of
from pytest_servebench.runs.node_ids import function_of


@dataclass(frozen=True)
class _Use:
    """Who uses a setting.

    Attributes:
        fixtures: of which a test must request one for it to have an effect; the first sends load.
        instead: why a test without them has no use for it.
    """

    fixtures: tuple[str, ...]
    instead: str


_SEARCH: Final = _Use(("find_capacity",), "only find_capacity uses it")
# By the key of the marker, or the name of the option.
_USES: Final[Mapping[str, _Use]] = {
    PARAMETERS["rate"].several: _Use(
        ("poisson_load", "rate"),
        "find_capacity finds the rates itself, within capacity_range",
    ),
    "duration": _Use(
        ("poisson_load",),
        "find_capacity chooses how long each of its loads is, within capacity_budget",
    ),
    "retries": _Use(("poisson_load",), "find_capacity repeats its own loads"),
    **dict.fromkeys(("capacity_budget", "capacity_precision", "capacity_range"), _SEARCH),
}


def wrong_uses(items: Iterable[pytest.Item]) -> list[str]:
    """Return the settings of load tests' own markers that have no effect there, once per test.

    A class's or module's marker may be for its other tests.
    """
    found = (
        f"{function_of(item.nodeid)}: @pytest.mark.{MARKER}({key}={value!r}) has no effect: "
        f"{_USES[key].instead}. Leave it out."
        for item in items
        for marker in own_markers(item)
        for key, value in marker.kwargs.items()
        if key in _USES and not any(has(item, name) for name in _USES[key].fixtures)
    )
    return list(dict.fromkeys(found))


def unused_options(config: pytest.Config, items: Sequence[pytest.Item]) -> list[str]:
    """Return a sentence for each fixture that no test uses, on the options that only it uses."""
    if session_of(config).wrong_options:
        return []
    given: dict[str, list[str]] = {}
    for owner, text in _given(config):
        given.setdefault(owner, []).append(text)
    return [
        f"no selected test uses {owner}: {', '.join(texts)} has no effect"
        for owner, texts in given.items()
        if not any(has(item, owner) for item in items)
    ]


def unshared_connections(config: pytest.Config) -> str:
    """Return a note if ``--servebench-streams`` had no effect on any load; otherwise empty.

    Known only at the end: a request's transport decides.
    """
    given = config.getoption("--servebench-streams")
    state = session_of(config)
    used = {one.streams for one in state.results}
    used |= {one.streams for one in state.recorded.capacities}
    if given is None or state.settings.load.terms.streams == 1 or used != {1}:
        return ""
    return (
        f"--servebench-streams={given} had no effect: workers share connections over HTTP/2 and "
        "gRPC only, and with --servebench-keep-alive=true"
    )


def _given(config: pytest.Config) -> Iterator[tuple[str, str]]:
    """Yield the fixture that alone uses an option of this session, and the option with its value.

    From the config file, only SLOs and gates: its other values are for every selection of tests.
    """
    for key, use in _USES.items():
        option = f"--servebench-{key.replace('_', '-')}"
        if (value := config.getoption(option)) is not None:
            yield use.fixtures[0], f"{option}={value}"
    settings = session_of(config).settings
    for gate in settings.gates:
        owner = "find_capacity" if METRICS[gate.metric].of_search else "poisson_load"
        yield owner, f"--servebench-max-regression={gate}"
    clauses = [str(one) for one in settings.slos if one.of_search]
    if clauses:
        yield "find_capacity", f"--servebench-slo={', '.join(clauses)}"
