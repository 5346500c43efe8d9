"""``pytest-servebench size RUN``: how many replicas keep an SLO, and what one of them carries."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Final

from pytest_servebench.commands.arguments import Commands, number
from pytest_servebench.commands.sizing import (
    EXIT_CODES,
    Question,
    add_options,
    answer_each,
    question_of,
    servers_of,
)
from pytest_servebench.errors import OptionError
from pytest_servebench.objectives.slo_grammar import Clause
from pytest_servebench.report.sizing import Measured, cost_of_a_million, own_slo
from pytest_servebench.report.sizing_text import setting_text, size_lines
from pytest_servebench.sizing.answers import Replicas, highest_rate, replicas_needed
from pytest_servebench.sizing.model import ServerModel
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
        replicas="number of replicas whose highest rate is wanted (default: 1)",
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

    def answer(model: ServerModel) -> tuple[dict[str, Any], list[str]]:
        rate, needed = question.rate, None
        if rate is not None:
            needed = replicas_needed(model, question.setting(rate), clauses)
        highest = highest_rate(model, question.setting(1.0), clauses)
        data = {
            "replicas": None if needed is None else needed.to_dict(),
            "cost_of_a_million": _cost(rate, needed, price),
            "highest_rate": highest.to_dict(),
        }
        return data, size_lines(model, rate, needed, highest, question.replicas, price)

    return answer_each(
        servers, _heading(question, clauses),
        {"slo": [str(one) for one in clauses], "price": price, **question.to_dict()}, answer,
        dict.fromkeys(("replicas", "cost_of_a_million", "highest_rate")),
        as_json=options.format == "json",
    )  # fmt: skip


def _cost(
    rate: float | None, needed: Replicas | None, price: float | None
) -> dict[str, float | None] | None:
    """Return the cost of a million requests with each number of replicas."""
    if rate is None or needed is None or price is None:
        return None
    return {
        name: None if end is None else cost_of_a_million(rate, end, price)
        for name, end in (("value", needed.value), ("low", needed.low), ("high", needed.high))
    }


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
