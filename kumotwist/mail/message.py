"""
A message in our custody: envelope, metadata, content, and what is remembered between attempts.

The same object goes from reception through the queues to delivery.  While it waits, what the spool also has (envelope,
metadata, content) may be dropped from memory: `shrink`; the spool's `load` brings it back.
"""

from collections.abc import Mapping
from typing import Any

from kumotwist.mail.address import Mailbox
from kumotwist.mail.message_id import created
from kumotwist.mail.queue_name import format_queue_name
from kumotwist.mail.schedule import Schedule

NO_META: Mapping[str, Any] = {}


class Message:
    """
    id: 32 hex digits.  size: octets of the content.  attempts: counted failures so far.
    due: epoch seconds before which it is not tried; 0 is now.  content: None while only the spool has it.
    envelope_loaded: False while sender, recipients and meta are only in the spool.
    log_headers: the header values that log records shall show, taken from the content at reception.
    last_reply: what the last attempt ended with, on one line; empty before the first.
    waits_for: what a policy put its due time off for, for the record; empty: it does not say.
    through: the egress pool that it was last sent through; None before, and while it waits for a time.
    directions: what held when it was received, for its first attempt; None: what holds now.
    """

    __slots__ = (
        "attempts", "content", "directions", "due", "envelope_loaded", "id", "last_reply", "log_headers", "meta",
        "pool", "queue", "recipients", "resident", "schedule", "sender", "size", "through", "waits_for",
    )  # fmt: skip

    def __init__(
        self,
        id: str,
        sender: Mailbox,
        recipients: tuple[Mailbox, ...],
        content: bytes | None,
        meta: dict[str, Any] | None = None,
        *,
        schedule: Schedule | None = None,
        size: int | None = None,
        attempts: int = 0,
        due: float = 0.0,
        last_reply: str = "",
        log_headers: Mapping[str, Any] | None = None,
    ) -> None:
        self.id = id
        self.sender = sender
        self.recipients = recipients
        self.content = content
        self.meta: dict[str, Any] = {} if meta is None else meta
        self.schedule = schedule
        self.size = len(content or b"") if size is None else size
        self.attempts = attempts
        self.due = due
        self.last_reply = last_reply
        self.log_headers = log_headers
        self.envelope_loaded = True
        self.resident = 0  # octets that it is counted with in memory
        self.pool: str | None = None  # the egress pool that its metadata name instead of the queue's
        self.queue = ""  # the name of the scheduled queue it is in; empty before it is admitted
        self.through: str | None = None
        self.directions: Any = None
        self.waits_for = ""

    def __repr__(self) -> str:
        return f"<Message {self.id} in {self.queue or 'no queue'}, attempts {self.attempts}>"

    @property
    def created(self) -> float:
        """When it was received, epoch seconds."""
        return created(self.id)

    def queue_name(self) -> str:
        """
        The scheduled queue that its metadata name: `queue` as it is, else made from campaign, tenant, domain, routing_domain.

        The domain is that of the first recipient.  Raises ValueError where one of these is not a string.
        """
        meta = self.meta
        for key in ("queue", "tenant", "campaign", "routing_domain"):
            value = meta.get(key)
            if value is not None and type(value) is not str:
                raise ValueError(f"meta {key} must be a string, not {value!r}")
        explicit = meta.get("queue")
        if explicit is not None:
            return str(explicit)
        domain = self.recipients[0].domain if self.recipients else ""
        return format_queue_name(domain, meta.get("tenant"), meta.get("campaign"), meta.get("routing_domain"))

    def name_queue(self) -> None:
        """Note where the metadata send it, `egress_pool` included.  Raises ValueError as `queue_name` does."""
        pool = self.meta.get("egress_pool")
        if pool is not None and type(pool) is not str:
            raise ValueError(f"meta egress_pool must be a string, not {pool!r}")
        self.queue = self.queue_name()
        self.pool = pool

    def shrink(self) -> None:
        """Keep only what the queues need: for a message that the spool has and that waits."""
        self.content = None
        self.sender = _DROPPED
        self.recipients = ()
        self.meta = {}
        self.log_headers = None
        self.last_reply = ""
        self.through = None
        self.directions = None
        self.envelope_loaded = False


_DROPPED = Mailbox("", "")
