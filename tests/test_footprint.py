"""Memory of a server's processes: shared pages count once."""

import os
import subprocess
import sys
from typing import Any

import psutil
import pytest

from pytest_servebench.measure.footprint import footprint, proportional

MB = 1e6
SHARED = 64  # MB

# A parent with a block of memory and three children that only read it.
FORKED = f"""
import os, sys, time
block = bytearray(os.urandom(1 << 20) * {SHARED})
for _ in range(3):
    if not os.fork():
        print(sum(block[::4096]), flush=True)
        time.sleep(60)
        os._exit(0)
time.sleep(60)
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="PSS is Linux's")


@linux
def test_memory_that_a_forked_tree_shares_counts_once() -> None:
    with subprocess.Popen([sys.executable, "-c", FORKED], stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout is not None
            for _ in range(3):
                parent.stdout.readline()
            tree = [parent.pid, *(one.pid for one in psutil.Process(parent.pid).children())]
            assert len(tree) == 4
            resident = sum(psutil.Process(pid).memory_info().rss for pid in tree)
            found = footprint([*tree, 2**22 + 1])  # one that has just ended
        finally:
            for child in psutil.Process(parent.pid).children():
                child.kill()
            parent.kill()
    assert found is not None
    assert found.measure == "pss"
    assert resident > 4 * SHARED * MB
    assert SHARED * MB < found.size < 2 * SHARED * MB


@pytest.mark.parametrize("reason", [psutil.AccessDenied, AttributeError])
def test_where_pss_is_not_told_it_is_the_sum_of_rss(
    monkeypatch: pytest.MonkeyPatch, reason: type[Exception]
) -> None:
    def refused(_: Any) -> None:
        raise reason

    monkeypatch.setattr(psutil.Process, "memory_full_info", refused)
    found = footprint([os.getpid()])
    assert found is not None
    assert found.measure == "rss"
    assert found.size == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert proportional([os.getpid()]) is None


def test_an_attached_server_has_none() -> None:
    assert footprint([]) is None
    assert proportional([]) is None
