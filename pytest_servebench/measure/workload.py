"""What a case sent, and when, as digests: by them a comparison knows whether it was the same.

Labels do not tell: a trace can be changed where it lies, or lie elsewhere, and a test can send
other requests under its old name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from pytest_servebench.protocols.base import Request


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


def requests_digest(requests: Iterable[Request], *, paths: bool = True) -> str:
    """Return the SHA-256 of requests in their order, without address, secrets and request ids.

    Args:
        requests: what is sent.
        paths: whether paths count; those of predictions are a model's address.
    """
    digest = hashlib.sha256()
    for request in requests:
        parts = request.identity(paths=paths)
        for part in parts:
            digest.update(len(part).to_bytes(8, "little") + part)
        digest.update((len(parts) - 1).to_bytes(8, "little"))
    return digest.hexdigest()
