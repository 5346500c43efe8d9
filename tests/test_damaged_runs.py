"""Runs that someone or something has changed: each command says so, or shows what there is."""

import contextlib
import copy
import dataclasses
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from pytest_servebench.commands.cli import main
from pytest_servebench.runs.results import Attempt, ClauseResult, LogPart, ServerDeath, Workload
from simulation import saved
from simulation.capacities import searched
from simulation.cases import SEEN
from tests.examples import examples

SERIES = {"time": [0.0, 1.0], "cpu": [1.0, 2.0], "memory": [1e6, 2e6], "host_cpu": [5.0, 6.0]}
_CLAUSES = (
    ClauseResult("p99<50ms", "p99", 0.05, 0.06, 0.055, None, "failed", "broken"),
    ClauseResult("success_rate>=99%", "success_rate", 0.99, 1.0, 0.98, 1.0, "passed", "met"),
)


def _run() -> dict[str, Any]:
    cases = [
        dataclasses.replace(
            case,
            clauses=_CLAUSES if place % 2 else (),
            verdict="failed" if place % 2 else "passed",
            failures={"timeout: no answer in time": 3},
            resources=dataclasses.replace(SEEN, series=SERIES),
            logs=(LogPart("servers/toy/toy.log", 1, 2),),
            records_file="records/none.npz",
            workload=Workload("a" * 64, "b" * 64, 30.0, 1.0, 10.0),
            attempts=(Attempt("late", ""),),
        )
        for place, case in enumerate(saved.queue_run(number=150).cases)
    ]
    died = ServerDeath("toy", "Toy 1.0", cases[0].nodeid, "it ended", "servers/toy/toy.log")
    found, probes = searched(cases[0].server, 200.0)
    bare = [dataclasses.replace(one, records=None) for one in probes[:2]]
    run = saved.run(cases, deaths=(died,))
    return saved.plain(dataclasses.replace(run, capacities=(found,), probes=tuple(bare)))


RUN = _run()
BENCHMARK = {
    "datetime": "2025-03-01T10:15:00", "machine_info": {"system": "Linux", "cpu": {"count": 2}},
    "benchmarks": [
        {"name": name, "fullname": name, "extra_info": {},
         "stats": {"rounds": 3, "data": [0.1, 0.2, 0.3], "mean": 0.2, "median": 0.2,
                   "stddev": 0.1, "iqr": 0.1}}
        for name in ("test_a", "test_b")
    ],
}  # fmt: skip

ODD: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        [None, True, False, 0, -1, 1, 10**30, -(10**30), 0.5, 1e-300, 1e300, "", "x", "..",
         "\x1b[31m", "p50", "<b>", "invalid", "a" * 400, [], {}, [None], {"x": 1}, [[]], "\ud800",
         "2026-13-45T99:00:00", "../../../etc/passwd", "\0"]
    ),
    st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8),
)  # fmt: skip


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where there are values, all of them."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def _of_other_tools() -> list[Any]:
    """Return files of other tools with few requests."""
    texts = [(DATA / name).read_text() for name in ("vllm.json", "guidellm.json", "aiperf.jsonl")]
    vllm, guidellm = map(json.loads, texts[:2])
    cut = {name: value[:4] for name, value in vllm.items() if isinstance(value, list)}
    (benchmark,) = guidellm["benchmarks"]
    for status, number in (("successful", 3), ("errored", 1)):
        benchmark["requests"][status] = benchmark["requests"][status][:number]
        benchmark["metrics"]["request_totals"][status] = number
    return [{**vllm, **cut, "completed": 4}, guidellm,
            [json.loads(line) for line in texts[2].splitlines()[:4]]]  # fmt: skip


DATA = Path(__file__).parent / "data" / "foreign"
OTHERS = _of_other_tools()
PLACES = {id(one): list(places(one)) for one in (RUN, BENCHMARK, *OTHERS)}


@st.composite
def damaged(draw: st.DrawFn, wholes: Sequence[Any] = (RUN, RUN, BENCHMARK)) -> Any:
    """Draw a run in which some values are others, missing, or there twice."""
    whole: Any = draw(st.sampled_from(wholes))
    data = copy.deepcopy(whole)
    for *path, key in draw(st.lists(st.sampled_from(PLACES[id(whole)]), min_size=1, max_size=3)):
        parent: Any = data
        try:
            for part in path:
                parent = parent[part]
            value = parent[key]
        except (KeyError, IndexError, TypeError):
            continue  # it is gone already
        if not isinstance(parent, dict | list):
            continue
        match draw(st.sampled_from(["other", "other", "missing", "more"])):
            case "other":
                parent[key] = draw(ODD)
            case "missing":
                del parent[key]
            case _ if isinstance(value, list):
                parent[key] = [*value, *value]
            case _ if isinstance(parent, dict):
                parent[draw(st.text(max_size=4))] = value
    return data


def said(*arguments: str) -> str:
    """Return what a command wrote; fail where that is a traceback."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(list(arguments))
    assert "Traceback" not in err.getvalue(), f"{arguments}\n{err.getvalue()}"
    assert status in (0, 1, 2)
    assert status != 2 or err.getvalue() or out.getvalue()
    return out.getvalue()


COMMANDS = (
    ("list",), ("show", "damaged"), ("show", "damaged", "-v"),
    ("show", "damaged", "--format=markdown"), ("show", "damaged", "--format=json"),
    ("compare", "whole", "damaged", "--fail=p50:10%"), ("compare", "damaged", "whole", "--all"),
    ("compare", "damaged", "damaged", "--format=json"),
    ("compare", "damaged", "whole", "--format=markdown"),
    ("compare", "whole", "damaged", "--format=bmf", "--allow=unmatched,machine,workload,weights"),
    ("compare", "whole", "damaged", "--format=github-action-benchmark", "--allow=unmatched"),
    ("plan", "--run", "damaged", "--slo", "p99<50ms"),
)  # fmt: skip


def write(directory: Path, data: Any) -> Path:
    directory.mkdir(exist_ok=True)
    file = directory / "run.json"
    file.write_text(json.dumps(data))
    return file


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return results with one whole run."""
    results = tmp_path_factory.mktemp("results")
    write(results / "whole", RUN)
    return results


@examples(40, suppress_health_check=list(HealthCheck))
@given(data=damaged(), command=st.sampled_from(COMMANDS))
def test_no_command_breaks(results: Path, data: dict[str, Any], command: tuple[str, ...]) -> None:
    write(results / "damaged", data)
    said(*command, "--results", str(results))


@examples(25, suppress_health_check=list(HealthCheck))
@given(data=damaged(OTHERS), other=st.sampled_from([*OTHERS, RUN]))
def test_no_file_of_another_tool_breaks_a_command(results: Path, data: Any, other: Any) -> None:
    write(results / "damaged", data)
    write(results / "other", other)
    said("show", "damaged", "-v", "--results", str(results))
    said("compare", "damaged", "other", "--all", "--allow=unmatched,workload,unfinished,weights",
         "--results", str(results))  # fmt: skip


@examples(5, suppress_health_check=list(HealthCheck))
@given(data=damaged())
def test_no_page_breaks(results: Path, data: dict[str, Any]) -> None:
    write(results / "damaged", data)
    page = str(results / "page.html")
    said("report", "damaged", "--output", page, "--results", str(results))
    said("compare", "whole", "damaged", "--html", page, "--allow=unmatched", "--results",
         str(results))  # fmt: skip
