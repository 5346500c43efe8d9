"""Whether parts of streamed answers were read late; the kernel is asked only if that may be."""

from typing import Any

from pytest_servebench.load.tcp_info import unread_ns


class Dozing:
    """Whether data that this process read after its last sleep had been waiting.

    The first data read has waited longest, since the kernel reports sockets in the order in which
    data arrived: if it is not late, nothing that was read with it is. The kernel knows the age of a
    connection's last segment only: if several arrived on one connection meanwhile, the earlier ones
    have waited longer than it says.
    """

    __slots__ = ("_first", "_nap")

    def __init__(self) -> None:
        self._nap = 0  # length of the last one, ns
        self._first = 0  # ns for which the data read first had been waiting

    def late(self, nap: int, link: Any) -> int:
        """Return how many ns a part that was just read had been waiting, according to the kernel.

        Args:
            nap: ns for which this process may have slept before, or been kept from running; no two
                sleeps have the same number.
            link: the connection's socket.
        """
        if nap == self._nap and not self._first:
            return 0
        late = unread_ns(link)
        if nap != self._nap:
            self._nap, self._first = nap, late
        return late
