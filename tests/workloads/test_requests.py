"""Which request each arrival takes: at random, in order, or by weight."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench import HttpRequest, Requests, mix
from pytest_servebench.load.choice import AtRandom, Choice, InOrder, Weighted
from pytest_servebench.load.draws import payload_choice
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.target import Target
from pytest_servebench.measure.traffic import of_requests
from simulation.streaming import serve
from tests.conftest import RunBench
from tests.refusals import refused

GETS = [HttpRequest("GET", f"/{number}") for number in range(5)]


@given(
    st.integers(0, 200),
    st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=9),
    st.integers(0, 2**31),
)
def test_every_arrival_has_one_of_the_requests(
    arrivals: int, weights: list[float], seed: int
) -> None:
    choices: list[Choice] = [AtRandom(), InOrder(), Weighted(tuple(weights))]
    for choice in choices:
        drawn = choice.draw(arrivals, len(weights), np.random.default_rng(seed))
        assert drawn.dtype == np.uint32
        assert len(drawn) == arrivals
        assert (drawn < len(weights)).all()


def test_order_and_weights_are_kept() -> None:
    def drawn(choice: Choice, number: int) -> list[int]:
        drawn: list[int] = choice.draw(number, 3, np.random.default_rng(1)).tolist()
        return drawn

    assert drawn(InOrder(), 7) == [0, 1, 2, 0, 1, 2, 0]
    counts = np.bincount(drawn(Weighted((1, 2, 5)), 8000))
    # Binomial: four standard deviations.
    assert counts.tolist() == pytest.approx([1000, 2000, 5000], abs=4 * np.sqrt(8000 * 0.25))


def test_a_plain_list_is_drawn_as_before() -> None:
    spec = LoadSpec(
        target=Target("127.0.0.1", 1), requests=(b"", b"", b""), rate=10, buffer_size=1,
        duration=1, workers=1, seed=3,
    )  # fmt: skip
    assert payload_choice(spec, 8).tolist() == [1, 1, 1, 2, 0, 1, 2, 2]


def test_a_mix_takes_classes_by_weight_and_their_requests_alike() -> None:
    mixed = mix({"chat": (3, GETS[:3]), "long": (1, Requests(tuple(GETS[3:])))})
    assert list(mixed) == GETS
    assert mixed.classes == ("chat",) * 3 + ("long",) * 2
    assert mixed.choice == Weighted((1.0, 1.0, 1.0, 0.5, 0.5))
    sent = of_requests(mixed)
    assert (sent.choice, sent.classes) == (mixed.choice, mixed.classes)
    assert "chat 3" in sent.source


WRONG: dict[str, tuple[Callable[[], object], list[str]]] = {
    "nothing": (lambda: mix({}), ["0.7"]),
    "a list": (lambda: mix([GETS]), ["0.7"]),  # type: ignore[arg-type]
    "no weight": (lambda: mix({"chat": GETS}), ["'chat'", "weight"]),  # type: ignore[dict-item]
    "a weight of 0": (lambda: mix({"chat": (0, GETS)}), ["'chat'", "0", "positive"]),
    "no number": (lambda: mix({"chat": ("1", GETS)}), ["'chat'", "'1'"]),  # type: ignore[dict-item]
    "no requests": (lambda: mix({"chat": (1, [])}), ["'chat'", "no requests"]),
    "one request": (lambda: mix({"chat": (1, GETS[0])}), ["'chat'", "list"]),  # type: ignore[dict-item]
    "no name": (lambda: mix({"": (1, GETS)}), ["''", "name"]),
    "an order": (lambda: mix({"chat": (1, Requests(tuple(GETS), InOrder()))}), ["'chat'", "order"]),
    "a mix": (lambda: mix({"chat": (1, mix({"a": (1, GETS)}))}), ["'chat'", "weights", "one mix"]),
    "weights of 0": (lambda: Weighted((1.0, 0.0)), ["weights[1]", "0.0", "positive"]),
    "weights of nan": (lambda: Weighted((1.0, float("nan"))), ["weights[1]", "nan"]),
    "few weights": (lambda: Requests(tuple(GETS), Weighted((1.0, 2.0))),
                    ["Weighted", "2 ", "5 requests"]),
    "more classes": (lambda: Requests(tuple(GETS), classes=("a",) * 6),
                     ["classes", "6 ", "5 requests"]),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_mix_that_cannot_be_is_refused(name: str) -> None:
    refused(*WRONG[name])


def test_a_trace_is_replayed_with_its_own_requests(run_bench: RunBench, tmp_path: Path) -> None:
    rows = [
        {"timestamp": 70 * k, "input_length": 3 + k, "output_length": 1 + k % 3} for k in range(9)
    ]
    path = tmp_path / "mooncake.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    test = f"""
import dataclasses
from simulation.streaming import DONE, Script, chat, usage
from pytest_servebench import Requests, completion_requests, trace_prompts

def test_load(poisson_load):
    asked = completion_requests(trace_prompts({str(path)!r}, recorded=True), model="tiny")
    # The server follows scripts; the number of tokens tells which of them.
    scripts = tuple(
        Script([(0.0, chat("a" * k, "stop") + usage(k + 1) + DONE)]).request()
        for k, _ in enumerate(asked)
    )
    asked = dataclasses.replace(asked, items=scripts)
    case = poisson_load("http://127.0.0.1:{{port}}", requests=asked, name="scripted", duration=0.6)
    records = case.records
    assert records.streams.tokens.tolist() == list(range(1, 10))
    assert records.scheduled.tolist() == [70_000_000 * k for k in range(9)]
    assert case.generator.arrivals == "trace:mooncake.jsonl@recorded"
    assert case.input_source == "lengths of mooncake.jsonl"
"""
    with serve() as server:
        result = run_bench(test=test.replace("{port}", str(server.port)))
    result.assert_outcomes(passed=1)
