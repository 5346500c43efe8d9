"""The prediction protocols by name, and how a configuration makes one."""

from collections.abc import Mapping
from typing import Any, Final

from pytest_servebench.errors import OptionError
from pytest_servebench.protocols.open_inference import OpenInference
from pytest_servebench.protocols.open_inference_grpc import OpenInferenceGrpc
from pytest_servebench.protocols.plain_json import PlainJson
from pytest_servebench.protocols.rows import RowsProtocol
from pytest_servebench.protocols.settings import settings_of
from pytest_servebench.protocols.tensorflow_serving import KServeV1, TensorFlowServingRest
from pytest_servebench.protocols.tensorflow_serving_grpc import TensorFlowServingGrpc
from pytest_servebench.protocols.torchserve import TorchServeRest
from pytest_servebench.protocols.torchserve_grpc import TorchServeGrpc
from pytest_servebench.text.closest import meant

PROTOCOLS: Final[Mapping[str, type[Any]]] = {
    "tensorflow-serving": TensorFlowServingRest,
    "kserve-v1": KServeV1,
    "open-inference": OpenInference,
    "torchserve": TorchServeRest,
    "json": PlainJson,
    "tensorflow-serving-grpc": TensorFlowServingGrpc,
    "open-inference-grpc": OpenInferenceGrpc,
    "torchserve-grpc": TorchServeGrpc,
}
"""Frozen dataclasses; ``settings.settings_of`` returns their fields."""


def protocol_from(
    name: str,
    settings: Mapping[str, object],
    *,
    defaults: Mapping[str, object] | None = None,
    where: str = "protocol",
) -> RowsProtocol:
    """Return the protocol of a name with settings.

    Args:
        name: in :data:`PROTOCOLS`.
        settings: by name; see each protocol's attributes.
        defaults: of settings that are not given, such as the model's name. Those that the protocol
            does not have are ignored.
        where: file and key, or option, that the errors name.

    Raises:
        OptionError: there is no such protocol or setting, one has a value that it cannot have, or
            a required one is missing.
    """
    if not isinstance(name, str) or name not in PROTOCOLS:
        raise OptionError(
            f"{where} = {name!r}: there is no such protocol{meant(str(name), PROTOCOLS)} There are "
            f"{', '.join(PROTOCOLS)}."
        )
    protocol = PROTOCOLS[name]
    known = settings_of(protocol)
    for key in settings:
        if key not in known:
            raise OptionError(
                f"{where} = {name!r} has no setting {key!r}{meant(key, known)} It has "
                f"{', '.join(known)}."
            )
    usual = {key: value for key, value in (defaults or {}).items() if key in known}
    given = {**usual, **settings}
    for key, each in known.items():
        if each.required and key not in given:
            raise OptionError(f"{where} = {name!r} needs {key}: {each.help}.")
    try:
        made: RowsProtocol = protocol(**given)
    except OptionError as error:
        raise OptionError(f"{where} = {name!r}: {error}") from None
    return made
