"""Running the server that streams by script, and scripts for it."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from pytest_servebench.load.runner import run_load
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.store import RecordStore
from pytest_servebench.load.target import Target
from pytest_servebench.load.transports.base import Terms
from pytest_servebench.protocols.base import HttpRequest
from pytest_servebench.streaming.collect import Collected, collect
from pytest_servebench.streaming.formats import MOST_PARTS, Stream, Tokenizer, Way
from simulation.known import running

DONE = b"data: [DONE]\n\n"


def event(**fields: Any) -> bytes:
    """Return a server-sent event with an object as its data."""
    return b"data: " + json.dumps(fields, ensure_ascii=False).encode() + b"\n\n"


def chat(content: str | None = None, finish: str | None = None, index: int = 0) -> bytes:
    """Return the event of a chunk of a chat's answer; without content it has only the role."""
    delta = {"role": "assistant", "content": ""} if content is None else {"content": content}
    return event(choices=[{"index": index, "delta": delta, "finish_reason": finish}])


def usage(output: int, prompt: int = 7) -> bytes:
    """Return the event with the numbers of tokens, which comes last."""
    return event(choices=[], usage={"completion_tokens": output, "prompt_tokens": prompt})


@dataclass(frozen=True)
class Script:
    """What the server does with one request.

    Attributes:
        writes: seconds after the request was read, ascending, and the bytes to write then.
        head: seconds after which the head is written.
        end: of the answer, with the last write: ``"whole"``; the connection is closed, or reset, in
            the middle of the answer (over HTTP/2, the stream is reset); or nothing follows.
        status: of HTTP.
        plain: whether the answer's length is told in its head, rather than that of each write.
    """

    writes: Sequence[tuple[float, bytes]]
    head: float = 0.0
    end: Literal["whole", "close", "abort", "hang"] = "whole"
    status: int = 200
    plain: bool = False

    def request(
        self,
        stream: Stream | None = "openai",
        tokenizer: Tokenizer | None = None,
        make: type[HttpRequest] = HttpRequest,
    ) -> HttpRequest:
        """Return the request that has the server follow this script."""
        told = {
            "writes": [(at, data.decode("latin-1")) for at, data in self.writes],
            "head": self.head, "end": self.end, "status": self.status,
            "length": sum(len(data) for _, data in self.writes) if self.plain else None,
        }  # fmt: skip
        body = json.dumps(told).encode()
        return make("POST", "/stream", body=body, stream=stream, tokenizer=tokenizer)


@dataclass(frozen=True)
class StreamServer:
    """A running server.

    Attributes:
        pid: its process.
        port: where it listens.
    """

    pid: int
    port: int

    @property
    def target(self) -> Target:
        """Return its address."""
        return Target("127.0.0.1", self.port)

    def stamps(self) -> list[tuple[int, list[int]]]:
        """Return when each request since the last call was read, and when what was written, ns."""
        link = http.client.HTTPConnection("127.0.0.1", self.port)
        link.request("GET", "/stamps")
        found: list[tuple[int, list[int]]] = json.loads(link.getresponse().read())
        link.close()
        return [(read, written[1:]) for read, written in found]  # without the head's

    def spec(self, requests: Sequence[HttpRequest], **fields: Any) -> LoadSpec:
        """Return a load of these requests; the rest are fields of ``LoadSpec``."""
        given: dict[str, Any] = {
            "target": self.target,
            "requests": tuple(one.prepared(self.target) for one in requests),
            "transport": requests[0].transport,
            "terms": Terms(most_parts=MOST_PARTS),
            "warmup": 0.0,
        }
        return LoadSpec(**(given | fields))

    def load(
        self,
        requests: Sequence[HttpRequest],
        watch: Callable[[RecordStore], None] = lambda _: None,
        **fields: Any,
    ) -> Collected:
        """Make a load of streamed requests, and read their answers."""
        made = run_load(self.spec(requests, **fields), watch)
        ways: list[Way] = [one.way for one in requests if one.way is not None]
        return collect(made, ways)


@contextmanager
def serve() -> Iterator[StreamServer]:
    """Run the server until the end of the block."""
    with running([sys.executable, "-m", "simulation.stream_server"]) as server:
        yield StreamServer(server.pid, server.port)
