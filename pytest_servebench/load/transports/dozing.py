"""Whether parts of streamed answers were read late; the kernel is asked only in doubt."""

from typing import Any

from pytest_servebench.load.tcp_info import LEAST_UNREAD, unread_ns


class Dozing:
    """When this process last read a part of any answer, and whether it may have overslept.

    After a time without reads it was idle, or kept from running. What it reads first has then
    waited longest, as the kernel reports sockets in the order in which data arrived: if that is not
    late, nothing that was read with it is. The kernel knows the age of a connection's last segment
    only: if several arrived on one connection meanwhile, the earlier ones have waited longer than
    it says.

    Attributes:
        read: when a part was last read, ns.
        doubt: until when parts may be late that have waited meanwhile, ns.
    """

    __slots__ = ("doubt", "read")

    def __init__(self) -> None:
        self.read = self.doubt = 0

    def late(self, now: int, link: Any) -> int:
        """Return for how many ns what was read at ``now`` had lain unread, by the kernel.

        Args:
            now: more than ``LEAST_UNREAD`` after ``read``, which is still that of the read before,
                or in ``doubt``; nothing else may be late.
            link: the connection's socket.
        """
        late = unread_ns(link)
        if (slept := now - self.read) > LEAST_UNREAD:
            self.doubt = now + slept if late else 0  # reading what has accumulated takes time
        return late
