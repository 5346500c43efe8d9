"""``pytest-servebench size RUN``: how many replicas keep an SLO, and what one of them carries."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Final

from pytest_servebench.commands.arguments import Commands, number
from pytest_servebench.commands.sizing import (
    EXIT_CODES,
    UNFIT,
    Question,
    add_options,
    fits,
    question_of,
    servers_of,
)
from pytest_servebench.errors import OptionError
from pytest_servebench.objectives.slo_grammar import Clause
from pytest_servebench.report.sizing import Measured, ServerFit, cost_of_a_million, own_slo
from pytest_servebench.report.sizing_text import fit_lines, setting_text, size_lines
from pytest_servebench.sizing.answers import HighestRate, Replicas, highest_rate, replicas_needed
from pytest_servebench.sizing.model import ServerModel
from pytest_servebench.text.json_text import to_json
from pytest_servebench.text.safe import joined

_DESCRIPTION: Final = f"""\
Say how many replicas of each server of a saved run keep an SLO at a rate, and
up to which rate one of them keeps it: by a queueing model that is fitted to the
records of the run, and that first predicts each of its cases from the others.

{EXIT_CODES}"""


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "size",
        help="how many replicas keep an SLO, predicted from a saved run",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(
        parser,
        rate="requests per second, at all replicas together (default: only say which rate "
        "--replicas carry)",
        slo="such as 'p99<50ms'; may be repeated (default: that of the run's tests)",
        replicas="how many to find the highest rate of (default: 1)",
    )
    parser.add_argument("--price", metavar="P", help="of a replica an hour, in any currency: adds "
                        "the cost of a million requests")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Print the answer for each server, and return the exit code.

    Raises:
        OptionError: an option is invalid, or the run has too little to fit a model to.
        SavedRunError: the run cannot be read.
    """
    question = question_of(options)
    price = None if options.price is None else number("price", options.price, "0.35")
    servers = servers_of(options)
    clauses = question.clauses or _own_clauses(servers)
    plain: list[dict[str, Any]] = []
    status = 0
    if options.format == "table":
        print(_heading(question, clauses))
    for found in fits(servers):
        if options.format == "table":
            # The answer takes its time.
            print("", *fit_lines(found), sep="\n", flush=True)
        answer = None
        if isinstance(found.fitted, ServerModel):
            answer = _answer(found.fitted, question, clauses)
        else:
            status = UNFIT
        plain.append(_plain(found, answer, question, price))
        if options.format == "table" and answer is not None:
            assert isinstance(found.fitted, ServerModel)
            needed, highest = answer
            lines = size_lines(
                found.fitted, question.rate, needed, highest, question.replicas, price
            )
            print("", *lines, sep="\n")
    if options.format == "json":
        asked = {"slo": [str(one) for one in clauses], "price": price, **question.to_dict()}
        print(to_json({"asked": asked, "servers": plain}))
    return status


_Answer = tuple[Replicas | None, HighestRate]


def _answer(model: ServerModel, question: Question, clauses: Sequence[Clause]) -> _Answer:
    needed = None
    if question.rate is not None:
        needed = replicas_needed(model, question.setting(question.rate), clauses)
    return needed, highest_rate(model, question.setting(1.0), clauses)


def _own_clauses(servers: Sequence[Measured]) -> tuple[Clause, ...]:
    clauses, others = own_slo(servers)
    if not clauses:
        why = f"the model does not predict {joined(others)}" if others else "its tests have none"
        raise OptionError(f"no SLO: {why}; give one, such as --slo 'p99<50ms'")
    return clauses


def _heading(question: Question, clauses: Sequence[Clause]) -> str:
    slo = joined(str(one) for one in clauses)
    if question.rate is None:
        return f"the highest rate with {slo}"
    return f"{setting_text(question.setting(question.rate), replicas=False)}, with {slo}"


def _plain(
    found: ServerFit, answer: _Answer | None, question: Question, price: float | None
) -> dict[str, Any]:
    needed, highest = answer or (None, None)
    cost = None
    if price is not None and needed is not None and question.rate is not None:
        cost = {
            name: None if end is None else cost_of_a_million(question.rate, end, price)
            for name, end in (("value", needed.value), ("low", needed.low), ("high", needed.high))
        }
    return {
        **found.to_dict(),
        "replicas": None if needed is None else needed.to_dict(),
        "cost_of_a_million": cost,
        "highest_rate": None if highest is None else highest.to_dict(),
    }
