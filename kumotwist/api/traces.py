"""
Live traces: what SMTP servers and clients of ours say and hear, over a WebSocket, while somebody watches.

Nothing is built while nobody does.  Who reads too slowly misses events, and is told how many; mail never waits for that.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from kumotwist.api.endpoint import TAKEN_OVER, Call, Endpoint, Plain, Problem
from kumotwist.config.fields import BadValue, Networks
from kumotwist.config.http import networks_of
from kumotwist.logs.record import rfc3339
from kumotwist.mail.disposition import Arrival
from kumotwist.mail.message import Message
from kumotwist.mail.queue_name import NULL_QUEUE
from kumotwist.reception.desk import Desk
from kumotwist.reception.shared import Reception
from kumotwist.reports.arrived import Reported
from kumotwist.reports.feedback import Complaint
from kumotwist.smtp.watching import Dialogues, Seen

MOST_BEHIND = 131_072  # events kept for one who reads slowly
_MOST_OCTETS = 32 * 1024 * 1024  # of them
_LONGEST_REQUEST = 1 << 20
_SNIPPET = 128  # characters that a terse trace shows of a long text
_PING = 30  # seconds of silence after which we ask whether somebody is still there

_encode = msgspec.json.Encoder().encode


class TraceSmtpServerV1Request(Struct, frozen=True, kw_only=True):
    """Whose dialogues.  source_addr: clients' addresses and networks.  terse: long texts shortened."""

    source_addr: tuple[str, ...] | None = None
    terse: bool = False


class TraceSmtpClientV1Request(Struct, frozen=True, kw_only=True):
    """Which dialogues: each list that is given allows what it names; what is not known yet is shown."""

    campaign: tuple[str, ...] | None = None
    tenant: tuple[str, ...] | None = None
    domain: tuple[str, ...] | None = None
    routing_domain: tuple[str, ...] | None = None
    egress_pool: tuple[str, ...] | None = None
    egress_source: tuple[str, ...] | None = None
    mail_from: tuple[str, ...] | None = None
    rcpt_to: tuple[str, ...] | None = None
    mx_host: tuple[str, ...] | None = None
    ready_queue: tuple[str, ...] | None = None
    source_addr: tuple[str, ...] | None = None
    mx_addr: tuple[str, ...] | None = None
    terse: bool = False


_NAMED = (
    "campaign", "tenant", "domain", "routing_domain", "egress_pool", "egress_source", "mail_from", "rcpt_to", "mx_host",
    "ready_queue",
)  # fmt: skip


class Filter:
    """Which events one who watches wants, and how."""

    def __init__(self, asked: Any, addresses: Mapping[str, str]) -> None:
        """addresses: field of the request → the metadata that it is about.  Raises BadValue."""
        self.terse: bool = asked.terse
        named = {name: frozenset(wanted) for name in _NAMED if (wanted := getattr(asked, name, None)) is not None}
        self._named: dict[str, frozenset[str]] = named
        self._networks: dict[str, Networks] = {
            known: networks_of(wanted) for field, known in addresses.items() if (wanted := getattr(asked, field)) is not None
        }

    def wants(self, meta: Mapping[str, Any]) -> bool:
        for name, wanted in self._named.items():
            value = meta.get(name)
            if value is not None and not (wanted.intersection(value) if isinstance(value, list) else value in wanted):
                return False
        for name, networks in self._networks.items():
            value = meta.get(name)
            if value is not None and _host(value) not in networks:
                return False
        return True

    def shown(self, payload: str | dict[str, Any], kind: str) -> str | dict[str, Any]:
        """kind: `Read` or `Write`, whichever is the client's part and may be long."""
        if not self.terse or isinstance(payload, str) or len(text := payload.get(kind, "")) <= 2 * _SNIPPET:
            return payload
        return {f"Abbreviated{kind}": {"snippet": text[:_SNIPPET], "len": len(text.encode())}}


