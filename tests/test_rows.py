"""Several rows a request: ids, requests, checks of answers, reports and comparisons."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_servebench.analysis.comparability import differences
from pytest_servebench.analysis.evaluation import evaluate
from pytest_servebench.analysis.pairs import key_of, match
from pytest_servebench.errors import BadResponseError, ModelError, OptionError
from pytest_servebench.measure import traffic
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import HttpAnswer, HttpRequest
from pytest_servebench.protocols.plain_json import PlainJson
from pytest_servebench.protocols.tensorflow_serving import TensorFlowServingRest
from pytest_servebench.protocols.torchserve import TorchServeRest
from pytest_servebench.report.series import colours, make_series
from pytest_servebench.report.terminal import report_lines
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.text.tables import plain_text
from tests.conftest import RunBench
from tests.report import made_runs
from tests.results import saved_cases, saved_run

TESTS = """
import json, pytest

@pytest.mark.slo("p50<5s")
def test_load(model_server, poisson_load, rows):
    assert poisson_load(model_server).rows == rows

@pytest.mark.servebench(rows=1)
def test_loads(model_server, poisson_load):
    sent = []
    poisson_load(model_server, check=lambda request, answer: sent.append(request))
    poisson_load(model_server, rows=3, check=lambda request, answer: sent.append(request))
    lengths = [len(json.loads(request.body)["instances"]) for request in sent]
    assert set(lengths) == {1, 3}
    assert lengths == sorted(lengths)
"""
EVERY = ["test_load[toy-rate40-buffer10-rows1]", "test_load[toy-rate40-buffer10-rows8]",
         "test_loads[toy-rate40-buffer10]", "test_loads[toy-rate40-buffer10]::rows3"]  # fmt: skip


@pytest.mark.slow
def test_rows_are_a_parameter_of_a_case(run_bench: RunBench) -> None:
    result = run_bench(
        "--servebench-rows=1,8", "--servebench-page=true", "--servebench-markdown=report.md",
        test=TESTS,
    )  # fmt: skip
    result.assert_outcomes(passed=3)
    cases = saved_cases()
    assert [(case["name"], case["rows"]) for case in cases] == list(
        zip(EVERY, (1, 8, 1, 3), strict=True)
    )
    assert len({case["workload"]["requests_sha256"] for case in cases}) == 3
    assert len({case["workload"]["schedule_sha256"] for case in cases}) == 1
    assert all(case["answers_checked"] and not case["answers_wrong"] for case in cases)
    text = result.stdout.str()
    assert "requests of 1, 3 and 8 rows" in " ".join(text.split())
    page = (saved_run()[0] / "report.html").read_text()
    for shown in (text, Path("report.md").read_text(), page):
        assert "buffer 10, 8 rows" in shown
        assert "buffer 10, 3 rows" in shown

    def collected(*options: str) -> list[str]:
        found = run_bench("--collect-only", "-q", *options, test=TESTS).outlines
        return [one.partition("::")[2] for one in found if one.startswith("test_it.py::")]

    several = "--servebench-rows=1,8,80"
    assert collected(several, "-k", "rows8") == [EVERY[1]]
    assert collected(several, "-m", "servebench(rows=8)") == [EVERY[1]]
    assert collected(several, "-k", "rows1 or test_loads") == [EVERY[0], EVERY[2]]
    # What is not asked for shows nowhere.
    assert collected() == ["test_load[toy-rate40-buffer10]", EVERY[2]]
    result = run_bench(several, "-k", "rows9", test=TESTS)
    result.stdout.fnmatch_lines(["*rows9*selects no case*rows 1, 8, 80 (--servebench-rows)*"])


OWN = """
import pytest
from pytest_servebench import HttpRequest

TWO = [HttpRequest("POST", "/", body=b'{"instances": [[1], [2]]}')]

def test_own(model_server, poisson_load):
    poisson_load(model_server, requests=TWO)

def test_said(model_server, poisson_load):
    poisson_load(model_server, requests=TWO, rows=2)

@pytest.mark.servebench(rows=1)
def test_marked(model_server, poisson_load):
    poisson_load(model_server, requests=TWO)

@pytest.mark.parametrize("rows", [0])
def test_none(model_server, poisson_load):
    pass
