"""Figures of each class of requests, and SLOs and gates on them."""

import dataclasses
import json
import math
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from pytest_servebench.analysis.comparability import notes
from pytest_servebench.analysis.compare import compare
from pytest_servebench.analysis.plan import plan_case
from pytest_servebench.commands.cli import main
from pytest_servebench.errors import OptionError
from pytest_servebench.load.classes import Classes
from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.load.streams import Streams
from pytest_servebench.objectives.gates import parse_gates
from pytest_servebench.objectives.goodput import with_goodput
from pytest_servebench.objectives.limits import limits_of
from pytest_servebench.objectives.slo import judge, parse_slo
from pytest_servebench.plugin.baseline import Baseline
from pytest_servebench.report.case_table import COLUMNS, server_rows
from pytest_servebench.report.panels import class_panels
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.runs.schema import schema
from pytest_servebench.stats.classes import class_figures
from simulation import saved
from simulation.cases import steady
from simulation.streaming import serve
from tests.conftest import RunBench
from tests.pages import check, page_text
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


def test_each_class_has_its_own_figures() -> None:
    made = records([10, 40, 20, None, 30])
    chosen = np.array([0, 2, 1, 2, 0], dtype=np.uint32)
    classed = dataclasses.replace(
        made, classes=Classes.of(chosen, ("short", "short", "long", "none"))
    )
    short, long, none = (one.summary for one in class_figures(classed, 5.0, math.inf))
    assert (short.arrivals, short.success_rate, short.offered_rate) == (3, 1.0, 3.0)
    values = {name: one.value for name, one in short.estimates.items()}
    assert values["p50"] == pytest.approx(0.02)
    assert values["ttft.p99"] == pytest.approx(0.015)
    assert values["tpot.p50"] == pytest.approx(0.005)
    assert values["output_tokens"] == 3
    assert (long.arrivals, long.outcomes["ok"]) == (2, 1)
    # Of two, the first is the median; failed requests are infinitely slow.
    assert long.estimates["p50"].value == pytest.approx(0.04)
    assert long.estimates["ttft.p99"].value is None
    assert none.arrivals == none.estimates["throughput"].value == 0
    assert class_figures(made, 5.0, math.inf) == ()


def test_classes_are_saved_with_the_records(tmp_path: Path) -> None:
    file = tmp_path / "records.npz"
    made = records([10, 40, None])
    classes = Classes.of(np.array([1, 0, 1], dtype=np.uint32), ("erst", "größer"))
    dataclasses.replace(made, classes=classes).save(file)
    found = Records.load(file).classes
    assert found is not None
    assert found.names == ("erst", "größer")
    assert found.members("größer").tolist() == [0, 2]
    for names in (b"[1, 2]", b"{", b'["a"]', b'["a", "a"]'):
        with np.load(file) as archive:
            columns = {**archive, "class_names": np.frombuffer(names, dtype=np.uint8)}
        np.savez_compressed(tmp_path / "damaged.npz", **columns)
        with pytest.raises(ValueError, match="class_"):
            Records.load(tmp_path / "damaged.npz")


def mixed(slow: float = 0.040, seed: int = 1, requests: int = 1200) -> CaseResult:
    """Return a case of which every third request is ``slow`` (seconds), with some noise."""
    dice = np.random.default_rng(seed)
    of_request = np.arange(requests, dtype=np.uint32) % 3
    took = np.where(of_request == 2, slow, 0.010) * dice.lognormal(0.0, 0.1, requests)
    rows = dataclasses.replace(
        steady(took, 50.0), classes=Classes.of(of_request, ("quick", "quick", "slow one"))
    )
    made = saved.case(rows)
    return dataclasses.replace(made, records=rows, classes=class_figures(rows, made.rate, math.inf))


@pytest.mark.parametrize(
    ("text", "verdict", "words"),
    [
        ("p50{quick}<20ms", "passed", "800 requests"),
        ("p50{slow one}<20ms", "failed", "400 requests"),
        ("p99{slow one}<50ms", "inconclusive", "for p99, which needs 662: 39.7 s at 16.7/s"),
        ("throughput{slow one}>=15/s", "passed", "400 requests"),
        ("success_rate{quick}>=99%", "passed", "800 requests"),
        ("goodput{quick}>=30/s", "passed", "800 requests"),
        # A request keeps the limits on all requests, and those on its own class.
        ("goodput>=45/s, p50{quick}<100ms, p50{slow one}<100ms", "passed", "1200 requests"),
        ("goodput>=35/s, p50{slow one}<20ms", "failed", "1200 requests"),
    ],
)
def test_slos_on_classes(text: str, verdict: str, words: str) -> None:
    case = mixed()
    clauses = parse_slo(text)
    found = judge(clauses, with_goodput(case, clauses, math.inf))[0]
    assert (found.verdict, found.request_class) == (verdict, clauses[0].request_class)
    assert words in found.message
    with pytest.raises(OptionError, match=r"'nope'.*quick and slow one"):
        judge(parse_slo("p50{nope}<1s"), case)


