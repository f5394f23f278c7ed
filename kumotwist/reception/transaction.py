"""
From MAIL to the end of the message: who it is from and for, and the messages that it becomes.

In the order of the model: what policy does with the whole transaction (smtp_server_data), how it is split, then for each
message what the configuration tells it and what policy makes of it (smtp_server_message_received).  One refusal refuses all
of it, and nothing has been kept by then.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from kumotwist.config.listeners import BatchHandling
from kumotwist.hooks.message import PolicyMessage, mailboxes
from kumotwist.hooks.signing import Signatures
from kumotwist.mail.address import Mailbox
from kumotwist.mail.message import Message
from kumotwist.mail.message_id import MessageIds
from kumotwist.mail.queue_name import NULL_QUEUE
from kumotwist.mail.reply import Refusal, refuse, reply
from kumotwist.reception.client import Client
from kumotwist.reception.desk import Desk
from kumotwist.reception.intake import Reading
from kumotwist.reception.relay import Relay
from kumotwist.reception.reports import report_for, reported_by
from kumotwist.reception.standing import Standing
from kumotwist.reception.trace import received, supplemental
from kumotwist.reception.waits import Ask, BadAnswer
from kumotwist.reports.arrived import Reported
from kumotwist.smtp.server_session import NO_ROOM
from kumotwist.spool.memory import Arrivals

_IDS_ON_A_LINE = 14  # RFC 5321 section 4.5.3.1.5: a reply line has at most 512 octets
_MOST_REPORTS = 10  # messages of a transaction that are looked at: a report goes to one address
_NOT_PERMITTED = "550 5.7.1 relaying not permitted"


class Transaction:
    """What MAIL has begun: sender, recipients so far, and what holds until it ends."""

    __slots__ = ("began", "client", "most_copies", "recipients", "relay", "reports", "sender", "standing")

    def __init__(self, sender: Mailbox, client: Client, standing: Standing, relay: Relay, began: float = 0.0) -> None:
        """began: when MAIL came, epoch seconds."""
        self.sender = sender
        self.recipients: list[Mailbox] = []
        self.client = client
        self.standing = standing
        self.relay = relay
        self.began = began
        self.most_copies: int | None = None  # of a message of the declared size, that there is memory for; None: any number
        self.reports: dict[str, Reported] = {}  # message id → what it was found to be, for those that are reports

    # Memory: each message of the transaction has a content of its own until it is on disk

    def most_recipients(self, configured: int) -> int:
        """How many there is room for: the client sends the others the same message once more (RFC 5321 section 4.5.3.1.10)."""
        if self.most_copies is None or self.client.settings.batch_handling is not BatchHandling.BIFURCATE_ALWAYS:
            return configured
        return min(configured, self.most_copies)

    def take_room(self, body: bytes, arrivals: Arrivals) -> int:
        """Count what the messages will take until they are on disk; to be given back.  Raises Refusal if it is too much."""
        octets = len(body) * len(self._batches(self.recipients))
        if not arrivals.take_whole(octets):
            raise Refusal(NO_ROOM, f"{octets} octets for {len(self.recipients)} recipients would exceed memory.hard_limit")
        return octets

    # Where no policy is asked

    def messages(self, body: bytes, ids: MessageIds, now: float) -> list[Message]:
        """One message a recipient, or a recipient domain.  Raises Refusal for all of them: there is one answer."""
        reading = self._read(body, self.client.meta, self.sender, self.recipients)
        messages = []
        for batch in self._batches(self.recipients):
            message = self._message(reading, self.client.meta, self.sender, batch, ids.next(), now)
            # Again, since what a message was told may have changed who gets it; none is dropped without a word.
            self._let_go(message)
            messages.append(message)
        return messages

    # Where it is

    async def messages_of_policy(self, body: bytes, ids: MessageIds, now: float, ask: Ask) -> list[Message]:
        """As `messages`, with the policy's last word on each.  Raises HookFailed and BadAnswer too."""
        standing, client = self.standing, self.client
        policy = standing.policy
        connection = client.meta.copy()  # what handlers note for the connection from here on is not for this message
        whole = Message(ids.next(), self.sender, tuple(self.recipients), body, connection.copy())
        if standing.data:
            asked = Signatures(whole)
            await ask(policy.each("smtp_server_data", PolicyMessage(whole, asked), client.conn_meta))
            if asked.asked and standing.signing is not None:
                await ask(standing.signing.sign([asked], configured=False))
        batches = await self._split(whole, ask)
        reading = self._read(whole.content or b"", whole.meta, whole.sender, whole.recipients)
        told = {key: value for key, value in whole.meta.items() if key not in connection or connection[key] != value}
        messages = []
        for batch in batches:
            message = self._message(reading, whole.meta, whole.sender, batch, ids.next(), now)
            message.meta.update(told)  # the policy has the last word, also where it spoke before the configuration
            if whole.schedule is not None:
                message.schedule = whole.schedule
            messages.append(message)
        signed = [await self._see(message, ask) for message in messages]
        if standing.signing is not None:
            # A report is nobody's mail: it is signed only if the policy asks for it.
            await ask(standing.signing.sign([one for one in signed if one.asked or one.message.id not in self.reports]))
        for message in messages:
            message.content = content = self._supplement(message.recipients, message.meta) + (message.content or b"")
            message.size = len(content)
        return messages

    async def _split(self, whole: Message, ask: Ask) -> Sequence[tuple[Mailbox, ...]]:
        """Who gets the same message."""
        if not self.standing.split:
            return self._batches(whole.recipients)
        answer = await ask(self.standing.policy.first("smtp_server_split_transaction", PolicyMessage(whole), self.client.conn_meta))
        if answer is None:
            return self._batches(whole.recipients)
        if isinstance(answer, str | Mapping) or not isinstance(answer, Sequence):
            raise BadAnswer("smtp_server_split_transaction: expected a list of lists of addresses")
        if not answer:
            raise refuse(_NOT_PERMITTED, "the policy split the message among nobody")
        try:
            return [mailboxes(batch) for batch in answer]
        except (ValueError, TypeError, AttributeError) as fault:
            raise BadAnswer(f"smtp_server_split_transaction: expected a list of lists of addresses: {fault}") from None

    async def _see(self, message: Message, ask: Ask) -> Signatures:
        """
        Let the policy see one message, and look again whether it may be sent.  Raises Refusal.

        Returns what it is to be signed with, when all of them have been seen.
        """
        standing, asked = self.standing, Signatures(message)
        if standing.received:
            content = message.content
            await ask(standing.policy.each("smtp_server_message_received", PolicyMessage(message, asked), self.client.conn_meta))
            if message.content is not content:
                message.log_headers = standing.intake.logged(message.content or b"", message.log_headers)
        if standing.listener_domain:
            for domain in (message.sender.domain, message.recipients[0].domain):
                await self.relay.learn(domain, ask)
        self._let_go(message)
        return asked

    # Both

    def _read(self, content: bytes, meta: Mapping[str, Any], sender: Mailbox, recipients: Sequence[Mailbox]) -> Reading:
        """What the header says.  Raises Refusal."""
        anonymous = False
        if self.standing.intake.rules.queues.require_tenant:
            domain = self.relay.reports_for(recipients[0])
            anonymous = domain is not None and report_for(content, sender, recipients[:1], domain) is not None
        return self.standing.intake.read(content, meta, anonymous=anonymous)

    def _let_go(self, message: Message) -> None:
        """
        Note what a message is where reports are looked for, and whether it may go on.  Raises Refusal.

        A report's own rule counts, whether the client may relay or not; mail that is none needs to be allowed, as ever.
        """
        domain = self.relay.reports_for(message.recipients[0])
        if domain is not None and len(self.reports) < _MOST_REPORTS:
            reported = reported_by(message, domain)
            if reported is not None:
                self.reports[message.id] = reported
                return
        if not self.relay.permits(message.sender, message.recipients[0]) and message.meta.get("queue") != NULL_QUEUE:
            raise refuse(_NOT_PERMITTED)

    def hand_over(self, desk: Desk, messages: Sequence[Message]) -> "Deferred[None]":
        """Give the messages into custody, with what is known of them; see `Desk.take`."""
        arrival = self.client.arrival
        return desk.take_reports(messages, arrival, self.reports) if self.reports else desk.take(messages, arrival)

    def _batches(self, recipients: Sequence[Mailbox]) -> Sequence[tuple[Mailbox, ...]]:
        if len(recipients) == 1:
            return (tuple(recipients),)
        if self.client.settings.batch_handling is BatchHandling.BIFURCATE_ALWAYS:
            return [(recipient,) for recipient in recipients]
        by_domain: dict[str, list[Mailbox]] = {}
        for recipient in recipients:
            by_domain.setdefault(recipient.domain, []).append(recipient)
        return [tuple(batch) for batch in by_domain.values()]

    def _message(
        self, reading: Reading, given: Mapping[str, Any], sender: Mailbox, batch: tuple[Mailbox, ...], message_id: str, now: float
    ) -> Message:
        """One message as the configuration makes it.  given: the metadata that it begins with."""
        client = self.client
        meta = dict(given)
        self.standing.intake.tell(meta, reading, sender, batch[0], client.origin)
        top = b""
        if client.settings.trace_headers.received_header:
            top = received(client.received_start, message_id, batch[0], now)
        if not self.standing.messages:
            top = self._supplement(batch, meta) + top
        content = top + reading.content
        message = Message(message_id, sender, batch, content, meta, schedule=reading.schedule, log_headers=reading.log_headers)
        message.directions = self.standing.directions
        return message

    def _supplement(self, recipients: tuple[Mailbox, ...], meta: Mapping[str, Any]) -> bytes:
        """The supplemental field, on top of all; it tells what the metadata are in the end."""
        trace = self.client.settings.trace_headers
        return supplemental(trace.header_name, recipients, meta, trace.include_meta_names) if trace.supplemental_header else b""


def accepted(messages: Sequence[Message]) -> bytes:
    """
    The answer to messages that are ours.

    The model puts all ids on one line; with many recipients a client would take the 250 for garbage and send again.
    """
    if len(messages) == 1:
        return f"250 OK ids={messages[0].id}\r\n".encode()
    ids = [message.id for message in messages]
    lines = [" ".join(ids[at : at + _IDS_ON_A_LINE]) for at in range(0, len(ids), _IDS_ON_A_LINE)]
    return reply("250 OK ids=" + "\n".join(lines)).encode()
