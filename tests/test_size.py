"""``size``, ``whatif`` and the page's section on sizing, of runs of simulated servers."""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_servebench.commands.cli import main
from pytest_servebench.objectives.slo import judge, parse_slo
from pytest_servebench.report.page import page
from pytest_servebench.report.page.sizing import _crossing
from pytest_servebench.report.sizing import (
    CAUTIONS,
    REASONS,
    Measured,
    measured_servers,
    own_slo,
)
from pytest_servebench.report.sizing_text import size_lines
from pytest_servebench.runs.results import CaseResult, Run
from pytest_servebench.runs.run_json import read_file
from pytest_servebench.sizing import prediction, self_check
from pytest_servebench.sizing.answers import HighestRate, Replicas
from pytest_servebench.sizing.model import Caution, Misfit, ServerModel
from pytest_servebench.sizing.prediction import Prediction, Setting
from pytest_servebench.stats.estimates import Estimate
from simulation import saved
from simulation.capacities import capacity
from simulation.servers import KNOWN, OTHERS, Server
from tests.pages import check

FIFO, SHARED = KNOWN[0], OTHERS[0]  # M/M/1 and processor sharing, both carry 200/s
BOUND = 0.05
CAPACITY = 200 - math.log(100) / BOUND  # of M/M/1, for p99

Ask = Callable[..., tuple[int, str, str]]


def cases_of(
    server: Server, kind: str, loads: Sequence[float], slo: str = "p99<50ms, cpu<90%"
) -> list[CaseResult]:
    made = []
    for load in loads:
        one = server.case(load, 15.0, np.random.default_rng([round(100 * load), kind == "toy"]))
        name = saved.case(server=kind, rate=one.rate)
        one = dataclasses.replace(
            one, name=name.name, nodeid=name.nodeid, server=name.server,
            records_file=f"records/{kind}{one.rate:g}.npz",
        )  # fmt: skip
        made.append(dataclasses.replace(one, clauses=judge(parse_slo(slo), one)))
    return made


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a server that the model describes and one that it does not, and of less than that."""
    directory = tmp_path_factory.mktemp("results")
    both = cases_of(FIFO, "toy", (0.2, 0.5)) + cases_of(SHARED, "torchserve", (0.2, 0.5))
    unsaved = [dataclasses.replace(one, records=None, records_file="") for one in both]
    for name, made in {
        "both": both,
        "single": both[:1],
        "unsaved": unsaved,
        "invalid": [dataclasses.replace(one, invalid_reason="it stopped") for one in both],
        "unjudged": [dataclasses.replace(one, clauses=()) for one in both],
    }.items():
        saved.save(saved.run(made, name), directory)
    return directory


@pytest.fixture
def ask(results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Run a command with coarse predictions: exit code, output and errors."""
    monkeypatch.setattr(prediction, "_STREAMS", 1)
    monkeypatch.setattr(prediction, "_LEAST_STEPS", 400)
    monkeypatch.setattr(prediction, "_SETTLE", 1.0)
    monkeypatch.setattr(self_check, "_CHAINS", 100)

    def command(*given: str) -> tuple[int, str, str]:
        status = main([*given, "--results", str(results)])
        return status, *capsys.readouterr()

    return command


def answers(out: str) -> dict[str, Any]:
    return {one["server"]: one for one in json.loads(out)["servers"]}


def test_size_tells_replicas_cost_and_the_highest_rate(ask: Ask) -> None:
    status, out, _ = ask("size", "both", "--rate", "500", "--price", "0.36", "--server", "Toy",
                         "--json")  # fmt: skip
    assert status == 0
    assert json.loads(out)["asked"]["slo"] == ["p99<50ms"]  # of the run, without the CPU
    found = answers(out)["toy"]
    needed = math.ceil(500 / CAPACITY)
    assert found["replicas"]["low"] <= needed <= found["replicas"]["high"]
    assert found["highest_rate"]["low"] <= CAPACITY <= found["highest_rate"]["high"]
    assert found["replicas"]["limiting"] == "p99<50ms"
    for end in ("value", "low", "high"):  # of a million requests, at 1,800,000 an hour
        cost = found["replicas"][end] * 0.36 / 1.8
        assert found["cost_of_a_million"][end] == pytest.approx(cost)
    checks = found["self_check"]
    assert [one["rate"] for one in checks] == [40, 100]
    assert not any(one["missed"] for one in checks)


