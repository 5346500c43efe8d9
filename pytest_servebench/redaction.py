"""Secrets that this process has met, and their removal from every text that leaves the plugin.

A server may echo the request that it got, log it, or quote it in an error; a test's own failure may
show its headers. So secrets are known by their values, wherever they turn up: whoever learns of one
calls :func:`hide`, and every way out goes through :func:`redact`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

HIDDEN: Final = "[key hidden]"
_SHORTEST: Final = 4  # characters; shorter values are parts of any text
_SHORTEST_GUESSED: Final = 8  # of what is taken for a secret by a part of its name alone
_WITHIN_WORDS: Final = 8  # characters from which on one is replaced within a word too
_CUT: Final = 8  # characters of a secret that give it away, should the rest be cut off
_SHORTEST_CUT: Final = 12
# Stand-ins that tests give where no key is needed, and that stand in many a report.
_NO_SECRETS: Final = frozenset(
    {"test", "none", "null", "true", "false", "dummy", "token", "secret", "password", "bearer",
     "basic", "admin", "user", "example", "benchmark", "default", "anonymous", "changeme"}
)  # fmt: skip
_NAMES: Final = re.compile(
    r"(?:proxy-)?authorization|(?:set-)?cookie|(?:x[-_])?(?:api|auth|access)[-_]?(?:key|token)"
    r"|token|password|passwd|secret",
    re.IGNORECASE,
)
_GUESSED: Final = re.compile(
    r"(?:^|[^a-z]|api|auth|access|secret|private|refresh|id)"
    r"(?:auth\w*|token|secret|passw\w*|cookie|credentials?|session(?:[-_]?id)?|signature|sig|key)$",
    re.IGNORECASE,
)
_known: dict[str, None] = {}  # every form of every secret, the longest first


def hide(secret: str | None, *, shortest: int = _SHORTEST) -> None:
    """Have ``secret`` and its usual spellings replaced from now on; blanks around it do not count.

    Args:
        secret: a key, token or password.
        shortest: of fewer characters it is not taken for one.
    """
    secret = (secret or "").strip()
    if len(secret) < shortest or secret in _known or secret.lower() in _NO_SECRETS:
        return
    if secret in HIDDEN:  # replacing it would go on for ever
        return
    raw = secret.encode("utf-8", "surrogateescape")
    forms = {
        secret,
        quote(raw),
        quote(raw, safe=""),
        quote_plus(raw),
        base64.b64encode(raw).decode().rstrip("="),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
    }
    both = sorted({*_known, *forms}, key=len, reverse=True)
    _known.clear()
    _known.update(dict.fromkeys(both))


def hide_headers(headers: Iterable[tuple[str, str]]) -> None:
    """Hide what the headers of a request give away."""
    for name, value in headers:
        if not (isinstance(name, str) and isinstance(value, str)):
            continue  # which whoever sends it will refuse
        if not (certain := _NAMES.fullmatch(name)) and not _GUESSED.search(name):
            continue
        shortest = _SHORTEST if certain else _SHORTEST_GUESSED
        if "cookie" in name.lower():
            for part in value.split(";"):
                hide(part.partition("=")[2] or part, shortest=shortest)
            continue
        scheme, _, credentials = value.strip().partition(" ")
        if credentials and scheme.lower() == "basic":
            with suppress(binascii.Error, ValueError):
                pair = base64.b64decode(credentials, validate=True).decode()
                hide(pair)
                hide(pair.partition(":")[2])
        hide(credentials or value, shortest=shortest)


def hide_url(url: str) -> None:
    """Hide the password and the keys in a URL or in the path of a request."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    hide(password or user)
    for part in parts.query.split("&"):
        name, _, value = part.partition("=")
        if (certain := _NAMES.fullmatch(unquote(name))) or _GUESSED.search(unquote(name)):
            for form in (value, unquote(value)):
                hide(form, shortest=_SHORTEST if certain else _SHORTEST_GUESSED)


def redact(text: str) -> str:
    """Return ``text`` with each secret replaced, and what is left of one that was cut off."""
    for secret in _known:
        if len(secret) < _WITHIN_WORDS:
            if secret in text:
                text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
            continue
        text = text.replace(secret, HIDDEN)
        if len(secret) >= _SHORTEST_CUT:
            text = _without_parts(text, secret)
    return text


def redact_bytes(content: bytes) -> bytes:
    """Return the content of a file with each secret replaced."""
    for secret in _known:
        form = secret.encode("utf-8", "surrogateescape")
        if len(secret) >= _WITHIN_WORDS:
            content = content.replace(form, HIDDEN.encode())
        elif form in content:
            content = re.sub(rb"(?<!\w)%b(?!\w)" % re.escape(form), HIDDEN.encode(), content)
    return content


def anything_hidden() -> bool:
    """Tell whether any secret is known."""
    return bool(_known)


def _without_parts(text: str, secret: str) -> str:
    """Replace beginnings and ends of a secret, as long as they go on."""
    start, end = secret[:_CUT], secret[-_CUT:]
    while _telling(start) and (at := text.find(start)) >= 0:
        stop = at + _CUT
        while stop < len(text) and stop - at < len(secret) and text[stop] == secret[stop - at]:
            stop += 1
        text = text[:at] + HIDDEN + text[stop:]
    while _telling(end) and (at := text.find(end)) >= 0:
        first, stop = at, at + _CUT
        while first and stop - first < len(secret) and text[first - 1] == secret[first - stop - 1]:
            first -= 1
        text = text[:first] + HIDDEN + text[stop:]
    return text


def _telling(part: str) -> bool:
    """Tell whether a part of a secret stands for it: eight zeros stand in any report."""
    return len(set(part)) >= _CUT // 2 and part not in HIDDEN
