"""
From MAIL to the end of the message: who it is from and for, and the messages that it becomes.

In the order of the model: what policy does with the whole transaction (smtp_server_data), how it is split, then for each
message what the configuration tells it and what policy makes of it (smtp_server_message_received).  One refusal refuses all
of it, and nothing has been kept by then.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kumotwist.config.listeners import BatchHandling
from kumotwist.hooks.message import PolicyMessage, mailboxes
from kumotwist.mail.address import Mailbox
from kumotwist.mail.message import Message
from kumotwist.mail.message_id import MessageIds
from kumotwist.mail.queue_name import NULL_QUEUE
from kumotwist.mail.reply import refuse, reply
from kumotwist.reception.client import Client
from kumotwist.reception.intake import Reading
from kumotwist.reception.relay import Relay
from kumotwist.reception.standing import Standing
from kumotwist.reception.trace import received, supplemental
from kumotwist.reception.waits import Ask, BadAnswer

_IDS_ON_A_LINE = 14  # RFC 5321 section 4.5.3.1.5: a reply line has at most 512 octets
_NOT_PERMITTED = "550 5.7.1 relaying not permitted"


class Transaction:
    """What MAIL has begun: sender, recipients so far, and what holds until it ends."""

    __slots__ = ("client", "recipients", "relay", "sender", "standing")

    def __init__(self, sender: Mailbox, client: Client, standing: Standing, relay: Relay) -> None:
        self.sender = sender
        self.recipients: list[Mailbox] = []
        self.client = client
        self.standing = standing
        self.relay = relay

    # Where no policy is asked

    def messages(self, body: bytes, ids: MessageIds, now: float) -> list[Message]:
        """One message a recipient, or a recipient domain.  Raises Refusal for all of them: there is one answer."""
        reading = self.standing.intake.read(body, self.client.meta)
        messages = []
        for batch in self._batches(self.recipients):
            message = self._message(reading, self.client.meta, self.sender, batch, ids.next(), now)
            # Again, since what a message was told may have changed who gets it; none is dropped without a word.
            if not self._goes(message):
                raise refuse(_NOT_PERMITTED)
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
            await ask(policy.each("smtp_server_data", PolicyMessage(whole), client.conn_meta))
        batches = await self._split(whole, ask)
        reading = standing.intake.read(whole.content or b"", whole.meta)
        told = {key: value for key, value in whole.meta.items() if key not in connection or connection[key] != value}
        messages = []
        for batch in batches:
            message = self._message(reading, whole.meta, whole.sender, batch, ids.next(), now)
            message.meta.update(told)  # the policy has the last word, also where it spoke before the configuration
            if whole.schedule is not None:
                message.schedule = whole.schedule
            messages.append(message)
        for message in messages:
            await self._see(message, ask)
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

    async def _see(self, message: Message, ask: Ask) -> None:
        """Let the policy see one message, and look again whether it may be sent.  Raises Refusal."""
        standing = self.standing
        if standing.received:
            content = message.content
            await ask(standing.policy.each("smtp_server_message_received", PolicyMessage(message), self.client.conn_meta))
            if message.content is not content:
                message.log_headers = standing.intake.logged(message.content or b"", message.log_headers)
        if standing.listener_domain:
            for domain in (message.sender.domain, message.recipients[0].domain):
                await self.relay.learn(domain, ask)
        if not self._goes(message):
            raise refuse(_NOT_PERMITTED)
        message.content = content = self._supplement(message.recipients, message.meta) + (message.content or b"")
        message.size = len(content)

    # Both

    def _goes(self, message: Message) -> bool:
        return self.relay.permits(message.sender, message.recipients[0]) or message.meta.get("queue") == NULL_QUEUE

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
        return Message(message_id, sender, batch, content, meta, schedule=reading.schedule, log_headers=reading.log_headers)

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
