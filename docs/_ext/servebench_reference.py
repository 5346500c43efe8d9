"""Parts of the reference that are made from the code when the site is built.

``{servebench-options} NAME...``
    the named options, or without names all that no directive before it has named;
``{servebench-kind-options}``
    the options of the kinds of server;
``{servebench-server-keys} KIND``
    the keys of a configured server of a kind;
``{servebench-placeholders}``
    the placeholders in its texts;
``{servebench-protocols}``
    the protocols, each with its settings;
``{servebench-fixtures}``
    the fixtures;
``{servebench-metrics}``
    the metrics, with their units and what they stand in;
``{servebench-schema}``
    the JSON Schema of a saved run, one table for each kind of object.

An option or ini key that a page mentions (``--servebench-rates``, ``servebench_rates``) links to
its description; one that does not exist is a warning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import numpy as np
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

import pytest_servebench
from pytest_servebench.metrics import METRICS
from pytest_servebench.objectives.slo_grammar import UNITS
from pytest_servebench.plugin import fixtures
from pytest_servebench.plugin.kind_values import COMMON
from pytest_servebench.plugin.options import add_options
from pytest_servebench.protocols import PROTOCOLS, GrpcRequest, HttpRequest, protocol_from
from pytest_servebench.protocols.base import Request
from pytest_servebench.protocols.grpc_messages import (
    open_inference_pb2,
    tensorflow_serving_pb2,
    torchserve_pb2,
)
from pytest_servebench.protocols.settings import settings_of
from pytest_servebench.servers import builtin_kinds, configurable_kinds
from pytest_servebench.servers.kind_options import options_of, variable
from pytest_servebench.servers.placeholders import MEANINGS

PREFIX: Final = "--servebench-"
_OPTION: Final = re.compile(r"--servebench-[a-z0-9-]+")
_INI: Final = re.compile(r"servebench_[a-z0-9_]+")
_SPECIAL: Final = re.compile(r"([\\`*_<>\[\]|$#])")
_ESCAPED: Final = r"\\\1"
_EXAMPLE: Final = {"ids": np.array([101, 7592]), "mask": np.array([True, True])}

_MESSAGES: Final[Mapping[str, Any]] = {
    "Predict": tensorflow_serving_pb2.PredictRequest,
    "Predictions": torchserve_pb2.PredictionsRequest,
    "ModelInfer": open_inference_pb2.ModelInferRequest,
}
"""gRPC method to the message that it takes."""


# -- options --------------------------------------------------------------------------------------


@dataclass
class Option:
    """One option of the plugin, as registered with pytest's parser.

    Attributes:
        name: with its dashes.
        metavar: word for the value; empty for a flag.
        help: what it does, without the default.
        repeatable: whether it may be given several times.
        default: as text; empty if there is none.
    """

    name: str
    metavar: str
    help: str
    repeatable: bool
    default: str = ""

    @property
    def ini(self) -> str:
        """Return the name of the ini twin."""
        return self.name.removeprefix("--").replace("-", "_")


class Recorder:
    """Stands in for pytest's parser, and keeps what is registered."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.options: dict[str, Option] = {}
        self.inis: set[str] = set()

    def getgroup(self, *_: object) -> Recorder:
        """Return itself: one group holds all."""
        return self

    def addoption(self, name: str, **given: Any) -> None:
        """Keep an option."""
        text = re.sub(r" \(default: [^()]*\)$", "", given["help"]).replace("%%", "%")
        self.options[name] = Option(
            name, given.get("metavar", ""), text, given.get("action") == "append"
        )

    def addini(self, name: str, *_: object, default: object = "", **__: object) -> None:
        """Keep an ini key; it has the default of its option."""
        self.inis.add(name)
        for option in self.options.values():
            if option.ini == name:
                option.default = str(default or "")


def recorded_options() -> dict[str, Option]:
    """Return every option by its name, in the order of ``--help``.

    Raises:
        ValueError: an option has no ini twin, or an ini key no option.
    """
    recorder = Recorder()
    add_options(recorder)  # type: ignore[arg-type]
    if alone := {option.ini for option in recorder.options.values()} ^ recorder.inis:
        raise ValueError(f"without a twin: {', '.join(sorted(alone))}")
    return recorder.options


