"""Reading saved runs: what was written comes back, and what cannot be read is told in one line."""

import dataclasses
import json
import math
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from pytest_servebench.analysis.comparability import differences, notes
from pytest_servebench.commands.cli import main
from pytest_servebench.errors import SavedRunError
from pytest_servebench.runs.results import ClauseResult, ServerDeath
from pytest_servebench.runs.run_json import from_dict
from pytest_servebench.runs.run_names import find_run, read_run, runs_in
from simulation import saved
from simulation.cases import SEEN
from tests.conftest import RunBench
from tests.examples import examples
from tests.results import RESULTS
from tests.sample import SAMPLE

RUN = saved.queue_run("made", rates=[20.0], number=200)


def refused(path: Path | str, results: Path = Path("none")) -> str:
    """Return the one message with which a file is refused."""
    with pytest.raises(SavedRunError) as error:
        read_run(path, results)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    assert message.endswith(".")
    return message


def written(directory: Path, content: str | bytes) -> Path:
    path = directory / "run.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# -- what comes back ------------------------------------------------------------------------------


def test_a_case_comes_back_as_it_was() -> None:
    clause = ClauseResult("p50<1s", "p50", 1.0, 0.01, None, None, "passed", "met")
    resources = dataclasses.replace(SEEN, series={"time": [0.0, 1.0], "cpu": [1.0, 2.0]})
    case = saved.case(clauses=(clause,), resources=resources, failures={"timeout": 3})
    assert from_dict(json.loads(json.dumps(case.to_dict()))) == case


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    assert read_run(saved.save(RUN, tmp_path)) == RUN


def test_deaths_come_back_and_older_files_know_of_none(tmp_path: Path) -> None:
    died = ServerDeath("toy", "Toy 1.0", "a.py::test_a", "it ended", "servers/toy/toy.log")
    run = dataclasses.replace(RUN, deaths=(died,), not_measured=3)
    data = saved.plain(run)
    assert read_run(written(tmp_path, json.dumps(data))) == run
    del data["servebench"]["deaths"], data["servebench"]["not_measured"]
    assert read_run(written(tmp_path, json.dumps(data))) == RUN


def test_what_hooks_add_is_ignored(tmp_path: Path) -> None:
    data = saved.plain(RUN)
    data["servebench"]["commit"] = "1f2e"
    data["servebench"]["cases"][0]["note"] = {"by": "a hook"}
    data["servebench"]["cases"][0]["server"]["rack"] = 7
    assert read_run(written(tmp_path, json.dumps(data))) == RUN


def test_a_run_that_pytest_saved(run_bench: RunBench) -> None:
    run_bench("--servebench-slo=p50<1s", "--benchmark-json=bench.json")
    results = RESULTS
    run = read_run("latest", results)
    assert [case.verdict for case in run.cases] == ["passed"]
    assert run == read_run(results / run.name / "run.json")
    # The file of pytest-benchmark holds all that ours does.
    assert read_run("bench.json").cases == run.cases


def test_the_sample_run_stays_readable() -> None:
    data = json.loads((SAMPLE / "run.json").read_text())
    schema = resources.files("pytest_servebench.runs").joinpath("run-1.schema.json").read_text()
    jsonschema.validate(data["servebench"], json.loads(schema))
    run = read_run(SAMPLE)
    assert [case.server.kind for case in run.cases] == ["toy", "torchserve"]
    p50 = run.cases[0].summary.estimates["p50"]
    assert p50.value is not None
    assert p50.value == pytest.approx(0.00433, rel=0.1)


# -- where runs are found -------------------------------------------------------------------------


def test_every_way_to_name_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = RESULTS
    saved.save(dataclasses.replace(RUN, name="20250101-000000"), results)
    newest = saved.save(dataclasses.replace(RUN, name="20250201-000000"), results)
    (results / "unfinished").mkdir()
    # Without "latest", as on a file system without links.
    assert find_run(results) == newest
    (results / "latest").symlink_to("20250201-000000")
    last = "20250201-000000"
    for name in (last, "latest", results, results / "latest", f"{last}/run.json"):
        assert read_run(name).name == last
    assert read_run("20250101-000000", results).name == "20250101-000000"
    assert [one.path.parent.name for one in runs_in(results)] == ["20250101-000000", last]


def test_missing(tmp_path: Path) -> None:
    assert "there is no such file, and no run of this name in none/" in refused("20250101")
    assert "pytest-servebench list" in refused(tmp_path / "missing.json")
    assert "no run.json" in refused(tmp_path)
    (tmp_path / "latest").symlink_to("gone")
    assert "no such file" in refused("latest", tmp_path)
    with pytest.raises(SavedRunError, match="--results"):
        runs_in(tmp_path / "missing")


# -- what cannot be read --------------------------------------------------------------------------


def edited(change: Callable[[dict[str, Any]], object]) -> str:
    data = saved.plain(RUN)
    change(data)
    return json.dumps(data)


