"""The heads of answers in HTTP/1.1, as leniently as common clients read them."""


def head_of(beginning: bytes) -> bytes:
    """Return status line and headers from the beginning of an answer."""
    return divided(beginning)[0]


def is_http(beginning: bytes) -> bool:
    """Return whether an answer looks like HTTP/1, even if it is invalid."""
    return b"HTTP/".startswith(beginning.lstrip(b"\r\n")[:5])


def with_one_length(beginning: bytes) -> tuple[bytes, bytes] | None:
    """Return an answer's head without repeats of the same length (RFC 9110, 8.6), and the rest.

    ``None`` if the head is incomplete.
    """
    head, gap, rest = divided(beginning)
    if not gap:
        return None
    lines: dict[bytes, bytes] = {}
    for number, line in enumerate(head.split(b"\n")):
        name, _, value = line.partition(b":")
        length = name.strip().lower() == b"content-length"
        lines.setdefault(value.strip() if length else b"\n%d" % number, line)
    before = beginning[: len(beginning) - len(beginning.lstrip(b"\r\n"))]
    return before + b"\n".join(lines.values()) + gap, rest


def divided(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Split an answer into head, empty line and rest; line ends may lack their CR."""
    data = data.lstrip(b"\r\n")
    end = data.find(b"\n\r\n")
    bare = data.find(b"\n\n", 0, end if end >= 0 else len(data))
    return data.partition(b"\n\n" if bare >= 0 else b"\n\r\n")
