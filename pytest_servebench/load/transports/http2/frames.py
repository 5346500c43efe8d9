"""Frames and error codes of HTTP/2 (RFC 9113, sections 4 to 7)."""

import enum
import struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Types (section 6); plain numbers, as looking up an enum member is slow.
DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

# Flags
ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITIZED: Final = 0x20

# Settings (section 6.5.2)
HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

FRAME_HEADER: Final = struct.Struct(">HBBBI")
"""Length (its upper 16 bits, its lower 8), type, flags, and stream with a reserved bit."""
HEADER_SIZE: Final = FRAME_HEADER.size
NUMBER: Final = struct.Struct(">I")
SETTING: Final = struct.Struct(">HI")

LARGEST_NUMBER: Final = 2**31 - 1
"""Of a stream, and of a window in bytes."""
DEFAULT_WINDOW: Final = 65_535
DEFAULT_FRAME: Final = 16_384
LARGEST_FRAME: Final = 2**24 - 1


class ErrorCode(enum.IntEnum):
    """Why a stream or a connection is ended (section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


def error_name(code: int) -> str:
    """Return a code with its name, if it has one, such as ``"CANCEL (8)"``."""
    try:
        return f"{ErrorCode(code).name} ({code})"
    except ValueError:
        return f"error {code}"


class ConnectionFault(Exception):  # noqa: N818 - RFC 9113, 5.4.1 calls it a connection error
    """A violation of the protocol that ends the connection."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    size = len(payload)
    return FRAME_HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def opening(kind: int, flags: int, size: int) -> bytes:
    """Return the start of a frame, to be followed by its stream and ``size`` bytes of payload."""
    return FRAME_HEADER.pack(size >> 8, size & 0xFF, kind, flags, 0)[: -NUMBER.size]


def reset(stream: int, code: ErrorCode) -> bytes:
    """Return a frame that ends a stream."""
    return frame(RST_STREAM, 0, stream, NUMBER.pack(code))


def window_update(stream: int, size: int) -> bytes:
    """Return a frame that lets the server send ``size`` bytes more."""
    return frame(WINDOW_UPDATE, 0, stream, NUMBER.pack(size))
