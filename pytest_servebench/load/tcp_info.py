"""What only the kernel knows about a TCP connection."""

import socket
import struct
from typing import Any, Final

# struct tcp_info of linux/tcp.h: 8 bytes, then numbers of 4; tcpi_last_data_recv is the 12th.
_LAST_DATA_RECEIVED: Final = struct.Struct("@I")
_OFFSET: Final = 8 + 11 * 4
LEAST_UNREAD: Final = 5_000_000
"""ns; below this the figure is noise: most kernels count in ticks of up to 4 ms."""


def unread_ns(link: Any) -> int:
    """Return for how many ns the last received data has been unread; 0 if unknown.

    Args:
        link: the connection's socket, as the event loop gives it; may be ``None``.
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
    unread = int(milliseconds) * 1_000_000
    return unread if unread > LEAST_UNREAD else 0
