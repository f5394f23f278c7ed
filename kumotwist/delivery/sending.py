"""One message over one connection: transaction after transaction, until each recipient has its answer."""

from collections.abc import Mapping
from contextlib import suppress

from kumotwist.bounces.classifier import unclassified
from kumotwist.config.egress import PathSettings
from kumotwist.delivery.batch import Batch, Classify, LmtpBatch, conclude
from kumotwist.delivery.judge import lacks_chunking
from kumotwist.delivery.objection import needs_utf8, objection
from kumotwist.delivery.opening import Connection
from kumotwist.delivery.wire import ConnectionEnded, Fault, ShutDown, TimedOut, WireBroken
from kumotwist.mail.address import Mailbox
from kumotwist.mail.disposition import Outcome, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.reply import INTERNAL, EnhancedCode, Reply
from kumotwist.smtp.client_session import PeerBrokeProtocol

# Octets from which on a message goes in one chunk where the peer takes chunks.  What that saves is the look for dots at the
# beginning of lines, 2.4 µs a KiB, and a copy where there are any: at 1 KiB there is no difference, at 16 KiB it is a quarter
# of all that a message costs here, at 64 KiB half, at 128 KiB two thirds.  Shorter ones go the way that every peer was tried on.
# The envelope's replies are waited for: a chunk that goes with it would save another turn, but reach peers that want none
# of it, and one that refuses a chunk without reading it takes our content for commands.
CHUNKED = 16384

_TIMED_OUT = EnhancedCode(4, 4, 2)
_PERHAPS = "; the end of the message had been sent: it may have been delivered, and will be sent again"


