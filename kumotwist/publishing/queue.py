"""
`configure_log_hook`: records that become messages, if the policy says so; the model's form of a hook.

The policy's `should_enqueue_log_record(message, hook_name)` answers whether, and says by the message's metadata where to;
usually into a queue whose protocol is a delivery by policy.  From then on it is a message as any other: durable, retried.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from kumotwist.config.log_hooks import PolicyHook
from kumotwist.hooks.message import PolicyMessage
from kumotwist.hooks.policy import HookFailed, Policy
from kumotwist.mail.address import stored_mailbox
from kumotwist.mail.message import Message
from kumotwist.mail.reply import Refusal
from kumotwist.publishing.source import Record
from kumotwist.publishing.target import NeverTaken, NotTaken, PartlyTaken

EVENT = "should_enqueue_log_record"
LOG_RECORD = "LogRecord"  # the reception_protocol of these messages: what happens to them is not told to hooks again

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Enqueue:
    """A Target."""

    def __init__(
        self,
        hook: PolicyHook,
        policy: Callable[[], Policy],
        adopt: "Callable[[Message], Deferred[None]]",
        message_id: Callable[[], str],
    ) -> None:
        """policy: the one that holds now.  adopt: takes a message into custody and its queue."""
        self._hook = hook
        self._policy = policy
        self._adopt = adopt
        self._message_id = message_id

    async def send(self, records: Sequence[Record]) -> None:
        for n, record in enumerate(records):
            try:
                await self._consider(record)
            except (NotTaken, NeverTaken) as fault:
                if n:
                    # What came before is a message already; the rest of the batch alone is tried again.
                    raise PartlyTaken(n, str(fault)) from None
                raise

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _consider(self, record: Record) -> None:
        told = _decode(record.line)
        if told.get("reception_protocol") == LOG_RECORD:
            return
        message = message_of_record(told, record, self._message_id())
        policy = self._policy()
        try:
            answer = policy.in_time(EVENT, policy.first(EVENT, PolicyMessage(message), self._hook.name))
            wanted = await answer if isinstance(answer, Deferred) else answer
            if wanted:
                await self._adopt(message)
        except HookFailed:
            raise NotTaken(f"{EVENT} failed") from None
        except Refusal as refusal:
            raise NotTaken(f"{EVENT}: {refusal.reply.single_line}") from None
        except ValueError as fault:
            raise NeverTaken(f"no queue takes it: {fault}") from None


def message_of_record(told: Mapping[str, Any], record: Record, message_id: str) -> Message:
    """The message that a record becomes: for and from whom the original was, with the record as its content."""
    recipient = told.get("recipient") or ""
    recipients = [recipient] if isinstance(recipient, str) else recipient
    meta = {**(told.get("meta") or {}), "log_record": dict(told), "reception_protocol": LOG_RECORD}
    return Message(
        message_id,
        stored_mailbox(told.get("sender") or ""),
        tuple(stored_mailbox(one) for one in recipients),
        record.marked,
        meta,
    )
