"""JSON as the real server's parser and writer (RapidJSON) see it.

The real server's error texts quote RapidJSON's messages and byte offsets, and values as its writer
prints them. This parser and writer exist for those texts and for what ``json`` reads differently:
bytes that are not UTF-8, names that occur twice, ``-NaN``, numbers beyond a double. They are not
fast; ``fast_json.py`` takes the ordinary requests.
"""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass
from typing import TypeAlias, Union

from pytest_servebench.servers.savedmodel_server.status import ApiError

_MAX_DEPTH = 200  # keeps recursion over a document far from Python's limit
_QUOTED_SIZE = 256  # the real server stops printing a value once it has this many bytes


@dataclass(frozen=True)
class JsonObject:
    """An object: its members in order, names that occur twice included."""

    members: list[tuple[bytes, Json]]

    def find(self, name: bytes) -> Json | _Missing:
        """Return the first member called ``name``, or MISSING."""
        return next((value for key, value in self.members if key == name), MISSING)


class _Missing:
    """The type of MISSING: None is a value in JSON."""


MISSING = _Missing()

# Strings are bytes: nothing makes sure that they are UTF-8.
Json: TypeAlias = Union[bool, int, float, bytes, "list[Json]", JsonObject, None]

_SPACE = re.compile(rb"[ \t\n\r]*")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_DIGITS = re.compile(rb"[0-9]*")
_HEX4 = re.compile(rb"[0-9A-Fa-f]{4}")
_ESCAPES = {
    b'"': b'"',
    b"\\": b"\\",
    b"/": b"/",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
}
_LITERALS: dict[bytes, tuple[bytes, bool | None]] = {
    b"n": (b"null", None),
    b"t": (b"true", True),
    b"f": (b"false", False),
}


def text_of(raw: bytes) -> str:
    """Return bytes as text for a message; what is not UTF-8 survives the way back."""
    return raw.decode("utf-8", "surrogateescape")


def parse(body: bytes) -> JsonObject:
    """Parse a request's body, which must be an object. Whatever follows the object is ignored.

    Raises:
        ApiError: the real server's error for what is wrong.
    """
    if not body:
        raise ApiError("JSON Parse error: The document is empty")
    document = _Parser(body).document()
    if not isinstance(document, JsonObject):
        raise value_error(document, "Is not object")
    return document


def value_error(value: Json, complaint: str) -> ApiError:
    """Return the error which quotes a value and says what is wrong with it."""
    return ApiError(f"JSON Value: {quoted(value)} {complaint}")


def _parse_error(message: str, offset: int) -> ApiError:
    return ApiError(f"JSON Parse error: {message} at offset: {offset}")