def predicted(rate: float, replicas: int = 1, busy: float = 0.5) -> Prediction:
    times = dict.fromkeys(("p50", "p95", "p99"), Estimate(0.01, 0.009, 0.012))
    cautions = (Caution.EXTRAPOLATES,) if busy > 0.6 else ()
    return Prediction(Setting(rate, replicas=replicas), times, Estimate(busy, busy, busy), cautions)


MODEL = ServerModel(
    2, 0.0, np.full(10, 0.01), np.zeros(10, dtype=bool), (10,), (0.6,), (120.0,), 1, 0.0
)
(P99,) = parse_slo("p99<50ms")
CARRIED = HighestRate(150.0, 140.0, 162.0, P99, predicted(150, busy=0.75))


@pytest.mark.parametrize(
    ("needed", "highest", "facts"),
    [
        (
            Replicas(4, 4, 5, P99, predicted(500, 5)), CARRIED,
            ["500/s 4 (4 to 5); p99<50ms decides", "million 0.8 (0.8 to 1), at 0.36",
             "with 5 replicas p50 10.0 ms (9.00 to 12.0)", "carries 150/s (140 to 162); p99<50ms",
             "75 % busy; 60 % is the most"],
        ),
        (
            Replicas(4, 4, None, P99, predicted(500, 4)), CARRIED,
            ["4 (4 to ∞)", "0.8 (0.8 to ∞)", "with 4 replicas"],
        ),
        (
            Replicas(None, 9, None, P99, None), HighestRate(0.0, 0.0, 3.0, P99, None),
            ["no number of replicas is likely to keep p99<50ms; 9 may", "carries no rate"],
        ),
        (None, CARRIED, ["carries 150/s", "million 0.667 at this rate"]),
        (
            Replicas(1, 1, 1, None, predicted(500)), HighestRate(None, 150.0, None, None, None),
            ["500/s 1 cost", "million 0.2,", "carries every rate"],
        ),
    ],
)  # fmt: skip
def test_the_answer_in_words(
    needed: Replicas | None, highest: HighestRate, facts: list[str]
) -> None:
    text = " ".join(" ".join(size_lines(MODEL, 500.0, needed, highest, 1, 0.36)).split())
    assert [fact for fact in facts if fact not in text] == [], text


def test_whatif_tells_percentiles_drops_and_what_is_kept(ask: Ask) -> None:
    asked = "whatif", "both", "--rate", "300", "--replicas", "2", "--slo", "p50<1s,p99<5ms"
    status, out, _ = ask(*asked, "--format", "json")
    found = answers(out)
    assert status == 1
    assert found["torchserve"]["unfit"]["reasons"][0] == "shared"
    assert found["torchserve"]["model"] is found["torchserve"]["prediction"] is None
    predicted = found["toy"]["prediction"]["estimates"]
    assert predicted["p50"]["low"] <= math.log(2) / 50 <= predicted["p50"]["high"]
    assert predicted["drop_rate"]["value"] == 0
    assert [one["surely"] for one in found["toy"]["slo"].values()] == [True, False]
    _, text, _ = ask(*asked)
    known, unknown = text.split("TorchServe")
    for fact in (
        "300/s, 2 replicas, random routing", "1 request at a time", "2 cases at 40 to 100/s",
        "p50<1s kept", "p99<5ms broken", "! extrapolates",
    ):  # fmt: skip
        assert fact in " ".join(known.split())
    assert REASONS[Misfit.SHARED][1] in " ".join(unknown.split())
    assert "utilisation" not in unknown
    limits = ("--workers", "3", "--buffer", "2", "--routing", "least-loaded")
    _, out, _ = ask(*asked, *limits, "--server", "toy", "--json")
    assert answers(out)["toy"]["prediction"]["estimates"]["drop_rate"]["low"] > 0.01


