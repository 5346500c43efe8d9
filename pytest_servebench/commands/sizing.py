"""What ``size`` and ``whatif`` have in common: their question, and the models that answer it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pytest_servebench.commands.arguments import (
    add_results,
    add_run,
    number,
    results_of,
    say_left_out,
    whole,
)
from pytest_servebench.errors import OptionError
from pytest_servebench.objectives.slo import parse_slo
from pytest_servebench.objectives.slo_grammar import Clause
from pytest_servebench.report.sizing import Measured, fit_server, measured_servers
from pytest_servebench.report.sizing_text import fit_lines
from pytest_servebench.runs.run_json import read_file
from pytest_servebench.runs.run_names import find_run
from pytest_servebench.sizing.answers import check_clauses
from pytest_servebench.sizing.model import ServerModel
from pytest_servebench.sizing.prediction import Setting
from pytest_servebench.sizing.queue import ROUTINGS
from pytest_servebench.text.closest import meant
from pytest_servebench.text.json_text import to_json
from pytest_servebench.text.safe import clean, joined

UNFIT: Final = 1
"""Exit code if no model fits a server."""

EXIT_CODES: Final = """\
Exit codes: 0 answered, 1 no model fits a server, 2 an option is invalid, or the
run has too little to fit a model to."""

_LEAST_CASES: Final = 2  # one is checked against the other
_MOST_REPLICAS: Final = 10_000
_MOST: Final = 1_000_000  # connections, and places in the buffer


@dataclass(frozen=True)
class Question:
    """What was asked.

    Attributes:
        rate: arrivals a second; ``None`` if none was given.
        workers: connections; ``None`` for as many as are needed.
        buffer_size: requests that may wait for a connection.
        replicas: number of servers.
        routing: how a request gets to one of them.
        clauses: of the SLO.
    """

    rate: float | None
    workers: int | None
    buffer_size: int
    replicas: int
    routing: str
    clauses: tuple[Clause, ...]

    def setting(self, rate: float) -> Setting:
        """Return the question at a rate."""
        routing = next(one for one in ROUTINGS if _written(one) == self.routing)
        return Setting(rate, self.workers, self.buffer_size, self.replicas, routing)

    def to_dict(self) -> dict[str, Any]:
        """Return what was asked as plain data for JSON, without the SLO."""
        return {
            "rate": self.rate, "workers": self.workers, "buffer_size": self.buffer_size,
            "replicas": self.replicas, "routing": self.routing,
        }  # fmt: skip


def add_options(parser: argparse.ArgumentParser, *, rate: str, slo: str, replicas: str) -> None:
    """Add the arguments of both commands, with these help texts."""
    add_run(parser)
    parser.add_argument("--rate", metavar="R", help=rate)
    parser.add_argument("--slo", action="append", metavar="SLO", help=slo)
    parser.add_argument("--server", metavar="NAME", help="only this server (default: each)")
    parser.add_argument(
        "--workers", metavar="N",
        help="connections, of all replicas together (default: as many as are needed)",
    )  # fmt: skip
    parser.add_argument(
        "--buffer", metavar="B",
        help="requests that may wait for one of --workers; further ones are dropped (default: 0)",
    )  # fmt: skip
    parser.add_argument("--replicas", default="1", metavar="N", help=replicas)
    parser.add_argument(
        "--routing", choices=tuple(map(_written, ROUTINGS)), default=_written(ROUTINGS[0]),
        help=f"how requests get to a replica (default: {_written(ROUTINGS[0])})",
    )  # fmt: skip
    add_results(parser)
    parser.add_argument("--format", choices=("table", "json"), default="table",
                        help="output format (default: table)")  # fmt: skip
    parser.add_argument("--json", dest="format", action="store_const", const="json",
                        help="same as --format json")  # fmt: skip


def question_of(options: argparse.Namespace) -> Question:
    """Return what was asked.

    Raises:
        OptionError: the value of an option is invalid.
    """
    clauses = tuple(clause for text in options.slo or () for clause in parse_slo(text))
    if clauses:
        try:
            check_clauses(clauses)
        except OptionError as error:
            raise OptionError(f"--slo: {error}") from None
    workers = None if options.workers is None else whole("workers", options.workers, 1, _MOST)
    if options.buffer is not None and workers is None:
        raise OptionError(
            f"--buffer={options.buffer}: requests only wait in the buffer if connections are "
            "limited; give --workers too"
        )
    return Question(
        None if options.rate is None else number("rate", options.rate, "500"),
        workers,
        0 if options.buffer is None else whole("buffer", options.buffer, 0, _MOST),
        whole("replicas", options.replicas, 1, _MOST_REPLICAS),
        options.routing,
        clauses,
    )


def servers_of(options: argparse.Namespace) -> list[Measured]:
    """Return the selected servers of the run.

    Raises:
        SavedRunError: the run cannot be read.
        OptionError: there is no such server, or its records are missing or of one case only.
    """
    path = find_run(options.run, results_of(options))
    saved, _ = read_file(path)
    say_left_out(path, saved)
    servers = measured_servers(saved, path.parent)
    if not servers:
        raise OptionError(f"{clean(path)}: it has no valid case; run the suite again")
    chosen = _chosen(servers, options.server)
    for one in chosen:
        _check(path, one)
    return chosen


def answer_each(
    servers: list[Measured],
    heading: str,
    asked: Mapping[str, Any],
    answer: Callable[[ServerModel], tuple[dict[str, Any], list[str]]],
    unanswered: Mapping[str, Any],
    *,
    as_json: bool,
) -> int:
    """Fit each server, print the answer, and return the exit code.

    Args:
        servers: one after the other, as each takes its time.
        heading: of the table.
        asked: the question as JSON data.
        answer: returns the model's answer as JSON data, and as lines of the table.
        unanswered: that data where no model fits.
        as_json: whether to print JSON.
    """
    plain: list[dict[str, Any]] = []
    status = 0
    if not as_json:
        print(heading)
    for found in map(fit_server, servers):
        if not as_json:
            print("", *fit_lines(found), sep="\n", flush=True)
        data, lines = unanswered, list[str]()
        if isinstance(found.fitted, ServerModel):
            data, lines = answer(found.fitted)
        else:
            status = UNFIT
        plain.append({**found.to_dict(), **data})
        if lines and not as_json:
            print("", *lines, sep="\n")
    if as_json:
        print(to_json({"asked": asked, "servers": plain}))
    return status


def _chosen(servers: list[Measured], name: str | None) -> list[Measured]:
    if name is None:
        return servers
    wanted = name.casefold()
    found = [one for one in servers if wanted in (one.kind.casefold(), one.name.casefold())]
    found = found or [one for one in servers if one.name.casefold().startswith(f"{wanted}, ")]
    if not found:
        known = dict.fromkeys(word for one in servers for word in (one.kind, one.name))
        raise OptionError(
            f"--server={name!r}: the run has {joined(clean(one.name) for one in servers)}"
            f"{meant(name, known)}"
        )
    return found


def _check(path: Path, one: Measured) -> None:
    if one.missing and len(one.cases) < _LEAST_CASES:
        raise OptionError(
            f"{clean(path)}: {clean(one.name)}: records of requests are needed, but "
            f"{', '.join(one.missing)}; keep the run's records/ next to its run.json, or measure "
            "again"
        )
    if len(one.cases) < _LEAST_CASES:
        raise OptionError(
            f"{clean(path)}: {clean(one.name)} has only one case, so nothing shows whether a "
            "model predicts others; measure at two or more rates, such as "
            "--servebench-rates=20,60,120"
        )


def _written(routing: str) -> str:
    return routing.replace("_", "-")