class OptionsDirective(SphinxDirective):
    """The options that are named, or all that no earlier directive named."""

    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return one description for each option."""
        options = recorded_options()
        placed = self.env.current_document.setdefault("servebench_placed", set[str]())
        assert placed is not None
        if self.arguments:
            names = [PREFIX + name for name in self.arguments[0].split()]
        else:
            names = [name for name in options if name not in placed]
        placed.update(names)
        if missing := [name for name in names if name not in options]:
            raise self.error(f"there is no option {', '.join(missing)}")
        return self.parse_text_to_nodes("\n".join(map(_described, map(options.get, names))))


def _described(option: Option | None) -> str:
    assert option is not None
    facts = [f"ini key `{option.ini}`" + (", one a line" if option.repeatable else "")]
    if option.repeatable:
        facts.append("may be repeated")
    elif not option.metavar:
        facts.append("off by default")
    elif option.default:
        facts.append(f"default `{option.default}`")
    head = option.name + (f"={option.metavar}" if option.metavar else "")
    text = _SPECIAL.sub(_ESCAPED, option.help.removesuffix("; may be repeated"))
    if ":" not in text.partition(" ")[0]:
        text = text[:1].upper() + text[1:]
    return f":::{{option}} {head}\n{text}.\n\n{'; '.join(facts)}\n:::\n"


class KindOptionsDirective(SphinxDirective):
    """The options of each kind of server, in a table."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        lines = ["| option | default | meaning |", "| --- | --- | --- |"]
        for kind in builtin_kinds():
            for name, option in options_of(kind).items():
                key = f"`{kind.name}.{name}`"
                if option.secret:
                    key = f"`${variable(kind.name, name)}` (environment)"
                default = (
                    f"`{str(option.default).lower()}`" if option.default not in ("", None) else ""
                )
                lines.append(f"| {key} | {default} | {_SPECIAL.sub(_ESCAPED, option.help)} |")
        return self.parse_text_to_nodes("\n".join(lines))


class ServerKeysDirective(SphinxDirective):
    """The keys of a configured server: those of its kind, and those of all servers."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        lines = ["| key | meaning |", "| --- | --- |"]
        kind = configurable_kinds()[self.arguments[0]]
        meanings = {name: option.help for name, option in options_of(kind).items()}
        meanings |= {"title": "its name in reports; by default, that of its table"}
        meanings |= {key: option.help for key, option in COMMON.items()}
        for key, meaning in meanings.items():
            lines.append(f"| `{key}` | {_SPECIAL.sub(_ESCAPED, meaning)} |")
        return self.parse_text_to_nodes("\n".join(lines))


class PlaceholdersDirective(SphinxDirective):
    """The placeholders in the texts of a configured server."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        lines = ["| placeholder | meaning |", "| --- | --- |"]
        for name, meaning in MEANINGS.items():
            lines.append(f"| `{{{name}}}` | {_SPECIAL.sub(_ESCAPED, meaning)} |")
        return self.parse_text_to_nodes("\n".join(lines))


def _content(request: Request) -> str:
    """Return what a request carries, as text."""
    if isinstance(request, HttpRequest):
        return request.body.decode()
    assert isinstance(request, GrpcRequest)
    kind = _MESSAGES[request.method.rpartition("/")[2]]
    return str(kind.FromString(request.message)).rstrip()


class ProtocolsDirective(SphinxDirective):
    """The protocols, each with a table of its settings."""

    def run(self) -> list[nodes.Node]:
        """Return one section for each protocol."""
        parts = []
        for name, protocol in PROTOCOLS.items():
            lines = [
                f"## `{name}`\n",
                f"{_markdown((protocol.__doc__ or '').partition(chr(10))[0])}\n",
            ]
            request = protocol_from(name, {}, defaults={"model": "MODEL"}).request(_EXAMPLE)
            lines.append(f"A request by default:\n\n```text\n{request.asked}\n")
            lines.append(f"{_content(request)}\n```\n")
            lines += ["| setting | default | meaning |", "| --- | --- | --- |"]
            for one in settings_of(protocol).values():
                # A configured server has the name of its model, so that it need not be repeated.
                usual = "that of the server" if one.name == "model" else "required"
                default = usual if one.required else f"`{json.dumps(one.default)}`"
                lines.append(f"| `{one.name}` | {default} | {_SPECIAL.sub(_ESCAPED, one.help)} |")
            parts.append("\n".join(lines))
        return self.parse_text_to_nodes("\n\n".join(parts), allow_section_headings=True)


class OptionLinks(SphinxTransform):
    """Make options and ini keys in running text links to their descriptions."""

    default_priority = 210

    def apply(self, **_: object) -> None:
        """Wrap each such literal in a reference."""
        inis = {option.ini: option.name for option in recorded_options().values()}
        for literal in list(self.document.findall(nodes.literal)):
            text = literal.astext()
            name = (
                text
                if _OPTION.match(text)
                else inis.get(text, text if _INI.fullmatch(text) else "")
            )
            if not name or isinstance(literal.parent, (nodes.reference, addnodes.pending_xref)):
                continue
            match = _OPTION.match(name)
            reference = addnodes.pending_xref(
                "", refdomain="std", reftype="option", refexplicit=True, refwarn=True,
                reftarget=match[0] if match else name, refdoc=self.env.docname,
            )  # fmt: skip
            literal.replace_self(reference)
            reference.append(literal)


