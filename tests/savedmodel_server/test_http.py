"""HTTP as the server speaks it, and what clients that misbehave can do to it: nothing."""

import gzip
import json
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.savedmodel_server.running import (
    ANSWER_LIMIT,
    Response,
    Running,
    closed_by_server,
    end_quietly,
    post,
    read_response,
    running,
)

pytestmark = pytest.mark.servers

STATUS = "/v1/models/fashion"
PREDICT = "/v1/models/fashion:predict"
GET_STATUS = f"GET {STATUS} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
BODY = json.dumps({"instances": [[[[0.5]] * 28] * 28]}).encode()


def error_of(response: Response) -> str:
    return str(json.loads(response.body)["error"])


def assert_still_serves(server: Running) -> None:
    assert server.process.poll() is None
    assert server.post(PREDICT, BODY).status == 200


def test_pipelined_requests_are_answered_in_order(fashion: Running) -> None:
    requests = [post(PREDICT, BODY), GET_STATUS, post(PREDICT, b"{}"), GET_STATUS] * 50
    with fashion.connect() as connection:
        connection.sendall(b"".join(requests))
        statuses = [read_response(connection).status for _ in requests]
    assert statuses == [200, 200, 400, 200] * 50


def test_a_request_may_come_byte_by_byte(fashion: Running) -> None:
    with fashion.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(PREDICT, b'{"instances": []}'):
            connection.sendall(bytes([byte]))
        assert "'instances'" in error_of(read_response(connection))


def test_the_client_may_ask_to_close(fashion: Running) -> None:
    with fashion.connect() as connection:
        connection.sendall(post(PREDICT, BODY, "Connection: close"))
        response = read_response(connection)
        assert response.status == 200
        assert response.header("Connection") == "close"
        assert closed_by_server(connection, ANSWER_LIMIT)


@pytest.mark.parametrize("keep", [False, True])
def test_http_1_0(fashion: Running, keep: bool) -> None:
    header = "Connection: keep-alive\r\n" if keep else ""
    request = f"GET {STATUS} HTTP/1.0\r\n{header}\r\n".encode()
    with fashion.connect() as connection:
        connection.sendall(request)
        response = read_response(connection)
        assert response.status == 200
        if keep:
            assert response.header("Connection") == "keep-alive"
            connection.sendall(request)
            assert read_response(connection).status == 200
        else:
            assert closed_by_server(connection, ANSWER_LIMIT)


def test_a_client_that_closed_its_side_gets_its_answer(fashion: Running) -> None:
    with fashion.connect() as connection:
        connection.sendall(post(PREDICT, BODY))
        connection.shutdown(socket.SHUT_WR)
        assert read_response(connection).status == 200
        assert closed_by_server(connection, ANSWER_LIMIT)


def test_head_has_no_body(fashion: Running) -> None:
    with fashion.connect() as connection:
        connection.sendall(f"HEAD {STATUS} HTTP/1.1\r\n\r\n".encode() + GET_STATUS)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        assert head.startswith(b"HTTP/1.1 400 ")
        assert read_response(connection).status == 200


def test_a_client_may_wait_for_leave_to_send(fashion: Running) -> None:
    whole = post(PREDICT, BODY, "Expect: 100-continue")
    head = whole.removesuffix(BODY)
    with fashion.connect() as connection:
        connection.sendall(head)
        leave = b"HTTP/1.1 100 Continue\r\n\r\n"
        assert connection.recv(len(leave), socket.MSG_WAITALL) == leave
        connection.sendall(BODY)
        assert read_response(connection).status == 200


def test_an_upgrade_is_not_taken_up(fashion: Running) -> None:
    headers = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"
    request = f"GET {STATUS} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n".encode()
    with fashion.connect() as connection:
        connection.sendall(request + GET_STATUS)
        assert read_response(connection).status == 200


@pytest.mark.parametrize(
    "body", [b"no gzip", gzip.compress(BODY)[:-9], b""], ids=["no gzip", "cut", "empty"]
)
def test_what_cannot_be_unzipped_is_no_body(fashion: Running, body: bytes) -> None:
    response = fashion.post(PREDICT, body, "Content-Encoding: gzip")
    assert response.status == 400
    assert "JSON" in error_of(response)


def test_a_body_that_unzips_to_too_much_is_no_body(fashion: Running) -> None:
    bomb = gzip.compress(b" " * (101 * 1024 * 1024), compresslevel=1)
    response = fashion.post(PREDICT, bomb, "Content-Encoding: gzip")
    assert response.status == 400
    assert "JSON" in error_of(response)
    assert_still_serves(fashion)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # a TLS client
        (b"GET /v1/models HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"OPTIONS /v1/models HTTP/1.1\r\n\r\n", 501),
        (b"GET /v1/models HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
        (b"GET /" + b"x" * 70_000, 431),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nabc", 413),
    ],
    ids=["nonsense", "tls", "bad length", "method", "header", "target", "body"],
)
def test_requests_that_are_refused(fashion: Running, request_bytes: bytes, status: int) -> None:
    with fashion.connect() as connection:
        connection.sendall(request_bytes)
        response = read_response(connection)
        assert response.status == status
        assert response.header("Content-Type") == "text/html"
        assert response.header("Connection") == "close"
        assert closed_by_server(connection, ANSWER_LIMIT)
    assert_still_serves(fashion)


