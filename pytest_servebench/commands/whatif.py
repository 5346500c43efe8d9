"""``pytest-servebench whatif RUN``: what each server of a run would do in another setting."""

from __future__ import annotations

import argparse
from typing import Any, Final

from pytest_servebench.commands.arguments import Commands
from pytest_servebench.commands.sizing import (
    EXIT_CODES,
    add_options,
    answer_each,
    question_of,
    servers_of,
)
from pytest_servebench.errors import OptionError
from pytest_servebench.report.sizing_text import setting_text, whatif_lines
from pytest_servebench.sizing.answers import kept
from pytest_servebench.sizing.model import ServerModel
from pytest_servebench.sizing.prediction import predict

_DESCRIPTION: Final = f"""\
Predict latency, drops and utilisation of each server of a saved run at another
rate, with other limits, or with replicas: by a queueing model that is fitted to
the records of the run, and that first predicts each of its cases from the
others.

{EXIT_CODES}"""


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "whatif",
        help="predict a server at another rate, from a saved run",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(
        parser,
        rate="requests per second, at all replicas together",
        slo="also say whether this SLO is kept, such as 'p99<50ms'; may be repeated",
        replicas="number of servers (default: 1)",
    )


def run(options: argparse.Namespace) -> int:
    """Print the prediction for each server, and return the exit code.

    Raises:
        OptionError: an option is invalid, or the run has too little to fit a model to.
        SavedRunError: the run cannot be read.
    """
    question = question_of(options)
    if question.rate is None:
        raise OptionError("give a rate, such as --rate=500")
    setting = question.setting(question.rate)

    def answer(model: ServerModel) -> tuple[dict[str, Any], list[str]]:
        prediction = predict(model, setting)
        verdicts = [(clause, kept(prediction, [clause])) for clause in question.clauses]
        data = {
            "prediction": prediction.to_dict(),
            "slo": {str(clause): verdict for clause, verdict in verdicts},
        }
        return data, whatif_lines(model, prediction, verdicts)

    return answer_each(
        servers_of(options), setting_text(setting),
        {"slo": [str(one) for one in question.clauses], **question.to_dict()}, answer,
        {"prediction": None, "slo": None}, as_json=options.format == "json",
    )  # fmt: skip