class _Parser:
    def __init__(self, text: bytes) -> None:
        self.text = text
        self.pos = 3 if text.startswith(b"\xef\xbb\xbf") else 0

    def peek(self) -> bytes:
        return self.text[self.pos : self.pos + 1]

    def skip_space(self) -> None:
        self.pos = _SPACE.match(self.text, self.pos).end()  # type: ignore[union-attr]

    def consume(self, wanted: bytes) -> bool:
        if self.text.startswith(wanted, self.pos):
            self.pos += len(wanted)
            return True
        return False

    def document(self) -> Json:
        """Parse the first value. A stack instead of recursion: the client decides on the depth."""
        self.skip_space()
        if self.pos >= len(self.text):
            raise _parse_error("The document is empty.", self.pos)
        open_values: list[tuple[list[Json] | JsonObject, bytes]] = []
        while True:
            value, opened = self._value_or_opening()
            if opened is not None:
                if len(open_values) >= _MAX_DEPTH:
                    raise _parse_error("Terminate parsing due to Handler error.", self.pos)
                open_values.append(opened)
                continue
            while True:
                if not open_values:
                    return value
                container, name = open_values.pop()
                self.skip_space()
                if isinstance(container, list):
                    container.append(value)
                    if self.consume(b","):
                        self.skip_space()
                        open_values.append((container, b""))
                        break
                    if not self.consume(b"]"):
                        raise _parse_error("Missing a comma or ] after an array element.", self.pos)
                else:
                    container.members.append((name, value))
                    if self.consume(b","):
                        self.skip_space()
                        open_values.append((container, self._member_name()))
                        break
                    if not self.consume(b"}"):
                        raise _parse_error("Missing a comma or } after an object member.", self.pos)
                value = container

    def _value_or_opening(self) -> tuple[Json, tuple[list[Json] | JsonObject, bytes] | None]:
        """Parse a value, or the start of a list or object that has elements."""
        first = self.peek()
        if first == b"[":
            self.pos += 1
            self.skip_space()
            return ([], None) if self.consume(b"]") else (None, ([], b""))
        if first == b"{":
            self.pos += 1
            self.skip_space()
            if self.consume(b"}"):
                return JsonObject([]), None
            return None, (JsonObject([]), self._member_name())
        if first == b'"':
            return self._string(), None
        if first in _LITERALS:
            word, value = _LITERALS[first]
            for letter in word:
                if not self.consume(bytes([letter])):
                    raise _parse_error("Invalid value.", self.pos)
            return value, None
        return self._number(), None

    def _member_name(self) -> bytes:
        if self.peek() != b'"':
            raise _parse_error("Missing a name for object member.", self.pos)
        name = self._string()
        self.skip_space()
        if not self.consume(b":"):
            raise _parse_error("Missing a colon after a name of object member.", self.pos)
        self.skip_space()
        return name

    def _string(self) -> bytes:
        self.pos += 1
        parts = []
        while True:
            plain = _PLAIN.match(self.text, self.pos)
            assert plain is not None
            parts.append(plain[0])
            self.pos = plain.end()
            if self.consume(b'"'):
                return b"".join(parts)
            if self.peek() != b"\\":
                at_end = self.peek() in (b"", b"\0")
                raise _parse_error(
                    "Missing a closing quotation mark in string."
                    if at_end
                    else "Invalid encoding in string.",
                    self.pos,
                )
            parts.append(self._escape())

    def _escape(self) -> bytes:
        start = self.pos
        self.pos += 1
        letter = self.peek()
        self.pos += 1
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        if letter != b"u":
            raise _parse_error("Invalid escape character in string.", start)
        code = self._hex4(start)
        if 0xD800 <= code <= 0xDFFF:
            if code > 0xDBFF or not self.consume(b"\\u"):
                raise _parse_error("The surrogate pair in string is invalid.", start)
            low = self._hex4(start)
            if not 0xDC00 <= low <= 0xDFFF:
                raise _parse_error("The surrogate pair in string is invalid.", start)
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
        return chr(code).encode()

    def _hex4(self, start: int) -> int:
        digits = _HEX4.match(self.text, self.pos)
        if digits is None:
            raise _parse_error("Incorrect hex digit after \\u escape in string.", start)
        self.pos = digits.end()
        return int(digits[0], 16)

    def _digits(self) -> bytes:
        found = _DIGITS.match(self.text, self.pos)
        assert found is not None
        self.pos = found.end()
        return found[0]

    def _number(self) -> int | float:
        start = self.pos
        negative = self.consume(b"-")
        if self.peek() in (b"N", b"I"):
            return self._not_finite(negative)
        # A leading zero is a number by itself; the digit after it is then out of place.
        if not self.consume(b"0") and not self._digits():
            raise _parse_error("Invalid value.", self.pos)
        whole_end = self.pos
        decimals = 0
        if self.consume(b"."):
            decimals = len(self._digits())
            if not decimals:
                raise _parse_error("Miss fraction part in number.", self.pos)
        exponent = 0
        if self.consume(b"e") or self.consume(b"E"):
            minus = self.consume(b"-")
            if not minus:
                self.consume(b"+")
            digits = self._digits()
            if not digits:
                raise _parse_error("Miss exponent in number.", self.pos)
            # Longer than any exponent that matters, and int() would refuse thousands of digits.
            exponent = -1 if minus else int(digits.lstrip(b"0")[:6] or b"0")
        token = self.text[start : self.pos]
        if self.pos == whole_end and len(token) <= 20:
            integer = int(token)
            if -(2**63) <= integer < 2**64:
                return integer
        number = float(token)
        if math.isinf(number) or exponent > 308 + decimals:
            raise _parse_error("Number too big to be stored in double.", start)
        return number

    def _not_finite(self, negative: bool) -> float:
        if self.peek() == b"N":
            number, word, rest = math.nan, b"NaN", b""
        else:
            number, word, rest = math.inf, b"Inf", b"inity"
        for letter in word:
            if not self.consume(bytes([letter])):
                raise _parse_error("Invalid value.", self.pos)
        if rest and self.peek() == b"i":
            for letter in rest:
                if not self.consume(bytes([letter])):
                    raise _parse_error("Invalid value.", self.pos)
        return -number if negative else number


