"""Capacities in saved runs: written, read, checked, and absent from runs of earlier versions."""

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.errors import SavedRunError
from pytest_servebench.runs.capacity import CAPACITY_KEY
from pytest_servebench.runs.results import Run
from pytest_servebench.runs.run_file import GrowingRunFile
from pytest_servebench.runs.run_json import read_file, read_heading
from pytest_servebench.text.json_text import plain, to_json
from simulation import saved
from simulation.capacities import capacity, probe_cases
from tests.sample import SAMPLE
from tests.test_schema import VALIDATOR


def capacity_run(**changes: Any) -> Run:
    probes = probe_cases()
    return dataclasses.replace(
        saved.run([]), capacities=(capacity(probes=probes, **changes),), probes=probes
    )


def forgetful(run: Run) -> Run:
    """Return a run as JSON holds it: without records."""
    bare = tuple(dataclasses.replace(one, records=None) for one in run.probes)
    return dataclasses.replace(run, probes=bare)


def test_a_run_of_a_search_alone_is_written_and_read(tmp_path: Path) -> None:
    run = capacity_run()
    file = GrowingRunFile()
    file.write(run, tmp_path)
    path = tmp_path / "run.json"
    data = json.loads(path.read_text())["servebench"]
    VALIDATOR.validate(data)
    assert data == plain(run.to_dict())
    assert read_file(path)[0] == forgetful(run)
    heading = read_heading(path)[0]
    assert [one.server.kind for one in heading.capacities] == ["torchserve"]
    assert heading.cases == ()


def test_probes_beside_other_programs_are_written_and_read(tmp_path: Path) -> None:
    (one,) = capacity_run().capacities
    beside = tuple(dataclasses.replace(each, state="disturbed") for each in one.probes)
    run = dataclasses.replace(capacity_run(), capacities=(dataclasses.replace(one, probes=beside),))
    GrowingRunFile().write(run, tmp_path)
    assert read_file(tmp_path / "run.json")[0] == forgetful(run)


def test_runs_of_earlier_versions_have_none() -> None:
    run = read_file(SAMPLE / "run.json")[0]
    assert run.cases
    assert run.every_case == run.cases
    assert run.capacities == ()


def test_a_benchmark_file_holds_the_capacity_of_its_test(tmp_path: Path) -> None:
    run = capacity_run()
    extra = {"servebench": run.probes[3].to_dict(), CAPACITY_KEY: run.capacities[0].to_dict()}
    path = tmp_path / "0001.json"
    path.write_text(to_json({"benchmarks": [{"name": "test_capacity", "extra_info": extra}]}))
    found = read_file(path)[0]
    assert found.capacities == run.capacities
    assert found.probes == forgetful(run).probes[3:]
    assert found.cases == ()


NOTHING: dict[str, Any] = {"value": None, "low": None, "high": None}
CONTRADICTIONS: tuple[tuple[dict[str, Any], str], ...] = (
    (NOTHING, "value is None, but its state is 'found'"),
    ({"low": None}, "low is None, but its state is 'found'"),
    ({"needed_seconds": 3.0}, "needed_seconds is 3.0, but its state is 'found'"),
    ({"state": "above_range"}, "value is 107.9, but its state is 'above_range'"),
    (NOTHING | {"state": "above_range"}, "low is None, but its state is 'above_range'"),
    (NOTHING | {"state": "below_range"}, "high is None, but its state is 'below_range'"),
    (NOTHING | {"state": "below_range", "low": 1.0, "high": 2.0}, "low is 1.0, but its state"),
    (NOTHING | {"state": "generator_limited"}, "generator_limit is None, but its state"),
    ({"limiting": "p50<1s"}, "limiting is 'p50<1s'"),
    ({"recovery_seconds": 4.0}, "recovery_seconds is 4.0"),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data["capacities"][0].update(low=200.0), "capacities[0]: low"),
        (lambda data: data["capacities"][0].update(highest=0.5), "lowest and highest"),
        (lambda data: data["capacities"][0].update(state="good"), "capacities[0].state"),
        (lambda data: data["capacities"][0]["probes"][1].update(beyond=3), "probes[1].beyond"),
        *(
            (lambda data, change=change: data["capacities"][0].update(change), words)
            for change, words in CONTRADICTIONS
        ),
        (lambda data: data["capacities"].append(data["capacities"][0]), "capacities[1] has"),
        (lambda data: data["capacities"][0]["probes"][1].update(state="died"), "probes[1].beyond"),
        (
            lambda data: data["capacities"][0]["probes"][1].update(beyond=[10**9]),
            "beyond, counted and arrivals are 1000000000",
        ),
        (
            lambda data: data["capacities"][0]["probes"][1].update(
                state="invalid", counted=[], beyond=[]
            ),
            "probes[1].used is true, but its state is 'invalid'",
        ),
        (lambda data: data["probes"][0].update(label=data["probes"][1]["label"]), "probes[1] has"),
        (lambda data: data.update(capacities=[], probes=[]), "no cases"),
    ],
)
def test_impossible_capacities_are_refused(
    change: Callable[[dict[str, Any]], object], words: str, tmp_path: Path
) -> None:
    data = copy.deepcopy(plain(capacity_run().to_dict()))
    change(data)
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"servebench": data}))
    with pytest.raises(SavedRunError) as error:
        read_file(path)
    assert words in str(error.value)
