"""Calls of any gRPC method: what is sent, what is refused, and how an answer is read."""

import gzip
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.errors import BadResponseError, OptionError
from pytest_servebench.load.target import Target
from pytest_servebench.load.tls import Tls
from pytest_servebench.load.transports.http2.header_blocks import decode
from pytest_servebench.load.transports.http2.prepared import Fields, grpc_message, parts
from pytest_servebench.measure.traffic import of_requests
from pytest_servebench.measure.workload import requests_digest
from pytest_servebench.protocols.base import HttpRequest, check_address
from pytest_servebench.protocols.grpc import GrpcRequest, GrpcStatus, unframed
from pytest_servebench.protocols.http2 import Http2Request
from tests.refusals import refused

METHOD = "/pkg.Echo/Say"
GRPC = Target("h", 1, scheme="grpc")


def sent(request: Any, target: Target = GRPC, **more: Any) -> tuple[dict[str, str], bytes]:
    """Return the fields of a request, of which pseudo-headers come first, and its body."""
    block, body = parts(request.prepared(target, **more))
    fields = [(name.decode(), value.decode()) for name, value in decode(block)]
    names = [name for name, _ in fields]
    assert sorted(names, key=lambda name: not name.startswith(":")) == names
    return dict(fields), body


def test_a_call() -> None:
    metadata = (("x-id", "7"), ("x-trace-bin", b"\x00\xff\xfe"), ("authorization", "Bearer own"))
    server = (("Authorization", "Bearer of-the-server"), ("Tenant", "a"))
    fields, body = sent(GrpcRequest(METHOD, b"abc", metadata), authorization=server)
    assert fields == {
        ":method": "POST", ":scheme": "http", ":path": METHOD, ":authority": "h:1",
        "te": "trailers", "content-type": "application/grpc",
        "grpc-accept-encoding": "identity,deflate,gzip",
        "x-id": "7", "x-trace-bin": "AP/+", "authorization": "Bearer own", "tenant": "a",
    }  # fmt: skip
    assert body == b"\0\0\0\0\3abc"
    assert sent(GrpcRequest(METHOD), Target("h", 1, tls=Tls()))[0][":scheme"] == "https"
    assert "own" not in repr(GrpcRequest(METHOD, b"", metadata))


def test_a_message_of_a_library() -> None:
    class Ours:
        def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
            return b"ours"

    assert GrpcRequest(METHOD, Ours()).message == b"ours"
    assert GrpcRequest(METHOD, bytearray(b"a")).message == b"a"  # type: ignore[arg-type]


def test_http_over_http2() -> None:
    request = Http2Request("POST", "/x?y", (("Host", "other"), ("X-Id", "7")), b"abc")
    fields, body = sent(request, Target("h", 1, path="/api"), authorization=(("X-ID", "8"),))
    assert fields == {
        ":method": "POST", ":scheme": "http", ":path": "/api/x?y", ":authority": "other",
        "x-id": "7", "content-length": "3",
    }  # fmt: skip
    assert body == b"abc"
    head = Fields(((b":status", b"200"), (b"x-a", b"1")), ((b"x-b", b"2"),)).head()
    answer = request.answer(200, head, b"body")
    assert (answer.status, answer.body, dict(answer.headers)) == (
        200, b"body", {"x-a": "1", "x-b": "2"}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "facts"),
    [
        (GrpcRequest("pkg.Echo/Say"), ("'pkg.Echo/Say'", "/package.Service/Method")),
        (GrpcRequest("/Say"), ("'/Say'", "/package.Service/Method")),
        (GrpcRequest("/a b/C"), ("/package.Service/Method",)),
        (GrpcRequest(METHOD, "text"), ("type str", "SerializeToString")),  # type: ignore[arg-type]
        (GrpcRequest(METHOD, b"", {"a": "b"}), ("metadata are pairs",)),  # type: ignore[arg-type]
        (GrpcRequest(METHOD, b"", (("X-Id", "7"),)), ("'X-Id'", "lower-case")),
        (GrpcRequest(METHOD, b"", ((":path", "/"),)), ("':path'", "lower-case")),
        (GrpcRequest(METHOD, b"", (("grpc-timeout", "1S"),)), ("'grpc-timeout'", "leave it out")),
        (GrpcRequest(METHOD, b"", (("content-type", "x"),)), ("'content-type'", "leave it out")),
        (GrpcRequest(METHOD, b"", (("a-bin", "x"),)), ("'a-bin'", "bytes")),
        (GrpcRequest(METHOD, b"", (("a", b"x"),)), ("'a'", "a-bin")),
        (GrpcRequest(METHOD, b"", (("a", "ä"),)), ("'a'", "ASCII", "a-bin")),
        (GrpcRequest(METHOD, b"", (("a", "b\nc"),)), ("'a'", "a-bin")),
        (GrpcRequest(METHOD, b"", (("a", " b"),)), ("'a'", "space", "a-bin")),
        (GrpcRequest(METHOD, b"", (("a", "b "),)), ("'a'", "space", "a-bin")),
        (Http2Request("GET", "/", (("x y", "1"),)), ("'x y'", "a name has")),
        (Http2Request("GET", "/", ((":path", "/b"),)), ("':path'", "a name has")),
        (Http2Request("GET", "/", (("x", "1\t"),)), ("'x'", "no space at its ends")),
        (Http2Request("GET", "/", (("Upgrade", "h2c"),)), ("Http2Request", "upgrade")),
        (Http2Request("GET", "/", (("TE", "gzip"),)), ("TE", "trailers")),
        (Http2Request("GET", "x"), ("begin with '/'",)),
    ],
)  # fmt: skip
def test_what_cannot_be_sent(request_: Any, facts: tuple[str, ...]) -> None:
    refused(lambda: of_requests([request_]), facts)