def test_a_body_without_end_is_refused(fashion: Running) -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    with fashion.connect() as connection:
        connection.sendall(head)
        for _ in range(101):
            connection.sendall(chunk)
        assert read_response(connection).status == 413
    assert_still_serves(fashion)


@pytest.mark.parametrize(
    ("instances", "shape"),
    [
        ([], None),
        ([0.5] * 784, "[784]"),
        ([[0.5] * 784], "[1,784]"),
        ([[[0.5] * 28] * 28], "[1,28,28]"),
        ([[[[0.5, 0.5]] * 28] * 28], "[1,28,28,2]"),
        ([[[[0.5]] * 27] * 28], "[1,28,27,1]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_shapes_do_not_end_the_process(
    fashion: Running, instances: list[object], shape: str | None
) -> None:
    """With oneDNN a convolution over another rank aborts the process, here and in the original."""
    columns = fashion.post(PREDICT, json.dumps({"inputs": instances}).encode())
    assert columns.status == 400
    assert "is not compatible with expected shape [?,28,28,1]." in error_of(columns)
    rows = fashion.post(PREDICT, json.dumps({"instances": instances}).encode())
    assert rows.status == 400
    if shape is not None:
        assert error_of(rows).startswith(f"Shape of tensor serving_default_keras_tensor:0 {shape} ")
    assert_still_serves(fashion)


def test_clients_that_stop_half_way_hold_up_nobody(fashion: Running) -> None:
    stalled = [fashion.connect() for _ in range(50)]
    try:
        for connection in stalled:
            connection.sendall(post(PREDICT, BODY)[:-100])
        assert_still_serves(fashion)
    finally:
        for connection in stalled:
            connection.close()
    assert_still_serves(fashion)


def test_a_client_that_leaves_before_its_answer_harms_nobody(fashion: Running) -> None:
    for _ in range(20):
        with fashion.connect() as connection:
            connection.sendall(post(PREDICT, BODY) * 5)
    assert_still_serves(fashion)


def test_many_requests_at_once(fashion: Running) -> None:
    alone = fashion.post(PREDICT, BODY).body
    bodies: list[bytes] = []

    def client() -> None:
        with fashion.connect() as connection:
            for _ in range(20):
                connection.sendall(post(PREDICT, BODY))
                bodies.append(read_response(connection).body)

    threads = [threading.Thread(target=client) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bodies) == 16 * 20
    assert set(bodies) == {alone}


def test_large_batches(fashion: Running) -> None:
    (alone,) = json.loads(fashion.post(PREDICT, BODY).body)["predictions"]
    image = json.loads(BODY)["instances"][0]
    response = fashion.post(PREDICT, json.dumps({"instances": [image] * 500}).encode())
    answers = json.loads(response.body)["predictions"]
    assert len(answers) == 500
    assert all(answer == pytest.approx(alone, rel=1e-5, abs=1e-6) for answer in answers)


def slow_request(rounds: int) -> bytes:
    body = json.dumps({"signature_name": "slow", "instances": [rounds]}).encode()
    return post("/v1/models/mixed:predict", body)


FOR_EVER = 10_000_000  # rounds: hours


def test_a_slow_request_holds_up_neither_requests_nor_the_end(models: Path, tmp_path: Path) -> None:
    """No clock is read: the slow one would take hours, so whatever is answered overtook it."""
    # TensorFlow runs the operations of all requests on as many threads as "inter" says.
    flags = ("--tensorflow_inter_op_parallelism=2", "--rest_api_timeout_in_ms=0")
    log = tmp_path / "log"
    with (
        running(models / "mixed", log, *flags, name="mixed", grpc=True) as server,
        socket.create_connection(("127.0.0.1", server.grpc_port)),
    ):
        with server.connect() as slow:
            slow.sendall(slow_request(FOR_EVER))
            assert server.get("/v1/models/mixed").status == 200
            for _ in range(10):
                response = server.exchange(slow_request(1))
                assert json.loads(response.body) == {"predictions": [1.0]}
        end_quietly(server, signal.SIGTERM)
    assert f"ready: grpc://127.0.0.1:{server.grpc_port}" in log.read_text()


def test_a_run_that_takes_too_long_is_given_up(models: Path, tmp_path: Path) -> None:
    flags = ("--rest_api_num_threads=1", "--rest_api_timeout_in_ms=300")
    with running(models / "mixed", tmp_path / "log", *flags, name="mixed") as server:
        # The only thread is free again after each.
        statuses = [server.exchange(slow_request(each)).status for each in (FOR_EVER, FOR_EVER, 1)]
        assert statuses == [504, 504, 200]
