"""The served models, and servers which serve them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.savedmodel_server.running import Running, running


@pytest.fixture(scope="package")
def fashion(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the convnet."""
    with running(models / "fashion", tmp_path_factory.mktemp("log") / "fashion") as server:
        yield server


@pytest.fixture(scope="package")
def mixed(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the model with many signatures, which serves gRPC and its metrics."""
    directory = tmp_path_factory.mktemp("mixed")
    config = directory / "monitoring.config"
    config.write_text("prometheus_config { enable: true }")
    flag = f"--monitoring_config_file={config}"
    with running(models / "mixed", directory / "log", flag, name="mixed", grpc=True) as server:
        yield server
