"""The page for Prometheus: how many predictions, with what status, how long they took."""

import contextlib
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pytest_servebench.servers.savedmodel_server.status import ApiError

DEFAULT_PATH = "/monitoring/prometheus/metrics"
_BOUNDS = [10 * 1.8**n for n in range(33)]  # microseconds; the real server's buckets
_CONFIG = re.compile(
    r"\s*prometheus_config\s*:?\s*\{(?P<fields>"
    r'(?:\s*(?:enable\s*:\s*(?:true|false)|path\s*:\s*"[^"\n]*")\s*[,;]?)*)\s*\}\s*'
)


class Metrics:
    """Counts predictions. Safe to call from several threads at once."""

    def __init__(self, path: str = DEFAULT_PATH) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._sums: Counter[str] = Counter()

    @contextlib.contextmanager
    def request(self, model: str) -> Iterator[None]:
        """Count what happens inside as one prediction."""
        start = time.perf_counter()
        status = "OK"
        try:
            yield
        except ApiError as error:
            status = error.code
            raise
        finally:
            self._record(model, status, int((time.perf_counter() - start) * 1e6))

    def _record(self, model: str, status: str, micros: int) -> None:
        bucket = next((i for i, bound in enumerate(_BOUNDS) if micros <= bound), len(_BOUNDS))
        with self._lock:
            self._requests[model, status] += 1
            self._buckets.setdefault(model, [0] * (len(_BOUNDS) + 1))[bucket] += 1
            self._sums[model] += micros

    def page(self) -> bytes:
        """Return the page."""
        with self._lock:
            lines = ["# TYPE :tensorflow:serving:request_count counter"]
            lines += [
                f':tensorflow:serving:request_count{{model_name="{model}",status="{status}"}} {n}'
                for (model, status), n in sorted(self._requests.items())
            ]
            lines.append("# TYPE :tensorflow:serving:request_latency histogram")
            for model, counts in sorted(self._buckets.items()):
                labels = f'model_name="{model}",API="Predict",entrypoint="REST"'
                total = 0
                for bound, count in zip([*_BOUNDS, None], counts, strict=True):
                    total += count
                    le = "+Inf" if bound is None else f"{bound:.6g}"
                    lines.append(
                        f':tensorflow:serving:request_latency_bucket{{{labels},le="{le}"}} {total}'
                    )
                lines.append(
                    f":tensorflow:serving:request_latency_sum{{{labels}}} {self._sums[model]}"
                )
                lines.append(f":tensorflow:serving:request_latency_count{{{labels}}} {total}")
        return ("\n".join(lines) + "\n").encode()


def read_config(file: Path) -> Metrics | None:
    """Read a monitoring configuration; None if it enables nothing.

    Raises:
        ValueError: it cannot be read, or says something that this server does not know.
    """
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {file}: {error}") from error
    config = _CONFIG.fullmatch(re.sub(r"#[^\n]*", "", text))
    if config is None:
        raise ValueError(
            f"{file} is not of the form 'prometheus_config {{ enable: true, path: \"/…\" }}', "
            "which is all that this server understands"
        )
    enabled = re.findall(r"enable\s*:\s*(true|false)", config["fields"])
    paths = re.findall(r'path\s*:\s*"([^"\n]*)"', config["fields"])
    if enabled[-1:] != ["true"]:
        return None
    return Metrics((paths or [DEFAULT_PATH])[-1] or DEFAULT_PATH)
