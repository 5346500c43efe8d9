"""Figures of each class of a mix."""

import json

import jsonschema
import numpy as np
import pytest

from pytest_servebench.commands.cli import main
from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.load.streams import Streams
from pytest_servebench.runs.schema import schema
from pytest_servebench.stats.classes import class_figures
from simulation.streaming import serve
from tests.conftest import RunBench
from tests.results import saved_run

MS = 1_000_000


def records(latencies: list[float | None]) -> Records:
    """Return requests that arrive every 10 ms; ``None`` fails. Streams begin half way."""
    size = len(latencies)
    arrived = np.arange(size, dtype=np.int64) * 10 * MS
    ok = np.array([one is not None for one in latencies])
    took = np.array([0 if one is None else int(one * MS) for one in latencies], dtype=np.int64)
    done = np.where(ok, arrived + took, NEVER)
    first = (arrived + took // 2)[ok]
    counts = np.where(ok, 2, 0)
    streams = Streams(
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        times=np.stack([first, done[ok]], axis=1).reshape(-1),
        tokens=np.where(ok, 3, -1).astype(np.int32),
        input_tokens=np.full(size, -1, dtype=np.int32),
        bunched=np.zeros(size, dtype=np.int32),
        counted="usage",
    )
    outcome = np.where(ok, Outcome.OK, Outcome.TIMEOUT).astype(np.uint8)
    return Records(
        arrived, arrived, arrived, arrived, done, done, outcome,
        np.full(size, 200, dtype=np.int16), window=10**9, streams=streams,
    )  # fmt: skip


def test_each_class_has_its_own_percentiles_and_successes() -> None:
    made = records([10, 40, 20, None, 30])
    chosen = np.array([0, 2, 1, 2, 0], dtype=np.uint32)
    short, long, none = class_figures(made, chosen, ("short", "short", "long", "none"))
    assert (short.name, short.arrivals, short.ok) == ("short", 3, 3)
    assert short.times == pytest.approx({
        "p50": 0.02, "p99": 0.03, "ttft.p50": 0.01, "ttft.p99": 0.015,
        "tpot.p50": 0.005, "tpot.p99": 0.0075,
    })  # fmt: skip
    assert (long.arrivals, long.ok) == (2, 1)
    # Of two, the first is the median; failed requests are infinitely slow.
    assert long.times["p50"] == pytest.approx(0.04)
    assert long.times["ttft.p99"] is None
    assert (none.arrivals, none.ok, none.times) == (0, 0, {})
    assert class_figures(made, chosen, ()) == ()


TEST = """
from simulation.streaming import DONE, Script, chat, usage
from pytest_servebench import mix

def script(at, status=200):
    return Script([(at, chat("a")), (at, chat("b", "stop") + usage(2) + DONE)], status=status)

def test_load(poisson_load):
    requests = mix({
        "quick": (3, [script(0.0).request()]),
        "slow": (1, [script(0.2).request()]),
        "broken": (1, [script(0.0, 500).request()]),
    })
    case = poisson_load("http://127.0.0.1:{port}", requests=requests, name="mixed", duration=1)
    quick, slow, broken = case.result.classes
    assert slow.times["ttft.p50"] > 0.2 > quick.times["ttft.p50"]
    assert (quick.ok, slow.ok, broken.ok) == (quick.arrivals, slow.arrivals, 0)
    assert quick.arrivals > slow.arrivals > 0 < broken.arrivals
    assert quick.arrivals + slow.arrivals + broken.arrivals == case.summary.arrivals
    assert broken.times["p50"] is None
"""


def test_a_mix_has_figures_for_each_class_in_json_text_and_page(
    run_bench: RunBench, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve() as server:
        result = run_bench(
            "--servebench-rates=60", "--servebench-page=true",
            test=TEST.replace("{port}", str(server.port)),
        )  # fmt: skip
    result.assert_outcomes(passed=1)
    directory, run = saved_run()
    jsonschema.validate(run["servebench"], json.loads(json.dumps(schema())))
    (case,) = run["servebench"]["cases"]
    assert [one["name"] for one in case["classes"]] == ["quick", "slow", "broken"]
    assert "mix" in case["input_source"]
    capsys.readouterr()
    assert main(["show", "-v"]) == 0
    shown = capsys.readouterr().out
    page = (directory / "report.html").read_text()
    for text in (shown, page):
        assert "class quick" in text
        assert "class broken" in text
    assert f"{case['classes'][1]['arrivals']} requests" in shown