"""


def test_own_requests_have_the_rows_that_the_test_says(run_bench: RunBench) -> None:
    result = run_bench("--servebench-rows=2", test=OWN)
    result.assert_outcomes(passed=2, failed=1, errors=1)
    assert [(case["name"].partition("[")[0], case["rows"]) for case in saved_cases()] == [
        ("test_said", 2), ("test_marked", 1)
    ]  # fmt: skip
    text = " ".join(result.stdout.str().split())
    for fact in ("rows=2", "--servebench-rows", "requests=…, rows=…", "servebench(rows=1)"):
        assert fact in text
    assert "rows=0 from the test's own parameters" in text
    assert "1 or more" in text


INPUTS = np.arange(10, dtype=np.float32).reshape(5, 2)
MODEL = ServedModel("adder", {}, INPUTS, INPUTS.sum(axis=1, keepdims=True))
REST = TensorFlowServingRest("adder")


def bodies(sent: traffic.Traffic) -> list[list[list[float]]]:
    found = [one for one in sent.requests if isinstance(one, HttpRequest)]
    return [json.loads(one.body)["instances"] for one in found]


def test_a_request_has_the_samples_from_its_own_on() -> None:
    sent = bodies(traffic.of_model(MODEL, REST, 3))
    assert len(sent) == len(INPUTS)
    assert sent[1] == INPUTS[1:4].tolist()
    assert sent[4] == INPUTS[[4, 0, 1]].tolist()  # the first follows the last
    assert bodies(traffic.of_model(MODEL, REST, 7))[0] == INPUTS[[0, 1, 2, 3, 4, 0, 1]].tolist()
    one = traffic.of_model(MODEL, REST)
    assert traffic.of_model(MODEL, REST, 1).digest == one.digest
    assert [body[0] for body in bodies(one)] == INPUTS.tolist()


@pytest.mark.parametrize(("most", "starts"), [(1, [0, 3]), (220, [0, 2, 4]), (10_000, range(5))])
def test_large_requests_are_fewer_and_have_every_sample(
    monkeypatch: pytest.MonkeyPatch, most: int, starts: list[int]
) -> None:
    monkeypatch.setattr(traffic, "_MOST_BYTES", most)
    sent = bodies(traffic.of_model(MODEL, REST, 3))
    assert [body[0] for body in sent] == INPUTS[list(starts)].tolist()
    assert {tuple(row) for body in sent for row in body} == set(map(tuple, INPUTS.tolist()))


def test_each_row_of_an_answer_is_checked() -> None:
    def check(answers: list[float], model: ServedModel = MODEL) -> None:
        body = json.dumps({"predictions": [[one] for one in answers]}).encode()
        traffic.of_model(model, REST, 3).check(4, HttpAnswer(200, body))

    check([17, 1, 5])  # inputs 4, 0 and 1
    with pytest.raises(BadResponseError, match=r"row 2 of 3: .*differs from the model's"):
        check([17, 17, 17])
    with pytest.raises(BadResponseError, match="1 predictions for 3 inputs"):
        check([17])
    low = dataclasses.replace(MODEL, expect=lambda got, _: "too low" if got < 5 else None)
    with pytest.raises(BadResponseError, match="row 2 of 3: too low"):
        check([17, 1, 5], low)


class OneAtATime:
    """A protocol of a user's own, with the least that one needs."""

    name = "one at a time"

    def request(self, inputs: Any) -> HttpRequest:
        return HttpRequest("POST", "/", body=str(inputs).encode())

    def read(self, answer: HttpAnswer) -> Any:
        return np.float32(answer.body)


RAGGED = ServedModel("ragged", {}, [np.zeros(2), np.zeros(3)], np.zeros((2, 1)))
TEXTS = ServedModel("texts", {}, ["a", "b"], np.zeros((2, 1)))


@pytest.mark.parametrize(
    ("model", "protocol", "facts"),
    [
        (RAGGED, REST, ("inputs 0 to 1 of the model 'ragged'", "(2,) and (3,)", "pad them")),
        (TEXTS, TorchServeRest("m", body="bytes"), ('body = "bytes"', 'body = "json"')),
        (TEXTS, TorchServeRest("m", body="multipart"), ('"multipart"', 'body = "json"')),
        (MODEL, PlainJson(), ('layout = "single"', 'layout = "rows"')),
        (MODEL, OneAtATime(), ("'one at a time'", "request_rows", "RowsProtocol")),
    ],
)
def test_samples_that_cannot_share_a_request(
    model: ServedModel, protocol: Any, facts: tuple[str, ...]
) -> None:
    assert traffic.of_model(model, protocol).requests
    with pytest.raises((ModelError, OptionError)) as raised:
        traffic.of_model(model, protocol, 2)
    for fact in ("rows=2", "--servebench-rows=1", "servebench(rows=1)", *facts):
        assert fact in str(raised.value)


def rowed(rows: int, server: Any = made_runs.TORCHSERVE, rate: float = 10.0) -> CaseResult:
    one = made_runs.case(server, rate)
    nodeid = one.nodeid.replace("]", f"-rows{rows}]")
    return dataclasses.replace(one, rows=rows, nodeid=nodeid)


def test_cases_of_other_rows_are_not_compared() -> None:
    plain = made_runs.case(made_runs.TORCHSERVE)
    base, new = made_runs.run([plain, rowed(8)]), made_runs.run([rowed(1), rowed(16)])
    # One row asked for is one row as ever.
    assert [pair.key for pair in match(base, new)] == [key_of(plain)]
    assert key_of(rowed(1)) == key_of(plain) != key_of(rowed(8))
    found = [one.text for one in differences(base, new) if one.about == "unmatched"]
    assert len(found) == 2
    assert "rows8]" in found[0]
    assert "rows16]" in found[1]
    # The same id, which says nothing of rows.
    other = made_runs.run([dataclasses.replace(plain, rows=4)])
    assert not match(made_runs.run([plain]), other)
    (_, text) = [one.text for one in differences(made_runs.run([plain]), other)]
    assert "rate 10, buffer 10 instead of rate 10, buffer 10, 4 rows" in text


def test_rows_have_points_curves_and_a_note_of_their_own() -> None:
    servers = (made_runs.TENSORFLOW_SERVING, made_runs.TORCHSERVE)
    every = [rowed(rows, server, rate) for server in servers for rows in (1, 8) for rate in (5, 10)]
    points = evaluate(every).points
    assert {(point.rate, str(point.sizes)) for point in points} == {
        (rate, sizes) for rate in (5, 10) for sizes in ("buffer 10", "buffer 10, 8 rows")
    }
    palette = colours(server.kind for server in servers)
    curves = make_series(every, palette)
    assert [one.load for one in curves] == ["buffer 10", "buffer 10, 8 rows"] * 2
    assert [len({case.rows for case in one.cases}) for one in curves] == [1] * 4
    assert len({(one.colour, one.line) for one in curves}) == 4
    text = "\n".join(map(plain_text, report_lines(made_runs.run(every))))
    assert "rows: samples in each request" in text
    assert "rate 10, buffer 10, 8 rows" in text
    assert " rows" not in "\n".join(
        map(plain_text, report_lines(made_runs.run([made_runs.case()])))
    )