def test_the_slo_is_that_of_the_tests_or_of_a_search(results: Path) -> None:
    run, _ = read_file(results / "unjudged" / "run.json")
    searched = dataclasses.replace(run, capacities=(capacity(kind="toy"),))
    slos = {one.kind: own_slo([one])[0] for one in measured_servers(searched, results / run.name)}
    assert slos == {"toy": (P99,), "torchserve": ()}
    odd = Measured("toy", "Toy", (), slo=("p99<50ms", "p99<0.05s", "cpu<5%", "speed<fast"))
    assert own_slo([odd]) == ((P99,), ("cpu<5%", "speed<fast"))


@pytest.mark.parametrize(
    ("given", "facts"),
    [
        ("whatif both", ["--rate"]),
        ("whatif both --rate 0", ["--rate='0'"]),
        ("whatif both --rate 9 --buffer 5", ["--buffer=5", "--workers"]),
        ("whatif both --rate 9 --workers 0", ["--workers='0'"]),
        ("whatif both --rate 9 --replicas many", ["--replicas='many'"]),
        ("whatif both --rate 9 --server torchserv", ["'torchserv'", "Toy", "'torchserve'?"]),
        ("whatif both --rate 9 --slo cpu<50%", ["--slo", "cpu<50%", "p99"]),
        ("size both --rate 9 --price free", ["--price='free'"]),
        ("size unjudged --rate 9", ["--slo 'p99<50ms'"]),
        ("size single --rate 9", ["Toy", "one case", "--servebench-rates"]),
        ("size unsaved --rate 9", ["Toy", "none were saved", "records/"]),
        ("size invalid --rate 9", ["no valid case"]),
        ("size nowhere --rate 9", ["nowhere", "pytest-servebench list"]),
    ],
)
def test_errors_name_the_remedy(ask: Ask, given: str, facts: list[str]) -> None:
    status, out, error = ask(*given.split())
    assert status == 2
    assert not out
    assert all(fact in error for fact in facts), error


def test_every_reason_and_caution_has_words() -> None:
    assert set(REASONS) == set(Misfit)
    assert set(CAUTIONS) == set(Caution)


# -- the page -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("ask")
def test_the_page_has_a_curve_for_each_server_that_the_model_describes(results: Path) -> None:
    run, _ = read_file(results / "both" / "run.json")
    html = check(page(run, results / "both", sizing=True))
    assert "sizing" in html.attributes("id")
    assert [one for one in html.attributes("id") if one.startswith("z")] == ["z1-t", "z1-d"]
    text = " ".join(html.text.split())
    assert "Toy: latency, ms" in text
    assert "p99<50ms is kept up to" in text
    assert REASONS[Misfit.SHARED][0] in text
    assert "Toy, 100/s" in text  # in the table of predictions


def test_the_page_is_silent_where_there_is_nothing_to_predict(results: Path) -> None:
    def ids(run: Run, *, sizing: bool) -> list[str]:
        return check(page(run, results / "both", sizing=sizing)).attributes("id")

    run, _ = read_file(results / "both" / "run.json")
    one_rate = dataclasses.replace(run, cases=run.cases[::2])
    assert "sizing" not in ids(one_rate, sizing=True)
    assert "sizing" not in ids(run, sizing=False)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1, 10, 100), 15), ((1, 10, None), 10), ((1, 2, 3), None), ((40, 50, 60), 0.0),
        ((None, None, None), 0.0),
    ],
)  # fmt: skip
def test_where_a_curve_reaches_a_bound(
    values: tuple[float | None, ...], expected: float | None
) -> None:
    found = _crossing((0, 10, 20), values, math.sqrt(1000))
    assert found == (None if expected is None else pytest.approx(expected))