def first(data: dict[str, Any]) -> dict[str, Any]:
    case: dict[str, Any] = data["servebench"]["cases"][0]
    return case


def in_case(change: Callable[[dict[str, Any]], object]) -> str:
    return edited(lambda data: change(first(data)))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("run: 1", "is not JSON: Expecting value in line 1"),
        (b"\x93NUMPY\x01\xff", "not even text"),
        ("[]", "not a saved run"),
        ("7", "not a saved run"),
        ("{}", "neither 'servebench' nor 'benchmarks'"),
        ("[" * 100_000, "is not JSON"),
        (json.dumps(saved.plain(RUN))[:5000], "was cut off in line 1"),
        ('{"servebench": NaN}', "contains NaN"),
        ('{"servebench": {"schema_version": 1, "cases": [Infinity]}}', "contains Infinity"),
        ('{"servebench": []}', "servebench is [], not an object"),
        (edited(lambda data: data["servebench"].update(cases=[])), "holds no cases"),
        ('{"benchmarks": []}', "holds no cases"),
        (edited(lambda data: data["servebench"].update(schema_version=2)), "schema_version 2"),
        (edited(lambda data: data["servebench"].pop("schema_version")), "schema_version None"),
        (edited(lambda data: data["servebench"].pop("machine")), "servebench.machine is missing"),
        (edited(lambda data: data["servebench"].update(cases={})), "cases is {}, not a list"),
        (in_case(lambda one: one.update(rate="fast")),
         "servebench.cases[0].rate is 'fast', not a number"),
        (in_case(lambda one: one["summary"]["estimates"].update(p50=3)),
         "cases[0].summary.estimates.p50 is 3, not an object"),
        (in_case(lambda one: one.update(seed=True)), "seed is True, not a whole number"),
        (in_case(lambda one: one.update(verdict="fine")), "verdict is 'fine', not 'passed'"),
        (in_case(lambda one: one.update(rate=-1)), "cases[0].rate is -1.0"),
        (in_case(lambda one: one["summary"]["outcomes"].update(ok=1)),
         "cases[0].summary.outcomes do not add up"),
        (in_case(lambda one: one["resources"].update(series={"time": [1], "cpu": []})),
         "cases[0].resources.series"),
        (in_case(lambda one: one["resources"].update(series={"cpu": [1]})),
         "cases[0].resources.series.time is missing"),
        (in_case(lambda one: one["summary"]["estimates"]["p50"].update(low=9.0)),
         "cases[0].summary.estimates.p50.low is 9.0, above its value"),
        (in_case(lambda one: one["summary"]["estimates"]["p50"].update(value=None)),
         "cases[0].summary.estimates.p50.high is"),
        (in_case(lambda one: one.update(clauses=[{
            "clause": "p50<1s", "metric": "p50", "bound": 1.0, "value": 0.5, "low": 0.6,
            "high": 0.4, "verdict": "passed", "message": "met"}])),
         "cases[0].clauses[0].low is 0.6, above its high, 0.4"),
        (edited(lambda data: data["servebench"]["cases"].append(first(data))),
         "has the nodeid and label of cases[0]: test_it.py::test_load[toy-rate20"),
        (in_case(lambda one: one.update(classes=[{"name": "a", "summary": one["summary"]}] * 2)),
         "cases[0].classes: two have the same name"),
        (in_case(lambda one: one.pop("summary")), "servebench.cases[0].summary is missing"),
        (json.dumps(saved.plain(RUN)).replace("40e6", "1").replace("55.0", "1e999"),
         "not a finite"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(content: str | bytes, part: str, tmp_path: Path) -> None:
    assert part in refused(written(tmp_path, content))


def test_a_file_may_be_cut_off_anywhere(tmp_path: Path) -> None:
    text = '{"a": [-1.25e-3, 4E+5, true, false, null, NaN, -Infinity], "b": "c\\u00e9\\n\\""}'
    json.loads(text)
    for end in range(1, len(text)):
        assert "was cut off in line 1" in refused(written(tmp_path, text[:end])), text[:end]


def test_a_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    path = written(tmp_path, "{}")
    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "Permission denied" in refused(path)


def test_another_schema_can_be_tried(tmp_path: Path) -> None:
    path = written(tmp_path, edited(lambda data: data["servebench"].update(schema_version=2)))
    assert "--allow schema" in refused(path)
    other = read_run(path, any_schema=True)
    assert other == dataclasses.replace(RUN, schema_version=2)
    (difference,) = differences(RUN, other)
    assert difference.about == "schema"
    assert "version 1 in BASE, 2 in NEW" in difference.text


@examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_is_one_error(tmp_path: Path, data: st.DataObject) -> None:
    text = json.dumps(saved.plain(RUN))
    at = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(0, 300))
    filling = data.draw(
        st.sampled_from(["", "null", "-1", "{}", "[]", '"x"', "NaN", "1e999", "\0"])
    )
    damaged = written(tmp_path, text[:at] + filling + text[at + length :])
    try:
        read_run(damaged)
    except SavedRunError as error:
        assert "\n" not in str(error)  # noqa: PT017


