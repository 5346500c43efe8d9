"""The command line and its ini twins, read once into one frozen settings object."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

import pytest

from pytest_servebench.comparability import ALLOWABLE
from pytest_servebench.errors import OptionError
from pytest_servebench.gates import Gate, parse_gates
from pytest_servebench.load.arrivals import ArrivalProcess, parse_arrivals
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
    plots: bool
    markdown: Path | None
    exact_keywords: bool
    server: ServerSettings


# -- one value ------------------------------------------------------------------------------------


def number(low: float, *, inclusive: bool, what: str) -> Callable[[str], float]:
    """Return a reader of finite numbers above (or from) ``low``."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"not a number; give {what}") from None
        if not math.isfinite(value) or value < low or (value == low and not inclusive):
            raise ValueError(f"give {what}")
        return value

    return read


def whole(low: int, *, what: str) -> Callable[[str], int]:
    """Return a reader of whole numbers from ``low``."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"not a whole number; give {what}") from None
        if value < low:
            raise ValueError(f"give {what}")
        return value

    return read


def several(read: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    """Return a reader of comma-separated lists without repetitions."""

    def read_list(text: str) -> tuple[Any, ...]:
        values = tuple(read(part.strip()) for part in text.split(",") if part.strip())
        if not values:
            raise ValueError("the list is empty; give at least one value")
        if len(set(values)) != len(values):
            raise ValueError("a value occurs twice; give each once")
        return values

    return read_list


def choice(*words: str) -> Callable[[str], str]:
    """Return a reader of one word out of ``words``."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"give one of {', '.join(words)}")
        return text

    return read


def names(*words: str) -> Callable[[str], frozenset[str]]:
    """Return a reader of comma-separated words out of ``words``; none is good too."""

    def read(text: str) -> frozenset[str]:
        given = frozenset(part.strip() for part in text.split(",") if part.strip())
        if not given <= set(words):
            raise ValueError(f"give some of {', '.join(words)}")
        return given

    return read


def run_name(text: str) -> str:
    """Read the name of a run: one that a directory can have."""
    if text and (not re.fullmatch(r"[\w][\w.+-]*", text) or text == "latest"):
        raise ValueError("give letters, digits, and . + - _ in between, and not latest")
    return text


def truth(text: str) -> bool:
    """Read an ini file's boolean."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off", ""):
        return False
    raise ValueError("give true or false")


def processors(text: str) -> tuple[int, ...]:
    """Read a set of processors such as ``0,2-3``; empty for all that this process may use."""
    allowed = _allowed_processors()
    if not text.strip():
        return tuple(sorted(allowed))
    wanted: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            wanted.update(range(int(first), int(last if dash else first) + 1))
        except ValueError:
            raise ValueError("give numbers and ranges such as 0,2-3") from None
    if not wanted or not wanted <= allowed:
        raise ValueError(f"give some of the processors {sorted(allowed)} that this process may use")
    return tuple(sorted(wanted))


def _allowed_processors() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


# -- all options ----------------------------------------------------------------------------------


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


_SECONDS = number(0, inclusive=False, what="seconds above 0, such as 15")
_SECONDS_OR_NONE = number(0, inclusive=True, what="seconds, 0 or more")
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
    _Option("duration", "15", _SECONDS, "seconds of arrivals in each case", "SECONDS"),
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
        _SECONDS_OR_NONE,
        "seconds of requests before each case, not recorded",
        "SECONDS",
    ),
    _Option("timeout", "30", _SECONDS, "seconds until a sent request is given up", "SECONDS"),
    _Option(
        "drain",
        "10",
        _SECONDS_OR_NONE,
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
        number(0, inclusive=False, what="milliseconds above 0, such as 10"),
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
        "results",
        "servebench_results",
        Path,
        "directory for the results, one directory a run",
        "DIR",
    ),
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
    _Option("start-timeout", "120", _SECONDS, "seconds until a server must be ready", "SECONDS"),
    _Option("stop-grace", "3", _SECONDS_OR_NONE, "seconds between SIGTERM and SIGKILL", "SECONDS"),
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
        tls_ca=_absolute(values.pop("tls_ca"), config),
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
    given = config.getoption("--servebench-arrivals") is not None
    directory = config.invocation_params.dir if given else config.rootpath
    try:
        return parse_arrivals(text, directory)
    except ValueError as error:
        source = "--servebench-arrivals" if given else "servebench_arrivals (ini)"
        raise OptionError(f"{source}={text!r}: {error}.") from None


def _absolute(text: str, config: pytest.Config) -> str | None:
    given = config.getoption("--servebench-tls-ca") is not None
    directory = config.invocation_params.dir if given else config.rootpath
    return str(directory / text) if text else None


def _path(text: str) -> Path | None:
    return Path(text) if text else None
