"""
One ESMTP dialogue, from the greeting to the end: who may do what, and what becomes of the messages.

The session (smtp.server_session) knows grammar and order, the wire knows the socket; here are the answers.  A conversation
is one coroutine, so commands are answered strictly in order however much the client pipelines.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol
from uuid import UUID

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLContextFactory, IReactorTime
from twisted.logger import Logger

from kumotwist.config.listeners import BatchHandling, ListenerSettings
from kumotwist.mail.address import Mailbox
from kumotwist.mail.disposition import Arrival, Peer, TlsFacts
from kumotwist.mail.message import Message
from kumotwist.mail.message_id import MessageIds
from kumotwist.mail.queue_name import NULL_QUEUE
from kumotwist.mail.reply import Refusal, Reply, refuse, reply
from kumotwist.reception.desk import Desk
from kumotwist.reception.intake import Intake, Origin, Reading, Relay, Rules
from kumotwist.reception.tls import Certificates
from kumotwist.reception.trace import received, received_start, supplemental
from kumotwist.smtp.commands import (
    NEED_DATA,
    Chunk,
    Content,
    Data,
    Ehlo,
    Helo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Refused,
    Rset,
    StartTls,
    Vrfy,
)
from kumotwist.smtp.extensions import offered
from kumotwist.smtp.server_session import Limits, ServerSession

_INTERNAL_ERROR = reply("451 4.3.0 internal error")
_OVERDUE = "451 4.4.5 data_processing_timeout exceeded (spool)"
_IDS_ON_A_LINE = 14  # RFC 5321 section 4.5.3.1.5: a reply line has at most 512 octets


class Hangup(Exception):
    """No more will come from the client.  The argument says why, for a last 421; empty where nobody is there to hear it."""


class Wire(Protocol):
    """What a conversation needs from its connection."""

    choked: bool  # the client does not read what we say, or is gone

    def write(self, octets: bytes) -> None:
        """Send; dropped if the connection is gone."""

    def more(self) -> Awaitable[None]:
        """Until the session has more bytes.  Raises Hangup."""

    def drained(self) -> Awaitable[None]:
        """Until the client has read most of what we said.  Raises Hangup."""

    def result(self, deferred: "Deferred[None]") -> Awaitable[None]:
        """Until it fires; raises what it fails with.  Goes on waiting when the connection is lost."""

    def start_tls(self, context: IOpenSSLContextFactory) -> None:
        """TLS begins after what was written."""

    def close(self) -> None:
        """End the connection after what was written."""


class Ends(Struct, frozen=True, kw_only=True):
    """The two ends of a connection: IP addresses without brackets, and ports."""

    peer_ip: str
    peer_port: int
    local_ip: str
    local_port: int

    @property
    def peer(self) -> str:
        return with_port(self.peer_ip, self.peer_port)

    @property
    def local(self) -> str:
        return with_port(self.local_ip, self.local_port)


def with_port(ip: str, port: int) -> str:
    """`ip:port`, `[ip]:port` for IPv6."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


class Reception:
    """
    What all conversations share.

    hostname: the server's, for listeners that have none of their own.  rules: replaced as a whole when the configuration
    changes; a transaction that has begun keeps those that it began with.
    """

    def __init__(
        self,
        *,
        hostname: str,
        clock: IReactorTime,
        ids: MessageIds,
        randbits: Callable[[int], int],
        desk: Desk,
        rules: Rules = Rules(),  # noqa: B008  (a frozen value)
    ) -> None:
        self.hostname = hostname
        self.clock = clock
        self.ids = ids
        self.randbits = randbits
        self.desk = desk
        self.certificates = Certificates(clock)
        self.rules = rules

    @property
    def rules(self) -> Rules:
        return self.intake.rules

    @rules.setter
    def rules(self, rules: Rules) -> None:
        self.intake = Intake(rules)


class Transaction:
    """What MAIL has begun: sender, recipients so far, and the rules that hold until it ends."""

    __slots__ = ("intake", "recipients", "relay", "sender")

    def __init__(self, sender: Mailbox, intake: Intake, relay: Relay) -> None:
        self.sender = sender
        self.recipients: list[Mailbox] = []
        self.intake = intake
        self.relay = relay


