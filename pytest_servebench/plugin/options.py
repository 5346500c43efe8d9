"""The options, each with its ini twin: what every session of pytest is told of.

The languages of SLOs and gates are read in sessions with loads alone, and imported there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_servebench.analysis.allowable import ALLOWABLE
from pytest_servebench.plugin.option_values import (
    BUFFER_SIZE,
    RATE,
    choice,
    names,
    processors,
    read_kind_value,
    run_name,
    server_name,
    several,
    size,
    time_span,
    truth,
    whole,
)
from pytest_servebench.report.outputs import OUTPUTS

if TYPE_CHECKING:
    from pytest_servebench.objectives.gates import Gate
    from pytest_servebench.objectives.slo import Clause


@dataclass(frozen=True)
class Option:
    """One option: ``--servebench-<name>`` and, with underscores, its ini twin.

    Attributes:
        name: without the prefix.
        default: as text.
        read: from a text to the value; raises ``ValueError`` with what to give instead.
        help: what it does.
        metavar: word for the value.
        flag: whether it takes no value on the command line.
        many: whether its text is a comma-separated list, and a list of TOML one too.
        repeatable: whether it adds up: given several times, one a line of the ini key, or a list.
    """

    name: str
    default: str
    read: Callable[[str], Any]
    help: str
    metavar: str = "VALUE"
    flag: bool = False
    many: bool = False
    repeatable: bool = False

    @property
    def long(self) -> str:
        """Return its name on the command line."""
        return f"--servebench-{self.name}"

    @property
    def ini(self) -> str:
        """Return its name in the ini file."""
        return "servebench_" + self.name.replace("-", "_")


def _gates(text: str) -> tuple[Gate, ...]:
    from pytest_servebench.objectives.gates import parse_gates

    return parse_gates(text)


def _slo(text: str) -> tuple[Clause, ...]:
    from pytest_servebench.objectives.slo import parse_slo

    return parse_slo(text)


SECONDS: Final = time_span("s", inclusive=False, what="seconds above 0, such as 15")
SECONDS_OR_NONE: Final = time_span("s", inclusive=True, what="seconds, 0 or more")
OPTIONS: Final = (
    Option("servers", "tensorflow_serving,torchserve", several(str),
           "kinds of server to load", "LIST", many=True),
    Option("rates", "1,5,10", several(RATE),
           "offered rates, requests per second", "LIST", many=True),
    Option("buffer-sizes", "10,50", several(BUFFER_SIZE),
           "requests that may wait while all workers are busy", "LIST", many=True),
    Option("duration", "15", SECONDS, "seconds of arrivals in each case", "SECONDS"),
    Option("worker-threads", "10", whole(1, what="a number of workers, 1 or more"),
           "workers of the generator: connections, each with one request at a time", "N"),
    Option("warmup", "1", SECONDS_OR_NONE,
           "seconds of requests before each case, not recorded", "SECONDS"),
    Option("timeout", "30", SECONDS, "seconds until a sent request is given up", "SECONDS"),
    Option("drain", "10", SECONDS_OR_NONE,
           "seconds after the arrivals in which requests may still end", "SECONDS"),
    Option("arrivals", "poisson", str,
           "how requests arrive: poisson, constant, gamma:BURSTINESS, steps:1,3,1, ramp:0.5,2, "
           "trace:FILE, trace:FILE@recorded", "PROCESS"),
    Option("seed", "0", whole(0, what="a whole number, 0 or more"),
           "seed of the arrival schedules", "N"),
    Option("repeats", "1", whole(1, what="a number of repeats, 1 or more"),
           "runs of each case, each with arrivals of its own", "N"),
    Option("interleave", "false", truth,
           "start all servers, and let them take turns under load, case by case: what changes on "
           "the machine during the run then meets all of them", flag=True),
    Option("priority", "auto", choice("auto", "realtime", "normal"),
           "scheduling of the generator: auto, realtime or normal", "WORD"),
    Option("keep-alive", "true", truth,
           "whether connections are kept for the next request; false: a new one for each", "BOOL"),
    Option("max-body", "16MiB", size, "size that an answer's body may have", "SIZE"),
    Option("max-headers", "64KiB", size, "size that an answer's headers may have", "SIZE"),
    Option("max-lag", "10",
           time_span("ms", inclusive=False, what="milliseconds above 0, such as 10"),
           "lateness of the generator, milliseconds, beyond which an arrival is late; a case with "
           "a tenth of its arrivals late is invalid", "MS"),
    Option("retries", "2", whole(0, what="a number of further measurements, 0 or more"),
           "how often a case is measured again where the measurement is invalid", "N"),
    Option("check-answers", "64", whole(0, what="a number of answers, 0 or more"),
           "answers of each case that are compared with what the model predicts", "N"),
    Option("on-inconclusive", "warn", choice("warn", "fail", "skip"),
           "what to do with a test whose SLOs cannot be decided: warn, fail or skip", "WORD"),
    Option("baseline", "", str,
           "hold every case to the same case of this saved run: a file, a run's name, or latest",
           "RUN"),
    Option("baseline-allow", "", names(*ALLOWABLE),
           "differences to the baseline that are allowed: " + ", ".join(ALLOWABLE),
           "LIST", many=True),
    Option("on-missing-baseline", "fail", choice("warn", "fail", "skip"),
           "what to do with a case that the baseline does not have: warn, fail or skip", "WORD"),
    Option("save", "", run_name, "save this run under a name too, for a baseline", "NAME"),
    Option("model", "", str, "module:callable that gives the model to serve", "NAME"),
    Option("results", "servebench_results", Path,
           "directory for the results, one in it a run", "DIR"),
    *(
        Option(output.name, "true", truth, output.option, "BOOL")
        if output.kind == "files"
        else Option(output.name, "", str, output.option, "FILE")
        for output in OUTPUTS
        if output.option
    ),
    Option("exact-keywords", "true", truth, "whether -k rate10 means rate 10 alone", "BOOL"),
    Option("server-cpus", "", processors,
           "processors for the servers, such as 0,2-3; default all", "LIST", many=True),
    Option("server-threads", "1", whole(1, what="a number of threads, 1 or more"),
           "threads of the servers within one operation of the model", "N"),
    Option("server-workers", "1", whole(1, what="a number of workers, 1 or more"),
           "predictions that a server computes at once", "N"),
    Option("start-timeout", "120", SECONDS, "seconds until a server must be ready", "SECONDS"),
    Option("stop-grace", "3", SECONDS_OR_NONE, "seconds between SIGTERM and SIGKILL", "SECONDS"),
    Option("server-option", "", read_kind_value,
           "an option of one kind of server, such as torchserve.url=http://HOST:PORT; torchserve "
           "has url, model; tensorflow_serving has binary, require_real, url, model",
           "KIND.KEY=VALUE", repeatable=True),
    Option("tls-verify", "true", truth,
           "whether an https server's certificate must be valid", "BOOL"),
    Option("tls-ca", "", str, "certificates (PEM) to trust in place of the system's", "FILE"),
    Option("tls-server-name", "", server_name,
           "name for which an https server's certificate must be valid, if not its address",
           "NAME"),
    Option("tls-cert", "", str, "certificate (PEM) to show to https servers", "FILE"),
    Option("tls-key", "", str, "its key (PEM), if it is not in the same file", "FILE"),
    Option("max-regression", "", _gates,
           "what may get worse by how much against the baseline, such as p99:10%%",
           "GATE", repeatable=True),
    Option("slo", "", _slo, "SLO of every case, such as 'p99<50ms'", "EXPR", repeatable=True),
)  # fmt: skip


def add_options(parser: pytest.Parser) -> None:
    """Register every option with its ini twin."""
    group = parser.getgroup("servebench", "serving performance tests")
    for option in OPTIONS:
        shown = f" (default: {option.default})" if option.default and not option.flag else ""
        text = option.help + shown
        if option.repeatable:
            group.addoption(option.long, action="append", default=[], metavar=option.metavar,
                            help=f"{text}; may be repeated")  # fmt: skip
            parser.addini(option.ini, f"{text}; one a line", type="linelist", default=[])
            continue
        if option.flag:
            group.addoption(
                option.long, action="store_const", const="true", default=None, help=text
            )
        else:
            group.addoption(option.long, default=None, metavar=option.metavar, help=text)
        parser.addini(option.ini, text, type="string", default=option.default)
