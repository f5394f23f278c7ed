"""Messages that a policy makes itself: `kumo.make_message` and `kumo.inject_message`."""

from collections.abc import Iterable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kumotwist.hooks.context import services
from kumotwist.hooks.message import PolicyMessage, mailbox, mailboxes, message_of
from kumotwist.hooks.signing import Signatures
from kumotwist.mail.address import Mailbox
from kumotwist.mail.message import Message


class MadeMessage(PolicyMessage):
    """A message that a policy has made and that nobody has taken yet."""

    __slots__ = ("injected", "signatures")

    def __init__(self, message: Message) -> None:
        self.signatures = Signatures(message)  # made when it is injected
        super().__init__(message, self.signatures)
        self.injected = False

    def not_taken(self, failure: Failure) -> Failure:
        """It is the policy's again, which may try once more."""
        self.injected = False
        return failure


def make_message(sender: str | Mailbox, recipient: str | Mailbox | Iterable[str | Mailbox], body: str | bytes) -> MadeMessage:
    """
    A new message, in memory only and without metadata.  Raises ValueError for what is no address.

    body: header and body.  Bytes are taken as they are; a text becomes UTF-8 with CRLF.
    """
    if isinstance(body, str):
        body = body.replace("\r\n", "\n").replace("\n", "\r\n").encode()
    if not body:
        raise ValueError("make_message: a message without any content")
    return MadeMessage(Message(services("make_message").message_id(), mailbox(sender), mailboxes(recipient), bytes(body)))


def inject_message(message: PolicyMessage) -> "Deferred[None]":
    """
    Put a message of `make_message` into its queue; fires, or can be awaited, once it is durable.

    Fails with Refusal if it cannot be kept now.  Raises ValueError for a message that was received, or was injected before:
    it would be sent twice.
    """
    if not isinstance(message, MadeMessage):
        raise ValueError("inject_message: this message was received, expected one of make_message")
    if message.injected:
        raise ValueError(f"inject_message: message {message.id} was injected already")
    inner = message_of(message)
    inner.name_queue()
    message.injected = True
    around = services("inject_message")
    asked = message.signatures
    signed = around.signing.sign([asked], configured=False) if around.signing is not None and asked.asked else None
    taken = around.inject(inner) if signed is None else signed.addCallback(lambda _: around.inject(inner))
    return taken.addErrback(message.not_taken)
