"""Secrets that this process has seen, and their removal from every text that leaves the plugin.

A server may echo a request, log it, or quote it in an error; a failing test may show its headers.
So secrets are recognized by their values, wherever they turn up: code that sees one calls
:func:`hide`, and all output goes through :func:`redact`.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

HIDDEN: Final = "[key hidden]"
SHORTEST: Final = 4  # characters; shorter values are parts of any text
_SHORTEST_GUESSED: Final = 8  # for what is taken as a secret by part of its name alone
_WITHIN_WORDS: Final = 8  # characters; secrets this long are replaced inside words too
_CUT: Final = 8  # characters that give a secret away if the rest is cut off
_SHORTEST_CUT: Final = 12
# Placeholders given where no key is needed; reports contain them for other reasons.
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
_NAMED_LAST: Final = re.compile(rf"(?:^|[-_.])(?:{_NAMES.pattern})$", re.IGNORECASE)
_FEW: Final = 100  # secrets that are searched for one by one


class _Secrets:
    def __init__(self) -> None:
        self.forms: set[str] = set()
        self._by_part: dict[str, set[str]] = {}  # the first and the last characters of each
        self._short: set[str] = set()
        self._in_order: list[str] | None = None

    def add(self, forms: Iterable[str]) -> None:
        self._in_order = None
        for form in forms:
            self.forms.add(form)
            if len(form) < _CUT:
                self._short.add(form)
            for part in (form[:_CUT], form[-_CUT:]):
                self._by_part.setdefault(part, set()).add(form)

    def within(self, text: str) -> Sequence[str]:
        """Return those that ``text`` may contain, the longest first."""
        if len(self.forms) <= _FEW:
            if self._in_order is None:
                self._in_order = sorted(self.forms, key=len, reverse=True)
            return self._in_order
        # Each request of a load may have its own key: then it is faster to scan the text.
        found = set(self._short)
        for place in range(len(text) - _CUT + 1):
            found |= self._by_part.get(text[place : place + _CUT], set())
        return sorted(found, key=len, reverse=True)


_secrets = _Secrets()


def hide(secret: str | None, *, shortest: int = SHORTEST) -> None:
    """Replace ``secret`` and its usual encodings from now on, without the blanks around it.

    Args:
        secret: a key, token or password.
        shortest: a value of fewer characters is not taken for a secret.
    """
    secret = (secret or "").strip()
    if len(secret) < shortest or secret in _secrets.forms or secret.lower() in _NO_SECRETS:
        return
    if secret in HIDDEN:  # replacing it would never end
        return
    raw = secret.encode("utf-8", "surrogateescape")
    forms = (
        secret,
        quote(raw),
        quote(raw, safe=""),
        quote_plus(raw),
        base64.b64encode(raw).decode().rstrip("="),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
    )
    _secrets.add(forms)


def names_secret(name: str) -> bool:
    """Return whether a header or parameter of that name probably holds a secret."""
    return bool(_NAMES.fullmatch(name) or _GUESSED.search(name))


def hide_headers(headers: Iterable[tuple[str, str]]) -> None:
    """Hide the secrets in the headers of a request."""
    for name, value in headers:
        if not (isinstance(name, str) and isinstance(value, str)):
            continue  # which the sender will refuse
        if not (certain := _NAMES.fullmatch(name)) and not _GUESSED.search(name):
            continue
        shortest = SHORTEST if certain else _SHORTEST_GUESSED
        if "cookie" in name.lower():
            for part in value.split(";"):
                crumb = part.partition("=")[2] or part
                # Cookies also hold a language or a theme.
                if not (crumb.strip().isalpha() and crumb.islower() and len(crumb) < _SHORTEST_CUT):
                    hide(crumb, shortest=shortest)
            continue
        scheme, _, credentials = value.strip().partition(" ")
        if credentials and scheme.lower() == "basic":
            with suppress(binascii.Error, ValueError):
                pair = base64.b64decode(credentials, validate=True).decode()
                hide(pair)
                hide(pair.partition(":")[2])
        hide(credentials or value, shortest=shortest)


def hide_arguments(arguments: Sequence[str]) -> None:
    """Hide the secrets in a command line.

    They are recognized by names that end like ``--api-key=VALUE``, ``--api-key VALUE`` or
    ``--env=HF_TOKEN=VALUE`` do.
    """
    for word, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        inner, _, its_value = value.partition("=")
        pairs = [(name, value), (inner, its_value)] if equals else [(word, following)]
        for name, value in pairs:
            if _NAMED_LAST.search(name) and "{" not in value:
                hide(value, shortest=_SHORTEST_GUESSED)


def hide_url(url: str) -> None:
    """Hide the password and the keys in a URL or in the path of a request."""
    for secret, shortest in _of_url(url):
        hide(secret, shortest=shortest)
        hide(unquote(secret), shortest=shortest)


def without_keys(url: str) -> str:
    """Return a URL that a server gave without the password and the keys in it."""
    for secret, shortest in _of_url(url):
        if len(secret) >= shortest:
            url = url.replace(secret, HIDDEN)
    return url


def _of_url(url: str) -> Iterator[tuple[str, int]]:
    """Yield the secrets in a URL as they are written there, if they have this many characters."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    yield password or user, SHORTEST
    for part in (*parts.query.split("&"), *parts.fragment.split("&")):
        name, _, value = part.partition("=")
        if _NAMES.fullmatch(unquote(name)):
            yield value, SHORTEST
        elif _GUESSED.search(unquote(name)):
            yield value, _SHORTEST_GUESSED


def redact(text: str) -> str:
    """Return ``text`` with each secret replaced, truncated ones included."""
    if not (secrets := _secrets.within(text)):
        return text
    for secret in secrets:  # all whole ones before any partial one
        if len(secret) >= _WITHIN_WORDS:
            text = text.replace(secret, HIDDEN)
        elif secret in text:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    long = [secret for secret in secrets if len(secret) >= _SHORTEST_CUT]
    text = _without_starts(text, long)
    # A truncated beginning is the truncated end of the reversed text.
    return _without_starts(text[::-1], [secret[::-1] for secret in long], HIDDEN[::-1])[::-1]


def redact_bytes(content: bytes) -> bytes:
    """Return the content of a file with each secret replaced."""
    for secret in _secrets.within(content.decode("utf-8", "surrogateescape")):
        form = secret.encode("utf-8", "surrogateescape")
        if len(secret) >= _WITHIN_WORDS:
            content = content.replace(form, HIDDEN.encode())
        elif form in content:
            content = re.sub(rb"(?<!\w)%b(?!\w)" % re.escape(form), HIDDEN.encode(), content)
    return content


def anything_hidden() -> bool:
    """Return whether any secret is known."""
    return bool(_secrets.forms)


def _without_starts(text: str, secrets: Iterable[str], hidden: str = HIDDEN) -> str:
    """Replace beginnings of secrets, as far as they match: a text may have been cut off."""
    alike: dict[str, list[str]] = {}
    for secret in secrets:
        alike.setdefault(secret[:_CUT], []).append(secret)
    for start, group in alike.items():
        # Any report may contain eight zeros.
        if len(set(start)) < _CUT // 2 or start in hidden:
            continue
        while (place := text.find(start)) >= 0:
            rest = text[place:]
            length = max(_shared(rest, secret) for secret in group)
            text = text[:place] + hidden + rest[length:]
    return text


def _shared(one: str, other: str) -> int:
    """Return how many characters two texts have in common at the beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
