"""Each way in which a server can misbehave has its outcome, and the outcomes add up."""

import gc
import itertools
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pytest_servebench.load.choice import InOrder
from pytest_servebench.load.runner import LoadResult
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.target import Target
from pytest_servebench.load.transports.base import Terms
from pytest_servebench.load.transports.http1 import Connection
from tests.load.in_process import Made, make_load

MAX_HEAD = Terms().max_headers
REQUEST = b"POST /p HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody"
Behaviour = Callable[[socket.socket], None]


@contextmanager
def serving(behaviour: Behaviour, listener: socket.socket | None = None) -> Iterator[int]:
    """Run ``behaviour`` in a thread for each connection; give the port."""
    listener = listener or socket.create_server(("127.0.0.1", 0))
    links: list[socket.socket] = []

    def handle(link: socket.socket) -> None:
        try:
            behaviour(link)
        except OSError:
            pass
        finally:
            link.close()

    def accept() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            links.append(link)
            threading.Thread(target=handle, args=(link,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield 0 if listener.family == socket.AF_UNIX else listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for link in links:
            link.close()


def read_request(link: socket.socket) -> None:
    data = b""
    while len(data) < len(REQUEST):
        part = link.recv(len(REQUEST) - len(data))
        if not part:
            raise ConnectionError
        data += part


def requests_of(link: socket.socket) -> Iterator[bytes]:
    """Give each request that comes over a connection, whole, until it ends."""
    with link.makefile("rb") as file:
        while lines := list(itertools.takewhile(b"\r\n".__ne__, file)):
            head = b"".join([*lines, b"\r\n"])
            length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
            yield head + file.read(int(length[1]) if length else 0)


def answering(*answers: bytes) -> Behaviour:
    """Answer requests with each of these in turn, over all connections."""
    turn = itertools.cycle(answers)

    def behave(link: socket.socket) -> None:
        for _ in requests_of(link):
            link.sendall(next(turn))

    return behave


def always(answer: bytes, *, close: bool = False, after: float = 0.0) -> Behaviour:
    """Answer each ``REQUEST`` with these bytes after so many seconds."""

    def behave(link: socket.socket) -> None:
        while True:
            read_request(link)
            time.sleep(after)
            link.sendall(answer)
            if close:
                return

    return behave


def half_closing(answer: bytes) -> Behaviour:
    def behave(link: socket.socket) -> None:
        read_request(link)
        link.sendall(answer)
        link.shutdown(socket.SHUT_WR)
        link.recv(1)

    return behave


def resetting(answer: bytes) -> Behaviour:
    def behave(link: socket.socket) -> None:
        read_request(link)
        link.sendall(answer)
        time.sleep(0.01)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return behave


def in_pieces(answer: bytes) -> Behaviour:
    def behave(link: socket.socket) -> None:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            read_request(link)
            for i in range(len(answer)):
                link.sendall(answer[i : i + 1])

    return behave


def spec_for(port: int, **changes: object) -> LoadSpec:
    fields = {
        "target": Target("127.0.0.1", port), "requests": (REQUEST,), "rate": 120.0,
        "duration": 0.25, "buffer_size": 100, "workers": 4, "seed": 1, "warmup": 0.0,
        "timeout": 5.0, "drain": 1.0, **changes,
    }  # fmt: skip
    return LoadSpec(**fields)  # type: ignore[arg-type]


def load(port: int, **changes: object) -> Made:
    return make_load(spec_for(port, **changes))


def assert_all(result: Made | LoadResult, outcome: str) -> None:
    counts = result.records.counts()
    assert len(result.records) > 10
    assert counts == {**dict.fromkeys(counts, 0), outcome: len(result.records)}


HEAD = b"HTTP/1.1 200 OK\r\n"
OK = HEAD + b"Content-Length: 2\r\n\r\n{}"
CLOSING = HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"
SHORT = HEAD + b"Content-Length: 9\r\n\r\n{}"
UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"

OUTCOMES: dict[str, tuple[str, Behaviour]] = {
    "http 1.0": ("ok", always(b"HTTP/1.0 200 OK\r\n\r\n{}", close=True)),
    "http 1.0, body like a head": (
        "ok", always(b"HTTP/1.0 200 OK\r\n\r\ncontent-length: chunked", close=True)),
    "continue first": ("ok", always(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)),
    "answers twice": ("ok", always(OK + OK)),
    "closes without saying": ("ok", always(OK, close=True)),
    "byte by byte": ("ok", in_pieces(OK)),
    "half-closes after an answer": ("ok", half_closing(OK)),
    "status 503": ("error_status", always(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")),
    "redirect": (
        "error_status", always(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")),
    "not http": ("bad_response", always(b"SSH-2.0-OpenSSH\r\n\r\n")),
    "truncated": ("bad_response", always(SHORT, close=True)),
    "truncated behind a continue": (
        "bad_response", always(b"HTTP/1.1 100 Continue\r\n\r\n" + SHORT, close=True)),
    "half-closes in an answer": ("bad_response", half_closing(SHORT)),
    "resets in an answer": ("bad_response", resetting(SHORT)),
    "upgrades": ("bad_response", always(UPGRADE)),
    "endless headers": ("bad_response", always(HEAD + b"X: " + b"x" * (MAX_HEAD + 9))),
    "nonsense length": ("bad_response", always(HEAD + b"Content-Length: x\r\n\r\n{}")),
    "nonsense chunk": (
        "bad_response", always(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")),
    "closes without answer": ("connect_error", always(b"", close=True)),
    "closes at once": ("connect_error", lambda link: None),
    "half-closes without answer": ("connect_error", half_closing(b"")),
    "resets without answer": ("connect_error", resetting(b"")),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTCOMES)
def test_outcome(name: str) -> None:
    outcome, behaviour = OUTCOMES[name]
    with serving(behaviour) as port:
        result = load(port)
    assert_all(result, outcome)
    if name == "not http":
        ((reason, number),) = result.failures.items()
        assert reason.startswith("bad_response: an answer that is not HTTP")
        assert number == len(result.records)
    if name == "status 503":
        assert set(result.records.status.tolist()) == {503}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "kept"),
    [(OK, True), (CHUNKED, True), (NOTHING, True), (CLOSING, False)],
    ids=["keep-alive", "chunked", "no-content", "close"],
)
def test_connections_are_kept_where_the_server_keeps_them(answer: bytes, kept: bool) -> None:
    connections = []

    def behave(link: socket.socket) -> None:
        connections.append(link)
        always(answer, close=not kept)(link)

    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(one, Connection) for one in gc.get_objects())
        with serving(behave) as port:
            result = load(port, warmup=0.2)
        left = sum(isinstance(one, Connection) for one in gc.get_objects()) - before
    finally:
        gc.enable()
    assert_all(result, "ok")
    assert (len(connections) <= 4) == kept
    assert result.connections == 0 if kept else result.connections >= len(result.records) - 4
    assert result.received == sum(map(len, result.answers.values()))
    assert left <= 8  # closed connections leave nothing behind


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_where_a_redirect_leads_is_told_without_its_keys(end: bytes) -> None:
    lines = (b"HTTP/1.1 308 Moved", b"location:  /v2/" + b"x" * 300, b"Content-Length: 0", b"", b"")
    with serving(always(end.join(lines))) as port:
        (reason,) = load(port).failures
    assert "308" in reason
    assert "/v2/xxx" in reason
    assert len(reason) < 300
    answer = OK.replace(b"200 OK\r\n", b"307 Moved\r\nLocation: /new?token=QQwwEE&a=1\r\n")
    with serving(always(answer)) as port:
        (reason,) = load(port).failures
    assert "QQwwEE" not in reason
    assert re.search(r"/new\?token=.*&a=1", reason)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert_all(load(port), "connect_error")


def test_a_body_beyond_the_limit_is_given_up() -> None:
    chunk = b"x" * 2**20

    def behave(link: socket.socket) -> None:
        read_request(link)
        link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 10**12)
        while True:
            link.sendall(chunk)

    with serving(behave) as port:
        result = load(port, rate=60.0, terms=Terms(max_body=2**20 + 5))
    assert_all(result, "bad_response")
    (reason,) = result.failures
    assert "more than 1048581 bytes of body" in reason
    assert "--servebench-max-body" in reason


@pytest.mark.parametrize(("size", "outcome"), [(1000, "ok"), (1001, "bad_response")])
def test_limits_of_an_answers_size_are_those_that_were_given(size: int, outcome: str) -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (size, b"x" * size)
    with serving(always(body)) as port:
        assert_all(load(port, terms=Terms(max_body=1000)), outcome)
    start, end = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: ", b"\r"
    head = start + b"x" * (size - len(start) - len(end)) + end + b"\n\r\n{}"
    with serving(always(head)) as port:
        assert_all(load(port, terms=Terms(max_headers=1000)), outcome)


@pytest.mark.parametrize("warmup", [0.0, 0.2])
def test_a_new_connection_for_each_request(warmup: float) -> None:
    asked: list[int] = []

    def behave(link: socket.socket) -> None:
        asked.append(0)
        number = len(asked) - 1
        while True:
            read_request(link)
            asked[number] += 1
            link.sendall(OK)

    with serving(behave) as port:
        result = load(port, terms=Terms(keep_alive=False), warmup=warmup)
    assert_all(result, "ok")
    assert result.connections == len(result.records)
    assert set(asked) <= {0, 1}  # none for one that the warm-up's end came before
    assert sum(asked) >= len(result.records)


def test_an_early_answer_ends_the_request_and_its_connection() -> None:
    connections = []
    body = b"x" * 8_000_000
    request = b"POST /p HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n" + body

    def behave(link: socket.socket) -> None:
        connections.append(link)
        link.recv(100)
        link.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        time.sleep(1)  # and reads no more: the rest of the request is stuck on its way

    with serving(behave) as port:
        result = load(port, requests=(request,), rate=20.0, workers=20)
    counts = result.records.counts()
    assert counts["error_status"] == len(result.records)
    assert len(connections) >= len(result.records)


def test_a_kept_connection_that_closes_under_a_request_costs_nothing() -> None:
    seen = []

    def behave(link: socket.socket) -> None:
        read_request(link)
        link.sendall(OK)
        read_request(link)  # the second request on a connection finds it closed
        seen.append(link)

    with serving(behave) as port:
        result = load(port)
    assert_all(result, "ok")
    assert result.resent == len(seen) > 0


def test_a_request_is_sent_again_once_only() -> None:
    answered = threading.Event()

    def behave(link: socket.socket) -> None:
        read_request(link)
        if not answered.is_set():
            answered.set()
            link.sendall(OK)
            read_request(link)

    with serving(behave) as port:
        result = load(port, workers=1)
    counts = result.records.counts()
    assert counts["ok"] == 1
    assert counts["connect_error"] == len(result.records) - 1
    assert result.resent == 1


def test_a_server_that_dies_over_a_request_has_failed_it() -> None:
    def behave(link: socket.socket) -> None:
        read_request(link)
        link.sendall(OK)
        read_request(link)
        time.sleep(0.2)  # at work on it

    with serving(behave) as port:
        result = load(port, rate=20.0, duration=1.0)
    assert result.records.counts()["connect_error"] > 0
    assert result.resent == 0


def test_a_cold_server_is_warmed_for_the_whole_time() -> None:
    refused: list[float] = []

    def behave(link: socket.socket) -> None:
        while True:
            read_request(link)
            if len(refused) < 20:
                refused.append(time.monotonic())
                link.sendall(b"HTTP/1.1 503 Cold\r\nContent-Length: 0\r\n\r\n")
            else:
                link.sendall(OK)

    with serving(behave) as port:
        result = load(port, warmup=0.5)
    assert_all(result, "ok")


def test_the_warm_up_leaves_the_first_requests_of_a_trace_to_the_load() -> None:
    asked: list[bytes] = []

    def behave(link: socket.socket) -> None:
        for request in requests_of(link):
            asked.append(request.split()[1])
            time.sleep(0.002)
            link.sendall(OK)

    requests = tuple(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number for number in range(5000))
    with serving(behave) as port:
        result = load(port, warmup=0.2, requests=requests, choice=InOrder())
    assert_all(result, "ok")
    assert asked[0] == b"/4999"
    assert [asked.count(b"/%d" % number) for number in range(len(result.records))] == [
        1 for _ in result.records.scheduled
    ]


def test_a_server_that_refuses_surplus_connections_is_not_hammered() -> None:
    connections = []

    def behave(link: socket.socket) -> None:
        connections.append(link)
        if len(connections) > 1:
            return
        always(OK)(link)

    with serving(behave) as port:
        load(port, duration=1.0, rate=30.0, workers=10)
    # Ten workers at 50 a second each would come back some 450 times.
    assert len(connections) < 150


@pytest.mark.slow
def test_a_server_that_is_back_is_found_again_by_idle_workers() -> None:
    began = time.monotonic()
    accepted: list[float] = []

    def behave(link: socket.socket) -> None:
        accepted.append(time.monotonic())
        if time.monotonic() - began < 0.8:
            return
        always(OK)(link)

    with serving(behave) as port:
        result = load(port, duration=2.2, rate=10.0, workers=4)
    late = result.records.scheduled > 1.9e9
    assert late.any()
    assert result.records.ok[late].all()


def silent(link: socket.socket) -> None:
    time.sleep(30)


def test_silent_server_times_out_and_the_connection_is_made_anew() -> None:
    with serving(silent) as port:
        result = load(port, timeout=0.2, workers=100)
    assert_all(result, "timeout")
    waits = (result.records.done - result.records.dequeued) / 1e9
    assert waits.min() >= 0.2


def test_unanswered_requests_are_unfinished_after_the_drain() -> None:
    with serving(silent) as port:
        result = load(port, drain=0.2, workers=2, buffer_size=3)
    counts = result.records.counts()
    assert counts["unfinished"] == 5
    assert counts["dropped"] == len(result.records) - 5


def test_no_buffer_drops_what_finds_all_workers_busy() -> None:
    with serving(always(OK, after=0.1)) as port:
        records = load(port, workers=1, buffer_size=0).records
    counts = records.counts()
    assert counts["dropped"] > 0
    assert counts["ok"] + counts["dropped"] == len(records)
    # Whoever was dropped came while another request was under way.
    taken = records.ok
    for moment in records.enqueued[~taken]:
        assert ((records.dequeued[taken] <= moment) & (moment <= records.done[taken])).any()


def test_answers_that_come_back_are_those_of_their_own_requests() -> None:
    def echo(link: socket.socket) -> None:
        for request in requests_of(link):
            name = request.split()[1]
            link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(name), name))

    requests = tuple(b"GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % i for i in range(16))
    with serving(echo) as port:
        result = load(port, requests=requests, samples=1000)
    assert len(result.answers) == len(result.records)
    for index, body in result.answers.items():
        assert body == b"/%d" % result.payloads[index]
    assert len(set(result.payloads.tolist())) > 5


def test_same_seed_same_arrivals_whatever_the_buffer() -> None:
    with serving(always(OK)) as port:
        first, second = load(port), load(port, buffer_size=0, workers=9)
    assert first.records.scheduled.tolist() == second.records.scheduled.tolist()
    assert first.payloads.tolist() == second.payloads.tolist()
