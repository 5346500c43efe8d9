"""What the kernel knows of a TCP connection and its reader does not."""

from __future__ import annotations

import socket
import struct
from typing import Any, Final

# struct tcp_info of linux/tcp.h: 8 bytes, then numbers of 4; tcpi_last_data_recv is the 12th.
_LAST_DATA_RECEIVED: Final = struct.Struct("@I")
_OFFSET: Final = 8 + 11 * 4
_COARSE: Final = 5
"""ms: the kernel counts in ticks of up to 4 ms on most systems, so that less means nothing."""


def unread_ns(link: Any) -> int:
    """Return for how long the data that came last has lain unread, in ns; 0 where not known.

    Args:
        link: the connection's socket, or what an event loop gives for it; it may be ``None``.
    """
    if link is None or link.family not in (socket.AF_INET, socket.AF_INET6):
        return 0
    try:
        known = link.getsockopt(
            socket.IPPROTO_TCP, socket.TCP_INFO, _OFFSET + _LAST_DATA_RECEIVED.size
        )
        (milliseconds,) = _LAST_DATA_RECEIVED.unpack_from(known, _OFFSET)
    except (AttributeError, OSError, struct.error):  # another system
        return 0
    return int(milliseconds) * 1_000_000 if milliseconds > _COARSE else 0
