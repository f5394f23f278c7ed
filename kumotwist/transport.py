"""
Sockets, below Twisted's transports: listening on one that is bound already, and writing without the reactor's detour.

Twisted's `transport.write` keeps the bytes, asks the kernel to be told when the socket can be written, is told at once in the
next turn, writes, and asks not to be told any more: three system calls and one turn for what is nearly always one `send`.
A mail server writes a few short lines and waits, four times a message, so this is a good part of what a message costs.
"""

import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Connection

Address = tuple[str, int]


class Bound:
    """
    Sockets that were bound before the server listens on them: by systemd, or by ourselves while we still had the privilege.

    They stay open as long as the process lives.  Where another process has them too, such as systemd, connections that
    come while nobody accepts them wait in the kernel until somebody does: so a restart refuses none.
    """

    def __init__(self, sockets: Iterable[socket.socket] = ()) -> None:
        self._by_address: dict[Address, socket.socket] = {}
        self.take(sockets)

    def take(self, sockets: Iterable[socket.socket]) -> None:
        """These, too."""
        for one in sockets:
            self.add(one)

    def add(self, one: socket.socket) -> None:
        """A socket of TCP; it need not listen yet."""
        one.setblocking(False)
        one.set_inheritable(False)
        host, port = one.getsockname()[:2]
        self._by_address[host, port] = one

    def bind(self, address: Address) -> None:
        """Bind it now; nobody is answered before `listen`, but from now on they may come.  Raises OSError."""
        if address in self._by_address:
            return
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        one = socket.socket(family, socket.SOCK_STREAM)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family is socket.AF_INET6:
                with suppress(OSError):  # as Twisted has it: `[::]` takes IPv4, too
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            one.bind(address)
        except OSError:
            one.close()
            raise
        self.add(one)

    def listen(self, reactor: Any, address: Address, factory: Factory, backlog: int) -> IListeningPort:
        """As reactor.listenTCP, on a socket of ours if there is one for that address.  Raises CannotListenError."""
        one = self._by_address.get(address)
        if one is None:
            port: IListeningPort = reactor.listenTCP(address[1], factory, backlog=backlog, interface=address[0])
            return port
        one.listen(backlog)
        adopted: IListeningPort = reactor.adoptStreamPort(one.fileno(), one.family, factory)
        return adopted

    def __iter__(self) -> Iterator[Address]:
        return iter(self._by_address)


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
