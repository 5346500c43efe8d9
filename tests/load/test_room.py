"""Servers that serve a connection until it ends, and only so many at once, are not starved."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load.room import Room
from tests.load.test_misbehaving import (
    CLOSING,
    OK,
    Behaviour,
    always,
    assert_all,
    load,
    read_request,
)

MS = 1_000_000


@contextmanager
def serving_at_once(places: int, behaviour: Behaviour, backlog: int = 128) -> Iterator[int]:
    """Serve ``places`` connections at once, each until it ends; give the port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)

    def serve() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            with link, suppress(OSError):
                behaviour(link)

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(places)]
    for thread in threads:
        thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive()


def test_more_than_a_server_of_one_place_can_do_is_served_in_turn() -> None:
    with serving_at_once(1, always(OK, after=0.01)) as port:
        result = load(port, rate=300.0, duration=0.5, workers=8, buffer_size=1000, drain=5.0,
                      timeout=3.0)  # fmt: skip
    assert_all(result, "ok")


def test_a_warm_up_longer_than_the_timeout_does_not_spoil_the_run() -> None:
    with serving_at_once(1, always(OK, after=0.004), backlog=2) as port:
        began = time.monotonic()
        result = load(port, rate=20.0, duration=0.5, workers=10, warmup=0.6, timeout=0.4)
        took = time.monotonic() - began
    assert result.records.ok.mean() > 0.8
    assert took < 10


def test_no_connection_is_opened_that_carries_no_request() -> None:
    asked: list[bool] = []

    def behave(link: socket.socket) -> None:
        number = len(asked)
        asked.append(False)
        read_request(link)
        asked[number] = True
        link.sendall(CLOSING)

    with serving_at_once(20, behave) as port:
        load(port, rate=60.0, duration=0.4, workers=10)
    assert asked
    assert all(asked)


def test_what_the_load_needs_is_open_when_the_clock_starts() -> None:
    with serving_at_once(12, always(OK, after=0.03)) as port:
        result = load(port, rate=150.0, duration=0.6, workers=12, warmup=0.5)
    assert_all(result, "ok")
    assert result.connections == 0


def test_a_request_that_still_connects_takes_a_connection_that_is_free() -> None:
    """The server accepts one connection, and lets no other one come about."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    port = listener.getsockname()[1]
    links = []

    def serve() -> None:
        link, _ = listener.accept()
        # What else wants to connect waits for room in the backlog, which this one fills.
        links.append(socket.create_connection(("127.0.0.1", port)))
        with link, suppress(OSError):
            always(OK, after=0.002)(link)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        result = load(port, rate=100.0, duration=0.4, workers=6, timeout=4.0)
    finally:
        for link in links:
            link.close()
        listener.close()
    assert_all(result, "ok")
    assert result.records.latency().max() < 0.9  # the kernel tries again to connect after 1 s


# -- what is concluded from answers ---------------------------------------------------------------


@given(places=st.integers(1, 6), others=st.integers(1, 6), service=st.integers(1, 400))
def test_room_is_found_and_made(places: int, others: int, service: int) -> None:
    """A server of so many places, to which more connections come than it has places."""
    room, now = Room(), 0
    for one in range(places):
        room.sent_first(one, now)
    now += service * MS
    for one in range(places):
        room.answered(one, 0, True, now)
    assert (room.held, room.limited) == (places, False)
    waiting = list(range(places, places + others))
    for one in waiting:
        room.sent_first(one, now)
    assert not room.wanted(now, idle=True)
    sent = now
    now += 10 * service * MS + 100 * MS
    kept = list(range(places))
    while room.wanted(now, idle=True):
        room.ended(kept.pop())
        room.made(now)
        one = waiting.pop(0)
        now += service * MS // 2
        room.answered(one, sent, True, now)
        kept.append(one)
    assert waiting == []
    assert not room.waiting
    assert room.held == places
    assert room.limited == (others > 1)  # once may be chance


@given(places=st.integers(1, 6), stall=st.integers(1, 5000), order=st.randoms())
def test_a_server_that_was_held_up_is_not_short_of_places(
    places: int, stall: int, order: random.Random
) -> None:
    """All are answered after it, in any order."""
    room = Room()
    for one in range(places):
        room.sent_first(one, 0)
        room.answered(one, 0, True, MS)
    asked = list(range(places + 1))
    room.sent_first(places, 2 * MS)
    order.shuffle(asked)
    for number, one in enumerate(asked):
        now = (3 + stall) * MS + number
        room.answered(one, 2 * MS if one == places else 3 * MS, True, now)
        assert not room.wanted(now, idle=False)
    assert room.held == places + 1
    assert not room.limited


@given(slowness=st.lists(st.integers(1, 60_000), min_size=2, max_size=12))
def test_a_server_that_serves_all_at_once_is_never_taken_for_a_limited_one(
    slowness: list[int],
) -> None:
    room = Room()
    for one in range(len(slowness)):
        room.sent_first(one, 0)
    for now, one in sorted((took * MS, one) for one, took in enumerate(slowness)):
        room.answered(one, 0, True, now)
    assert (room.held, room.limited) == (len(slowness), False)


def test_a_server_is_believed_when_it_serves_more_than_it_was_thought_to() -> None:
    room = Room()
    room.sent_first("a", 0)
    room.answered("a", 0, True, MS)
    kept = "a"
    for number, name in enumerate("bc"):
        now = 1000 * number * MS
        room.sent_first(name, now)
        assert room.wanted(now + 500 * MS, idle=True)
        room.ended(kept)
        room.made(now + 500 * MS)
        room.answered(name, now, True, now + 501 * MS)
        kept = name
    assert room.limited
    room.sent_first("d", 2000 * MS)
    assert room.wanted(2000 * MS, idle=False)
    room.answered("d", 2000 * MS, True, 2001 * MS)  # while c was open
    assert (room.held, room.limited) == (2, False)


def test_room_that_helps_nobody_is_made_ever_more_seldom() -> None:
    room = Room()
    room.sent_first("a", 0)
    room.answered("a", 0, True, MS)
    room.sent_first("b", 0)
    made = 0
    for now in range(0, 30_000 * MS, 5 * MS):
        if room.wanted(now, idle=True):
            made += 1
            room.made(now)
    assert 3 < made < 12
    assert not room.limited


def test_a_server_that_ends_every_connection_keeps_none() -> None:
    room = Room()
    assert not room.keeps_none
    room.sent_first("a", 0)
    room.answered("a", 0, False, MS)
    assert room.keeps_none
    assert not room.waiting