class _EnoughQuotedError(Exception):
    """The quoted text is long enough."""


class _Quoter:
    """Prints a value as the real server does in its messages, up to a size."""

    def __init__(self) -> None:
        self.out = bytearray()

    def put(self, token: bytes) -> None:
        self.out += token

    def check(self) -> None:
        """Stop before the next element, never within one: that is where the real server stops."""
        if len(self.out) >= _QUOTED_SIZE:
            raise _EnoughQuotedError

    def write(self, value: Json, depth: int) -> None:
        self.check()
        if isinstance(value, list):
            self.put(b"[")
            for index, element in enumerate(value):
                if index:
                    self.check()
                    self.put(b", ")
                self.write(element, depth + 1)
            self.check()
            self.put(b"]")
        elif isinstance(value, JsonObject):
            self.put(b"{")
            for index, (name, member) in enumerate(value.members):
                self.check()
                self.put((b",\n" if index else b"\n") + b"    " * (depth + 1))
                self.put(string_literal(name) + b": ")
                self.write(member, depth + 1)
            self.check()
            self.put(b"\n" + b"    " * depth + b"}" if value.members else b"}")
        else:
            self.put(_scalar_literal(value))


def quoted(value: Json) -> str:
    """Return the start of a value as it is quoted in error messages."""
    quoter = _Quoter()
    with contextlib.suppress(_EnoughQuotedError):
        quoter.write(value, 0)
    return text_of(bytes(quoter.out))


def _scalar_literal(value: bool | int | float | bytes | None) -> bytes:
    if value is None:
        return b"null"
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, bytes):
        return string_literal(value)
    if isinstance(value, int):
        return str(value).encode()
    return _double_literal(value).encode()


def _double_literal(value: float) -> str:
    """Print the shortest digits that give the double back, laid out as RapidJSON lays them out."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    mantissa, _, exponent = f"{abs(value)!r}e0".partition("e")
    whole, _, fraction = mantissa.partition(".")
    power = int(exponent.partition("e")[0]) - len(fraction)
    digits = (whole + fraction).lstrip("0")
    power += len(digits) - len(digits.rstrip("0"))
    digits = digits.rstrip("0")
    point = len(digits) + power  # the decimal point stands after so many digits
    if power >= 0 and point <= 21:
        text = digits + "0" * power + ".0"
    elif 0 < point <= 21:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        text = f"{digits[0]}{'.' if len(digits) > 1 else ''}{digits[1:]}e{point - 1}"
    return f"-{text}" if value < 0 else text


_ESCAPED = {
    **{bytes([code]): b"\\u%04X" % code for code in range(0x20)},
    b'"': b'\\"',
    b"\\": b"\\\\",
    b"\b": b"\\b",
    b"\f": b"\\f",
    b"\n": b"\\n",
    b"\r": b"\\r",
    b"\t": b"\\t",
}
_TO_ESCAPE = re.compile(rb'[\x00-\x1f"\\]')


def string_literal(raw: bytes) -> bytes:
    """Return a string as a JSON literal; bytes beyond ASCII stand for themselves."""
    return b'"' + _TO_ESCAPE.sub(lambda found: _ESCAPED[found[0]], raw) + b'"'
