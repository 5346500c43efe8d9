"""Read the settings of a session from the command line and the config file.

pytest expects one type per key and aborts the session if it finds another. We accept every sensible
spelling: ``3``, ``"3"``, ``[20, 50]`` and ``"20,50"``, in ini files, as native TOML types and in
``--override-ini``.
"""

import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

import pytest

from pytest_servebench.errors import OptionError
from pytest_servebench.load.arrival_forms import parse_arrivals
from pytest_servebench.load.arrivals import ArrivalProcess
from pytest_servebench.load.spec import LoadSettings
from pytest_servebench.load.tls import Tls
from pytest_servebench.load.transports.base import Terms
from pytest_servebench.plugin.option_values import KindValue
from pytest_servebench.plugin.options import OPTIONS, Option
from pytest_servebench.plugin.settings import Settings
from pytest_servebench.report.outputs import OUTPUTS
from pytest_servebench.servers.base import ServerSettings

_BY_NAME: Final = {option.name: option for option in OPTIONS}


def read_settings(config: pytest.Config) -> Settings:
    """Return the settings of this session.

    Raises:
        OptionError: a value is invalid; the message names the option, the value and the remedy.
    """
    values = {name.replace("-", "_"): read_option(config, name) for name in _BY_NAME}
    del values["server_option"]
    server = ServerSettings(
        cpus=values.pop("server_cpus"),
        threads=values.pop("server_threads"),
        workers=values.pop("server_workers"),
        start_timeout=values.pop("start_timeout"),
        stop_grace=values.pop("stop_grace"),
        tls=Tls(
            verify=values.pop("tls_verify"),
            ca_file=_absolute("tls-ca", values.pop("tls_ca"), config),
            server_name=values.pop("tls_server_name") or None,
            cert_file=_absolute("tls-cert", values.pop("tls_cert"), config),
            key_file=_absolute("tls-key", values.pop("tls_key"), config),
        ),
        max_body=values.pop("max_body"),
    )
    terms = Terms(
        values.pop("keep_alive"),
        values.pop("max_headers"),
        server.max_body,
        streams=values.pop("streams"),
    )
    workers, samples = values.pop("worker_threads"), values.pop("check_answers")
    values["arrivals"] = _arrivals(values["arrivals"], config)
    names = [item.name for item in fields(LoadSettings) if item.name in values]
    load = LoadSettings(
        workers=workers, samples=samples, terms=terms, **{name: values.pop(name) for name in names}
    )
    values["max_lag"] /= 1000
    outputs = {output.name: values.pop(output.name) for output in OUTPUTS if output.option}
    for output in OUTPUTS:
        if output.kind == "text" and output.option:
            file = outputs[output.name]
            outputs[output.name] = config.invocation_params.dir / file if file else None
    values["results"] = config.rootpath / values["results"]
    values["kind_values"] = tuple(_kind_values(config))
    values["slos"], values["gates"] = values.pop("slo"), values.pop("max_regression")
    return Settings(**values, outputs=outputs, load=load, server=server)


def read_option(config: pytest.Config, name: str) -> Any:
    """Return the value of one option, parsed and checked.

    Args:
        config: of the session.
        name: of the option, without its prefix.

    Raises:
        OptionError: it is invalid; the message names the option, the value and the remedy.
    """
    option = _BY_NAME[name]
    given = list(_given(config, option))
    if not option.repeatable:
        source, _, value = given[-1]
        return _read(option, source, value)
    return sum((_read(option, source, value) for source, _, value in given), ())


def _given(config: pytest.Config, option: Option) -> Iterator[tuple[str, Path, object]]:
    """Yield each source of an option, the base of its relative paths, and its value.

    The command line comes last, as it overrides the config file, or adds to it.
    """
    yield f"{option.ini} (ini)", config.rootpath, _configured(config, option.ini)
    given = config.getoption(option.long)
    for value in given if option.repeatable else [given]:
        if value is not None:
            yield option.long, config.invocation_params.dir, value


def _kind_values(config: pytest.Config) -> Iterator[KindValue]:
    option = _BY_NAME["server-option"]
    for source, directory, value in _given(config, option):
        for each in _read(option, source, value):
            yield replace(each, source=source, directory=directory)


def _read(option: Option, source: str, value: object) -> Any:
    try:
        texts = _texts(option, value)
        if option.repeatable:
            return tuple(part for text in texts for part in option.read(text))
        return option.read(texts[0])
    except ValueError as error:
        raise OptionError(f"{source}={value!r}: {error}.") from None
    except OptionError as error:  # from the parser of SLOs or gates, which says everything else
        raise type(error)(f"{source}: {error}") from None


def _texts(option: Option, value: object) -> list[str]:
    """Return a value as command-line text: several for a repeatable option, else one.

    Raises:
        ValueError: options cannot have such a value, or this one does not take a list.
    """
    if isinstance(value, list):
        texts = [_text(one) for one in value]
        if option.repeatable:
            return texts
        if option.parts:
            return [option.parts.join(texts)]
        if not option.many:
            raise ValueError("give a single value, not a list")
        return [",".join(texts)]
    text = _text(value)
    lines = [line for line in text.splitlines() if line.strip()]
    if option.repeatable:
        return lines
    return [",".join(lines)] if option.many else [text]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ValueError(
        f"an option cannot be of type {type(value).__name__}; give a string in quotes, a number, "
        "true or false"
    )


def _configured(config: pytest.Config, key: str) -> object:
    """Return the configured value of a key, in the type it was written in."""
    try:
        # Where pytest expects a string and finds a list, some versions return the list, others
        # warn too; most versions reject any other native TOML type.
        with warnings.catch_warnings(action="ignore", category=pytest.PytestWarning):
            return config.getini(key)
    except (TypeError, pytest.UsageError):
        return _native(config, key)


def _native(config: pytest.Config, key: str) -> object:
    """Return a value of a TOML file in its native type."""
    assert config.inipath is not None
    document = tomllib.loads(config.inipath.read_text(encoding="utf-8"))
    tool = document.get("tool", {}).get("pytest", {})
    tables = (document.get("pytest", {}), tool, tool.get("ini_options", {}))
    return next(table[key] for table in tables if key in table)


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
    """Return the base of relative paths: the working directory, or for an ini key the rootdir."""
    given = config.getoption(f"--servebench-{name}") is not None
    return config.invocation_params.dir if given else config.rootpath
