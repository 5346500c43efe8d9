"""The command line: ``run``, ``compare`` and ``list`` as their users meet them."""

import dataclasses
import functools
import json
import re
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.commands.cli import build_parser, main
from pytest_servebench.commands.run import pytest_arguments
from pytest_servebench.objectives.capacity import judge_capacity
from pytest_servebench.objectives.slo import parse_slo
from pytest_servebench.runs.results import Run
from pytest_servebench.runs.run_names import runs_in
from simulation import saved
from simulation.capacities import searched
from simulation.cases import UNSEEN
from tests.conftest import RunBench
from tests.results import RESULTS

PROGRAM = Path(sysconfig.get_path("scripts"), "pytest-servebench")  # need not be on PATH


# -- run ------------------------------------------------------------------------------------------


def arguments(*command: str) -> list[str]:
    return pytest_arguments(build_parser().parse_args(["run", *command]), ())


def test_parameters_become_pytest_options() -> None:
    assert arguments(
        "--rates", "1", "5", "10", "--buffer-sizes", "10", "50", "--duration", "15",
        "--worker-threads", "10", "--tf-model", "M", "--ts-model", "N", "--tf-only",
    ) == [
        "bench_tests", "--servebench-rates=1,5,10", "--servebench-buffer-sizes=10,50",
        "--servebench-duration=15", "--servebench-worker-threads=10",
        "--servebench-server-option=tensorflow_serving.model=M",
        "--servebench-server-option=torchserve.model=N",
        "--servebench-servers=tensorflow_serving",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("localhost", "http://localhost:8501"),
        ("localhost:9000", "http://localhost:9000"),
        ("[::1]", "http://[::1]:8501"),
        ("[::1]:9000", "http://[::1]:9000"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1"),
    ],
)
def test_hosts_become_urls(host: str, url: str) -> None:
    assert f"--servebench-server-option=tensorflow_serving.url={url}" in arguments(
        "--tf-host", host
    )


def test_ts_host_has_torchserves_port() -> None:
    assert "--servebench-server-option=torchserve.url=http://h:8080" in arguments("--ts-host", "h")


def test_only_one_server_can_be_the_only_one() -> None:
    with pytest.raises(SystemExit):
        arguments("--tf-only", "--ts-only")


def test_missing_suite_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run"]) == 2
    assert "--suite='bench_tests'" in capsys.readouterr().err


@pytest.mark.slow
def test_what_follows_goes_to_pytest(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_a="def test_a(): pass\ndef test_b(): pass")
    result = pytester.run(PROGRAM, "run", "--suite", "test_a.py", "--", "-k", "test_b")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*1 passed, 1 deselected*"])


# -- compare --------------------------------------------------------------------------------------

Outcome = tuple[int, str, str]
Compare = Callable[..., Outcome]

RUNS: dict[str, dict[str, Any]] = {
    "base": {}, "again": {"seed": 2}, "slower": {"seed": 3, "slower": 1.5},
    "failing": {"seed": 4, "failed": 0.05},
}  # fmt: skip


