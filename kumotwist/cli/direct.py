"""
Writing to a connection's socket without waiting for the reactor's next turn.

A transport's `write` gathers output, asks the reactor to call back when the socket is ready, and tells it to stop
asking: two system calls and a turn for a reply that the kernel would have taken at once.  Where one small write
answers each chunk of input, that is a third of the cost of a message.
"""

from typing import Any

from twisted.internet.interfaces import ITCPTransport


class DirectWriter:
    """
    Sends at once until the kernel takes less than it was given; from then on the transport does it, in order.

    transport: a connected TCP transport in clear; any other is written to as usual.
    """

    __slots__ = ("_send", "_write")

    def __init__(self, transport: Any) -> None:
        self._write = transport.write
        in_clear: Any = transport if ITCPTransport.providedBy(transport) else None
        self._send = in_clear.getHandle().send if in_clear else None

    def write(self, octets: bytes) -> None:
        if self._send is None:
            self._write(octets)
            return
        try:
            sent = self._send(octets)
        except OSError:
            sent = 0  # full, or broken: the transport finds out which, and tells its protocol
        if sent < len(octets):
            self._send = None
            self._write(octets[sent:])

    def leave_to_transport(self) -> None:
        """From here on nothing goes past the transport: before TLS begins."""
        self._send = None
