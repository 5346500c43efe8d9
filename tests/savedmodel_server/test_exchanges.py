"""The server answers what was recorded from TensorFlow Serving 2.19.1 as that did.

Statuses, headers, JSON and the model's numbers are the same; not the layout of the JSON, and of an
error, not its wording.
"""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.savedmodel_server.running import ANSWER_LIMIT, Running, closed_by_server, read_response

EXCHANGES = json.loads(
    Path(__file__).with_name("tfserving-rest-exchanges.json").read_text(encoding="utf-8")
)["exchanges"]
CLIPPED = " …CLIPPED… "


def image(pixel: object, rows: int = 28) -> list[list[list[object]]]:
    return [[[pixel]] * 28] * rows


# The recording leaves out the middle of long bodies.
WHOLE = {
    "predict row, 2 instances": json.dumps({"instances": [image(0.5)] * 2}),
    "instances and inputs": json.dumps({"instances": [image(0.5)], "inputs": [image(0.5)]}),
    "mixed instance shapes": json.dumps({"instances": [image(0.5), image(0.5, rows=27)]}),
    "wrong dtype: bool": json.dumps({"instances": [image(True)]}),
    "wrong dtype: null element": json.dumps({"instances": [image(None)]}),
    "number 1e309": json.dumps({"instances": [image(1)]}, separators=(",", ":")).replace(
        "[1]", "[1e309]"
    ),
}


def body_of(exchange: dict[str, Any]) -> bytes:
    recorded = exchange["request"]["body"]
    if "base64" in recorded:
        return base64.b64decode(recorded["base64"])
    text: str = recorded["text"]
    if CLIPPED in text:
        whole = WHOLE[exchange["name"]]
        head, tail = text.split(CLIPPED)
        assert whole.startswith(head)
        assert whole.endswith(tail)
        assert len(whole) == recorded["text_len"]
        text = whole
    return text.encode()


def request_of(exchange: dict[str, Any]) -> bytes:
    lines = [exchange["request"]["line"]]
    lines += [f"{name}: {value}" for name, value in exchange["request"]["headers"]]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body_of(exchange)


def is_prediction(exchange: dict[str, Any]) -> bool:
    line: str = exchange["request"]["line"]
    return line.startswith("POST ") and exchange["response"]["status"] == 200


def test_the_recording_is_complete() -> None:
    names = [exchange["name"] for exchange in EXCHANGES]
    assert len(names) == 49
    assert len(set(names)) == len(names)
    assert [
        e["name"] for e in EXCHANGES if CLIPPED in e["request"]["body"].get("text", "")
    ] == list(WHOLE)


@pytest.mark.servers
@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange["name"])
def test_answers_as_recorded(
    exchange: dict[str, Any], fashion: Running, answers: dict[str, np.ndarray[Any, Any]]
) -> None:
    recorded = exchange["response"]
    with fashion.connect() as connection:
        connection.sendall(request_of(exchange))
        response = read_response(connection)
        if recorded["connection_closed_by_server"]:
            assert closed_by_server(connection, ANSWER_LIMIT)
        else:
            connection.sendall(b"GET /v1/models/fashion HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert read_response(connection).status == 200

    assert response.status == recorded["status"]
    headers = [(name, value) for name, value in recorded["headers"] if name != "Content-Length"]
    assert [pair for pair in response.headers if pair[0] != "Content-Length"] == headers
    recorded_text = recorded["body"]["text"]
    if ("Content-Type", "application/json") not in headers:
        assert response.body.decode() == recorded_text
        return
    answer, expected = json.loads(response.body), json.loads(recorded_text)
    if "error" in expected:
        assert list(answer) == ["error"]
        assert isinstance(answer["error"], str)
    elif not is_prediction(exchange):
        assert answer == expected
    else:
        check_prediction(exchange["name"], answer, expected, answers)


def check_prediction(
    name: str,
    answer: dict[str, Any],
    expected: dict[str, Any],
    answers: dict[str, np.ndarray[Any, Any]],
) -> None:
    """The numbers are the model's, and it is another one; all else is the server's."""
    assert list(answer) == list(expected)
    ((numbers,), (recorded,)) = answer.values(), expected.values()
    assert np.shape(numbers) == np.shape(recorded)
    pixel = {
        "predict integers for floats": "one",
        "number NaN": "nan",
        "number 1e39": "infinite",
    }.get(name, "half")
    want = np.repeat(answers[pixel], len(numbers), axis=0)
    np.testing.assert_allclose(np.array(numbers), want, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="session")
def answers(models: Path) -> dict[str, np.ndarray[Any, Any]]:
    """What the model answers in TensorFlow itself, by pixel."""
    with np.load(models / "fashion" / "answers.npz") as file:
        return dict(file)
