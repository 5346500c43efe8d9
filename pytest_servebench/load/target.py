"""Where requests go: HTTP or gRPC, over TCP or a Unix socket, with TLS or without."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from pytest_servebench.load.tls import Tls

EXAMPLES: Final = (
    "give http://HOST:PORT, https://HOST:PORT, http://[::1]:PORT "
    "or http+unix://%2Fpath%2Fof%2Fsocket; for gRPC grpc://HOST:PORT or grpcs://HOST:PORT"
)
NO_HTTP2: Final = "the server does not offer HTTP/2 (in TLS, by ALPN)"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "grpc": 80, "grpcs": 443}
_UNIX: Final = "+unix"
_NO_TLS: Final = (f"https{_UNIX}", f"grpcs{_UNIX}")
_VERIFIED: Final = Tls()
_OUT_OF_DATE: Final = (9, 10)  # OpenSSL's CERT_NOT_YET_VALID, CERT_HAS_EXPIRED


@dataclass(frozen=True)
class Target:
    """The address of a server.

    Attributes:
        host: name or address; of a Unix socket, the name to send as ``Host``.
        port: TCP port; 0 for a Unix socket.
        unix_socket: path of a Unix socket, instead of host and port.
        path: prefix of each request's path, such as ``"/api"``; without a trailing slash.
        tls: TLS settings; ``None``: no TLS.
        scheme: what is spoken there: ``"http"`` or ``"grpc"``, with TLS or without.
    """

    host: str
    port: int
    unix_socket: str | None = None
    path: str = ""
    tls: Tls | None = None
    scheme: str = "http"

    @classmethod
    def parse(cls, url: str, tls: Tls = _VERIFIED) -> Target:
        """Read scheme, address and path of a URL; ``tls`` applies to ``https`` and ``grpcs``.

        Raises:
            ValueError: it is not the URL of a server; the message says why, and what to give.
        """
        try:
            parts = urlsplit(url.strip())
            port = parts.port
        except ValueError as error:
            raise ValueError(f"{error}; {EXAMPLES}") from None
        if parts.username is not None or parts.password is not None:
            raise ValueError(f"a URL with a user or password is not supported; {EXAMPLES}")
        if parts.query or parts.fragment:
            raise ValueError(
                "a query or fragment after the address belongs in the requests: "
                f'HttpRequest("GET", "/path?query"); {EXAMPLES}'
            )
        path = parts.path.rstrip("/")
        if not path.isascii() or not path.isprintable() or " " in path:
            raise ValueError(f"its path is not quoted: write {quote(path)!r}; {EXAMPLES}")
        family = parts.scheme.removesuffix(_UNIX)
        if family not in _DEFAULT_PORTS or parts.scheme in _NO_TLS:
            raise ValueError(f"the scheme is none of http, https, grpc and grpcs; {EXAMPLES}")
        scheme = family.removesuffix("s")
        if path and scheme == "grpc":
            raise ValueError(
                f"a gRPC server's URL has no path: give {parts.scheme}://{parts.netloc}; service "
                'and method belong in the requests: GrpcRequest("/package.Service/Method", message)'
            )
        if parts.scheme.endswith(_UNIX):
            if not (link := unquote(parts.netloc)):
                raise ValueError(f"the socket's path is missing; {EXAMPLES}")
            return cls(host="localhost", port=0, unix_socket=link, path=path, scheme=scheme)
        if not parts.hostname:
            raise ValueError(f"the host is missing; {EXAMPLES}")
        if port == 0:
            raise ValueError(f"port 0 is not valid; {EXAMPLES}")
        return cls(
            host=parts.hostname,
            port=port or _DEFAULT_PORTS[parts.scheme],
            path=path,
            tls=None if parts.scheme == scheme else tls,
            scheme=scheme,
        )

    @property
    def url(self) -> str:
        """Return the address as a URL, with the prefix of each request's path."""
        if self.unix_socket is not None:
            return f"{self.scheme}{_UNIX}://{quote(self.unix_socket, safe='')}{self.path}"
        return f"{self.scheme}{'' if self.tls is None else 's'}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """Return what goes into the ``Host`` header."""
        if self.unix_socket is not None:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def tls_name(self) -> str | None:
        """Return the name for which the certificate must be valid; ``None`` without TLS."""
        return None if self.tls is None else self.tls.server_name or self.host

    def full_path(self, path: str) -> str:
        """Return the whole path of a request for ``path``, which may be empty."""
        return self.path + path or "/"


def is_final(error: Exception) -> bool:
    """Return whether a connection that failed like this will fail again: no such host, or TLS."""
    if isinstance(error, socket.gaierror):
        return error.errno != socket.EAI_AGAIN
    return isinstance(error, ssl.SSLError | UnicodeError)  # the latter from the codec for names


def explained(error: Exception) -> str:
    """Return the message of a connection error, with the remedy if there is one."""
    text = getattr(error, "verify_message", "") or getattr(error, "strerror", None) or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OUT_OF_DATE:
            return (
                f"certificate verify failed: {text} (renew it, or check this machine's clock; "
                "--servebench-tls-verify=false accepts any certificate)"
            )
        return (
            f"certificate verify failed: {text} (trust it with --servebench-tls-ca=FILE, or any "
            "certificate with --servebench-tls-verify=false; if it was issued for another name: "
            "--servebench-tls-server-name=NAME)"
        )
    if isinstance(error, ssl.SSLError):
        if error.reason == "WRONG_VERSION_NUMBER":  # of TLS, in what is none
            return f"the server does not speak TLS (without it: http:// or grpc://): {text}"
        if "no application protocol" in text:  # without a reason before Python 3.13
            return NO_HTTP2
    return str(text)
