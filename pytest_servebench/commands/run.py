"""``pytest-servebench run``: run the suite with the parameters of a plain benchmark script."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_servebench.commands.arguments import Commands
from pytest_servebench.errors import OptionError

_TFSERVING_PORT = 8501
_TORCHSERVE_PORT = 8080


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "run",
        help="run the suite in bench_tests/",
        description="Run the suite in bench_tests/. Arguments after -- are passed to pytest, such "
        "as: -- -k rate10 --servebench-slo 'p99<50ms'",
    )
    parser.add_argument("--suite", default="bench_tests", metavar="PATH",
                        help="tests to run (default: bench_tests)")  # fmt: skip
    parser.add_argument("--rates", nargs="+", metavar="R",
                        help="requests per second (default: 1 5 10)")  # fmt: skip
    parser.add_argument("--buffer-sizes", nargs="+", metavar="B",
                        help="requests that may queue (default: 10 50)")  # fmt: skip
    parser.add_argument("--duration", metavar="S",
                        help="duration of each case: seconds, or 2min (default: 15)")  # fmt: skip
    parser.add_argument("--worker-threads", metavar="N",
                        help="workers of the load generator (default: 10)")  # fmt: skip
    parser.add_argument(
        "--tf-host",
        metavar="HOST[:PORT]",
        help="use the TensorFlow Serving running there (default port: 8501)",
    )
    parser.add_argument("--ts-host", metavar="HOST[:PORT]",
                        help="use the TorchServe running there (default port: 8080)")  # fmt: skip
    parser.add_argument("--tf-model", metavar="NAME", help="model name in TensorFlow Serving")
    parser.add_argument("--ts-model", metavar="NAME", help="model name in TorchServe")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--tf-only", action="store_true", help="test TensorFlow Serving only")
    only.add_argument("--ts-only", action="store_true", help="test TorchServe only")


def run(options: argparse.Namespace) -> int:
    """Run pytest and return its exit status.

    Raises:
        OptionError: the suite does not exist.
    """
    if not Path(options.suite.partition("::")[0]).exists():
        raise OptionError(
            f"--suite={options.suite!r}: no such file or directory; run the command in a checkout "
            "of the project, or give your own tests by --suite"
        )
    return int(pytest.main(pytest_arguments(options, options.further)))


def pytest_arguments(options: argparse.Namespace, further: Sequence[str]) -> list[str]:
    """Return pytest's arguments; the plugin checks the values."""
    arguments = [options.suite]
    for name in ("rates", "buffer_sizes"):
        if (values := getattr(options, name)) is not None:
            arguments.append(f"--servebench-{name.replace('_', '-')}={','.join(values)}")
    for name, option in (
        ("duration", "duration"),
        ("worker_threads", "worker-threads"),
        ("tf_model", "server-option=tensorflow_serving.model"),
        ("ts_model", "server-option=torchserve.model"),
    ):
        if (value := getattr(options, name)) is not None:
            arguments.append(f"--servebench-{option}={value}")
    if options.tf_host is not None:
        url = _url(options.tf_host, _TFSERVING_PORT)
        arguments.append(f"--servebench-server-option=tensorflow_serving.url={url}")
    if options.ts_host is not None:
        url = _url(options.ts_host, _TORCHSERVE_PORT)
        arguments.append(f"--servebench-server-option=torchserve.url={url}")
    if options.tf_only:
        arguments.append("--servebench-servers=tensorflow_serving")
    if options.ts_only:
        arguments.append("--servebench-servers=torchserve")
    return [*arguments, *further]


def _url(host: str, port: int) -> str:
    if "//" in host:
        return host
    has_port = ":" in host.rpartition("]")[2]
    return f"http://{host}" if has_port else f"http://{host}:{port}"
