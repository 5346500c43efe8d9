"""Checks of users' arguments of the JVM, and of their entries of ``config.properties``.

TorchServe ignores names that it does not know, and takes any text but "true" for false.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from pytest_servebench.text.closest import meant

_CHOSEN: Final = "ports and addresses are chosen at each start"
_MODEL: Final = (
    "it serves the model's archive, which is chosen by the model; give batch_size, max_batch_delay "
    "and workers as options"
)
_TOKENS: Final = "predictions are asked for with a key that TorchServe makes at its start"
_TLS: Final = "a started server is asked over http; attach to one for https"
OWNED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "inference_address", "management_address", "metrics_address", "grpc_inference_address",
            "grpc_management_address", "grpc_inference_port", "grpc_management_port",
            "initial_worker_port", "initial_distribution_port",
        ),
        _CHOSEN,
    ),
    **dict.fromkeys(
        ("model_store", "workflow_store", "load_models", "models", "model_snapshot",
         "model_server_home"),
        _MODEL,
    ),
    **dict.fromkeys(("disable_token_authorization", "token_expiration_min"), _TOKENS),
    **dict.fromkeys(
        ("keystore", "keystore_pass", "keystore_type", "certificate_file", "private_key_file",
         "enable_grpc_ssl"),
        _TLS,
    ),
    "default_workers_per_model": "give the option workers",
    "debug": "it sets the number of workers to 1; give the option workers",
    "job_queue_size": "give the option job_queue_size",
    "default_startup_timeout": "give the option start_timeout",
    "vmargs": "give the option vmargs",
    "enable_envvars_config": "variables of the environment would override the options",
}  # fmt: skip
"""Properties that the launcher sets, each with the reason or the option to give instead."""

_WHOLE: Final = "a whole number, 0 or more"
_TRUTH: Final = "true or false"
_FILE: Final = "an absolute path; TorchServe runs in another directory"
_TEXT: Final = "text"
_FORMS: Final[Mapping[str, str | Sequence[str]]] = {
    **dict.fromkeys(
        (
            "default_response_timeout", "unregister_model_timeout", "number_of_netty_threads",
            "netty_client_threads", "number_of_gpu", "max_request_size", "max_response_size",
            "metric_time_interval", "io_ratio", "grpc_inference_max_connection_age_ms",
            "grpc_management_max_connection_age_ms", "grpc_inference_max_connection_age_grace_ms",
            "grpc_management_max_connection_age_grace_ms",
        ),
        _WHOLE,
    ),
    **dict.fromkeys(
        (
            "async_logging", "decode_input_request", "prefer_direct_buffer", "ipex_enable",
            "install_py_dep_per_model", "enable_metrics_api", "enable_model_api", "use_native_io",
            "model_metrics_auto_detect", "disable_system_metrics", "cpu_launcher_enable",
            "ipex_gpu_enable", "limit_max_image_pixels", "ts_open_inference_protocol",
            "use_env_allowed_urls",
        ),
        _TRUTH,
    ),
    **dict.fromkeys(("metrics_config", "cpp_log_config"), _FILE),
    **dict.fromkeys(
        (
            "blacklist_env_vars", "cors_allowed_origin", "cors_allowed_methods",
            "cors_allowed_headers", "cpu_launcher_args", "default_service_handler",
            "service_envelope", "allowed_urls", "system_metrics_cmd", "ts_header_key_sequence_id",
            "ts_header_key_sequence_start", "ts_header_key_sequence_end",
        ),
        _TEXT,
    ),
    "metrics_mode": ("log", "prometheus", "legacy"),
}  # fmt: skip
"""The other properties of TorchServe 0.12.0, its last release, each with what it must be."""


_OWN_VMARGS: Final = re.compile(
    r"-(cp|jar|m|p|-?class-?path|-module(-path)?)\b|-D(java\.io\.tmpdir|model_server_home|log4j\S*)\b"
)


def check_properties(properties: Mapping[str, str]) -> None:
    """Check users' entries of ``config.properties``.

    Raises:
        ValueError: TorchServe would ignore one, or the launcher must set it.
    """
    for name, value in properties.items():
        shown = f"properties.{name} = {value}"
        if reason := OWNED.get(name):
            raise ValueError(f"{shown}: it cannot be set: {reason}")
        form = _FORMS.get(name)
        if form is None:
            raise ValueError(f"{shown}: TorchServe has no such property{meant(name, _FORMS)}")
        if not _fits(value, form):
            wanted = form if isinstance(form, str) else ", ".join(form)
            raise ValueError(f"{shown}: give {wanted}")


def _fits(value: str, form: str | Sequence[str]) -> bool:
    if form == _WHOLE:
        return value.isascii() and value.isdigit()
    if form == _TRUTH:
        return value in ("true", "false")
    if form == _FILE:
        return Path(value).is_absolute()
    return value in form if not isinstance(form, str) else bool(value) and value.isprintable()


def escaped(value: object) -> str:
    """Return a value as ``config.properties`` has it, where a backslash begins an escape."""
    return str(value).replace("\\", "\\\\")


def check_vmarg(argument: str) -> None:
    """Check one argument of the JVM.

    Raises:
        ValueError: the launcher must set it, or Java would take it for a program.
    """
    if not argument.startswith("-"):
        raise ValueError(
            f"vmargs: {argument!r} does not begin with a dash, and Java would run it as a program; "
            "an option and its value are one argument, --NAME=VALUE"
        )
    if _OWN_VMARGS.match(argument):
        raise ValueError(
            f"vmargs: {argument} cannot be set: the launcher chooses the program, its directories "
            "and its log"
        )