@functools.cache
def made(name: str) -> Run:
    return saved.queue_run(name, **RUNS[name])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with some saved runs, to which tests add others of other names."""
    directory = tmp_path_factory.mktemp("results") / RESULTS.name
    for name in RUNS:
        saved.save(made(name), directory)
    return directory


@pytest.fixture
def compare(results: Path, capsys: pytest.CaptureFixture[str]) -> Compare:
    """Run the command on these runs; return exit code, output and errors."""

    def command(*given: str) -> Outcome:
        status = main(["compare", *given, "--results", str(results)])
        return status, *capsys.readouterr()

    return command


def test_exit_codes_and_the_last_line(compare: Compare) -> None:
    status, out, err = compare("base", "again", "--fail", "p99:10%", "--fail", "success_rate:1%")
    assert (status, err, out.splitlines()[-1]) == (0, "", "No gate failed; inconclusive: p99:10%.")
    status, out, _ = compare("base", "slower", "--fail", "p50:10%")
    assert status == 1
    assert "p50:10%  FAILED in 2 of 4 cases: +" in out
    status, out, err = compare("base", "missing")
    assert (status, out) == (2, "")
    assert err.startswith("pytest-servebench compare: error: 'missing': there is no")


def test_a_page_that_cannot_be_written_is_no_regression_and_loses_no_comparison(
    compare: Compare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object) -> str:
        raise ZeroDivisionError

    for page, words in (
        (tmp_path / "no" / "page.html", "--html="),
        (tmp_path / "page.html", "ZeroDivisionError"),
    ):
        status, out, err = compare("base", "again", "--html", str(page))
        assert status == 2
        assert out.splitlines()[-1] == "Nothing got worse beyond doubt."
        assert words in err
        monkeypatch.setattr("pytest_servebench.report.page.comparison_page", broken)


def test_without_gates_anything_beyond_doubt_counts(compare: Compare) -> None:
    status, out, _ = compare("base", "slower")
    assert status == 1
    assert out.splitlines()[-1] == "WORSE: 2 of 4 cases"
    assert re.search(
        r"^  p50 +[\d.]+ ms +[\d.]+ ms +\+\d+ % +\+\d+ % to \+\d+ %  WORSE$", out, re.M
    )
    assert compare("slower", "base")[0] == 0


def test_a_gate_lets_smaller_changes_pass(compare: Compare) -> None:
    status, out, _ = compare("base", "slower", "--fail", "p50:200%")
    assert status == 0
    assert re.fullmatch(r"No gate failed; .* worse in 2 of 4 cases\.", out.splitlines()[-1])
    assert compare("base", "failing", "--fail", "success_rate:10%")[0] == 0
    assert compare("base", "failing", "--fail", "success_rate:10%,error_rate:1%")[0] == 1


def test_several_new_runs_are_a_block_each(compare: Compare) -> None:
    status, out, _ = compare("base", "again", "slower", "--fail", "p50:5%")
    assert status == 1
    assert out.count("BASE  base") == 2
    assert out.index("No gate failed") < out.index("FAILED: p50:5%")


def test_nothing_worse(compare: Compare) -> None:
    status, out, err = compare("base", "again")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "Nothing got worse beyond doubt."
    assert max(map(len, out.splitlines())) <= 100
    status, gated, _ = compare("base", "again", "--fail", "p50:99%", "--fail", "p90:1%")
    assert status == 0
    assert re.search(r"^p50:99%  passed; noise would hide a change of less than \+", gated, re.M)
    unsure = r"^p90:1%   inconclusive in \d of 4 cases; noise would hide a change of less than \+"
    assert re.search(unsure, gated, re.M)
    assert "  memory " not in out
    every = compare("base", "again", "--all")[1]
    assert every.count("  memory ") == 4
    assert "No interval: cpu and memory." in every


def test_runs_of_others_are_refused_unless_allowed(results: Path, compare: Compare) -> None:
    base = made("base")
    cases = tuple(dataclasses.replace(case, seed=5) for case in base.cases[1:])
    other = dataclasses.replace(
        base, name="other", cases=cases, machine={**saved.MACHINE, "cpu": "Xeon"}
    )
    saved.save(other, results)
    status, out, _ = compare("base", "other")
    assert status == 2
    assert out.splitlines()[0] == "base and other cannot be compared:"
    assert re.findall(r"^  (\w+): ", out, re.M) == ["unmatched", "machine", "workload"]
    assert "AMD EPYC 7B13, 2 processors, Linux 6.1.0 in BASE, Xeon, 2 proc" in " ".join(out.split())
    assert "--allow unmatched,machine,workload" in out
    assert compare("base", "other", "--allow", "unmatched,machine")[0] == 2
    status, out, _ = compare("base", "other", "--allow=unmatched,machine", "--allow=workload")
    assert status == 0
    assert "allowed: workload: seed 0 in BASE, seed 5 in NEW (3 cases)" in out


def test_nothing_in_common_cannot_be_allowed(results: Path, compare: Compare) -> None:
    saved.save(saved.run([saved.case(rate=7.0)], "elsewhere"), results)
    status, out, _ = compare("base", "elsewhere", "--allow", "unmatched,workload")
    assert status == 2
    assert "no valid case in common" in out


def test_an_invalid_case_is_not_passed_over(results: Path, compare: Compare) -> None:
    first, *others = made("again").cases
    broken = dataclasses.replace(first, verdict="invalid", invalid_reason="41 late")
    saved.save(dataclasses.replace(made("again"), name="broken", cases=(broken, *others)), results)
    status, out, _ = compare("base", "broken")
    assert status == 2
    assert "its measurement is invalid in NEW: 41 late" in " ".join(out.split())
    status, out, _ = compare("base", "broken", "--allow", "unmatched")
    assert status == 0
    assert "is invalid in NEW: 41 late" in " ".join(out.split())
    assert "3 cases, " in out


def test_a_gate_on_what_nobody_knows_is_refused_and_where_some_do_it_says_so(
    results: Path, compare: Compare
) -> None:
    base = made("base")
    unseen = tuple(dataclasses.replace(case, resources=UNSEEN) for case in base.cases)
    saved.save(dataclasses.replace(base, name="unseen", cases=unseen), results)
    status, out, _ = compare("base", "unseen", "--fail", "memory:10%")
    assert status == 2
    assert "--fail=memory:10%: no case has this metric" in out
    cases = (base.cases[0], *unseen[1:])
    saved.save(dataclasses.replace(base, name="partly", cases=cases), results)
    status, out, _ = compare("base", "partly", "--fail", "memory:10%")
    assert status == 0
    assert re.search(r"^memory:10%  passed.*; unknown in 3 more cases$", out, re.M)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--fail", "p99"], "--fail: gate 'p99': expected METRIC:NUMBER%"),
        (["--fail", "p99:5%", "--fail", "p99:10%"], "p99 has several thresholds"),
        (["--allow", "everything"], "--allow='everything': choose from unmatched, machine"),
        (["--output", "missing/file"], "--output='missing/file': cannot write"),
    ],
)
def test_bad_options_are_named(compare: Compare, options: list[str], part: str) -> None:
    status, _, err = compare("base", "again", *options)
    assert status == 2
    assert part in err


def test_json(compare: Compare) -> None:
    status, out, _ = compare("base", "failing", "--format", "json", "--fail", "p99:10%")
    data = json.loads(out, parse_constant=pytest.fail)
    assert data["exit_code"] == status == 1
    (block,) = data["comparisons"]
    assert block["base"]["name"] == "base"
    assert block["gates"][0]["metric"] == "p99"
    case = next(one for one in block["cases"] if one["server"] == "torchserve")
    assert case["metrics"]["p99"]["new"] is None  # infinite
    assert case["metrics"]["p99"]["failed"]
    share = case["metrics"]["success_rate"]
    assert share["change"] == "difference"
    assert share["low"] < share["value"] < share["high"] < 0


def test_github_action_benchmark(compare: Compare) -> None:
    items = json.loads(compare("base", "failing", "--format", "github-action-benchmark")[1])
    assert all(set(item) <= {"name", "unit", "value", "range", "extra"} for item in items)
    by_name = {item["name"]: item for item in items}
    item = by_name["test_load[toy-rate10-buffer50]: p50"]
    assert item["unit"] == "ms"
    assert item["value"] == pytest.approx(3.6, rel=0.2)
    assert re.fullmatch(r"[\d.]+ to [\d.]+", item["range"])
    assert "base " in item["extra"]
    failed = by_name["test_load[torchserve-rate10-buffer50]: failed"]
    assert failed["value"] == pytest.approx(5, abs=1.5)
    assert "test_load[torchserve-rate10-buffer50]: p99" not in by_name  # infinite
    assert not any("throughput" in name for name in by_name)  # larger is better


def test_bmf(compare: Compare) -> None:
    found: dict[str, dict[str, dict[str, Any]]]
    found = json.loads(compare("base", "again", "slower", "--format", "bmf")[1])
    assert len(found) == 8
    measures = found["again: test_load[toy-rate10-buffer50]"]
    assert set(measures["p50_ms"]) == {"value", "lower_value", "upper_value"}
    assert measures["p50_ms"]["lower_value"] < measures["p50_ms"]["value"]
    assert measures["memory_mb"] == {"value": 520.0}
    assert measures["success_rate_percent"]["value"] == 100


def test_markdown(compare: Compare) -> None:
    out = compare("base", "slower", "--format", "markdown", "--fail", "p50:10%")[1]
    assert out.startswith("### ❌ FAILED: p50:10%\n")
    rows = [text for text in out.splitlines() if text.startswith("|")]
    assert {text.replace("\\|", "").count("|") for text in rows} == {8}


def test_output_goes_to_a_file_and_the_table_to_the_terminal(
    compare: Compare, tmp_path: Path
) -> None:
    file = tmp_path / "out.json"
    _, out, _ = compare("base", "again", "--format", "json", "--output", str(file))
    assert json.loads(file.read_text())["exit_code"] == 0
    assert out.startswith("BASE  base")


@pytest.mark.slow
def test_runs_that_pytest_saved_are_compared(
    run_bench: RunBench, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        run_bench("--servebench-repeats=2")
    first, second = (one.path.parent.name for one in runs_in(RESULTS))
    capsys.readouterr()
    # What so few requests tell is chance, but the runs must be found to be alike.
    assert main(["compare", first, second]) != 2
    out = capsys.readouterr().out
    assert "\ntest_load[toy-rate40-buffer10]  2 repeats\n" in out
    assert "1 case, 4 figures: " in out


def test_plain_benchmarks_are_compared(tmp_path: Path, compare: Compare) -> None:
    for name, factor in (("old", 1.0), ("new", 1.5)):
        data = [factor * (0.010 + 0.0001 * (i * 37 % 100)) for i in range(500)]
        stats = {"rounds": 500, "data": data}
        entry = {"name": "test_a", "fullname": "b.py::test_a", "stats": stats}
        (tmp_path / f"{name}.json").write_text(json.dumps({"benchmarks": [entry]}))
    old, new = str(tmp_path / "old.json"), str(tmp_path / "new.json")
    status, out, _ = compare(old, new, "--fail", "p50:10%")
    assert status == 1
    assert "test_a" in out
    assert compare(new, old)[0] == 0


@pytest.mark.slow
def test_ascii_terminals_are_respected(results: Path) -> None:
    done = subprocess.run(
        [PROGRAM, "compare", "base", "failing", "--results", results],
        env={"PYTHONIOENCODING": "ascii"}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert b"inf" in done.stdout


@pytest.mark.slow
def test_a_reader_may_leave(results: Path) -> None:
    command = f"{PROGRAM} compare base again --all --format json --results {results} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("{\n", "")


# -- list -----------------------------------------------------------------------------------------


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = made("base")
    failed = dataclasses.replace(base.cases[0], verdict="failed")
    saved.save(dataclasses.replace(base, cases=(failed, *base.cases[1:])), tmp_path)
    saved.save(made("slower"), tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").touch()
    edited = saved.save(dataclasses.replace(base, name="edited"), tmp_path)
    data = json.loads(edited.read_text())
    data["servebench"]["cases"][0]["rate"] = -1  # which is not listed, but 'show' refuses
    edited.write_text(json.dumps(data))
    (tmp_path / "latest").symlink_to("slower")
    assert main(["list", "--results", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.split(r"  +", lines[1]) == [
        "base", "2025-03-01 10:15", "4", "-", "1", "-", "-", "3", "Toy and TorchServe",
    ]  # fmt: skip
    assert lines[2].startswith("slower  ")
    assert lines[2].endswith("  latest")
    refused = "\n".join(lines[3:])
    assert "is empty" in refused
    assert "edited" in refused
    assert "cases[0].rate is -1" in refused
    assert len(lines) == 5


def test_list_counts_capacities_beside_cases(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = made("base")
    toy = base.cases[0].server
    found, probes = searched(toy, 200.0)
    asked = judge_capacity(dataclasses.replace(found, label="b"), parse_slo("capacity>=9/s"))
    bare = tuple(dataclasses.replace(probe, records=None) for probe in probes)
    saved.save(dataclasses.replace(base, capacities=(found, asked), probes=bare), tmp_path)
    assert main(["list", "--results", str(tmp_path)]) == 0
    heading, line = (re.split(r"  +", text) for text in capsys.readouterr().out.splitlines())
    shown = dict(zip(heading, line, strict=False))
    numbers = {"cases": "4", "capacities": "2", "found": "1", "passed": "1", "no SLO": "4"}
    assert numbers.items() <= shown.items()


def test_list_names_a_run_once_and_all_its_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(30, 0, -1):
        started = f"2025-03-{number:02d}T10:15:00+01:00"
        name = "first" if number == 1 else f"run-{number:02d}"
        saved.save(dataclasses.replace(made("base"), name=name, started=started), tmp_path)
    for link, target in (("latest", "run-30"), ("main", "run-30"), ("v1", "first"), ("gone", "x")):
        (tmp_path / link).symlink_to(target)
    assert main(["list", "--results", str(tmp_path)]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines]
    assert names == ["first", *(f"run-{number:02d}" for number in range(2, 31))]  # by their dates
    assert lines[0].endswith("  v1")
    assert lines[-1].endswith("  main, latest")


def test_list_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--results", str(tmp_path)]) == 0
    assert "no saved runs" in capsys.readouterr().out
    assert main(["list", "--results", str(tmp_path / "missing")]) == 2
    assert "--results" in capsys.readouterr().err