def test_a_limit_on_a_class_counts_its_requests_alone() -> None:
    rows = mixed().records
    assert rows is not None
    assert rows.classes is not None
    (limit,) = limits_of(parse_slo("p99{slow one}<20ms"))
    slow = np.arange(len(rows)) % 3 == 2
    assert limit.is_known(rows)
    assert (limit.counted(rows) == slow).all()
    assert (limit.broken_by(rows) == slow).all()
    own = rows.of_class("quick", 0.0)
    assert not limit.counted(own).any()
    assert not limit.broken_by(own).any()
    assert not limit.is_known(dataclasses.replace(rows, classes=None))


@pytest.mark.slow
def test_gates_on_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = (mixed(), mixed(slow=0.050, seed=2))
    base, new = (dataclasses.replace(one, records_file="r.npz") for one in measured)
    files = [
        saved.save(saved.run([one], name), tmp_path) for one, name in ((base, "a"), (new, "b"))
    ]
    statuses = {}
    for gate in ("p50{quick}:10%", "p50{slow one}:10%", "p50:10%", "p50{nope}:10%"):
        statuses[gate] = main(["compare", *map(str, files), "--fail", gate, "--format", "json"])
        told = capsys.readouterr()
        (block,) = json.loads(told.out)["comparisons"]
        assert [one["class"] for one in block["cases"]] == ["", "quick", "slow one"]
    assert list(statuses.values()) == [0, 1, 0, 2]
    assert "nope" in told.err
    assert "quick and slow one" in told.err
    assert main(["compare", *map(str, files), "--all", "--html", str(tmp_path / "page.html")]) == 1
    shown = capsys.readouterr().out
    assert "buffer50]{slow one}" in shown
    assert "p50{slow one}" in (tmp_path / "page.html").read_text()
    assert main(["plan", "--run", str(files[0]), "--slo", "p50{slow one}<50ms"]) == 0
    assert "10 % more p50{slow one}, " in " ".join(capsys.readouterr().out.split())


def test_a_class_that_one_side_lacks_is_unknown_there() -> None:
    one, other = mixed(), dataclasses.replace(mixed(), label="other")
    without = dataclasses.replace(other, classes=())
    (gate,) = parse_gates("p50{quick}:10%")
    (both,) = compare(saved.run([one, other]), saved.run([one, other]), [gate]).gates
    (found,) = compare(saved.run([one, other]), saved.run([one, without]), [gate]).gates
    assert [(len(judged.judged), judged.unknown) for judged in (both, found)] == [(2, 0), (1, 1)]
    (note,) = notes(saved.run([one, other]), saved.run([one, without]))
    assert "'quick' and 'slow one'" in note
    assert "only in BASE" in note


def test_a_plan_for_a_class_is_that_of_its_requests_alone() -> None:
    case = mixed()
    own = case.of_class("slow one")
    planned = plan_case(parse_slo("p50{slow one}<50ms"), case.rate, [case])
    alone = plan_case(parse_slo("p50<50ms"), own.rate, [own])
    assert planned.needed[0].requests == alone.needed[0].requests == alone.requests
    assert planned.requests == 3 * alone.requests
    assert planned.seconds == pytest.approx(alone.seconds)
    shown, whole = ({one.name: one for one in plan.detectable} for plan in (planned, alone))
    assert shown["p50{slow one}"].seconds == whole["p50"].seconds
    assert shown["p50{slow one}"].change == whole["p50"].change
    assert shown["p50"].change != whole["p50"].change


