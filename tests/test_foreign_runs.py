"""Results that other load generators saved: their own figures, what they do not tell, comparisons.

The files in ``data/foreign`` are what vLLM 0.32, AIPerf 0.13 and GuideLLM 0.8.1 wrote for a small
server, with fields that are not read taken out; those with errors of one that failed some requests.
"""

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_servebench.commands.cli import main
from pytest_servebench.errors import SavedRunError
from pytest_servebench.load import quantities
from pytest_servebench.load.records import Records
from pytest_servebench.metrics import METRICS
from pytest_servebench.runs.foreign.answers import rate_of
from pytest_servebench.runs.results import Run, StreamedAnswers
from pytest_servebench.runs.run_json import read_file
from pytest_servebench.stats.summary import summarize
from simulation import saved

DATA = Path(__file__).parent / "data" / "foreign"
VLLM, AIPERF, GUIDELLM = (DATA / name for name in ("vllm.json", "aiperf.jsonl", "guidellm.json"))
Capture = pytest.CaptureFixture[str]
SINCE_ARRIVAL = {"p50", "mean", "ttft.p50", "ttfb.p50"}
UNKNOWN = {"drop_rate", "goodput", "throughput_share", "cpu_per_request", "ttfb.p50"}


def read(path: Path) -> Run:
    return read_file(path, any_tool=True)[0]


def rows_of(run: Run) -> Records:
    (case,) = run.cases
    assert case.records is not None
    return case.records


# -- figures --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "ok", "failed", "means", "unknown"),
    [
        ("vllm.json", 20, 0,
         {"ttft_sent": 47.568008, "tpot": 7.152088, "itl": 6.556081}, SINCE_ARRIVAL),
        ("vllm-chat-errors.json", 19, 5,
         {"ttft_sent": 5.479770, "itl": 11.540903}, SINCE_ARRIVAL),
        ("aiperf.jsonl", 20, 0, {"ttft_sent": 43.178040, "tpot": 6.652285}, SINCE_ARRIVAL),
        ("aiperf-errors.jsonl", 16, 5, {}, SINCE_ARRIVAL),
        ("guidellm.json", 18, 6,
         {"ttft_sent": 52.060922, "tpot": 9.166634, "latency": 164.102448},
         {"itl.p50", "stall.p50"}),
    ],
)  # fmt: skip
def test_figures_of_successes_are_those_that_the_tool_itself_gives(
    file: str, ok: int, failed: int, means: dict[str, float], unknown: set[str]
) -> None:
    run = read(DATA / file)
    (case,) = run.cases
    rows = rows_of(run)
    outcomes = case.summary.outcomes
    assert (outcomes["ok"], sum(outcomes.values()) - outcomes["ok"]) == (ok, failed)
    assert sum(case.failures.values()) == failed
    for quantity, milliseconds in means.items():
        found = quantities.sample(rows, quantity)
        assert found is not None
        of_successes = found.values[rows.ok[found.request]]
        assert 1e3 * of_successes.mean() == pytest.approx(milliseconds, rel=1e-5), quantity
    known = case.summary.estimates
    assert not (unknown | UNKNOWN) & known.keys()
    assert {"ttft_sent.p99", "tpot.p50", "success_rate", "throughput"} <= known.keys()
    # Failed requests are infinitely slow, as in our own runs.
    assert (known["ttft_sent.mean"].value is None) is bool(failed)


