"""A DNS server on the loopback interface, over UDP and TCP, that answers from a table, well or badly."""

from collections.abc import Callable, Sequence
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, ServerFactory
from twisted.protocols.basic import Int16StringReceiver

# Query, and whether it came over TCP → the octets of each answer, sent one after the other.
Answer = Callable[[dns.message.QueryMessage, bool], Sequence[bytes]]

SOA = "example. 900 IN SOA ns.example. hostmaster.example. 1 7200 900 1209600 {minimum}"


def _response(query: dns.message.QueryMessage, records: Sequence[str], authority: Sequence[str] = ()) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.flags |= dns.flags.RA
    for section, lines in ((response.answer, records), (response.authority, authority)):
        for line in lines:
            name, ttl, _, kind, rest = line.split(" ", 4)
            section.append(dns.rrset.from_text(name, int(ttl), "IN", kind, rest))
    return response


def records(*lines: str) -> Answer:
    """These records (`name ttl IN type data`); over UDP as much as the asker takes, else cut off."""

    def answer(query: dns.message.QueryMessage, tcp: bool) -> Sequence[bytes]:
        response = _response(query, lines)
        if tcp:
            return [response.to_wire(max_size=65535)]
        try:
            return [response.to_wire(max_size=query.payload or 512)]
        except dns.exception.TooBig:
            short = _response(query, ())
            short.flags |= dns.flags.TC
            return [short.to_wire()]

    return answer


def nothing(minimum: int = 60, *lines: str) -> Answer:
    """NOERROR without a record of the type, perhaps with aliases; a SOA says for how long (0: no SOA)."""
    authority = [SOA.format(minimum=minimum)] if minimum else []
    return lambda query, tcp: [_response(query, lines, authority).to_wire()]


def code(name: str) -> Answer:
    """An answer that is only a code: NXDOMAIN, SERVFAIL, REFUSED …"""

    def answer(query: dns.message.QueryMessage, tcp: bool) -> Sequence[bytes]:
        response = _response(query, (), [SOA.format(minimum=60)])
        response.set_rcode(dns.rcode.from_text(name))
        return [response.to_wire()]

    return answer


def silence(query: dns.message.QueryMessage, tcp: bool) -> Sequence[bytes]:
    return []


def garbage(query: dns.message.QueryMessage, tcp: bool) -> Sequence[bytes]:
    return [b"", b"\x00", query.to_wire()[:7], b"HTTP/1.1 400 Bad Request\r\n\r\n", query.to_wire() + b"\xff" * 40]


def cut_off(query: dns.message.QueryMessage, tcp: bool) -> Sequence[bytes]:
    """Truncated, and over TCP too."""
    response = _response(query, ())
    response.flags |= dns.flags.TC
    return [response.to_wire()]


def forged_first(answer: Answer, forged: Answer) -> Answer:
    """Before the answer one to a question with another id, and one to another question."""

    def both(query: dns.message.QueryMessage, tcp: bool) -> Sequence[bytes]:
        other = dns.message.make_query("other.example.", "MX", id=query.id)
        wrong_id = dns.message.from_wire(query.to_wire())
        wrong_id.id = (query.id + 1) % 65536
        return [*forged(wrong_id, tcp), *forged(other, tcp), *answer(query, tcp)]

    return both


class TableServer(DatagramProtocol):
    """
    Answers by (name without its final dot, type), or by name alone; REFUSED for what is not in the table.

    asked: `name type` of each question over UDP, with ` tcp` behind it over TCP.
    """

    def __init__(self, table: dict[str, Answer]) -> None:
        self.table = table
        self.asked: list[str] = []
        self.port = 0
        self._ports: list[Any] = []

    def listen(self, reactor: Any) -> str:
        """Listen on a port that is free for both; returns `address:port`."""
        while True:
            factory = ServerFactory.forProtocol(_Tcp)
            factory.server = self
            tcp = reactor.listenTCP(0, factory, interface="127.0.0.1")
            self.port = tcp.getHost().port
            try:
                udp = reactor.listenUDP(self.port, self, interface="127.0.0.1")
            except CannotListenError:
                tcp.stopListening()
                continue
            self._ports = [udp, tcp]
            return f"127.0.0.1:{self.port}"

    def close(self) -> "Deferred[Any]":
        return DeferredList([maybeDeferred(port.stopListening) for port in self._ports])

    def answers(self, wire: bytes, tcp: bool) -> Sequence[bytes]:
        query = dns.message.from_wire(wire)
        assert isinstance(query, dns.message.QueryMessage)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True)
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{name} {kind}{' tcp' if tcp else ''}")
        answer = self.table.get(f"{name} {kind}") or self.table.get(name) or code("REFUSED")
        return answer(query, tcp)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        for answer in self.answers(datagram, tcp=False):
            assert self.transport is not None
            self.transport.write(answer, addr)


class _Tcp(Int16StringReceiver):
    def stringReceived(self, string: bytes) -> None:
        for answer in self.factory.server.answers(string, tcp=True):
            self.sendString(answer)
