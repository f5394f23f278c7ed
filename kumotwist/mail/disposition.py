"""
What became of an attempt to deliver a message: for each group of recipients that got the same answer, one outcome.

An attempt says nothing about the queue: whether "not now" means retry or expiry is decided where the message waits.
"""

from enum import Enum

from msgspec import Struct

from kumotwist.mail.address import Mailbox
from kumotwist.mail.reply import Reply


class Verdict(Enum):
    """What a reply means for the recipients that it answers."""

    DELIVERED = "delivered"
    POSTPONED = "postponed"  # not now: try again later
    BOUNCED = "bounced"  # never: do not try again
    TRANSFERRED = "transferred"  # another node of ours has it now


class Outcome(Struct, frozen=True):
    """One answer, and the recipients whom it is about."""

    verdict: Verdict
    recipients: tuple[Mailbox, ...]
    reply: Reply


class Peer(Struct, frozen=True, gc=False):
    """The host at the other end: `name` its MX name (outbound) or its EHLO name (inbound); `addr` is `ip` or `ip:port`."""

    name: str
    addr: str


class SourceAddress(Struct, frozen=True, gc=False, omit_defaults=True):
    """
    Where an outbound connection leaves from, `ip:port`: this machine, or a proxy.

    protocol: what is spoken to the proxy.  server: its `host:port`.  Records have neither where there is none.
    """

    address: str
    protocol: str | None = None
    server: str | None = None


class TlsFacts(Struct, frozen=True, gc=False):
    """What was agreed in a TLS handshake."""

    cipher: str
    protocol_version: str  # as the model writes it: TLSv1.3
    peer_subject_name: tuple[str, ...] = ()


class Arrival(Struct, frozen=True, kw_only=True):
    """How messages came in: what their Reception records say beside the messages themselves."""

    peer: Peer
    session_id: str
    tls: TlsFacts | None = None


class Attempt(Struct, frozen=True, kw_only=True):
    """Where and how a message was tried.  All None: it was not (the outcome is our own doing)."""

    site: str = ""  # the ready queue's name
    egress_source: str | None = None
    peer: Peer | None = None
    source_address: SourceAddress | None = None
    delivery_protocol: str | None = None
    tls: TlsFacts | None = None
    provider_name: str | None = None
    session_id: str | None = None


NOT_TRIED = Attempt()
