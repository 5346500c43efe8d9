"""Load the model that the user configured."""

import importlib
from collections.abc import Collection

from pytest_servebench.errors import ModelError, OptionError
from pytest_servebench.model import ServedModel


def load_model(name: str, kinds: Collection[str]) -> ServedModel:
    """Call the ``module:callable`` in ``name``.

    Args:
        name: value of ``servebench_model``.
        kinds: keys of the artifacts that are needed; most are names of server kinds.

    Raises:
        OptionError: the module or the callable does not exist.
        ModelError: the model could not be built, or is not a :class:`ServedModel`.
    """
    source = f"servebench_model={name!r}"
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise OptionError(
            f"{source}: give module:callable in the ini file or by --servebench-model, "
            "such as model_build:fashion_mnist; the callable returns a ServedModel."
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise OptionError(
            f"{source}: {error}. Is the module on the Python path (pytest's setting pythonpath), "
            "and are its dependencies installed?"
        ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise OptionError(f"{source}: module {module_name} has no callable {attribute!r}.")
    model = factory(kinds)
    if not isinstance(model, ServedModel):
        raise ModelError(
            f"{source}: the callable returned {type(model).__name__}, not a ServedModel."
        )
    try:
        model.samples  # noqa: B018 - checks that each input has its output
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from None
    return model
