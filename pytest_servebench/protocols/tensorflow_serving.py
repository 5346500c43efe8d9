"""TensorFlow Serving's REST API, in its row and column formats; KServe's v1, which is its rows."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from typing import Any, ClassVar, Final, Literal, NamedTuple
from urllib.parse import quote

from pytest_servebench.errors import OptionError
from pytest_servebench.protocols.answers import bad
from pytest_servebench.protocols.base import HttpAnswer, HttpRequest
from pytest_servebench.protocols.json_values import in_json, in_object, parsed_object, prediction
from pytest_servebench.protocols.row_format import (
    JSON_TYPE,
    columns_in_json,
    instances_body,
    read_columns,
    read_predictions,
)
from pytest_servebench.protocols.rows import OneOrMore, columns, only
from pytest_servebench.protocols.settings import Configured, setting
from pytest_servebench.values.arrays import Arrays

_CHOSEN: Final = re.compile(
    r"(?:/?v1/models/)?(?P<name>.+?)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+)|)"
)


class Place(NamedTuple):
    """A model, and perhaps one of its versions or labels, as in the server's paths."""

    model: str
    version: str = ""
    label: str = ""

    @classmethod
    def of(cls, text: str) -> Place:
        """Read ``NAME``, ``NAME/versions/3`` or ``NAME/labels/canary``."""
        found = _CHOSEN.fullmatch(text)
        if not found:
            return cls(text)
        return cls(found["name"], found["version"] or "", found["label"] or "")

    def settings(self, version: int | str, label: str) -> dict[str, Any]:
        """Return it as a protocol's settings, with its version and label where this has none."""
        return {
            "model": self.model, "version": self.version or version, "label": self.label or label
        }  # fmt: skip


def check_choice(version: int | str, label: str) -> None:
    """Check the settings that choose a version.

    Raises:
        OptionError: the version is not a number, or both are given.
    """
    if not re.fullmatch(r"\d{0,18}", str(version)):  # within 64 bits
        raise OptionError(f"version = {version!r}: give a whole number; label names a version.")
    if version != "" and label:
        raise OptionError(f"version = {version!r}, label = {label!r}: give one of them.")


@dataclass(frozen=True)
class TensorFlowServingRest(Configured, OneOrMore):
    """``POST /v1/models/MODEL:predict``.

    Bytes are ``{"b64": "..."}``.

    Attributes:
        model: the model's name at the server.
        layout: ``"rows"``: ``instances`` and ``predictions``, a list of samples. ``"columns"``:
            ``inputs`` and ``outputs``, a list for each input. ``"single"``: likewise, for a model
            without an axis of samples.
        signature: name of the SavedModel's signature; by default, the server's.
        version: of the model; by default, the newest.
        label: of a version, such as ``"canary"``.
    """

    name: ClassVar[str] = "TensorFlow Serving REST"

    model: str = setting("the model's name at the server")
    _: KW_ONLY
    layout: Literal["rows", "columns", "single"] = setting(
        "rows (instances), columns (inputs), or single (inputs without an axis of samples)", "rows"
    )
    signature: str = setting("name of the SavedModel's signature; by default, the server's", "")
    version: int | str = setting("version of the model; by default, the newest", "")
    label: str = setting('label of a version, such as "canary"', "")

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            OptionError: one has a value that it cannot have.
        """
        super().__post_init__()
        check_choice(self.version, self.label)

    def named(self, place: str) -> TensorFlowServingRest:
        """Return the same for a model given as in the server's paths.

        Args:
            place: ``NAME``, ``NAME/versions/3`` or ``NAME/labels/canary``.
        """
        return replace(self, **Place.of(place).settings(self.version, self.label))

    @property
    def path(self) -> str:
        """Return the path of the model, or of its version or label."""
        choice = f"/versions/{self.version}" if self.version != "" else ""
        choice = f"/labels/{quote(self.label, safe='')}" if self.label else choice
        return f"/v1/models/{quote(self.model, safe='')}{choice}"

    def request_rows(self, samples: Sequence[Arrays]) -> HttpRequest:
        """Return one request for the predictions of one or more samples."""
        further = {"signature_name": json.dumps(self.signature)} if self.signature else {}
        if self.layout == "single":
            inputs = in_json(only(samples, 'layout = "single"', 'layout = "rows" or "columns"'))
            body = in_object({**further, "inputs": inputs}).encode("ascii")
        elif self.layout == "columns":
            inputs = columns_in_json(columns(samples))
            body = in_object({**further, "inputs": inputs}).encode("ascii")
        else:
            columns(samples)  # they become rows of one tensor
            body = instances_body(samples, **further)
        return HttpRequest("POST", f"{self.path}:predict", (JSON_TYPE,), body)

    def read_rows(self, answer: HttpAnswer, rows: int) -> Sequence[Arrays]:
        """Return the prediction of each row."""
        if self.layout == "rows":
            return read_predictions(answer, rows)
        wrong = partial(bad, answer=answer, expected='{"outputs": …}')
        said = parsed_object(answer.body, wrong)
        if "outputs" not in said:
            raise wrong('has no "outputs"')
        if self.layout == "single":
            return [prediction(said["outputs"], wrong)]
        return read_columns(said["outputs"], rows, wrong)

    def status_request(self) -> HttpRequest:
        """Return the request for the loaded versions of the model."""
        return HttpRequest("GET", self.path)

    def states(self, answer: HttpAnswer) -> set[str]:
        """Return the states of a model's versions; empty if the answer has none."""
        try:
            said = json.loads(answer.body)
            return {str(version["state"]) for version in said["model_version_status"]}
        except (ValueError, RecursionError, KeyError, TypeError):
            return set()


@dataclass(frozen=True)
class KServeV1(Configured, OneOrMore):
    """``POST /v1/models/MODEL:predict``, with ``instances`` and ``predictions``.

    Attributes:
        model: the model's name at the server.
    """

    name: ClassVar[str] = "KServe v1"

    model: str = setting("the model's name at the server")

    def request_rows(self, samples: Sequence[Arrays]) -> HttpRequest:
        """Return one request for the predictions of one or more samples."""
        path = f"/v1/models/{quote(self.model, safe='')}:predict"
        return HttpRequest("POST", path, (JSON_TYPE,), instances_body(samples))

    def read_rows(self, answer: HttpAnswer, rows: int) -> Sequence[Arrays]:
        """Return the prediction of each row."""
        return read_predictions(answer, rows)
