"""What must never happen, and whether it did: every durable write, every acceptance at either side goes through here."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from kumotwist.spool.change import Change, decode_message

FINAL = frozenset({"Delivery", "Bounce", "Expiration", "AdminBounce"})
LONGEST_WAIT = 900.0  # seconds; the rates that are configured make a burst wait for some minutes
_read = msgspec.json.Decoder().decode
Fate = tuple[str, str]  # message id and recipient


class Broken(Exception):
    """An invariant of the design does not hold."""


class Ledger:
    """
    stored: recipients of each message that is in the spool, by id.  born: those with which it came.
    ended: the final record of each recipient of each message.  lines: how often each record was made durable.
    promised: ids that a client heard 250 for.
    """

    def __init__(self) -> None:
        self.stored: dict[str, tuple[str, ...]] = {}
        self.born: dict[str, tuple[str, ...]] = {}
        self.ended: dict[Fate, str] = {}
        self.lines: Counter[bytes] = Counter()
        self.promised: set[str] = set()
        self.accepted: Counter[Fate] = Counter()  # by receivers
        self.excused: Counter[Fate] = Counter()  # how often it may be sent again
        self.unanswered: dict[Fate, None] = {}  # the receiver has it, and we have not heard so
        self.counts: Counter[str] = Counter()
        self.came: dict[str, float] = {}
        self.seconds: Callable[[], float] = lambda: 0.0
        self.disturbed = 0.0  # when something last happened that may hold up all mail
        self.writes = 0

    # The spool

    def write(self, change: Change) -> None:
        """A change is durable."""
        self.writes += 1
        came = {message_id for message_id, _, content in change.puts if content is not None}
        for message_id, envelope, content in change.puts:
            recipients = tuple(one.email for one in decode_message(message_id, envelope).recipients)
            if content is not None:
                self.born[message_id] = recipients
                self.came[message_id] = self.seconds()
            elif message_id not in self.stored:
                raise Broken(f"{message_id} is changed, and is not in the spool")
            self.stored[message_id] = recipients
        for kind, line in change.records:
            self._record(kind, line, came)
        for message_id in change.removals:
            if message_id in self.born:  # else a newcomer was refused, and what may be left of it is taken out
                self._remove(message_id)
        for message_id, _, content in change.puts:
            if content is None and message_id in self.stored:
                self._agree(message_id)

    def _record(self, kind: str, line: bytes, came: set[str]) -> None:
        self.lines[line] += 1
        self.counts[kind] += 1
        if kind != "Reception" and kind not in FINAL:
            return
        record: dict[str, Any] = _read(line)
        message_id, about = record["id"], record["recipient"]
        if kind == "Reception":
            if message_id not in came:
                raise Broken(f"{message_id} has a Reception record and is not stored")
            return
        for recipient in [about] if isinstance(about, str) else about:
            fate = (message_id, recipient)
            if fate in self.ended:
                raise Broken(f"{fate} ends a second time: {kind} after {self.ended[fate]}")
            self.ended[fate] = kind
            if kind == "Delivery" and not self.accepted[fate]:
                raise Broken(f"{fate} has a Delivery record, and no receiver accepted it")
            self.unanswered.pop(fate, None)
            if kind == "Delivery" and recipient.endswith("@prompt.test"):
                self._was_prompt(message_id)

    def _was_prompt(self, message_id: str) -> None:
        """Nothing is wrong there, so only what holds up all mail excuses a delay (invariant 8)."""
        came, now = self.came[message_id], self.seconds()
        if now - came > LONGEST_WAIT and self.disturbed < came:
            raise Broken(f"{message_id} was held up for {now - came:.0f} s by mail that goes elsewhere")

    def _remove(self, message_id: str) -> None:
        if message_id not in self.stored:
            raise Broken(f"{message_id} is removed, and is not in the spool")
        for recipient in self.born[message_id]:
            if (message_id, recipient) not in self.ended:
                raise Broken(f"{message_id} leaves the spool, and {recipient} has no final record")
        del self.stored[message_id]

    def _agree(self, message_id: str) -> None:
        left = {one for one in self.born[message_id] if (message_id, one) not in self.ended}
        if left != set(self.stored[message_id]):
            raise Broken(f"{message_id} is kept for {self.stored[message_id]}, and {left} have no final record")

    # Clients

    def heard(self, message_ids: list[str]) -> None:
        """A client was told 250."""
        for message_id in message_ids:
            self.promised.add(message_id)
            if message_id not in self.born:
                raise Broken(f"{message_id} was answered 250, and is not on disk")

    # Receivers

    def arrived(self, message_id: str, recipients: list[str]) -> None:
        """A receiver has taken responsibility; its reply is on its way, or never will be."""
        for recipient in recipients:
            fate = (message_id, recipient)
            if message_id not in self.born:
                raise Broken(f"{fate} was sent, and was never on disk")
            if self.accepted[fate] and self.excused[fate] < self.accepted[fate]:
                raise Broken(f"{fate} was sent again without a cause")
            if self.accepted[fate]:
                self.counts["copies"] += 1
            self.accepted[fate] += 1
            self.unanswered[fate] = None

    def unheard(self, message_id: str, recipients: list[str]) -> None:
        """The reply to the final dot did not reach us."""
        for recipient in recipients:
            self.excused[message_id, recipient] = self.accepted[message_id, recipient]

    def crashed(self) -> None:
        """What was accepted and has no final record on disk may be sent again."""
        for fate in self.unanswered:
            self.excused[fate] = self.accepted[fate]
        self.unanswered.clear()

    # The end

    def close(self, logged: Counter[bytes], journal: Counter[bytes]) -> None:
        """Everything has ended.  logged: the lines in the log's files; journal: those that the spool still keeps."""
        if self.stored:
            raise Broken(f"never ended: {sorted(self.stored)}")
        for message_id, recipients in self.born.items():
            for recipient in recipients:
                if (message_id, recipient) not in self.ended:
                    raise Broken(f"{(message_id, recipient)} has no final record")
        for line, count in self.lines.items():
            if logged[line] != count:
                raise Broken(f"{logged[line]} times in the log's files, {count} times made durable: {line!r}")
        if stray := logged - self.lines:
            raise Broken(f"in the log's files and never made durable: {next(iter(stray))!r}")