def test_a_load_has_one_transport() -> None:
    with pytest.raises(OptionError, match=r"item 2 .*/pkg.Echo/Say.* over grpc.*one transport"):
        of_requests([*[HttpRequest("GET", "/")] * 2, GrpcRequest(METHOD)])
    assert of_requests([GrpcRequest(METHOD)] * 2).transport == "grpc"


@pytest.mark.parametrize(
    ("request_", "url", "remedy"),
    [
        (GrpcRequest(METHOD), "http://h:1", "grpc://HOST:PORT"),
        (GrpcRequest(METHOD), "https://h:1", "grpcs://"),
        (HttpRequest("GET", "/"), "grpc://h:1", "http://HOST:PORT"),
        (Http2Request("GET", "/"), "grpcs://h:1", "https://"),
    ],
)
def test_the_scheme_of_another_protocol(request_: Any, url: str, remedy: str) -> None:
    target = Target.parse(url)
    with pytest.raises(OptionError) as no:
        check_address(request_, target)
    assert all(fact in str(no.value) for fact in (repr(request_), url, remedy))


def test_what_identifies_a_call() -> None:
    def digest(*arguments: Any, paths: bool = True) -> str:
        return requests_digest([GrpcRequest(*arguments)], paths=paths)

    same = digest(METHOD, b"a", (("authorization", "x"), ("x-request-id", "1")))
    assert same == digest(METHOD, b"a", (("authorization", "y"), ("x-request-id", "2")))
    others = [digest(METHOD, b"b"), digest("/a/B", b"a"), digest(METHOD, b"a", (("x", "1"),))]
    assert len({same, *others}) == 4
    assert digest("/a/B", paths=False) == digest(METHOD, paths=False)


def test_an_answer() -> None:
    head = Fields(
        ((b":status", b"200"), (b"content-type", b"application/grpc"), (b"x-bin", b"AA")),
        ((b"grpc-status", b"5"), (b"grpc-message", b"no%20model%0A'a%C3%A4'")),
    ).head()
    right = GrpcRequest(METHOD).answer(
        0, Fields(((b":status", b"200"),)).head(), grpc_message(b"abc")
    )
    assert right.message == right.body == b"abc"
    answer = GrpcRequest(METHOD).answer(5, head, b"")
    assert (answer.status, answer.details) == (GrpcStatus.NOT_FOUND, "no model\n'aä'")
    assert (answer.metadata["x-bin"], answer.trailers["Grpc-Status"]) == ("AA", "5")
    assert "5 (NOT_FOUND): \"no model 'aä'\"" in answer.described
    only = Fields(((b":status", b"200"), (b"grpc-status", b"77"), (b"grpc-message", b"x")))
    odd = GrpcRequest(METHOD).answer(77, only.head(), b"")
    assert (odd.details, odd.message) == ("x", b"")
    assert "77" in odd.described
    proxy = Fields(((b":status", b"503"),)).head()
    assert "HTTP status 503" in GrpcRequest(METHOD).answer(14, proxy, b"<html>").described


@given(st.binary(max_size=300), st.sampled_from(["identity", "gzip", "deflate"]))
def test_a_compressed_answer(message: bytes, encoding: str) -> None:
    codings: dict[str, Any] = {"gzip": gzip.compress, "deflate": zlib.compress}
    compress = codings.get(encoding)
    content = compress(message) if compress else message
    body = grpc_message(content, compressed=bool(compress))
    assert unframed(body, encoding) == message
    assert unframed(grpc_message(message), encoding) == message  # by the flag alone


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (b"\0\0\0\0", "identity", "whole"),
        (b"\0\0\0\0\2a", "identity", "whole"),
        (grpc_message(b"a") * 2, "identity", "whole"),
        (grpc_message(b"a", compressed=True), "gzip", "gzip"),
        (grpc_message(gzip.compress(b"abc", mtime=0)[:-1], compressed=True), "gzip", "cut off"),
        (grpc_message(b"a", compressed=True), "zstd", "'zstd'"),
        (grpc_message(b"a", compressed=True), "identity", "'identity'"),
        (
            grpc_message(gzip.compress(bytes(10**6), mtime=0), compressed=True),
            "gzip",
            "more than 1,000 b",
        ),
    ],
)
def test_an_answer_that_cannot_be_read(body: bytes, encoding: str, reason: str) -> None:
    with pytest.raises(BadResponseError, match=reason):
        unframed(body, encoding, 1000)