def _host(address: str) -> str:
    """Without the port that may follow."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and (":" not in host or host.startswith("[")):
        return host.strip("[]")
    return address


class Line(Protocol):
    """The connection of one who watches."""

    def sendMessage(self, payload: bytes) -> None: ...


@implementer(IPushProducer)
class Stream:
    """Events on their way to one who watches.  most: that are kept for one who does not read."""

    def __init__(self, line: Line, chosen: Filter, shortened: str, seconds: Callable[[], float], most: int = MOST_BEHIND) -> None:
        self._line = line
        self._chosen = chosen
        self._shortened = shortened
        self._seconds = seconds
        self._most = most
        self._behind: deque[bytes] = deque()
        self._octets = 0
        self._missed = 0
        self._paused = False

    def __call__(self, seen: Seen) -> None:
        if not self._chosen.wants(seen.meta):
            return
        payload = self._chosen.shown(seen.payload, self._shortened)
        frame = _encode({"conn_meta": seen.meta or None, "payload": payload, "when": rfc3339(seen.when)})
        if not self._paused:
            self._line.sendMessage(frame)
        elif len(self._behind) >= self._most or self._octets + len(frame) > _MOST_OCTETS:
            self._missed += 1
        else:
            self._behind.append(frame)
            self._octets += len(frame)

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        while self._behind and not self._paused:
            frame = self._behind.popleft()
            self._octets -= len(frame)
            self._line.sendMessage(frame)
        if self._missed and not self._paused:
            missed, self._missed = self._missed, 0
            told = {"level": "ERROR", "message": f"{missed} events were missed: they came faster than they were read"}
            frame = _encode({"conn_meta": None, "payload": {"Diagnostic": told}, "when": rfc3339(self._seconds())})
            self._line.sendMessage(frame)

    def stopProducing(self) -> None:
        """The connection is gone: `onClose` says so too."""


class WatchedDesk:
    """The desk that messages are given to, while somebody watches: it also tells what becomes of them."""

    def __init__(self, desk: Desk, dialogues: Dialogues) -> None:
        self.desk = desk
        self._dialogues = dialogues

    def take(self, messages: Any, arrival: Arrival) -> "Deferred[None]":
        return self._told(self.desk.take(messages, arrival), messages, {})

    def take_reports(self, messages: Any, arrival: Arrival, reports: Mapping[str, Reported]) -> "Deferred[None]":
        return self._told(self.desk.take_reports(messages, arrival, reports), messages, reports)

    def refused(self, *args: Any, **facts: Any) -> None:
        self.desk.refused(*args, **facts)

    def closed_for(self) -> str | None:
        return self.desk.closed_for()

    def _told(self, taken: "Deferred[None]", messages: Any, reports: Mapping[str, Reported]) -> "Deferred[None]":
        """Made now: once they are taken, messages may leave memory."""
        told = [(_origin(one), _disposition(one, reports.get(one.id))) for one in messages]

        def tell(result: None) -> None:
            for meta, disposition in told:
                self._dialogues.tell(meta, {"MessageDisposition": disposition})
            return result

        return taken.addCallback(tell)


def _origin(message: Message) -> dict[str, Any]:
    kept = ("reception_protocol", "received_from", "received_via", "hostname")
    return {key: message.meta[key] for key in kept if key in message.meta}


def _disposition(message: Message, reported: Reported | None) -> dict[str, Any]:
    complaint = reported is not None and isinstance(reported.report, Complaint)
    return {
        "relay": reported is None,
        "log_arf": complaint,
        "log_oob": reported is not None and not complaint,
        "will_enqueue": message.queue != NULL_QUEUE and (reported is None or not reported.consumed),
        "was_arf_or_oob": reported is not None,
        "queue": message.queue,
        "meta": dict(message.meta),
        "sender": message.sender.email,
        "recipient": [one.email for one in message.recipients],
        "id": message.id,
    }


class Traces:
    """Both kinds of trace."""

    def __init__(self, reactor: Any, reception: Reception, outbound: Dialogues) -> None:
        self._reactor = reactor
        self._reception = reception
        self._outbound = outbound
        self._desk = reception.desk
        self._factory: Any = None

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            self._endpoint("server", TraceSmtpServerV1Request, {"source_addr": "received_from"}, "Read", self._watch_server),
            self._endpoint(
                "client",
                TraceSmtpClientV1Request,
                {"source_addr": "source_addr", "mx_addr": "mx_addr"},
                "Write",
                self._watch_client,
            ),
        )

    def _endpoint(
        self,
        side: str,
        wanted: type[Struct],
        addresses: Mapping[str, str],
        shortened: str,
        watch: Callable[[Stream], Callable[[], None]],
    ) -> Endpoint:
        def begin(line: Any, payload: bytes) -> Callable[[], None]:
            chosen = Filter(msgspec.json.decode(payload, type=wanted), addresses)
            stream = Stream(line, chosen, shortened, self._reactor.seconds)
            line.transport.unregisterProducer()  # HTTP's, which is over
            line.transport.registerProducer(stream, True)
            return watch(stream)

        def run(call: Call) -> Plain:
            return self._upgrade(call, begin)

        return Endpoint(
            method="GET",
            path=f"/api/admin/trace-smtp-{side}/v1",
            summary=f"What our SMTP {side} says and hears, as it happens: a WebSocket",
            tag="trace",
            run=run,
            refusals={403: "a page of another site asks", 426: "this is no WebSocket handshake"},
        )

    def _watch_server(self, stream: Stream) -> Callable[[], None]:
        dialogues = self._reception.dialogues
        dialogues.watch(stream)
        self._reception.desk = WatchedDesk(self._desk, dialogues)

        def end() -> None:
            dialogues.forget(stream)
            if not dialogues.on:
                self._reception.desk = self._desk

        return end

    def _watch_client(self, stream: Stream) -> Callable[[], None]:
        self._outbound.watch(stream)
        return lambda: self._outbound.forget(stream)

    def _upgrade(self, call: Call, begin: Callable[[Any, bytes], Callable[[], None]]) -> Plain:
        if call.headers.get("upgrade", "").lower() != "websocket" or call.request.channel.transport is None:
            raise Problem(426, "expected a WebSocket handshake", {"Upgrade": "websocket"})
        origin = call.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != call.headers.get("host"):
            # A browser lets any page connect anywhere: what a trusted address may see, its user's pages must not.
            raise Problem(403, "pages of other sites may not watch")
        resource, factory = self._resource()
        factory.begin = begin
        call.request.channel.setTimeout(None)  # HTTP's patience is over; we ask whether somebody is there
        resource.render(call.request)
        return TAKEN_OVER

    def _resource(self) -> Any:
        """Made when the first one comes: autobahn takes half a second to load."""
        from autobahn.twisted.resource import WebSocketResource

        from kumotwist.api.watching import TraceFactory

        factory = TraceFactory(self._reactor, _LONGEST_REQUEST, _PING)
        return WebSocketResource(factory), factory  # type: ignore[no-untyped-call]  # autobahn is not annotated


BAD_REQUEST = (msgspec.MsgspecError, ValueError, RecursionError, BadValue)
