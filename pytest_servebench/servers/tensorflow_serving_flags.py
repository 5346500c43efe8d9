"""The arguments of ``tensorflow_model_server``, ours and the user's."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.readiness import Place

BATCHING: Final = (
    "max_batch_size", "batch_timeout_micros", "num_batch_threads", "max_enqueued_batches"
)  # fmt: skip
"""The parameters of batching that are options of their own."""

_BATCHING_FLAGS: Final = ("enable_batching", "batching_parameters_file")
_OWNED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("rest_api_port", "port", "grpc_socket_path"), "ports are chosen at each start"
    ),
    "model_name": "give the option model",
    "model_base_path": "it is the model's artifact; for other models give model_config_file",
    "model_config_file": "give the option model_config_file",
    "tensorflow_intra_op_parallelism": "give the option threads",
    "tensorflow_inter_op_parallelism": "give the option workers",
    "tensorflow_session_parallelism": "give the options threads and workers",
    **dict.fromkeys(("version", "help"), "with it, the program does not serve"),
}  # fmt: skip
"""Flags that the launcher sets, each with the reason or the option to give instead."""

_EMBEDDED: Final = (
    "rest_api_num_threads",
    "rest_api_timeout_in_ms",
    "monitoring_config_file",
    "grpc_max_threads",
)
"""The users' flags that the embedded server has."""

_NAME: Final = re.compile(r"\bname\s*:\s*([\"'])(.*?)\1")


def check_flags(flags: Mapping[str, str], batching: Sequence[str]) -> None:
    """Check users' flags; the program itself rejects unknown ones.

    Args:
        flags: name to value.
        batching: the options for batching that are given.

    Raises:
        ValueError: the launcher must set one, or its value cannot be meant.
    """
    for name, value in flags.items():
        shown = f"flags.{name} = {value}"
        if not re.fullmatch(r"[A-Za-z]\w*", name):
            raise ValueError(
                f"{shown}: give the flag's name without dashes, such as {_EMBEDDED[0]}"
            )
        if reason := _OWNED.get(name):
            raise ValueError(f"{shown}: it cannot be set: {reason}")
        if batching and name in _BATCHING_FLAGS:
            raise ValueError(f"{shown}: {batching[0]} sets it too; give one of them")
        if name.endswith(("_file", "_path")) and not Path(value).is_absolute():
            raise ValueError(
                f"{shown}: give an absolute path; the server runs in another directory"
            )


def lacking(flags: Mapping[str, str]) -> list[str]:
    """Return the flags that the embedded server does not have."""
    return [name for name in flags if name not in _EMBEDDED]


def names_in(model_config: str) -> list[str]:
    """Return the names of the models in a file for ``--model_config_file``."""
    lines = (line.partition("#")[0] for line in model_config.splitlines())
    return [match[2] for match in _NAME.finditer("\n".join(lines))]


def batching_parameters(values: Mapping[str, int], settings: ServerSettings) -> str:
    """Return the content of a file for ``--batching_parameters_file``.

    The server's default for ``num_batch_threads``, which compute batches at once, is the number of
    CPUs; ours is the number of workers, as for every server.
    """
    told = {"num_batch_threads": settings.workers, **values}
    return "".join(f"{name} {{ value: {value} }}\n" for name, value in told.items())


def arguments(
    model: Mapping[str, object],
    settings: ServerSettings,
    place: Place,
    batching: Mapping[str, int],
    flags: Mapping[str, str],
) -> list[str]:
    """Write what the arguments name, and return them.

    They are always --a=b: a flag given as "--a b" is silently lost.

    Args:
        model: the flags that say what to serve, and at which ports.
        settings: for threads and workers.
        place: has ports and directories.
        batching: parameters of batching; empty: as ``flags`` say.
        flags: the user's, which replace ours.
    """
    batches = {}
    if batching:
        file = place.run_dir / "batching_parameters.txt"
        file.write_text(batching_parameters(batching, settings), encoding="utf-8")
        batches = {"enable_batching": "true", "batching_parameters_file": str(file)}
    given = {
        **model,
        # Scan for versions once, not every second during the measurement.
        "file_system_poll_wait_seconds": 0,
        # Otherwise a broken model is retried five times, one minute apart.
        "max_num_load_retries": 0,
        "tensorflow_intra_op_parallelism": settings.threads,
        "tensorflow_inter_op_parallelism": settings.workers,
        # A single thread would only accept connections. These threads mostly wait.
        "rest_api_num_threads": max(16, 4 * len(settings.cpus)),
        **batches,
        **flags,
    }
    return [f"--{name}={value}" for name, value in given.items()]