# -- pytest-benchmark's own -----------------------------------------------------------------------


def benchmarks(**stats: Any) -> str:
    known = {"mean": 0.02, "median": 0.019, "stddev": 0.004, "iqr": 0.005, "rounds": 100}
    entry = {"name": "test_a", "fullname": "b.py::test_a", "extra_info": {}, "stats": known | stats}
    machine = {
        "system": "Linux", "release": "6.1.0", "python_version": "3.11.7",
        "cpu": {"brand_raw": "AMD EPYC 7B13", "count": 2},
    }  # fmt: skip
    data = {"benchmarks": [entry], "datetime": "2025-03-01T10:15:00", "machine_info": machine}
    return json.dumps(data)


def test_a_plain_benchmark_has_median_and_mean(tmp_path: Path) -> None:
    run = read_run(written(tmp_path, benchmarks()))
    assert (run.name, run.started) == ("run", "2025-03-01T10:15:00")
    assert {name: run.machine[name] for name in ("cpu", "cores", "system")} == {
        name: saved.MACHINE[name] for name in ("cpu", "cores", "system")
    }
    (case,) = run.cases
    assert (case.nodeid, case.server.kind, case.rate) == ("b.py::test_a", "", 0)
    estimates = case.summary.estimates
    assert set(estimates) == {"p50", "mean"}
    mean, median = estimates["mean"], estimates["p50"]
    assert mean.low == pytest.approx(0.02 - 1.96 * 0.004 / 10, abs=1e-6)
    assert median.value == 0.019
    assert median.high == pytest.approx(0.019 + 1.96 * 1.2533 * 0.005 / 1.349 / 10, abs=1e-6)


def test_a_plain_benchmark_with_data_has_percentiles(tmp_path: Path) -> None:
    data = [0.010 + 0.0001 * (i * 37 % 100) for i in range(100)]
    (case,) = read_run(written(tmp_path, benchmarks(data=data))).cases
    estimates = case.summary.estimates
    assert set(estimates) == {"p50", "p90", "p95", "p99", "p999", "mean"}
    assert estimates["p90"].value == pytest.approx(0.0189)
    assert estimates["p99"].high is None


@pytest.mark.parametrize("odd", ["… 40 rounds more", None, True, [1.0], -0.5, 1e300, float("nan")])
def test_rounds_that_are_no_times_are_left_out_and_said(odd: object, tmp_path: Path) -> None:
    data = [0.010, 0.011, odd, 0.012]
    run = read_run(written(tmp_path, benchmarks(data=data, rounds=44, ops=math.inf)))
    assert run.cases[0].summary.arrivals == 3
    assert run.cases[0].summary.estimates["p50"].value == pytest.approx(0.011)
    (said,) = run.left_out
    assert "benchmarks[0] (test_a): 1 of 4 rounds" in said
    assert said in " ".join(notes(run, RUN))


def test_data_without_any_time_leaves_the_moments(tmp_path: Path) -> None:
    run = read_run(written(tmp_path, benchmarks(data=["cut"])))
    assert set(run.cases[0].summary.estimates) == {"p50", "mean"}
    assert "1 of 1 rounds" in run.left_out[0]
    run = read_run(written(tmp_path, benchmarks(data=[0.02])))
    assert "only 1 of 100 rounds" in run.left_out[0]


def test_a_benchmark_that_cannot_be_read_costs_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = json.loads(benchmarks())
    broken = json.loads(benchmarks(mean=float("nan")))["benchmarks"][0]
    data["benchmarks"] += [broken, {"name": "test_b", "fullname": "b.py::test_b", "stats": None}]
    path = written(tmp_path, json.dumps(data))
    run = read_run(path)
    assert len(run.cases) == 1
    first, second = run.left_out
    assert "benchmarks[1].stats.mean" in first
    assert "benchmarks[2].stats" in second
    page = str(tmp_path / "page.html")
    for command in (["show", str(path)], ["report", str(path), "--output", page]):
        assert main(command) == 0
        said = capsys.readouterr().err
        assert first in said
        assert second in said


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_files_of_other_encodings(encoding: str, tmp_path: Path) -> None:
    for content in (benchmarks(), json.dumps(saved.plain(RUN))):
        run = read_run(written(tmp_path, content))
        assert read_run(written(tmp_path, content.encode(encoding))) == run


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (benchmarks(median=None), "benchmarks[0].stats.median is None, not a number"),
        (benchmarks(rounds=0), "rounds is 0"),
        ('{"benchmarks": [{"name": "a", "fullname": "a"}]}', "benchmarks[0].stats is None"),
        ('{"benchmarks": [7]}', "benchmarks[0] is 7, not an object"),
        ('{"benchmarks": [{}]}', "benchmarks[0].name is missing"),
    ],
)
def test_bad_plain_benchmarks(content: str, part: str, tmp_path: Path) -> None:
    assert part in refused(written(tmp_path, content))