class Conversation:
    """The answers to one client."""

    log = Logger()

    def __init__(self, reception: Reception, settings: ListenerSettings, wire: Wire, ends: Ends) -> None:
        self._reception = reception
        self._settings = settings
        self._wire = wire
        self._ends = ends
        self._hostname = settings.hostname or reception.hostname
        self.session = ServerSession(
            Limits(
                max_message_size=settings.max_message_size,
                max_line=settings.line_length_hard_limit,
                line_endings=settings.invalid_line_endings,
            ),
            self._hostname,
        )
        self._over = False
        self._messages_seen = 0
        self._tls: TlsFacts | None = None
        self._transaction: Transaction | None = None
        self._intake = reception.intake
        self._relay = Relay(ends.peer_ip, settings.relay_hosts, self._intake.rules.listener_domains)
        self._origin = Origin(listener=settings.listen, peer=ends.peer_ip)
        self._session_id = str(UUID(int=reception.randbits(128), version=4))
        # What a message's metadata begin with.
        self._meta: dict[str, Any] = {
            "reception_protocol": "ESMTP",
            "received_from": ends.peer,
            "received_via": ends.local,
            "hostname": self._hostname,
        }
        self._introduced(None)

    async def run(self) -> None:
        """The whole dialogue; returns when the connection is to be closed, and has closed it."""
        try:
            self._greet()
            await self._converse()
        except Hangup as hangup:
            if hangup.args[0]:
                self._wire.write(self._refused(reply(f"421 4.3.2 {self._hostname} {hangup.args[0]}")))
        except Exception:  # noqa: BLE001  (whatever broke, the client gets an answer and the others are not concerned)
            self.log.failure("{peer}: conversation broke off", peer=self._ends.peer)
            self._wire.write(f"421 4.3.0 {self._hostname} technical difficulties\r\n".encode())
        finally:
            self._wire.close()

    async def _converse(self) -> None:
        wire, session = self._wire, self.session
        while not self._over:
            event = session.next_event()
            if event is NEED_DATA:
                await wire.more()
                continue
            try:
                kind = type(event)
                answer = _ANSWERS.get(kind)
                if answer is not None:
                    octets = answer(self, event)
                    session.accept(event)  # type: ignore[arg-type]  # what is in the table is a command
                elif isinstance(event, Content):
                    octets = await self._received(event.body)
                else:
                    octets = self._not_granted(event)
            except Refusal as refusal:
                octets = self._refused(refusal.reply)
            except Exception:  # noqa: BLE001  (a fault costs one command; RFC 5321 wants an answer to each)
                self.log.failure("{peer}: {line} failed", peer=self._ends.peer, line=session.line)
                octets = self._refused(_INTERNAL_ERROR)
            if kind is Content:
                self._transaction = None
            if octets:
                wire.write(octets)
            if wire.choked:
                await wire.drained()

    def tls_began(self, facts: TlsFacts) -> None:
        """The handshake is done."""
        self._tls = facts
        self._meta["tls_cipher"] = facts.cipher
        self._meta["tls_protocol_version"] = facts.protocol_version

    # Refusals

    def _refused(self, answer: Reply) -> bytes:
        """The octets of a refusal, which is told to the desk unless it is about our own state (421 4.3.2)."""
        if answer.code == 421:
            self._over = True
        ours = answer.code == 421 and answer.enhanced is not None and str(answer.enhanced) == "4.3.2"
        if answer.code >= 400 and not ours:
            self._tell_refusal(Reply(answer.code, answer.enhanced, answer.text, self.session.line or None))
        return answer.encode()

    def _tell_refusal(self, answer: Reply) -> None:
        transaction = self._transaction
        try:
            self._reception.desk.refused(
                answer,
                sender=transaction.sender.email if transaction else "",
                recipient=transaction.recipients[-1].email if transaction and transaction.recipients else "",
                peer=self._arrival.peer,
                session_id=self._session_id,
                meta=self._meta,
            )
        except Exception:  # noqa: BLE001  (a record that cannot be written must not cost the client its answer)
            self.log.failure("{peer}: refusal could not be recorded", peer=self._ends.peer)

    def _not_granted(self, event: Any) -> bytes:
        """What the session refused, or a chunk that is not the last."""
        if isinstance(event, Chunk):
            return f"250 OK {event.size} octets received\r\n".encode()
        assert isinstance(event, Refused)
        octets = self._refused(event.reply)
        if event.closes:
            self._over = True
        if event.ends_transaction:
            self._messages_seen += 1
            self._transaction = None
        return octets

    # Answers

    def _greet(self) -> None:
        closed_for = self._reception.desk.closed_for()
        if closed_for is not None:
            self._wire.write(self._refused(reply(f"421 4.3.2 {self._hostname} {closed_for}")))
            return
        self._wire.write(f"220 {self._hostname} {self._settings.banner}\r\n".encode())

    def _ehlo(self, ehlo: Ehlo) -> bytes:
        self._introduced(ehlo.domain)
        lines = [
            f"{self._hostname} Aloha {ehlo.domain}",
            *offered(self._settings.max_message_size, tls_active=self.session.tls_active),
        ]
        return reply("250 " + "\n".join(lines)).encode()

    def _helo(self, helo: Helo) -> bytes:
        self._introduced(helo.domain)
        return f"250 Hello {helo.domain}!\r\n".encode()

    def _introduced(self, domain: str | None) -> None:
        """The client says who it is; None: what it said does not hold any more.  An open transaction ends."""
        self._transaction = None
        if domain is None:
            self._meta.pop("ehlo_domain", None)
        else:
            self._meta["ehlo_domain"] = domain
        ends = self._ends
        self._arrival = Arrival(peer=Peer(domain or "", ends.peer_ip), session_id=self._session_id, tls=self._tls)
        self._received_start = received_start(domain, ends.peer_ip, self._hostname, ends.local_ip, self._tls)

    def _start_tls(self, _: StartTls) -> bytes:
        settings = self._settings
        try:
            context = self._reception.certificates.options(self._hostname, settings.tls_certificate, settings.tls_private_key)
        except Exception:  # noqa: BLE001  (whatever is wrong with a certificate, the session can go on without TLS)
            self.log.failure("{listen}: no TLS", listen=settings.listen)
            raise refuse("454 4.7.0 TLS not available due to temporary reason") from None  # RFC 3207 section 4
        self._introduced(None)
        self._wire.write(b"220 Ready to Start TLS\r\n")
        self.session.start_tls()
        self._wire.start_tls(context)
        return b""

    def _mail(self, mail: Mail) -> bytes:
        reception = self._reception
        # The model looks only when a client connects, but a client may stay for days.
        closed_for = reception.desk.closed_for()
        if closed_for is not None:
            raise refuse(f"421 4.3.2 {self._hostname} {closed_for}")
        if self._messages_seen >= self._settings.max_messages_per_connection:
            raise refuse(f"421 4.7.0 {self._hostname} too many messages on this connection")
        intake = reception.intake
        if intake is not self._intake:
            self._intake = intake
            self._relay = Relay(self._ends.peer_ip, self._settings.relay_hosts, intake.rules.listener_domains)
        self._transaction = Transaction(mail.sender, intake, self._relay)
        return f"250 OK <{mail.sender.email}>\r\n".encode()

    def _rcpt(self, rcpt: Rcpt) -> bytes:
        transaction = self._transaction
        assert transaction is not None  # the session lets RCPT come only after MAIL
        if not transaction.relay.permits(transaction.sender, rcpt.recipient):
            raise refuse(f"550 5.7.1 relaying not permitted for {self._ends.peer}")
        if len(transaction.recipients) >= self._settings.max_recipients_per_message:
            raise refuse("452 4.5.3 too many recipients")
        transaction.recipients.append(rcpt.recipient)
        return f"250 OK <{rcpt.recipient.email}>\r\n".encode()

    def _data(self, _: Data) -> bytes:
        return b"354 Send body; end with CRLF.CRLF\r\n"

    def _rset(self, _: Rset) -> bytes:
        self._transaction = None
        return b"250 Reset state\r\n"

    def _noop(self, _: Noop) -> bytes:
        return b"250 the goggles do nothing\r\n"

    def _vrfy(self, _: Vrfy) -> bytes:
        return b"252 2.5.2 Cannot VRFY user, but will accept message and attempt delivery\r\n"

    def _quit(self, _: Quit) -> bytes:
        self._over = True
        return b"221 So long, and thanks for all the fish!\r\n"

    # Messages

    async def _received(self, body: bytes) -> bytes:
        """
        A whole message: ours, or refused by Refusal.  The transaction is over whatever comes of it.

        data_processing_timeout, departing from the model in one case: what custody has been asked to keep it may keep yet,
        so saying 451 when the time is over would double the message if the write then succeeds.  We wait for the truth:
        250, if late; 451 4.4.5 where it failed after the deadline, when nothing is kept.  A client that has given up by
        then sends again, which only it can know.
        """
        transaction = self._transaction
        assert transaction is not None  # the session lets a message come only after MAIL and RCPT
        self._messages_seen += 1
        messages = self._messages(transaction, body)
        started = self._reception.clock.seconds()
        try:
            await self._wire.result(self._reception.desk.take(messages, self._arrival))
        except Refusal as refusal:
            if self._reception.clock.seconds() - started >= self._settings.data_processing_timeout:
                raise refuse(_OVERDUE, refusal.reason) from refusal
            raise
        return _accepted(messages)

    def _messages(self, transaction: Transaction, body: bytes) -> list[Message]:
        """One message a recipient, or a recipient domain.  Raises Refusal for all of them: there is one answer."""
        reading = transaction.intake.read(body)
        messages = [self._message(transaction, reading, batch) for batch in self._batches(transaction.recipients)]
        for message in messages:
            # Again, since what a message was told may have changed who gets it; none is dropped without a word.
            if not transaction.relay.permits(message.sender, message.recipients[0]) and message.meta.get("queue") != NULL_QUEUE:
                raise refuse("550 5.7.1 relaying not permitted")
        return messages

    def _batches(self, recipients: Sequence[Mailbox]) -> Sequence[tuple[Mailbox, ...]]:
        if len(recipients) == 1:
            return (tuple(recipients),)
        if self._settings.batch_handling is BatchHandling.BIFURCATE_ALWAYS:
            return [(recipient,) for recipient in recipients]
        by_domain: dict[str, list[Mailbox]] = {}
        for recipient in recipients:
            by_domain.setdefault(recipient.domain, []).append(recipient)
        return [tuple(batch) for batch in by_domain.values()]

    def _message(self, transaction: Transaction, reading: Reading, batch: tuple[Mailbox, ...]) -> Message:
        reception = self._reception
        message_id = reception.ids.next()
        meta = self._meta.copy()
        transaction.intake.tell(meta, reading, transaction.sender, batch[0], self._origin)
        trace = self._settings.trace_headers
        top = b""
        if trace.received_header:
            top = received(self._received_start, message_id, batch[0], reception.clock.seconds())
        if trace.supplemental_header:
            top = supplemental(trace.header_name, batch, meta, trace.include_meta_names) + top
        content = top + reading.content
        return Message(
            message_id, transaction.sender, batch, content, meta, schedule=reading.schedule, log_headers=reading.log_headers
        )


def _accepted(messages: Sequence[Message]) -> bytes:
    """The model puts all ids on one line; with many recipients a client would take the 250 for garbage and send again."""
    if len(messages) == 1:
        return f"250 OK ids={messages[0].id}\r\n".encode()
    ids = [message.id for message in messages]
    lines = [" ".join(ids[at : at + _IDS_ON_A_LINE]) for at in range(0, len(ids), _IDS_ON_A_LINE)]
    return reply("250 OK ids=" + "\n".join(lines)).encode()


_ANSWERS: dict[type, Callable[[Conversation, Any], bytes]] = {
    Ehlo: Conversation._ehlo,
    Helo: Conversation._helo,
    StartTls: Conversation._start_tls,
    Mail: Conversation._mail,
    Rcpt: Conversation._rcpt,
    Data: Conversation._data,
    Rset: Conversation._rset,
    Noop: Conversation._noop,
    Vrfy: Conversation._vrfy,
    Quit: Conversation._quit,
}