def test_rates_are_over_the_whole_run_as_vllm_has_them() -> None:
    (case,) = read(VLLM).cases
    told = json.loads(VLLM.read_text())
    for name, theirs in (
        ("throughput", "request_throughput"),
        ("output_rate", "output_throughput"),
    ):
        assert METRICS[name].read(case).value == pytest.approx(told[theirs])
    assert METRICS["input_tokens"].read(case).value == told["total_input_tokens"] / 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "tool", "settings", "rate"),
    [
        (VLLM, "vLLM bench serve", {"request_rate": "4.0", "endpoint_type": "openai"}, 4.0),
        (AIPERF, "AIPerf", {}, 0.0),
        (GUIDELLM, "GuideLLM 0.8.1", {"type_": "constant", "rate": "4.0"}, 4.0),
    ],
)
def test_tool_version_and_settings_are_told(
    file: Path, tool: str, settings: dict[str, str], rate: float, capsys: Capture
) -> None:
    (case,) = read(file).cases
    assert case.origin is not None
    assert str(case.origin) == tool
    assert settings.items() <= case.origin.settings.items()
    assert case.rate == rate
    for options in ([], ["-v"], ["--format", "markdown"]):
        assert main(["show", str(file), *options]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert tool in shown
        assert all(text in shown for text in settings.values())
    assert main(["show", str(file), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["cases"][0]["origin"]["version"] in tool


@pytest.mark.parametrize(
    ("setting", "rate"),
    [(4, 4.0), (0.5, 0.5), ("inf", 0.0), (float("inf"), 0.0), (float("nan"), 0.0), (-3, 0.0),
     (10**400, 0.0), (True, 0.0), (None, 0.0)],
)  # fmt: skip
def test_a_setting_that_is_no_rate_is_unknown(setting: object, rate: float) -> None:
    assert rate_of(setting) == rate


def test_answers_that_were_not_streamed_have_no_times_of_tokens(tmp_path: Path) -> None:
    data = json.loads(GUIDELLM.read_text())
    for status in ("successful", "errored"):
        for one in data["benchmarks"][0]["requests"][status]:
            one["info"]["timings"] |= {"first_token_iteration": None, "last_token_iteration": None}
    (case,) = read(written(tmp_path / "whole.json", data)).cases
    known = case.summary.estimates
    assert (case.streamed, known["success_rate"].value) == (None, 0.75)
    assert {"p50", "throughput"} <= known.keys()
    assert not {"ttft.p50", "ttft_sent.p50", "tpot.p50"} & known.keys()
    # That of failed requests is no time of output either.
    path = tmp_path / "whole.jsonl"
    lines = (DATA / "aiperf-errors.jsonl").read_text()
    path.write_text(lines.replace("time_to_first_token", "not_told"))
    with pytest.raises(SavedRunError, match="stream the answers"):
        read(path)


def test_lines_end_at_line_feeds_only(tmp_path: Path) -> None:
    lines = (DATA / "aiperf-errors.jsonl").read_text()
    path = tmp_path / "separators.jsonl"
    path.write_text(lines.replace("overloaded", "over\u2028loaded\x85"), encoding="utf-8")
    assert read(path).cases[0].summary == read(DATA / "aiperf-errors.jsonl").cases[0].summary


def test_what_a_strategy_without_arrivals_does_not_tell(tmp_path: Path) -> None:
    data = json.loads(GUIDELLM.read_text())
    data["benchmarks"][0]["config"]["strategy"] = {"type_": "concurrent", "streams": 3}
    data["benchmarks"] *= 2
    told = json.dumps(data).replace('"streams": 3', '"streams": 4', 1)
    run = read(written(tmp_path / "two.json", json.loads(told)))
    assert [case.name for case in run.cases] == ["GuideLLM[concurrent@4]", "GuideLLM[concurrent@3]"]
    assert not any(SINCE_ARRIVAL & case.summary.estimates.keys() for case in run.cases)


def test_without_start_times_requests_are_evenly_spaced(tmp_path: Path) -> None:
    data = json.loads(VLLM.read_text())
    for name in ("start_times", "latencies", "queue_times"):  # of versions before 0.15
        del data[name]
    run, known = read(written(tmp_path / "old.json", data)), read(VLLM)
    assert np.ptp(np.diff(rows_of(run).sent)) <= 1
    for name in ("ttft_sent.p50", "tpot.p50", "itl.p90"):
        read_metric = METRICS[name].read
        values = [read_metric(one.cases[0]).value for one in (run, known)]
        assert values[0] == pytest.approx(values[1], rel=1e-6)


# -- comparisons ----------------------------------------------------------------------------------


def ours(theirs: Run, slower: float, rate: float) -> Run:
    """Return a run of our own with the requests of another, answered ``slower`` times as fast."""
    rows = rows_of(theirs)
    assert rows.streams is not None
    sent = np.repeat(rows.sent, np.diff(rows.streams.offsets))
    times = sent + np.round((rows.streams.times - sent) / slower).astype(np.int64)
    streams = dataclasses.replace(rows.streams, times=times, ends_only=False)
    rows = dataclasses.replace(rows, streams=streams, first_byte=rows.sent, arrivals_known=True)
    case = saved.case(rows, rate=rate, summary=summarize(rows, rate), records=rows,
                      records_file="records/1.npz",
                      streamed=StreamedAnswers("openai", "usage", len(times)))  # fmt: skip
    return saved.run([case], "ours")


@pytest.fixture
def compare(tmp_path: Path, capsys: Capture) -> Callable[..., tuple[int, str]]:
    """Compare a run of our own with another tool's."""

    def command(theirs: Path, *gates: str, slower: float = 1.0, rate: float = 4.0,
                options: tuple[str, ...] = ()) -> tuple[int, str]:  # fmt: skip
        path = saved.save(ours(read(theirs), slower, rate), tmp_path)
        fail = [f"--fail={gate}" for gate in gates]
        status = main(["compare", str(path), str(theirs), *fail, *options])
        out, _ = capsys.readouterr()
        return status, " ".join(out.split())

    return command


@pytest.mark.slow
@pytest.mark.parametrize(
    ("theirs", "slower", "gate", "status", "part"),
    [
        (VLLM, 1.0, "ttft_sent.p50:20%", 0, "ttft_sent.p50:20% passed"),
        (VLLM, 1.0, "itl.p50:20%", 0, "itl.p50:20% passed"),
        (VLLM, 4.0, "ttft_sent.p50:20%", 1, "FAILED: ttft_sent.p50:20%"),
        (AIPERF, 4.0, "tpot.p50:20%", 1, "FAILED: tpot.p50:20%"),
        (GUIDELLM, 1.0, "ttft.p50:50%", 0, "ttft.p50:50% passed"),
        (VLLM, 1.0, "ttft.p50:20%", 2, "unknown in NEW: vLLM bench serve does not record"),
        (AIPERF, 1.0, "p99:20%", 2, "unknown in NEW: AIPerf does not record"),
        (GUIDELLM, 1.0, "itl.p50:20%", 2, "unknown in NEW: GuideLLM 0.8.1 does not record"),
        (VLLM, 1.0, "throughput:20%", 2, "unknown between tools"),
        (VLLM, 1.0, "cpu:20%", 2, "unknown in NEW: vLLM bench serve does not record"),
    ],
)
def test_gates_between_ours_and_theirs(
    compare: Callable[..., tuple[int, str]], theirs: Path, slower: float, gate: str, status: int,
    part: str,
) -> None:  # fmt: skip
    found, out = compare(theirs, gate, slower=slower)
    assert found == status
    assert part in out
    assert "measured by" in out
    assert "does not record" in out


def test_it_is_compared_with_the_case_at_its_rate(
    compare: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    status, out = compare(VLLM, rate=8.0)
    assert (status, "8 requests/s in BASE, 4 requests/s in NEW" in out) == (2, True)
    page = tmp_path / "page.html"
    status, out = compare(VLLM, rate=8.0, options=("--allow=workload", f"--html={page}"))
    assert (status, "ttft_sent.p50" in out, "throughput" in out) == (0, True, False)
    assert "vLLM bench serve" in page.read_text()
    # AIPerf records no rate.
    assert compare(AIPERF, rate=8.0)[0] == 0


def test_runs_by_one_tool_need_the_same_settings(tmp_path: Path, capsys: Capture) -> None:
    data = json.loads(VLLM.read_text())
    data["burstiness"] = 0.5
    other = written(tmp_path / "other.json", data)
    assert main(["compare", str(VLLM), str(other)]) == 2
    assert "burstiness 1.0 in BASE, 0.5 in NEW" in capsys.readouterr().out
    options = ["--allow=workload", "--fail=throughput:20%"]
    assert main(["compare", str(VLLM), str(other), *options]) == 0


def test_requests_that_the_tool_cancelled_are_left_out_and_named(capsys: Capture) -> None:
    assert main(["show", str(DATA / "aiperf-errors.jsonl")]) == 0
    assert "3 requests that AIPerf itself cancelled: left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["report"], ["size"], ["whatif", "--rate=500"], ["plan", "--slo=p99<1s", "--run"]]
)
def test_what_needs_more_than_they_tell_refuses_them(command: list[str], capsys: Capture) -> None:
    assert main([*command, str(VLLM)]) == 2
    assert "was written by vLLM bench serve" in capsys.readouterr().err


# -- damage ---------------------------------------------------------------------------------------


def written(path: Path, data: Any) -> Path:
    path.write_text(json.dumps(data))
    return path


def _put(data: Any, value: Any, *keys: Any) -> Any:
    data = copy.deepcopy(data)
    inner = data
    for key in keys[:-1]:
        inner = inner[key]
    if value is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return data


_REQUEST = ("benchmarks", 0, "requests", "successful", 2)


@pytest.mark.parametrize(
    ("file", "value", "keys", "parts"),
    [
        (VLLM, None, ("ttfts",), ["ttfts is missing", "--save-detailed"]),
        (VLLM, None, ("duration",), ["duration is missing"]),
        (VLLM, "x", ("ttfts", 3), ["ttfts[3] is 'x'"]),
        (VLLM, -0.5, ("ttfts", 3), ["request 3", "output is -0.5 s after sent"]),
        (VLLM, 1e300, ("start_times", 3), ["duration is 5.1315 s", "over 1e+300 s"]),
        (VLLM, -1, ("output_lens", 4), ["output_lens[4] is -1"]),
        (VLLM, [1, "2"], ("itls", 4), ["itls[4] is not a list of numbers"]),
        (VLLM, [0.1], ("ttfts",), ["input_lens has 20 items", "ttfts 1"]),
        (VLLM, 21, ("completed",), ["completed is 21", "20 successes"]),
        (VLLM, -5.0, ("duration",), ["duration is -5", "sent over"]),
        (VLLM, 0.5, ("duration",), ["duration is 0.5 s", "sent over"]),
        (AIPERF, json.loads(AIPERF.read_text().split("\n")[0])["metadata"]["x_request_id"],
         (2, "metadata", "x_request_id"), ["line 3 is the request of line 1", "x_request_id"]),
        (AIPERF, None, (1, "metadata", "request_start_ns"),
         ["line 2.metadata.request_start_ns is missing"]),
        (AIPERF, "s", (1, "metrics", "time_to_first_token", "unit"), ["line 2", "the end is -"]),
        (AIPERF, 1, (1, "metadata", "request_end_ns"), ["line 2", "the end is -"]),
        (AIPERF, "kg", (1, "metrics", "time_to_first_token", "unit"), ["line 2", "'kg'", "ms"]),
        (AIPERF, [30, 5], (1, "metrics", "time_to_first_token", "value"),
         ["line 2.metrics.time_to_first_token", "2 times"]),
        (AIPERF, "x", (1, "metrics", "inter_chunk_latency", "value"),
         ["line 2.metrics.inter_chunk_latency.value"]),
        (GUIDELLM, None, (*_REQUEST, "info", "timings", "targeted_start"),
         ["successful[2].info.timings.targeted_start is missing"]),
        (GUIDELLM, 5.0, (*_REQUEST, "info", "timings", "first_token_iteration"),
         ["successful[2].info.timings", "after sent"]),
        (GUIDELLM, 40, ("benchmarks", 0, "metrics", "request_totals", "successful"),
         ["18 of 40 requests", "sample_size"]),
    ],
)  # fmt: skip
def test_damaged_files_are_refused_by_field(
    tmp_path: Path, file: Path, value: Any, keys: tuple[Any, ...], parts: list[str]
) -> None:
    path = tmp_path / file.name
    if file is AIPERF:
        lines = _put([json.loads(line) for line in file.read_text().splitlines()], value, *keys)
        path.write_text("\n".join(map(json.dumps, lines)))
    else:
        written(path, _put(json.loads(file.read_text()), value, *keys))
    with pytest.raises(SavedRunError) as raised:
        read(path)
    assert all(part in str(raised.value) for part in (path.name, *parts)), str(raised.value)


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("a.json", (DATA / "aiperf-aggregate.json").read_text(),
         ["AIPerf", "profile_export.jsonl", "--export-level records"]),
        ("a.jsonl", AIPERF.read_text()[:-40], ["in line 20", "cut off"]),
        ("a.json", 2 * (VLLM.read_text().strip() + "\n"), ["2 results", "--append-result"]),
        ("a.jsonl", "1\n2\n", ["is JSON, but not a saved run"]),
        ("a.jsonl", "1\n" + "[" * 100_000, ["recursion", "line 2"]),
        ("a.json", '{"benchmarks": [5], "metadata": 5}', ["benchmarks[0] is 5"]),
        ("a.json", "{}", ["vLLM bench serve, AIPerf and GuideLLM"]),
    ],
)  # fmt: skip
def test_what_is_no_whole_file_of_requests_is_refused(
    tmp_path: Path, name: str, text: str, parts: list[str]
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SavedRunError) as raised:
        read(tmp_path / name)
    assert all(part in str(raised.value) for part in parts), str(raised.value)