# -- fixtures -------------------------------------------------------------------------------------


class FixturesDirective(SphinxDirective):
    """Every fixture, with its scope and its docstring."""

    def run(self) -> list[nodes.Node]:
        """Return one description for each fixture."""
        return self.parse_text_to_nodes("\n".join(
            f":::{{py:data}} {name}\n:no-index:\n\n{_markdown(fixture.__doc__)}\n\n"
            f"Scope: {fixture._fixture_function_marker.scope}.\n:::\n"
            for name, fixture in vars(fixtures).items()
            if hasattr(fixture, "_fixture_function_marker")
        ))  # fmt: skip


def _markdown(text: str) -> str:
    return text.replace("``", "`")


# -- metrics --------------------------------------------------------------------------------------


class MetricsDirective(SphinxDirective):
    """A table of the metrics, in the order of reports."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        lines = ["| metric | what | unit | requests | gates |", "| --- | --- | --- | --- | --- |"]
        for one in METRICS.values():
            names = " or ".join(f"`{name}`" for name in (one.written, *one.aliases))
            enough = f"{one.enough:,}" if one.enough else "any number"
            gate = "no" if one.same is None else "yes"
            lines.append(f"| {names} | {one.meaning} | {UNITS[one.kind]} | {enough} | {gate} |")
        return self.parse_text_to_nodes("\n".join(lines))


# -- the JSON -------------------------------------------------------------------------------------


class SchemaDirective(SphinxDirective):
    """The JSON Schema of saved runs: one section with a table for each kind of object."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        path = files("pytest_servebench.runs") / "run-1.schema.json"
        schema = json.loads(path.read_text(encoding="utf-8"))
        kinds = {"run": schema} | schema["$defs"]
        parts = [
            f"(json-{name})=\n## `{name}`\n\n{kind.get('description', '')}\n\n{_rows(kind)}"
            for name, kind in kinds.items()
        ]
        return self.parse_text_to_nodes("\n\n".join(parts), allow_section_headings=True)


def _rows(kind: Mapping[str, Any]) -> str:
    if "enum" in kind:
        return f"One of {', '.join(f'`{word}`' for word in kind['enum'])}."
    required = kind.get("required", ())
    lines = ["| property | type | meaning |", "| --- | --- | --- |"]
    for name, value in _flat(kind.get("properties", {})):
        always = "" if "." in name or name in required else " (may be missing)"
        lines.append(f"| `{name}` | {_type(value)} | {value.get('description', '')}{always} |")
    return "\n".join(lines)


def _flat(properties: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Mapping[str, Any]]]:
    """Return properties with those of the objects in them, by their paths."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    for name, value in properties.items():
        found.append((prefix + name, value))
        found += _flat(value.get("properties", {}), f"{prefix}{name}.")
    return found


def _type(value: Mapping[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#json-{name})"
    if choices := value.get("oneOf"):
        return " or ".join(map(_type, choices))
    if value.get("type") == "array":
        return f"list of {_type(value['items'])}"
    if isinstance(value.get("additionalProperties"), dict):
        return f"object of {_type(value['additionalProperties'])}"
    words = [f"`{json.dumps(word)}`" for word in value.get("enum", [value.get("const")])]
    kinds = value.get("type", words)
    return kinds if isinstance(kinds, str) else " or ".join(kinds)


# -- names ----------------------------------------------------------------------------------------


def public_reference(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Resolve the home of a public name, such as ``model.ServedModel``, to the public name."""
    name = node.get("reftarget", "").rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in pytest_servebench.__all__:
        return None
    target = f"pytest_servebench.{name}"
    if target == node["reftarget"]:
        return None
    return env.domains["py"].resolve_xref(
        env, node["refdoc"], app.builder, "obj", target, node, content
    )


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register all of it."""
    app.add_directive("servebench-options", OptionsDirective)
    app.add_directive("servebench-kind-options", KindOptionsDirective)
    app.add_directive("servebench-server-keys", ServerKeysDirective)
    app.add_directive("servebench-placeholders", PlaceholdersDirective)
    app.add_directive("servebench-protocols", ProtocolsDirective)
    app.add_directive("servebench-fixtures", FixturesDirective)
    app.add_directive("servebench-metrics", MetricsDirective)
    app.add_directive("servebench-schema", SchemaDirective)
    app.add_transform(OptionLinks)
    app.connect("missing-reference", public_reference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
