"""What is seen at a terminal of what takes minutes."""

import re
import sys
from pathlib import Path

import pytest

from tests.at_terminal import run_at_terminal

BAR = """
from model_build.progress import progress_bar
with progress_bar(total=1000, unit="B", unit_scale=True, desc="file.gz") as bar:
    for _ in range(10):
        bar.update(100)
print("done")
"""

BUILD = """
import logging, sys, time
from model_build.progress import status_line
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
with status_line("building the model"):
    logging.info("building torchserve, onnx ...")
    time.sleep(1.5)
    logging.info("built onnx in 1.5 s (1 of 2)")
print("done")
"""


def test_a_download_has_a_bar(tmp_path: Path) -> None:
    seen = run_at_terminal([sys.executable, "-c", BAR], tmp_path, columns=60)
    assert seen.status == 0
    bar, done = [line for line in seen.lines if line]
    assert re.match(r"file.gz: 100%\|█+\| 1.00k/1.00k \[", bar)
    assert done == "done"


@pytest.mark.slow
def test_a_build_has_a_line_that_tells_how_long_it_has_been(tmp_path: Path) -> None:
    seen = run_at_terminal([sys.executable, "-c", BUILD], tmp_path)
    assert seen.status == 0
    assert "building the model … 1 s".encode() in seen.output
    said = [line for line in seen.lines if line]
    assert said == ["building torchserve, onnx ...", "built onnx in 1.5 s (1 of 2)", "done"]
