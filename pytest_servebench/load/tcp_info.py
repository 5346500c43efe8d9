"""What only the kernel knows about a TCP connection."""

import ctypes
import socket
from typing import Any, Final

_OPTION: Final = getattr(socket, "TCP_INFO", None)  # Linux has it
# struct tcp_info of linux/tcp.h: 8 bytes, then numbers of 4; tcpi_last_data_recv is the 12th.
_LAST_DATA_RECEIVED: Final = 2 + 11
# Asked by ctypes: to have an event loop's socket asked takes 40 µs with cold caches, as much as
# all the rest of an answer.
_info: Final = (ctypes.c_uint32 * (_LAST_DATA_RECEIVED + 1))()
_SIZE: Final = ctypes.sizeof(_info)
_length: Final = ctypes.c_uint32()
_reference: Final = ctypes.byref(_length)
_getsockopt: Final = ctypes.CDLL(None).getsockopt
LEAST_UNREAD: Final = 5_000_000
"""ns; below this the figure is noise: most kernels count in ticks of up to 4 ms."""


def unread_ns(link: Any) -> int:
    """Return for how many ns the last received data has lain unread; 0 if unknown.

    Args:
        link: the connection's socket, as the event loop gives it; may be ``None``.
    """
    if link is None or _OPTION is None:
        return 0
    _length.value = _SIZE
    failed = _getsockopt(link.fileno(), socket.IPPROTO_TCP, _OPTION, _info, _reference)
    if failed or _length.value < _SIZE:  # not TCP
        return 0
    unread = 1_000_000 * _info[_LAST_DATA_RECEIVED]
    return unread if unread > LEAST_UNREAD else 0
