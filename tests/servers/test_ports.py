"""Free ports are free and different, and a listening port has an owner."""

import errno
import math
import os
import socket

import pytest

from pytest_servebench.load.target import Target
from pytest_servebench.servers import ports
from pytest_servebench.servers.attached import AttachedServer, UnknownProtocol
from pytest_servebench.servers.ports import accepts, free_ports, listens, refusal

from .conftest import StartChild


def test_free_ports_are_different_and_can_be_bound() -> None:
    chosen = free_ports(20)
    assert len(set(chosen)) == 20
    for port in chosen:
        socket.create_server(("127.0.0.1", port)).close()


def test_listens_tells_whose_port_it_is(start_child: StartChild) -> None:
    child = start_child("import time; time.sleep(1000)")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert accepts(Target("127.0.0.1", port), 5)
        assert listens([child.pid, os.getpid()], port)
        assert not listens([child.pid], port)
    assert not listens([os.getpid()], port)
    assert not accepts(Target("127.0.0.1", port), 5)


def test_a_limit_of_this_machine_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_port(*_: object, **__: object) -> socket.socket:
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    monkeypatch.setattr(socket, "create_connection", no_port)
    target = Target("127.0.0.1", 80)
    with pytest.raises(OSError, match="Cannot assign"):
        refusal(target, 5)
    assert not accepts(target, 5)
    AttachedServer("s", "s", target.url, UnknownProtocol(), _seen=-math.inf).check_alive()


def test_a_name_that_no_host_can_have() -> None:
    assert "name" in str(refusal(Target("a" * 64, 80), 5))


def test_a_process_that_is_gone_listens_nowhere() -> None:
    assert not listens([2**22 + 1], 80)


@pytest.mark.parametrize(
    ("address", "public", "reached", "text"),
    [
        ("127.0.0.1", False, True, "127.0.0.1:80"),
        ("127.1.2.3", False, False, "127.1.2.3:80"),
        ("::1", False, False, "[::1]:80"),
        ("::ffff:127.0.0.1", False, True, "[::ffff:127.0.0.1]:80"),
        ("0.0.0.0", True, True, "0.0.0.0:80"),
        ("192.168.1.2", True, False, "192.168.1.2:80"),
        ("::", True, True, "[::]:80"),
        ("fe80::1%eth0", True, False, "[fe80::1%eth0]:80"),
    ],
)
def test_who_may_reach_an_address(address: str, public: bool, reached: bool, text: str) -> None:
    assert ports.is_public(address) is public
    assert ports.is_reached((address, 80), 80) is reached
    assert not ports.is_reached((address, 80), 81)
    assert ports.shown((address, 80)) == text