class Sending:
    """
    What is known of the message so far is always here, whatever happens: `outcomes`, and `waiting` for the others.

    batch: the transaction in progress, or the last one.  last_word: what the connection ended with, if it did.
    """

    __slots__ = ("_classify", "_connection", "_content", "_settings", "batch", "last_word", "message", "outcomes", "waiting")

    def __init__(
        self,
        connection: Connection,
        message: Message,
        content: bytes,
        settings: PathSettings,
        classify: Classify | None = None,
    ) -> None:
        """classify: the class of a reply on one line."""
        self.message = message
        self.waiting: list[Mailbox] = list(message.recipients)
        self.outcomes: list[Outcome] = []
        self.batch: Batch | None = None
        self.last_word: Reply | None = None
        self._connection = connection
        self._content = content
        self._settings = settings
        self._classify = classify or unclassified

    async def run(self) -> None:
        """Send.  Then each recipient has an outcome, or the message was `not_tried`."""
        eight_bit = not self._content.isascii()
        utf8 = needs_utf8(self.message)
        offered = self._connection.session.capabilities
        refused = objection(self._content, eight_bit=eight_bit, utf8=utf8, offered=offered, settings=self._settings)
        if refused is not None:
            self.cut_short(Verdict.BOUNCED, refused)
            return
        parameters = self._connection.session.parameters(len(self._content), eight_bit=eight_bit, utf8=utf8)
        most = max(1, self._settings.max_recipients_per_batch)
        retried: dict[Mailbox, Reply] = {}
        while self.waiting:
            batch = self._begin(self.waiting[:most])
            await self._transact(batch, parameters)
            if self.not_tried:
                return
            retried = self._conclude(batch, retried)

    def _begin(self, recipients: list[Mailbox]) -> Batch:
        connection = self._connection
        rset = connection.rset_due or (connection.used > 0 and self._settings.enable_rset)
        if connection.lmtp:
            self.batch = LmtpBatch(recipients, rset=rset)
        else:
            self.batch = Batch(recipients, rset=rset, chunked=connection.chunking and len(self._content) >= CHUNKED)
        return self.batch

    @property
    def not_tried(self) -> bool:
        """
        Whether the connection ended before the message mattered: nobody got it, and it has nothing to do with that.

        On a connection that served before, a peer that no longer wants to wait may close just as we begin.
        """
        batch = self.batch
        if batch is None or batch.fault is None or self.anything_done:
            return False
        broken = self._connection.wire.broken
        if isinstance(broken, ShutDown):
            return True
        return not batch.answers and self._connection.used > 1 and isinstance(broken, ConnectionEnded)

    @property
    def end_sent(self) -> bool:
        """Whether the peer may have all of it, and somebody to give it to."""
        return self.batch is not None and self.batch.sent and not self._connection.wire.pouring

    @property
    def anything_done(self) -> bool:
        """Whether giving the message back as if nothing had happened could send it to somebody twice."""
        return bool(self.outcomes) or self.end_sent

    def cut_short(self, verdict: Verdict, answer: Reply) -> None:
        """Whoever still waits gets this outcome."""
        if self.waiting:
            self.outcomes.append(Outcome(verdict, tuple(self.waiting), answer))
            self.waiting = []

    def ended_early(self, why: Reply | None) -> Reply:
        """What the others are told when we end the session in the middle.  why: None: we were just told to."""
        perhaps = _PERHAPS if self.end_sent else ""
        if why is not None:
            return Reply(why.code, why.enhanced, f"{why.text}{perhaps}")
        return Reply(400, None, f"{INTERNAL}failed to send message: the session was ended{perhaps}")

    @property
    def may_go_elsewhere(self) -> bool:
        """
        Whether somebody was put off, and may get the message from another host at once.

        The model asks that of time-outs, 421 and refused RSETs only; its pages say any transport error.  So it is here, but
        for one: where the end of the message was sent and not answered, the peer may have it, and what may be a second
        copy can wait for its turn (the model sends it at once after a time-out).
        """
        if self.end_sent and self.batch is not None and self.batch.fault is not None:
            return False
        return any(outcome.verdict is Verdict.POSTPONED for outcome in self.outcomes)

    @property
    def chunking_broke(self) -> bool:
        """Whether it was the chunk that the connection ended with: then the peer, or a box before it, cannot do it after all."""
        batch = self.batch
        if batch is None or not (batch.chunked and batch.sent):
            return False
        return batch.fault is not None or lacks_chunking(batch.answers[-1])

    # One transaction.

    async def _transact(self, batch: Batch, parameters: str) -> None:
        connection = self._connection
        wire, session = connection.wire, connection.session
        connection.used += 1
        connection.rset_due = True
        try:
            await self._say_envelope(batch, parameters)
            if batch.peer_is_ready:
                if batch.smooth or (batch.anybody and batch.last_word is None):
                    body = session.body(self._content) if batch.ordinary else self._other_body(batch)
                    batch.sent = True
                    batch.hear(await wire.pour(body))
                elif batch.last_word is None:
                    await self._send_nothing()
                else:
                    # It said that it closes, or something that has no place here: then what it says to the message may be
                    # the answer to something else.
                    wire.abort()
        except (WireBroken, PeerBrokeProtocol) as fault:
            batch.hear(session.take())
            batch.fault = self._in_words(fault)
        connection.rset_due = not batch.complete

    def _other_body(self, batch: Batch) -> bytes:
        """In a chunk, or in LMTP."""
        session = self._connection.session
        return session.chunk(self._content) if batch.chunked else session.body(self._content, batch.accepted)

    async def _say_envelope(self, batch: Batch, parameters: str) -> None:
        """Everything up to DATA: in one write where the peer takes that, else command by command as long as it makes sense."""
        wire, session = self._connection.wire, self._connection.session
        sender = self.message.sender.email
        recipients = [recipient.email for recipient in batch.recipients]
        if self._connection.pipelining:
            group = session.group(sender, parameters, recipients, rset=batch.rset, data=not batch.chunked)
            batch.hear(await wire.exchange(group))
            return
        if batch.rset:
            batch.hear(await wire.exchange(session.rset()))
            if not batch.goes_on:
                return
        batch.hear(await wire.exchange(session.mail(sender, parameters)))
        if not batch.goes_on:
            return
        for recipient in recipients:
            batch.hear(await wire.exchange(session.rcpt(recipient)))
            if batch.last_word is not None:
                return
        if batch.anybody and not batch.chunked:
            batch.hear(await wire.exchange(session.data()))

    async def _send_nothing(self) -> None:
        """
        The peer took DATA, pipelined, although it took no recipient: it gets an empty message (RFC 2920 section 3.1).

        What it says to that counts for nobody.  In LMTP there is nobody for whom it would say something: how to get on with
        a peer that takes DATA all the same (RFC 2033 section 4.2 forbids it) is not known.
        """
        if self._connection.lmtp:
            self._connection.wire.abort()
            return
        with suppress(WireBroken, PeerBrokeProtocol):
            await self._connection.wire.exchange(self._connection.session.empty_body())

    def _in_words(self, fault: Fault) -> Reply:
        perhaps = _PERHAPS if self.end_sent else ""
        if isinstance(fault, TimedOut):
            connection = self._connection
            text = f"{INTERNAL}failed to send message to {connection.attempt.site} {connection.address}: {fault}{perhaps}"
            return Reply(421, _TIMED_OUT, text)
        return Reply(400, None, f"{INTERNAL}failed to send message: {fault}{perhaps}")

    def _conclude(self, batch: Batch, retried: Mapping[Mailbox, Reply]) -> dict[Mailbox, Reply]:
        """Note what became of the batch; returns those of it who are to be tried again at once, and what they were told."""
        untried = self.waiting[len(batch.recipients) :]
        if batch.smooth and batch.shared and batch.complete and not untried:  # as nearly always: no need to look at each recipient
            self.cut_short(Verdict.DELIVERED, batch.answers[-1])
            self.last_word = batch.fault
            return {}
        decided, too_many = conclude(batch, retried, self._classify)
        groups: dict[tuple[Verdict, Reply], list[Mailbox]] = {}
        for verdict, recipient, answer in decided:
            groups.setdefault((verdict, answer), []).append(recipient)
        self.outcomes += [Outcome(verdict, tuple(group), answer) for (verdict, answer), group in groups.items()]
        last_word = batch.last_word
        if last_word is None and not self._connection.wire.check():
            last_word = Reply(400, None, f"{INTERNAL}failed to send message: {self._connection.wire.broken}")
        if last_word is None:
            self.waiting = [recipient for recipient, _ in too_many] + untried
            return dict(too_many)
        self.last_word = last_word
        self.outcomes += [Outcome(Verdict.POSTPONED, (recipient,), answer) for recipient, answer in too_many]
        self.waiting = untried
        self.cut_short(Verdict.POSTPONED, last_word)
        return {}
