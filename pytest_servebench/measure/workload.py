"""What a case sent, and when, as digests: by them a comparison knows whether it was the same.

Labels do not tell: a trace can be changed where it lies, or lie elsewhere, and a test can send
other requests under its old name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from pytest_servebench.protocols.base import HttpRequest

_NOT_COMPARED: Final = re.compile(
    r"auth(?!ors?\b)|token(?!s|iz)|secret|passw|cookie|credential|session|signature"  # secrets
    r"|\bsig\b|\bkey\b|apikey"
    r"|\bhost\b|request-?id|correlation-?id|trace|\bb3\b|\bdate\b",  # where, and which one
    re.IGNORECASE,
)
"""Names of headers and parameters whose values may be others in each run of one workload.

Not so ``max_tokens``, which says how much work a request is.
"""


def schedule_digest(scheduled: npt.NDArray[np.int64], choice: npt.NDArray[np.uint32]) -> str:
    """Return the SHA-256 of when requests come and which they are.

    Args:
        scheduled: arrivals, ns since the clock's start; microseconds count, since the last bits of
            a logarithm differ between builds of NumPy.
        choice: for each arrival the index of its request.
    """
    digest = hashlib.sha256(((scheduled + 500) // 1000).astype("<i8").tobytes())
    digest.update(choice.astype("<u4").tobytes())
    return digest.hexdigest()


def requests_digest(requests: Iterable[HttpRequest], *, paths: bool = True) -> str:
    """Return the SHA-256 of requests in their order, without address, secrets and request ids.

    Args:
        requests: what is sent.
        paths: whether paths count; those of predictions are a model's address.
    """
    digest = hashlib.sha256()
    for request in requests:
        head = [request.method, _target(request.path) if paths else ""]
        head += [f"{name.lower()}: {_value(name, value)}" for name, value in request.headers]
        for part in (*map(_encoded, head), request.body):
            digest.update(len(part).to_bytes(8, "little") + part)
        digest.update(len(head).to_bytes(8, "little"))
    return digest.hexdigest()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _value(name: str, value: str) -> str:
    return "" if _NOT_COMPARED.search(name.replace("_", "-")) else value


def _target(path: str) -> str:
    """Return path and query without the values of secret parameters."""
    parts = urlsplit(path)
    if not parts.query:
        return path
    pairs = (pair.partition("=") for pair in parts.query.split("&"))
    return parts.path + "?" + "&".join(f"{name}={_value(name, value)}" for name, _, value in pairs)
