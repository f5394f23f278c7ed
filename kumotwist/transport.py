"""
Writing to a socket without the reactor's detour.

Twisted's `transport.write` keeps the bytes, asks the kernel to be told when the socket can be written, is told at once in the
next turn, writes, and asks not to be told any more: three system calls and one turn for what is nearly always one `send`.
A mail server writes a few short lines and waits, four times a message, so this is a good part of what a message costs.
"""

from typing import Any

from twisted.internet.tcp import Connection


def write_now(transport: Any, octets: bytes) -> None:
    """
    As transport.write, but into the socket at once if nothing that was written before is still waiting.

    Whatever the socket does not take now, and every error, is left to transport.write.
    """
    if (
        not isinstance(transport, Connection)
        or transport.TLS
        or transport.disconnecting
        or not transport.connected
        or transport.dataBuffer
        or transport._tempDataBuffer
    ):
        transport.write(octets)
        return
    sent = transport.writeSomeData(octets)
    if not isinstance(sent, int) or sent < 0:
        sent = 0
    if sent < len(octets):
        transport.write(octets[sent:])
