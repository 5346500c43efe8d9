"""The published JSON Schema: it is valid, complete, and refuses what it does not know."""

from __future__ import annotations

import dataclasses
import json
from importlib import resources
from typing import Any

import jsonschema
import pytest

from pytest_servebench.load import device
from pytest_servebench.runs import results
from pytest_servebench.stats import estimates
from tests.conftest import RunBench
from tests.test_plugin import saved

SCHEMA: dict[str, Any] = json.loads(
    resources.files("pytest_servebench.runs").joinpath("run-1.schema.json").read_text()
)


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("definition", "kind", "more"),
    [
        ("case", results.CaseResult, {"schema_version"}),
        ("server", results.ServerInfo, set()),
        ("summary", estimates.Summary, set()),
        ("estimate", estimates.Estimate, set()),
        ("distribution", estimates.Distribution, set()),
        ("resources", results.Resources, set()),
        ("generator", device.Generator, set()),
        ("workload", results.Workload, set()),
        ("clause", results.ClauseResult, set()),
        ("death", results.ServerDeath, set()),
    ],
)
def test_schema_names_every_field(definition: str, kind: type[Any], more: set[str]) -> None:
    fields = {field.name for field in dataclasses.fields(kind)} - {"records"} | more
    assert set(SCHEMA["$defs"][definition]["properties"]) == fields


def test_a_saved_run_is_of_the_schema(run_bench: RunBench, pytester: pytest.Pytester) -> None:
    run_bench("--servebench-slo=p50<1us", "--servebench-slo=p99.9<1s")
    _, run = saved(pytester)
    jsonschema.validate(run["servebench"], SCHEMA)
    jsonschema.validate(run["benchmarks"][0]["extra_info"]["servebench"], {
        "$ref": "#/$defs/case", "$defs": SCHEMA["$defs"],
    })  # fmt: skip
    del run["servebench"]["cases"][0]["rate"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(run["servebench"], SCHEMA)
