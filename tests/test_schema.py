"""The published JSON Schema: it is valid, complete, and refuses what it does not know."""

import copy
import json
from importlib import resources
from typing import Any

import jsonschema
import pytest

from pytest_servebench.runs.schema import schema
from pytest_servebench.text.json_text import to_json
from tests.conftest import RunBench
from tests.results import saved_run

SCHEMA: dict[str, Any] = json.loads(
    resources.files("pytest_servebench.runs").joinpath("run-1.schema.json").read_text()
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)  # unlike jsonschema.validate, it trusts SCHEMA


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_published_file_is_made_from_the_data_classes() -> None:
    made = json.loads(to_json(schema()))
    assert made == SCHEMA, "python -m pytest_servebench.runs.schema writes it anew"


def test_a_saved_run_is_of_the_schema(run_bench: RunBench) -> None:
    run_bench("--servebench-slo=p50<1us", "--servebench-slo=p99.9<1s")
    _, run = saved_run()
    VALIDATOR.validate(run["servebench"])
    as_case = VALIDATOR.evolve(schema={"$ref": "#/$defs/case", "$defs": SCHEMA["$defs"]})
    as_case.validate(run["benchmarks"][0]["extra_info"]["servebench"])
    for path, wrong in (
        (("rate",), "80"), (("buffer_size",), 1.5), (("verdict",), "good"), (("label",), None),
        (("summary", "latency", "n"), -1), (("summary", "outcomes", "lost"), 1),
        (("clauses", 0, "value"), "1 ms"), (("server", "cpus"), "0-3"), (("speed",), 1),
    ):  # fmt: skip
        case = copy.deepcopy(run["servebench"]["cases"][0])
        place: Any = case
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = wrong
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate({**run["servebench"], "cases": [case]})
    del run["servebench"]["cases"][0]["rate"]
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(run["servebench"])
