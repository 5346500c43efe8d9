"""The command line: ``tensorflow_model_server``'s flags, and one more."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from pytest_servebench.servers.savedmodel_server.metrics import Metrics, read_config


class FlagError(Exception):
    """The command line is invalid; the message names the flag, the value and the remedy."""


class HelpWanted(Exception):  # noqa: N818 - not an error
    """The user asked for --help or --version."""


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What to serve, where and how. The defaults are the real server's."""

    rest_api_port: int
    model_base_path: Path
    model_name: str = "default"
    rest_api_address: str = "127.0.0.1"
    rest_api_num_threads: int = 4
    rest_api_timeout_in_ms: int = 30_000
    port: int = 0
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    metrics: Metrics | None = None
    ignored: tuple[str, ...] = ()


_INTEGERS = {
    # name: (smallest, largest)
    "rest_api_port": (0, 65535),
    "rest_api_num_threads": (1, 4096),
    "rest_api_timeout_in_ms": (0, 2**31 - 1),
    "tensorflow_intra_op_parallelism": (0, 4096),
    "tensorflow_inter_op_parallelism": (0, 4096),
    "tensorflow_session_parallelism": (0, 4096),
    "port": (0, 65535),
    "grpc_max_threads": (1, 4096),
}
_TEXTS = {"model_name", "model_base_path", "rest_api_address", "grpc_socket_path"}
_ONCE = ("file_system_poll_wait_seconds", "max_num_load_retries")
_TEXTS |= {"monitoring_config_file", "batching_parameters_file"}
_BOOLEANS = {"enable_batching"}
_IGNORED = ("grpc_socket_path", "grpc_max_threads")
_KNOWN = sorted({*_INTEGERS, *_TEXTS, *_ONCE, *_BOOLEANS, "version", "help"})

USAGE = """\
usage: python -m pytest_servebench.servers.savedmodel_server --rest_api_port=PORT \
--model_base_path=DIR [--FLAG=VALUE ...]

Serves the newest numbered version of a SavedModel over TensorFlow Serving's REST API, and over
its gRPC API if there is a port for it.
Flags, as of tensorflow_model_server:
  --rest_api_port=PORT                  required
  --model_base_path=DIR                 required; holds DIR/1/saved_model.pb
  --model_name=NAME                     in paths: /v1/models/NAME (default: default)
  --rest_api_num_threads=N              requests that run at once, of each API (default: 4 per CPU)
  --rest_api_timeout_in_ms=N            of one run of the model; 0: none (default: 30000)
  --port=PORT                           for gRPC; 0: none (default: 0)
  --tensorflow_intra_op_parallelism=N   threads of one operation; 0: all CPUs (default: 0)
  --tensorflow_inter_op_parallelism=N   operations at once; 0: all CPUs (default: 0)
  --tensorflow_session_parallelism=N    both of the above at once
  --monitoring_config_file=FILE         prometheus_config { enable: true, path: "/…" }
  --version                             print name and version
Accepted without effect: --grpc_socket_path, and --grpc_max_threads: calls wait for a thread.
Accepted only as 0: --file_system_poll_wait_seconds and --max_num_load_retries (a model is loaded
once). Refused: --enable_batching and --batching_parameters_file.
Not in tensorflow_model_server:
  --rest_api_address=ADDRESS            to listen on (default: 127.0.0.1)
"""
"""The text of --help."""


def parse(arguments: Sequence[str]) -> Flags:
    """Read the command line.

    Raises:
        HelpWanted: its text is "help" or "version".
        FlagError: a flag or value is wrong. (The real server starts anyway.)
    """
    texts = _split(arguments)
    for word in ("help", "version"):
        if word in texts:
            raise HelpWanted(word)
    if _boolean(texts, "enable_batching") or "batching_parameters_file" in texts:
        raise FlagError(
            "This server does not batch. Remove --enable_batching and "
            "--batching_parameters_file, or use tensorflow_model_server."
        )
    for flag in _ONCE:
        if texts.get(flag, "0") != "0":
            raise FlagError(
                f"--{flag}={texts[flag]}: this server loads its model once. Give 0, or use "
                "tensorflow_model_server."
            )
    numbers = {name: _integer(name, texts[name]) for name in _INTEGERS if name in texts}
    session = numbers.get("tensorflow_session_parallelism", 0)
    if session:
        # Sets what the other two leave alone.
        for name in ("tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism"):
            numbers[name] = numbers.get(name, 0) or session
    if not numbers.get("rest_api_port"):
        raise FlagError("Give --rest_api_port=PORT: it always serves the REST API.")
    if not texts.get("model_base_path"):
        raise FlagError("Give --model_base_path=DIR, where DIR/1/saved_model.pb is.")
    name = texts.get("model_name", "default")
    if not name or set(name) & set("/:"):
        raise FlagError(f"--model_name={name} cannot be part of a path: remove '/' and ':'.")
    return Flags(
        model_base_path=Path(texts["model_base_path"]),
        model_name=name,
        rest_api_address=texts.get("rest_api_address") or "127.0.0.1",
        metrics=_metrics(texts.get("monitoring_config_file")),
        ignored=tuple(f"--{flag}={texts[flag]}" for flag in _IGNORED if flag in texts),
        **{
            "rest_api_num_threads": 4 * _cpus(),
            **{field.name: numbers[field.name] for field in fields(Flags) if field.name in numbers},
        },
    )


def _split(arguments: Sequence[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or name not in _KNOWN:
            raise FlagError(
                f"Unknown flag {argument}. Flags are written --NAME=VALUE, and the known ones are: "
                f"{', '.join(f'--{known}' for known in _KNOWN)}."
            )
        if name in ("version", "help") or (name in _BOOLEANS and not equals):
            value = value or "true"
        elif not equals:
            raise FlagError(f"--{name} needs a value, written --{name}=VALUE in one word.")
        texts[name] = value
    return texts


def _boolean(texts: dict[str, str], name: str) -> bool:
    value = texts.get(name, "false").lower()
    if value in ("true", "1"):
        return True
    if value in ("false", "0"):
        return False
    raise FlagError(f"--{name}={texts[name]} is neither true nor false.")


def _integer(name: str, text: str) -> int:
    low, high = _INTEGERS[name]
    try:
        value = int(text)
    except ValueError:
        raise FlagError(f"--{name}={text} is not a whole number.") from None
    if not low <= value <= high:
        raise FlagError(f"--{name}={text} is not between {low} and {high}.")
    return value


def _metrics(file: str | None) -> Metrics | None:
    if not file:
        return None
    try:
        return read_config(Path(file))
    except ValueError as error:
        raise FlagError(f"--monitoring_config_file={file}: {error}.") from error


def _cpus() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1