def test_the_page_has_a_row_and_charts_of_each_class(tmp_path: Path) -> None:
    (clause,) = judge(parse_slo("p50{slow one}<20ms"), case := mixed())
    lacking = dataclasses.replace(case, classes=(), rate=2 * case.rate)
    run = saved.run([dataclasses.replace(case, clauses=(clause,)), lacking])
    html = check(page_text(run, tmp_path))
    rows = [one for one in html.named("tr") if one.get("class") == "part"]
    assert len(rows) == 2
    titles = [f"Latency {one}, {name}, ms" for one in ("p50", "p99") for name in case.class_names]
    assert [html.text.count(one) for one in titles] == [2] * 4  # heading and title of the drawing
    quick, slow = class_panels(run.cases)[0]
    assert [one.is_broken(run.cases[0]) for one in (quick, slow)] == [False, True]
    assert slow.point(run.cases[1]) is None
    found = case.of_class("slow one").summary.estimates["p50"].value
    drawn = slow.point(run.cases[0])
    assert drawn is not None
    assert found == pytest.approx(drawn.value / 1e3)


def test_a_gate_on_a_class_is_a_clause_of_its_case() -> None:
    gates = parse_gates(
        "p50{quick}:10%, p50{slow one}:10%, p50{nope}:10%, success_rate{quick}:0.01%"
    )
    baseline = Baseline("main", saved.run([mixed()]), "", gates, frozenset(), "fail")
    judged = baseline.judge(mixed(slow=0.050, seed=2), saved.run([]), 1)
    found = [(one.request_class, one.verdict, one.sort) for one in judged.clauses]
    assert found == [
        ("quick", "passed", "gate"),
        ("slow one", "failed", "gate"),
        ("nope", "inconclusive", "gate"),
        ("quick", "inconclusive", "gate"),
    ]
    assert "quick and slow one" in judged.clauses[2].message
    assert re.search(r"smallest detectable change is -\d\.\d+ pp", judged.clauses[3].message)


def test_a_slow_machine_is_told_with_the_gates_that_it_leaves_undecided() -> None:
    gates = parse_gates("p50{quick}:10%, p50{slow one}:10%, goodput{slow one}:10%")
    base, new = mixed(), mixed(slow=0.050, seed=2)
    generator = dataclasses.replace(new.generator, cpu_seconds=1.25 * new.generator.cpu_seconds)
    new = dataclasses.replace(new, generator=generator)
    judged = Baseline("main", saved.run([base]), "", gates, frozenset(), "fail").judge(
        new, saved.run([]), 1
    )
    assert [one.verdict for one in judged.clauses] == ["passed", "inconclusive", "inconclusive"]
    hints = ["--servebench-repeats" in one.message for one in judged.clauses]
    assert hints == [False, True, False]


def test_a_class_that_no_arrival_took_has_no_share_of_successes() -> None:
    classes = Classes(("a", "b"), np.zeros(2, dtype=np.uint32))
    rows = dataclasses.replace(records([10, 20]), classes=classes)
    case = dataclasses.replace(saved.case(rows), classes=class_figures(rows, 1.0, math.inf))
    (block,) = server_rows([case], {case.server.kind: "server"}, [case])
    place = [column.heading for column in COLUMNS].index("ok %")
    assert [row[place].text for row in block.rows] == ["100.0", "100.0", "-"]


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
    quick, slow, broken = (one.summary for one in (quick, slow, broken))
    assert slow.estimates["ttft.p50"].value > 0.2 > quick.estimates["ttft.p50"].value
    assert (quick.success_rate, slow.success_rate, broken.success_rate) == (1, 1, 0)
    assert quick.arrivals > slow.arrivals > 0 < broken.arrivals
    assert quick.arrivals + slow.arrivals + broken.arrivals == case.summary.arrivals
    assert broken.estimates["p50"].value is None
    case.check("ttft.p50{slow}<5s", "error_rate{broken}>=50%")

def test_another_class(poisson_load):
    requests = mix({"quick": (3, [script(0.0).request()]), "slow": (1, [script(0.2).request()])})
    poisson_load("http://127.0.0.1:{port}", requests=requests, name="mixed", duration=1)
"""


@pytest.mark.slow
def test_a_mix_has_figures_for_each_class_in_json_text_and_page(
    run_bench: RunBench, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve() as server:
        result = run_bench(
            "--servebench-rates=60", "--servebench-page=true",
            "--servebench-slo=success_rate{broken}<=50%",
            test=TEST.replace("{port}", str(server.port)),
        )  # fmt: skip
    result.assert_outcomes(passed=1, failed=1, warnings=3)
    text = " ".join(result.stdout.str().split())
    assert (
        "success_rate{broken}<=50%: it has no class 'broken' of requests; it has quick and" in text
    )
    assert "└ class slow" in text
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
        assert "0 µs to infinite" not in text
    assert f"{case['classes'][1]['summary']['arrivals']} requests" in shown
    assert {one["request_class"] for one in case["clauses"]} == {"slow", "broken"}
