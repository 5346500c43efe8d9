"""The status codes of gRPC."""

import enum
from typing import Final


class GrpcStatus(enum.IntEnum):
    """The status codes of gRPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_NAMES: Final = tuple(each.name for each in GrpcStatus)  # an enum is slow to look into


def is_known(code: int) -> bool:
    """Return whether gRPC has a code; a server may have made it up."""
    return 0 <= code < len(_NAMES)


def name_of(code: int) -> str:
    """Return the name of a code."""
    return _NAMES[code] if is_known(code) else "grpc-status"
