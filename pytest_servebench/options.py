"""The command line and its ini twins, read once into one frozen settings object."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

import pytest

from pytest_servebench.comparability import ALLOWABLE
from pytest_servebench.errors import OptionError
from pytest_servebench.gates import Gate, parse_gates
from pytest_servebench.load.arrivals import ArrivalProcess, parse_arrivals
from pytest_servebench.option_values import (
    choice,
    names,
    number,
    processors,
    run_name,
    several,
    time_span,
    truth,
    whole,
)
from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.slo import Clause, parse_slo

TOKEN_VARIABLE: Final = "SERVEBENCH_TORCHSERVE_TOKEN"

REGRESSION: Final = "--servebench-max-regression"

InconclusivePolicy = Literal["warn", "fail", "skip"]


@dataclass(frozen=True)
class Settings:
    """Every choice of the user, checked.

    Attributes:
        servers: names of the kinds to load, in order.
        rates: offered arrivals a second, each a case.
        buffer_sizes: requests that may wait, each a case.
        duration: length of a case's arrival window, seconds.
        worker_threads: connections of the generator, each with one request at a time.
        warmup: seconds of closed-loop requests before each case.
        timeout: seconds until a sent request is given up.
        drain: seconds after the window in which started requests may still end.
        arrivals: the process that the arrival times come from.
        seed: seed of the schedules; each repeat has the next one.
        repeats: how often each case is run.
        interleave: whether the servers take turns, case by case, all of them running.
        priority: scheduling of the generator.
        max_lag: lateness of the generator, seconds, beyond which a case is invalid.
        check_answers: how many answers of each case are looked into.
        slos: clauses that every case must meet, beside those of its own marker.
        on_inconclusive: what becomes of a test whose SLOs cannot be decided.
        baseline: saved run that cases are held to; empty for none.
        gates: what may get worse by how much against the baseline.
        baseline_allow: differences to the baseline that are allowed, by their names.
        on_missing_baseline: what becomes of a case of which there is no baseline.
        save: name under which this run is saved too; empty for none.
        model: ``module:callable`` that gives the model; empty if none is configured.
        results: directory that receives one directory a run.
        page: whether the page of a run is made.
        plots: whether the plots of a run are drawn.
        markdown: file to which the report is added as Markdown; ``None`` for none.
        exact_keywords: whether ``-k rate10`` means rate 10 alone.
        server: how servers are started.
    """

    servers: tuple[str, ...]
    rates: tuple[float, ...]
    buffer_sizes: tuple[int, ...]
    duration: float
    worker_threads: int
    warmup: float
    timeout: float
    drain: float
    arrivals: ArrivalProcess
    seed: int
    repeats: int
    interleave: bool
    priority: str
    max_lag: float
    check_answers: int
    slos: tuple[Clause, ...]
    on_inconclusive: InconclusivePolicy
    baseline: str
    gates: tuple[Gate, ...]
    baseline_allow: frozenset[str]
    on_missing_baseline: InconclusivePolicy
    save: str
    model: str
    results: Path
    page: bool
    plots: bool
    markdown: Path | None
    exact_keywords: bool
    server: ServerSettings


@dataclass(frozen=True)
class _Option:
    """One option: ``--servebench-<name>`` and, with underscores, its ini twin."""

    name: str
    default: str
    read: Callable[[str], Any]
    help: str
    metavar: str = "VALUE"
    flag: bool = False

    @property
    def ini(self) -> str:
        return "servebench_" + self.name.replace("-", "_")


SECONDS: Final = time_span("s", inclusive=False, what="seconds above 0, such as 15")
SECONDS_OR_NONE: Final = time_span("s", inclusive=True, what="seconds, 0 or more")
_OPTIONS: Final = (
    _Option(
        "servers", "tensorflow_serving,torchserve", several(str), "kinds of server to load", "LIST"
    ),
    _Option(
        "rates",
        "1,5,10",
        several(number(0, inclusive=False, what="requests per second above 0, such as 10")),
        "offered rates, requests per second",
        "LIST",
    ),
    _Option(
        "buffer-sizes",
        "10,50",
        several(whole(0, what="a number of requests, 0 or more")),
        "requests that may wait while all workers are busy",
        "LIST",
    ),
    _Option("duration", "15", SECONDS, "seconds of arrivals in each case", "SECONDS"),
    _Option(
        "worker-threads",
        "10",
        whole(1, what="a number of workers, 1 or more"),
        "workers of the generator: connections, each with one request at a time",
        "N",
    ),
    _Option(
        "warmup",
        "1",
        SECONDS_OR_NONE,
        "seconds of requests before each case, not recorded",
        "SECONDS",
    ),
    _Option("timeout", "30", SECONDS, "seconds until a sent request is given up", "SECONDS"),
    _Option(
        "drain",
        "10",
        SECONDS_OR_NONE,
        "seconds after the arrivals in which requests may still end",
        "SECONDS",
    ),
    _Option(
        "arrivals",
        "poisson",
        str,
        "how requests arrive: poisson, constant, gamma:BURSTINESS, steps:1,3,1, ramp:0.5,2, "
        "trace:FILE, trace:FILE@recorded",
        "PROCESS",
    ),
    _Option(
        "seed",
        "0",
        whole(0, what="a whole number, 0 or more"),
        "seed of the arrival schedules",
        "N",
    ),
    _Option(
        "repeats",
        "1",
        whole(1, what="a number of repeats, 1 or more"),
        "runs of each case, each with arrivals of its own",
        "N",
    ),
    _Option(
        "interleave",
        "false",
        truth,
        "start all servers, and let them take turns under load, case by case: what changes on the "
        "machine during the run then meets all of them",
        flag=True,
    ),
    _Option(
        "priority",
        "auto",
        choice("auto", "realtime", "normal"),
        "scheduling of the generator: auto, realtime or normal",
        "WORD",
    ),
    _Option(
        "max-lag",
        "10",
        time_span("ms", inclusive=False, what="milliseconds above 0, such as 10"),
        "lateness of the generator that makes a case invalid, milliseconds",
        "MS",
    ),
    _Option(
        "check-answers",
        "64",
        whole(0, what="a number of answers, 0 or more"),
        "answers of each case that are compared with what the model predicts",
        "N",
    ),
    _Option(
        "on-inconclusive",
        "warn",
        choice("warn", "fail", "skip"),
        "what to do with a test whose SLOs cannot be decided: warn, fail or skip",
        "WORD",
    ),
    _Option(
        "baseline",
        "",
        str,
        "hold every case to the same case of this saved run: a file, a run's name, or latest",
        "RUN",
    ),
    _Option(
        "baseline-allow",
        "",
        names(*ALLOWABLE),
        "differences to the baseline that are allowed: " + ", ".join(ALLOWABLE),
        "LIST",
    ),
    _Option(
        "on-missing-baseline",
        "fail",
        choice("warn", "fail", "skip"),
        "what to do with a case that the baseline does not have: warn, fail or skip",
        "WORD",
    ),
    _Option("save", "", run_name, "save this run under a name too, for a baseline", "NAME"),
    _Option("model", "", str, "module:callable that gives the model to serve", "NAME"),
    _Option(
        "results", "servebench_results", Path, "directory for the results, one in it a run", "DIR"
    ),
    _Option("page", "true", truth, "whether to make the page of a run, report.html", "BOOL"),
    _Option("plots", "true", truth, "whether to draw the plots of a run", "BOOL"),
    _Option(
        "markdown",
        "",
        str,
        "add the report as Markdown to this file, such as $GITHUB_STEP_SUMMARY",
        "FILE",
    ),
    _Option("exact-keywords", "true", truth, "whether -k rate10 means rate 10 alone", "BOOL"),
    _Option(
        "server-cpus",
        "",
        processors,
        "processors for the servers, such as 0,2-3; default all",
        "LIST",
    ),
    _Option(
        "server-threads",
        "1",
        whole(1, what="a number of threads, 1 or more"),
        "threads of the servers within one operation of the model",
        "N",
    ),
    _Option(
        "server-workers",
        "1",
        whole(1, what="a number of workers, 1 or more"),
        "predictions that a server computes at once",
        "N",
    ),
    _Option("start-timeout", "120", SECONDS, "seconds until a server must be ready", "SECONDS"),
    _Option("stop-grace", "3", SECONDS_OR_NONE, "seconds between SIGTERM and SIGKILL", "SECONDS"),
    _Option(
        "tfserving-binary", "", str, "the tensorflow_model_server to run; default: on PATH", "FILE"
    ),
    _Option(
        "require-real",
        "false",
        truth,
        "never fall back to the embedded TensorFlow server",
        flag=True,
    ),
    _Option("tfserving-url", "", str, "attach to this TensorFlow Serving: http://host:port", "URL"),
    _Option("tfserving-model", "", str, "the model's name at TensorFlow Serving", "NAME"),
    _Option(
        "torchserve-url",
        "",
        str,
        f"attach to this TorchServe: http://host:port; its inference key in ${TOKEN_VARIABLE}",
        "URL",
    ),
    _Option("torchserve-model", "", str, "the model's name at TorchServe", "NAME"),
    _Option(
        "tls-verify", "true", truth, "whether an https server's certificate must be valid", "BOOL"
    ),
    _Option("tls-ca", "", str, "certificates (PEM) to trust in place of the system's", "FILE"),
)


def add_options(parser: pytest.Parser) -> None:
    """Register every option with its ini twin."""
    group = parser.getgroup("servebench", "serving performance tests")
    for option in _OPTIONS:
        shown = f" (default: {option.default})" if option.default and not option.flag else ""
        if option.flag:
            group.addoption(f"--servebench-{option.name}", action="store_const", const="true",
                            default=None, help=option.help)  # fmt: skip
        else:
            group.addoption(f"--servebench-{option.name}", default=None, metavar=option.metavar,
                            help=option.help + shown)  # fmt: skip
        parser.addini(option.ini, option.help + shown, type="string", default=option.default)
    group.addoption("--servebench-max-regression", action="append", default=[], metavar="GATE",
                    help="what may get worse by how much against the baseline, such as p99:10%%; "
                    "may be repeated")  # fmt: skip
    parser.addini("servebench_max_regression", "gates against the baseline, one a line",
                  type="linelist", default=[])  # fmt: skip
    group.addoption("--servebench-slo", action="append", default=[], metavar="EXPR",
                    help="SLO of every case, such as 'p99<50ms'; may be repeated")  # fmt: skip
    parser.addini("servebench_slo", "SLOs of every case, one a line", type="linelist", default=[])


def read_settings(config: pytest.Config) -> Settings:
    """Return the settings of this session.

    Raises:
        OptionError: a value cannot be used; the message names the option, the value and the remedy.
    """
    values: dict[str, Any] = {}
    for option in _OPTIONS:
        given = config.getoption(f"--servebench-{option.name}")
        source = f"--servebench-{option.name}" if given is not None else f"{option.ini} (ini)"
        text = str(given) if given is not None else str(config.getini(option.ini))
        try:
            values[option.name.replace("-", "_")] = option.read(text)
        except ValueError as error:
            raise OptionError(f"{source}={text!r}: {error}.") from None
    expressions = [*config.getini("servebench_slo"), *config.getoption("--servebench-slo")]
    slos = tuple(clause for expression in expressions for clause in parse_slo(expression))
    regressions = [
        *config.getini("servebench_max_regression"),
        *config.getoption("--servebench-max-regression"),
    ]
    gates = tuple(gate for text in regressions for gate in parse_gates(text, REGRESSION))
    server = ServerSettings(
        cpus=values.pop("server_cpus"),
        threads=values.pop("server_threads"),
        workers=values.pop("server_workers"),
        start_timeout=values.pop("start_timeout"),
        stop_grace=values.pop("stop_grace"),
        tfserving_binary=_path(values.pop("tfserving_binary")),
        require_real=values.pop("require_real"),
        tfserving_url=values.pop("tfserving_url") or None,
        tfserving_model=values.pop("tfserving_model") or None,
        torchserve_url=values.pop("torchserve_url") or None,
        torchserve_model=values.pop("torchserve_model") or None,
        tls_verify=values.pop("tls_verify"),
        tls_ca=_absolute("tls-ca", values.pop("tls_ca"), config),
        torchserve_token=os.environ.get(TOKEN_VARIABLE),
    )
    values["max_lag"] /= 1000
    markdown = values["markdown"]
    values["markdown"] = config.invocation_params.dir / markdown if markdown else None
    values["arrivals"] = _arrivals(values["arrivals"], config)
    values["results"] = config.rootpath / values["results"]
    assert set(values) | {"slos", "gates", "server"} == {item.name for item in fields(Settings)}
    return Settings(**values, slos=slos, gates=gates, server=server)


def _arrivals(text: str, config: pytest.Config) -> ArrivalProcess:
    try:
        return parse_arrivals(text, _directory("arrivals", config))
    except ValueError as error:
        given = config.getoption("--servebench-arrivals") is not None
        source = "--servebench-arrivals" if given else "servebench_arrivals (ini)"
        raise OptionError(f"{source}={text!r}: {error}.") from None


def _absolute(name: str, text: str, config: pytest.Config) -> str | None:
    return str(_directory(name, config) / text) if text else None


def _directory(name: str, config: pytest.Config) -> Path:
    """Return what a path is relative to: the user's directory, or for an ini key the root."""
    given = config.getoption(f"--servebench-{name}") is not None
    return config.invocation_params.dir if given else config.rootpath


def _path(text: str) -> Path | None:
    return Path(text) if text else None
