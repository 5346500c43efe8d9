"""What this machine has too little of is no fault of the server."""

import asyncio
import errno
import resource
from collections.abc import Callable

import numpy as np
import pytest

from pytest_servebench.errors import OptionError
from pytest_servebench.load import limits
from pytest_servebench.load.dialer import Dialer
from pytest_servebench.load.target import Target
from pytest_servebench.load.transports.http1 import Connection
from simulation.cases import steady
from tests.load.test_misbehaving import assert_all, load
from tests.load.test_validity import reason


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What this process may have, soft and hard; what it asks for is added."""
    found = [(256, 1024)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: found[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: found.append(both))
    return found


@pytest.mark.parametrize(("workers", "soft"), [(10, 256), (300, 364), (5000, 1024)])
def test_the_generator_asks_for_the_files_it_needs(
    allowed: list[tuple[int, int]], workers: int, soft: int
) -> None:
    limits.raise_open_files(workers)
    assert allowed[-1] == (soft, 1024)


def test_more_connections_than_the_system_allows_files_are_refused(
    allowed: list[tuple[int, int]],
) -> None:
    limits.check_open_files(900)
    with pytest.raises(OptionError, match=r"--servebench-worker-threads=1000: .*1,024.*960"):
        limits.check_open_files(1000)
    limits.check_open_files(9000, streams=10)
    with pytest.raises(OptionError, match=r"--servebench-worker-threads=9601: .*1,024.*9,600"):
        limits.check_open_files(9601, streams=10)
    allowed.append((256, resource.RLIM_INFINITY))
    limits.check_open_files(1000)


@pytest.mark.parametrize("name", ["EMFILE", "ENFILE", "EADDRNOTAVAIL", "ENOBUFS", "ENOMEM"])
def test_a_limit_of_this_machine_makes_the_case_invalid(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Loop:
        async def create_connection(self, *_: object, **__: object) -> None:
            number = getattr(errno, name)
            raise OSError(number, "no more")

    opened = Dialer.open

    async def refuse(self: Dialer, make: object) -> Connection:
        self._loop = Loop()  # type: ignore[assignment]
        return await opened(self, make)  # type: ignore[arg-type]

    monkeypatch.setattr(Dialer, "open", refuse)
    result = load(1)
    assert_all(result, "connect_error")
    assert result.own_failures == {name: len(result.records)}
    told = reason(result.records, np.zeros(0), own_failures=result.own_failures)
    assert name in told
    assert str(len(result.records)) in told


def test_a_refusal_is_the_servers_own() -> None:
    result = load(1)
    assert_all(result, "connect_error")
    assert result.own_failures == {}
    assert limits.exhausted({}) is None


@pytest.mark.parametrize(
    ("name", "remedy"), [("EMFILE", "ulimit -n"), ("EADDRNOTAVAIL", "ip_local_port_range")]
)
def test_the_commonest_limit_has_its_remedy(name: str, remedy: str) -> None:
    told = limits.exhausted({name: 3, "ENOMEM": 1}) or ""
    assert remedy in told
    assert "4 connections" in told


def test_limits_come_before_lateness() -> None:
    late = steady(np.full(20, 0.01))
    assert "EMFILE" in reason(late, np.full(5, 1.0), own_failures={"EMFILE": 1}, unaccounted=3)


def test_a_dialer_tells_the_errors_number_whatever_the_address() -> None:
    async def dial() -> OSError:
        loop = asyncio.get_running_loop()
        dialer = Dialer(Target("localhost", 1), loop)
        await dialer.look_up()
        with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is what is looked at
            await dialer.open(asyncio.Protocol)
        return caught.value

    assert asyncio.run(dial()).errno == errno.ECONNREFUSED


class Addresses:
    """An event loop with some addresses, each of which may fail by an error's number."""

    def __init__(self, **failures: int) -> None:
        self.failures = failures

    async def getaddrinfo(self, *_: object, **__: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", (address, 80)) for address in self.failures]

    async def create_connection(
        self, make: Callable[[], object], address: str, *_: object, **__: object
    ) -> tuple[None, object]:
        if number := self.failures[address]:
            raise OSError(number, address)
        return None, make()


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        # Without IPv6, its address cannot be had, whatever the server does.
        ({"v4": 0, "v6": 0}, {"v4": "ECONNREFUSED", "v6": "EADDRNOTAVAIL"}, "ECONNREFUSED"),
        ({"v6": "EADDRNOTAVAIL", "v4": 0}, {"v6": "EADDRNOTAVAIL", "v4": "ECONNREFUSED"},
         "ECONNREFUSED"),
        # The server listens on one address alone, for which no ports are left.
        ({"v6": "ECONNREFUSED", "v4": 0}, {"v6": "ECONNREFUSED", "v4": "EADDRNOTAVAIL"},
         "EADDRNOTAVAIL"),
        (None, {"v4": "ECONNREFUSED", "v6": "EADDRNOTAVAIL"}, "ECONNREFUSED"),
        (None, {"v4": "EMFILE", "v6": "EMFILE"}, "EMFILE"),
    ],
)  # fmt: skip
def test_of_several_addresses_the_one_that_is_the_servers_tells(
    before: dict[str, str | int] | None, now: dict[str, str | int], told: str
) -> None:
    def numbers(failures: dict[str, str | int]) -> dict[str, int]:
        return {name: getattr(errno, one) if isinstance(one, str) else one
                for name, one in failures.items()}  # fmt: skip

    async def dial() -> OSError:
        loop = Addresses(**numbers(before or now))
        dialer = Dialer(Target("server", 80), loop)  # type: ignore[arg-type]
        await dialer.look_up()
        if before:
            await dialer.open(asyncio.Protocol)
            loop.failures = numbers(now)
        with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is what is looked at
            await dialer.open(asyncio.Protocol)
        return caught.value

    assert errno.errorcode[asyncio.run(dial()).errno or 0] == told
