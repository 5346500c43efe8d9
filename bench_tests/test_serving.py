"""TensorFlow Serving against TorchServe: one model, the same traffic, every rate and buffer size.

Each cell is one test, such as ``test_serving[torchserve-rate10-buffer50]``. Copy this file to
begin a suite of your own.
"""

from __future__ import annotations

import pytest

from pytest_servebench import PoissonLoad, RunningServer


@pytest.mark.slo("p50<100ms", "success_rate>=100%")
def test_serving(model_server: RunningServer, poisson_load: PoissonLoad) -> None:
    poisson_load(model_server)
