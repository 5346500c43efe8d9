"""The options and their ini keys, which every pytest session registers.

The parsers of SLOs and gates are imported only in sessions with load tests.
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
    ROWS,
    choice,
    names,
    processors,
    rate_range,
    read_kind_value,
    run_name,
    server_name,
    several,
    share,
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
    """One option: ``--servebench-<name>`` and the ini key of that name with underscores.

    Attributes:
        name: without the prefix.
        default: as text.
        read: parses the text; raises ``ValueError`` saying what to give instead.
        help: what it does.
        metavar: placeholder for the value.
        flag: whether it takes no value on the command line.
        many: whether it takes a comma-separated list (or a TOML list).
        repeatable: whether values accumulate: option given several times, one per line of the ini
            key, or a TOML list.
        parts: what joins a TOML list of the value's parts; empty: it has none.
    """

    name: str
    default: str
    read: Callable[[str], Any]
    help: str
    metavar: str = "VALUE"
    flag: bool = False
    many: bool = False
    repeatable: bool = False
    parts: str = ""

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
           "server kinds to test", "LIST", many=True),
    Option("rates", "1,5,10", several(RATE),
           "offered load, in requests per second, or sessions", "LIST", many=True),
    Option("buffer-sizes", "10,50", several(BUFFER_SIZE),
           "requests that may queue while all workers are busy; further ones are dropped",
           "LIST", many=True),
    Option("rows", "1", several(ROWS),
           "samples of the model in each request, which the server predicts together",
           "LIST", many=True),
    Option("duration", "15", SECONDS, "how long each case sends load", "SECONDS"),
    Option("worker-threads", "10", whole(1, what="a number of workers, 1 or more"),
           "workers of the load generator: each has one request in flight, and a connection of its "
           "own unless streams says otherwise", "N"),
    Option("warmup", "1", SECONDS_OR_NONE,
           "how long to warm up before each case; these requests are not recorded", "SECONDS"),
    Option("timeout", "30", SECONDS, "timeout of a request once it is sent", "SECONDS"),
    Option("drain", "10", SECONDS_OR_NONE,
           "how long to wait for outstanding requests after the last arrival", "SECONDS"),
    Option("arrivals", "poisson", str,
           "how requests arrive: poisson, constant, gamma:BURSTINESS, steps:1,3,1, ramp:0.5,2, "
           "trace:FILE, trace:FILE@recorded", "PROCESS"),
    Option("seed", "0", whole(0, what="a whole number, 0 or more"),
           "random seed of the arrival times", "N"),
    Option("repeats", "1", whole(1, what="a number of repeats, 1 or more"),
           "how often to run each case, each time with different arrival times", "N"),
    Option("interleave", "false", truth,
           "start all servers and alternate between them case by case, so that changes on the "
           "machine during the run affect them all", flag=True),
    Option("priority", "auto", choice("auto", "realtime", "normal"),
           "scheduling priority of the load generator: auto, realtime or normal", "WORD"),
    Option("keep-alive", "true", truth,
           "whether to reuse connections; false opens a new one for each request", "BOOL"),
    Option("streams", "1", whole(1, what="a number of workers to a connection, 1 or more"),
           "workers that share a connection, over HTTP/2 and gRPC; HTTP/1.1 shares none", "N"),
    Option("max-body", "16MiB", size, "maximum size of a response body", "SIZE"),
    Option("max-headers", "64KiB", size, "maximum size of the response headers", "SIZE"),
    Option("max-lag", "10",
           time_span("ms", inclusive=False, what="milliseconds above 0, such as 10"),
           "how late the load generator may send a request, in milliseconds; a case with a tenth "
           "of its requests later than that is invalid", "MS"),
    Option("retries", "2", whole(0, what="a number of retries, 0 or more"),
           "how often to repeat a case whose measurement is invalid", "N"),
    Option("check-answers", "64", whole(0, what="a number of responses, 0 or more"),
           "how many responses of each case to check against the model's own predictions", "N"),
    Option("on-inconclusive", "warn", choice("warn", "fail", "skip"),
           "what to do with a test whose SLOs are inconclusive: warn, fail or skip", "WORD"),
    Option("capacity-budget", "3min", SECONDS,
           "how long find_capacity may search, everything included", "SECONDS"),
    Option("capacity-precision", "5%", share,
           "width of the capacity's interval, relative to its lower end, at which find_capacity "
           "may stop sooner", "PERCENT"),
    Option("capacity-range", "1..10000", rate_range,
           "lowest and highest rate, in requests per second, that find_capacity tries",
           "LOW..HIGH", parts=".."),
    Option("baseline", "", str,
           "saved run to compare each case with: a file, a run's name, or latest",
           "RUN"),
    Option("baseline-allow", "", names(*ALLOWABLE),
           "differences from the baseline to allow: " + ", ".join(ALLOWABLE),
           "LIST", many=True),
    Option("on-missing-baseline", "fail", choice("warn", "fail", "skip"),
           "what to do with a case that is missing from the baseline: warn, fail or skip", "WORD"),
    Option("save", "", run_name, "also give this run a name, to use as a baseline", "NAME"),
    Option("model", "", str, "module:callable that returns the model to serve", "NAME"),
    Option("results", "servebench_results", Path,
           "results directory; each run gets a subdirectory", "DIR"),
    *(
        Option(output.name, "true", truth, output.option, "BOOL")
        if output.kind == "files"
        else Option(output.name, "", str, output.option, "FILE")
        for output in OUTPUTS
        if output.option
    ),
    Option("exact-keywords", "true", truth, "whether -k rate10 selects rate 10 only", "BOOL"),
    Option("server-cpus", "", processors,
           "CPUs to pin the servers to, such as 0,2-3; all by default", "LIST", many=True),
    Option("server-threads", "1", whole(1, what="a number of threads, 1 or more"),
           "intra-op threads of the servers", "N"),
    Option("server-workers", "1", whole(1, what="a number of workers, 1 or more"),
           "how many predictions a server computes in parallel", "N"),
    Option("start-timeout", "120", SECONDS,
           "how long a server may take to become ready", "SECONDS"),
    Option("stop-grace", "3", SECONDS_OR_NONE,
           "how long to wait between SIGTERM and SIGKILL", "SECONDS"),
    Option("server-option", "", read_kind_value,
           "an option of one server, such as torchserve.url=http://HOST:PORT or "
           "torchserve.batch_size=8; for a wrong key, the error lists the valid ones",
           "KIND.KEY=VALUE", repeatable=True),
    Option("tls-verify", "true", truth,
           "whether to verify the certificate of https servers", "BOOL"),
    Option("tls-ca", "", str, "CA certificates (PEM) to trust instead of the system's", "FILE"),
    Option("tls-server-name", "", server_name,
           "host name to expect in the certificate, if it differs from the address",
           "NAME"),
    Option("tls-cert", "", str, "client certificate (PEM) for https servers", "FILE"),
    Option("tls-key", "", str, "its private key (PEM), if not in the same file", "FILE"),
    Option("max-regression", "", _gates,
           "how much worse than the baseline a metric may get, such as p99:10%%",
           "GATE", repeatable=True),
    Option("slo", "", _slo, "SLO for every case, such as 'p99<50ms'", "EXPR", repeatable=True),
)  # fmt: skip


def add_options(parser: pytest.Parser) -> None:
    """Register every option and its ini key."""
    group = parser.getgroup("servebench", "serving performance tests")
    for option in OPTIONS:
        default = option.default.replace("%", "%%")
        shown = f" (default: {default})" if default and not option.flag else ""
        text = option.help + shown
        if option.repeatable:
            group.addoption(option.long, action="append", default=[], metavar=option.metavar,
                            help=f"{text}; may be repeated")  # fmt: skip
            parser.addini(option.ini, f"{text}; one per line", type="linelist", default=[])
            continue
        if option.flag:
            group.addoption(
                option.long, action="store_const", const="true", default=None, help=text
            )
        else:
            group.addoption(option.long, default=None, metavar=option.metavar, help=text)
        parser.addini(option.ini, text, type="string", default=option.default)
