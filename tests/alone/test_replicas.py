"""The sizing model against a proxy in front of two servers."""

import dataclasses
from contextlib import ExitStack
from pathlib import Path

import pytest

from pytest_servebench.runs.results import CaseResult
from pytest_servebench.sizing.fit import fit
from pytest_servebench.sizing.model import ServerModel
from pytest_servebench.sizing.prediction import Setting, predict
from simulation import known
from simulation.saved import case

pytestmark = pytest.mark.servers


def test_two_replicas_behind_a_proxy_are_as_fast_as_predicted(tmp_path: Path) -> None:
    mean, workers, buffer_size, load = 0.006, 32, 1000, 0.7

    def measured(server: known.Known, rate: float, seconds: float, seed: int) -> CaseResult:
        result = server.load(
            rate=rate, duration=seconds, seed=seed, workers=workers, buffer_size=buffer_size,
            timeout=10.0, drain=5.0, warmup=0.5,
        )  # fmt: skip
        made = case(result.records, rate=rate, buffer_size=buffer_size, workers=workers)
        return dataclasses.replace(made, records=result.records)

    with ExitStack() as stack:
        replicas = [
            stack.enter_context(known.serve(tmp_path, 1, f"fixed:{mean}", seed)) for seed in (1, 2)
        ]
        alone = stack.enter_context(known.round_robin(replicas[:1]))
        both = stack.enter_context(known.round_robin(replicas))
        model = fit([measured(alone, share / mean, 6.0, seed=1) for share in (0.2, 0.5)])
        assert isinstance(model, ServerModel)
        assert model.slots == 1
        found = measured(both, 2 * load / mean, 9.0, seed=3).summary.estimates
    setting = Setting(2 * load / mean, workers, buffer_size, 2, "round_robin")
    predicted = predict(model, setting)
    for name in ("p50", "p95"):
        assert predicted.estimates[name].value == pytest.approx(found[name].value, rel=0.2), name
