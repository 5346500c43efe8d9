"""Requests over HTTP/2."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from pytest_servebench.errors import OptionError
from pytest_servebench.load.transports.http2.prepared import Fields, prepared
from pytest_servebench.protocols.base import Headers, HttpAnswer, HttpRequest

if TYPE_CHECKING:
    from pytest_servebench.load.target import Target

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2


@dataclass(frozen=True, repr=False)
class Http2Request(HttpRequest):
    """An :class:`HttpRequest` that is sent over HTTP/2.

    Over ``https`` the server must offer HTTP/2 (ALPN ``h2``); over ``http`` it must speak HTTP/2
    without an upgrade from HTTP/1.1 (prior knowledge).
    """

    transport: ClassVar[str] = "http/2"
    reserved: ClassVar[frozenset[str]] = HttpRequest.reserved | {
        "keep-alive", "proxy-connection", "upgrade"
    }  # fmt: skip

    def check_sendable(self) -> None:
        """See :class:`~pytest_servebench.protocols.base.Request`."""
        super().check_sendable()
        for name, value in self.headers:  # RFC 9113, 8.2
            if not _NAME.fullmatch(name) or value.strip(" \t") != value:
                raise OptionError(
                    f"{self!r}: the header {name!r}: a name has letters, digits and "
                    "!#$%&'*+-.^_`|~ only, and a value no space at its ends; HTTP/2 allows nothing "
                    "else."
                )
            if name.lower() == "te" and value != "trailers":
                raise OptionError(f'{self!r}: in HTTP/2 the header TE can only be "trailers".')

    def prepared(
        self,
        target: Target,
        authorization: Sequence[tuple[str, str]] = (),
        *,
        keep_alive: bool = True,  # noqa: ARG002 - the transport's to heed
    ) -> bytes:
        """See :class:`~pytest_servebench.protocols.base.Request`."""
        own = [(name.lower(), value) for name, value in self.headers]
        names = {name for name, _ in own}
        hosts = [value for name, value in own if name == "host"]
        fields = [
            (":method", self.method),
            (":scheme", "http" if target.tls is None else "https"),
            (":path", target.full_path(self.path)),
            (":authority", hosts[0] if hosts else target.authority),
            *((name, value) for name, value in own if name != "host"),
            *((n.lower(), value) for n, value in authorization if n.lower() not in names),
            ("content-length", str(len(self.body))),
        ]
        return prepared(fields, self.body)

    def identity(self, *, paths: bool) -> Sequence[bytes]:
        """See :class:`~pytest_servebench.protocols.base.Request`."""
        return [b"HTTP/2", *super().identity(paths=paths)]

    def answer(self, status: int, head: bytes, body: bytes) -> HttpAnswer:
        """Return the answer from status, head and body; trailers come after the headers."""
        fields = Fields.of_head(head)
        return HttpAnswer(status, body, Headers.of_fields((*fields.initial, *fields.trailers)))
