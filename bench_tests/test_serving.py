"""TensorFlow Serving against TorchServe: the same model and traffic, every rate and buffer size.

Each combination is one test, such as ``test_serving[torchserve-rate10-buffer50]``. Copy this file
to start your own suite.
"""

from __future__ import annotations

import pytest

from pytest_servebench import PoissonLoad, RunningServer


@pytest.mark.slo("p50<100ms", "success_rate>=100%")
def test_serving(model_server: RunningServer, poisson_load: PoissonLoad) -> None:
    poisson_load(model_server)
