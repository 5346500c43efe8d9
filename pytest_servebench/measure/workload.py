"""Digests of what a case sent, and when: a comparison uses them to recognize the same workload.

Names are not enough: a trace can change in place or move, and a test can send other requests under
the same name.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from pytest_servebench.protocols.base import Request


def schedule_digest(
    scheduled: npt.NDArray[np.int64], choice: npt.NDArray[np.uint32], think: Sequence[int] = ()
) -> str:
    """Return the SHA-256 of the arrival times, the choice of requests, and the think times.

    Args:
        scheduled: arrivals, ns since the clock's start; rounded to microseconds, as the last bits
            of a logarithm differ between builds of NumPy.
        choice: for each arrival the index of its request; of sessions, of the first one.
        think: of each request, if they are turns of sessions; ns, rounded likewise.
    """
    digest = hashlib.sha256(((scheduled + 500) // 1000).astype("<i8").tobytes())
    digest.update(choice.astype("<u4").tobytes())
    after = np.array(think, dtype=np.int64)  # NEVER, of a first turn, is not a pause of 0
    digest.update(np.where(after < 0, after, (after + 500) // 1000).astype("<i8").tobytes())
    return digest.hexdigest()


def requests_digest(requests: Iterable[Request], *, paths: bool = True) -> str:
    """Return the SHA-256 of requests in their order, without address, secrets and request ids.

    Args:
        requests: what is sent.
        paths: whether paths count; for predictions they are only the model's address.
    """
    digest = hashlib.sha256()
    for request in requests:
        parts = request.identity(paths=paths)
        for part in parts:
            digest.update(len(part).to_bytes(8, "little") + part)
        digest.update((len(parts) - 1).to_bytes(8, "little"))
    return digest.hexdigest()
