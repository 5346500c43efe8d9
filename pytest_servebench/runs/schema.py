"""The JSON Schema of saved runs, generated from the data classes that they are read into.

``python -m pytest_servebench.runs.schema`` regenerates :data:`FILE`.
"""

import dataclasses
import inspect
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from pytest_servebench.load.records import Outcome
from pytest_servebench.runs.results import SCHEMA_VERSION, CaseResult, Run
from pytest_servebench.stats.summary import PERMILLES
from pytest_servebench.text.json_text import to_json

FILE: Final = Path(__file__).with_name(f"run-{SCHEMA_VERSION}.schema.json")

_SCALARS: Final[Mapping[Any, Mapping[str, Any]]] = {
    # Whole numbers are counts, bytes and numbers of processors.
    int: {"type": "integer", "minimum": 0}, float: {"type": "number"}, str: {"type": "string"},
    bool: {"type": "boolean"}, type(None): {"type": "null"}, Any: {},
}  # fmt: skip
_BOUNDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "rate": {"exclusiveMinimum": 0}, "duration": {"exclusiveMinimum": 0},
    "timeout": {"minimum": 0}, "warmup": {"minimum": 0}, "drain": {"minimum": 0},
    "success_rate": {"minimum": 0, "maximum": 1}, "started": {"format": "date-time"},
    "rows": {"minimum": 1}, "streams": {"minimum": 1},
}  # fmt: skip
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "outcomes": tuple(outcome.label for outcome in Outcome),
    "percentiles": tuple(PERMILLES),
    "estimates": (*PERMILLES, "mean", "throughput", "success_rate"),
}
"""Keys that mappings of these names always have."""
_NO_OTHERS: Final = ("outcomes", "percentiles")

_MACHINE: Final = {"cpu": str, "cores": int, "memory": int, "system": str, "python": str}
_VERSION: Final = {"const": SCHEMA_VERSION, "description": "version of this schema"}
_ABOUT: Final = (
    'The content of "servebench" in a saved run. Each benchmark\'s extra_info["servebench"] is '
    "one case of it. Durations are seconds, rates per second, memory bytes, CPU percent of one "
    "processor; null stands for infinite or unknown. Hooks may add further properties to the run."
)


def schema() -> dict[str, Any]:
    """Return the schema of a run as it is saved."""
    definitions: dict[str, Any] = {}
    run = _object(Run, definitions)
    for one in (run, definitions[_name(CaseResult)]):
        one["required"].insert(0, "schema_version")
        one["properties"] = {"schema_version": _VERSION, **one["properties"]}
    run["required"][1] = "run"
    run["properties"] = {
        "run" if key == "name" else key: value
        for key, value in run["properties"].items()
        if key != "left_out"
    }
    run["properties"]["machine"] |= {
        "properties": {key: _SCALARS[kind] for key, kind in _MACHINE.items()},
        "required": list(_MACHINE),
        "additionalProperties": False,
    }
    del run["additionalProperties"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"pytest-servebench run, version {SCHEMA_VERSION}",
        **run,
        "description": _ABOUT,
        "$defs": dict(sorted(definitions.items())),
    }


def _name(kind: type[Any]) -> str:
    words = re.findall("[A-Z][a-z]*", kind.__name__.removesuffix("Result").removesuffix("Info"))
    return "-".join(words).lower()


def _object(kind: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a data class; those of nested classes are added to ``definitions``.

    Raises:
        KeyError: a field is not described in the docstring.
    """
    hints, texts = get_type_hints(kind), _descriptions(kind)
    properties, required = {}, []
    for field in dataclasses.fields(kind):
        if field.name == "schema_version" or not field.metadata.get("saved", True):
            continue
        properties[field.name] = {
            **_value(hints[field.name], definitions),
            **_BOUNDS.get(field.name, {}),
            "description": texts[field.name],
        }
        if field.name in _KEYS:
            properties[field.name]["required"] = list(_KEYS[field.name])
        if field.name in _NO_OTHERS:
            properties[field.name]["propertyNames"] = {"enum": list(_KEYS[field.name])}
        if field.default is field.default_factory is dataclasses.MISSING:
            required.append(field.name)
    return {
        "type": "object",
        "description": _plain((inspect.getdoc(kind) or "").partition("\n\n")[0]),
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


def _value(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        name = _name(hint)
        if name not in definitions:
            definitions[name] = {}  # a placeholder, in case it contains itself
            definitions[name] = _object(hint, definitions)
        return {"$ref": f"#/$defs/{name}"}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return _union([_value(one, definitions) for one in arguments])
    if origin in (tuple, list):
        return {"type": "array", "items": _value(arguments[0], definitions)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _value(arguments[1], definitions)}
    return dict(_SCALARS[hint])


def _union(choices: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a schema that allows any of these, in its shortest form."""
    first, *_, last = choices
    if last == _SCALARS[type(None)] and "enum" in first:
        return {"enum": [*first["enum"], None]}
    if all("type" in one for one in choices):
        bounds = {key: value for one in choices for key, value in one.items()}
        return {**bounds, "type": [one["type"] for one in choices]}
    return {"oneOf": choices}


def _descriptions(kind: type[Any]) -> dict[str, str]:
    _, _, text = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", text, re.MULTILINE)
    return {name: _plain(text).removesuffix(".") for name, text in found}


def _plain(text: str) -> str:
    """Return a docstring's text in one line, without its markup."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", text.replace("``None``", "null"))
    return " ".join(re.sub(r'``"?|"?``', "", text).split())


if __name__ == "__main__":
    FILE.write_text(to_json(schema()) + "\n", encoding="utf-8")
