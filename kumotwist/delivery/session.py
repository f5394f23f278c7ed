"""
One delivery session's whole life: take a message, find the hosts, connect, send message after message, part.

`deliver` is all that the ready queue needs to know.  Whatever happens, each message that was taken is answered for exactly
once: it was tried (`settle`), or it was not (`give_back`), and then nothing is counted.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from msgspec import Struct
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from kumotwist.config.egress import PathSettings
from kumotwist.delivery.opening import ESMTP, Connection, HandshakeFailed, HostFailed, SourceUnplumbed, open_connection
from kumotwist.delivery.plan import Address, Hopeless, Resolver, in_clear, make_plan
from kumotwist.delivery.sending import Sending
from kumotwist.delivery.stop import Stop
from kumotwist.delivery.supply import Supply
from kumotwist.delivery.tls import Trust
from kumotwist.delivery.tls_policy import clear_after_failure
from kumotwist.delivery.wire import Reactor, ShutDown
from kumotwist.mail.disposition import Attempt, Outcome, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import INTERNAL, Reply

T = TypeVar("T")

UNPLUMBED_REST = 30.0  # seconds that a message waits where nobody asked to be told of a source without its address
UNREADABLE_REST = 60.0  # seconds that a message waits whose envelope the spool cannot read just now


class _Means(Struct, frozen=True, kw_only=True):
    """What a session works with, beside its supply: see `deliver`."""

    reactor: Reactor
    resolver: Resolver
    trust: Trust
    hostname: str
    draw: Callable[[], float]
    session_id: Callable[[], str]
    stop: Stop
    source_unplumbed: Callable[[str], None] | None


async def deliver(
    supply: Supply,
    *,
    reactor: Reactor,
    resolver: Resolver,
    trust: Trust,
    hostname: str,
    draw: Callable[[], float],
    session_id: Callable[[], str],
    stop: Stop,
    source_unplumbed: Callable[[str], None] | None = None,
) -> None:
    """
    Deliver what the supply has until it has no more, the connection has served its time, or we are told to stop.

    hostname: for EHLO, where neither path nor source names something else.  draw: uniform in [0, 1).
    session_id: makes a new one for each connection.  source_unplumbed: told the source whose address is not on this machine.
    Cancelled: the connection is closed at once.  Fails only with what broke in us; the message in hand is answered for
    even then.
    """
    if stop.given:
        return
    means = _Means(
        reactor=reactor,
        resolver=resolver,
        trust=trust,
        hostname=hostname,
        draw=draw,
        session_id=session_id,
        stop=stop,
        source_unplumbed=source_unplumbed,
    )
    session = _Session(supply, means)
    stop.listen(session.hear_stop)
    try:
        await session.run()
    finally:
        stop.forget(session.hear_stop)
        session.close()


class _Stopped(Exception):
    """We are to stop, and were about to wait for something, or waiting, that does not matter any more."""


class _Session:
    """What one session has in hand: at most one message, at most one connection, and the addresses not yet tried."""

    log = Logger()

    def __init__(self, supply: Supply, means: _Means) -> None:
        self._supply = supply
        self._means = means
        self._path = supply.path  # what holds when a session begins, holds until it ends
        self._settings = self._path.settings
        self._addresses: deque[Address] = deque()
        self._failures: list[str] = []  # why addresses that were tried would not do
        self._connection: Connection | None = None
        self._message: Message | None = None
        self._sending: Sending | None = None  # of that message, while it is sent
        self._tried = 0  # messages, by this session
        self._waiting_for: Deferred[Any] | None = None  # what a stop interrupts
        self._grace: IDelayedCall | None = None

    async def run(self) -> None:
        """The whole life."""
        try:
            self._message = self._supply.next_message()
            if self._message is None or not await self._plan():
                return
            allowed = False
            while self._message is not None:
                if not await self._connected() or not (allowed or await self._may_send()):
                    break
                allowed = not await self._send()  # not sent: the kept connection was dead, and the next one is for this message
                if self._message is None:
                    await self._take_next()
            await self._part()
        except _Stopped:
            self._give_back(Reason.DISPATCHER_DROP)
            await self._part()
        except CancelledError:
            raise
        except Exception as fault:
            # Our own bug, which the owner of the session gets to see.  The message counts an attempt: it may be the cause.
            self._answer_for_bug(fault)
            raise

    # The steps of it.  Each leaves either the message in hand, or the message answered for.

    async def _plan(self) -> bool:
        """Find out where to connect to."""
        means = self._means
        plan = await self._wait(Deferred.fromCoroutine(make_plan(self._path, means.resolver, means.draw)))
        if not isinstance(plan, Hopeless):
            self._addresses.extend(plan)
            return True
        await self._settle_unsent(plan.verdict, plan.reply, Attempt(site=self._path.name, egress_source=self._path.source.name))
        self._supply.dispose_all(plan.verdict, plan.reply, plan.reason)
        return False

    async def _connected(self) -> bool:
        """Keep the connection if it is fit for another transaction, else make one to the next address that will do."""
        if self._connection is not None:
            if self._connection.wire.check():
                return True
            if not self._connection.used:
                self._failures.append(f"{self._connection.address}: {self._connection.wire.broken}")
            self._connection = None
        while self._addresses:
            address = self._addresses.popleft()
            if self._of_other_family(address):
                self._failures.append(f"{address}: not of the family of source address {self._path.source.source_address}")
            elif not await self._throttle(self._supply.may_connect, Reason.CONNECTION_RATE_THROTTLE):
                return False
            elif await self._open(address):
                return True
            elif self._message is None:
                return False
        await self._give_up_hosts()
        return False

    def _of_other_family(self, address: Address) -> bool:
        source_address = self._path.source.source_address
        return source_address is not None and (":" in source_address) != (":" in address.ip)

    async def _open(self, address: Address) -> bool:
        """Connect to one address; False with the message in hand: try the next."""
        means = self._means
        opening = open_connection(
            self._path,
            address,
            reactor=means.reactor,
            trust=means.trust,
            hostname=means.hostname,
            session_id=means.session_id(),
        )
        try:
            self._connection = await self._wait(Deferred.fromCoroutine(opening))
        except SourceUnplumbed as fault:
            self._lack_source(fault)
            return False
        except HostFailed as fault:
            self.log.debug("{path}: {fault}", path=self._path.name, fault=str(fault))
            self._failures.append(str(fault))
            if isinstance(fault, HandshakeFailed) and clear_after_failure(self._settings.enable_tls):
                # On a new connection: what two ends that disagree on TLS make of further bytes on the old one is
                # anybody's guess (the model goes on there).
                self._addresses.appendleft(in_clear(address))
            return False
        self._failures.clear()
        self._supply.connected()
        return True

    def _lack_source(self, fault: SourceUnplumbed) -> None:
        """No host can be reached from here, which is no fault of the message: another source may have it."""
        self.log.debug("{path}: {fault}", path=self._path.name, fault=str(fault))
        rest = 0.0
        if self._means.source_unplumbed is None:
            rest = UNPLUMBED_REST
        else:
            self._means.source_unplumbed(self._path.source.name)
        self._give_back(Reason.SOURCE_IS_UNHEALTHY_AND_SUSPENDED, rest)

    async def _give_up_hosts(self) -> None:
        """There is no further address.  Where something was sent, that is only the end of this session's plan."""
        if self._tried:
            self._give_back(Reason.PEER_CLOSED_CONNECTION)
            return
        text = f"{INTERNAL}failed to connect to any candidate hosts: {', '.join(self._failures)}"
        await self._settle_unsent(Verdict.POSTPONED, Reply(400, None, text), self._no_attempt)
        self._supply.connection_failed()

    async def _may_send(self) -> bool:
        return await self._throttle(self._supply.may_send, Reason.MESSAGE_RATE_THROTTLE)

    async def _throttle(self, spend: Callable[[], float], reason: Reason) -> bool:
        """Wait here, message in hand, for a limit that frees soon; else everything on this path waits where it came from."""
        if self._means.stop.given:
            raise _Stopped
        while (delay := spend()) > 0.0:
            if delay >= self._settings.idle_timeout:
                self._give_back(reason, delay)
                self._supply.throttled(reason, delay)
                return False
            await self._wait(self._sleep(delay))
        return True

    async def _send(self) -> bool:
        """Send the message in hand; False: it is still there, since the connection had ended before."""
        message, connection = self._message, self._connection
        if message is None or connection is None:
            raise RuntimeError("nothing to send, or nothing to send it on")  # ours
        content = await self._read(message)
        if content is None:
            return True
        if not connection.wire.check():
            return False
        self._sending = sending = Sending(connection, message, content, self._settings)
        await sending.run()
        if sending.not_tried:
            self._sending = None
            if self._means.stop.given:
                raise _Stopped
            return False
        self._tried += 1
        self._settle(connection.attempt, sending.outcomes)
        if sending.batch is not None and sending.batch.last_word is not None:
            await connection.wire.part()
        return True

    async def _take_next(self) -> None:
        """The next message, if this session is to have another."""
        connection = self._connection
        if connection is None or self._means.stop.given:
            return
        fit = connection.wire.check()
        if fit and connection.used >= max(1, self._settings.max_deliveries_per_connection):
            return
        if not fit and not self._addresses:
            return  # a new session makes a new plan
        self._message = self._supply.next_message()
        if self._message is None and fit:
            self._message = await self._idle(connection)

    async def _idle(self, connection: Connection) -> Message | None:
        """Wait for a message as long as the connection may be kept, and as long as the peer keeps it."""
        coming = self._supply.message_or_none(self._settings.idle_timeout)
        connection.wire.when_broken = coming.cancel
        try:
            return await self._wait(coming)
        except CancelledError:
            if connection.wire.broken is None:
                raise
            return None
        finally:
            connection.wire.when_broken = None

    async def _part(self) -> None:
        if self._connection is not None:
            await self._connection.wire.part()

    # Waiting, and the end of it.

    async def _wait(self, coming: "Deferred[T]") -> T:
        self._waiting_for = coming
        try:
            return await coming
        except CancelledError:
            if self._means.stop.given:
                raise _Stopped from None
            raise
        finally:
            self._waiting_for = None

    def _sleep(self, seconds: float) -> "Deferred[None]":
        slept: Deferred[None] = Deferred(lambda _: timer.cancel())
        timer = self._means.reactor.callLater(seconds, slept.callback, None)
        return slept

    def hear_stop(self) -> None:
        """Between messages: end.  Within one: there is some time left to finish it."""
        if self._waiting_for is not None:
            self._waiting_for.cancel()
        elif self._connection is not None:
            grace = shutdown_grace(self._settings)
            self._grace = self._means.reactor.callLater(
                grace, self._connection.wire.give_up, ShutDown("the system is shutting down")
            )

    def close(self) -> None:
        """On every way out: nothing stays in hand, nothing stays open."""
        if self._grace is not None and self._grace.active():
            self._grace.cancel()
        sending = self._sending
        if self._message is not None and sending is not None and sending.anything_done:
            self._answer_for_rest(sending)
        self._give_back(Reason.DISPATCHER_DROP)
        if self._connection is not None:
            self._connection.wire.abort()

    # Answering for the message in hand.

    def _settle(self, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        message, self._message, self._sending = self._message, None, None
        if message is not None:
            self._supply.settle(message, attempt, outcomes)

    def _give_back(self, reason: Reason, delay: float = 0.0) -> None:
        message, self._message, self._sending = self._message, None, None
        if message is not None:
            self._supply.give_back(message, reason, delay)

    async def _read(self, message: Message) -> bytes | None:
        """The content, and with it the envelope; None: it cannot be had, and the message is answered for."""
        try:
            content = self._supply.content(message)
            if isinstance(content, bytes):
                return content
            loaded: bytes = await self._wait(content)
            return loaded
        except (CancelledError, _Stopped):
            raise
        except Exception as fault:  # noqa: BLE001 whatever storage fails with costs this message an attempt, and nothing else
            self.log.failure("{path}: content of {message} cannot be read", path=self._path.name, message=message.id)
            self._answer_for_bug(fault)
            return None

    async def _settle_unsent(self, verdict: Verdict, answer: Reply, attempt: Attempt) -> None:
        """The message gets this outcome although no host saw it."""
        message = self._message
        if message is None or (not message.envelope_loaded and await self._read(message) is None):
            return
        self._settle(attempt, (Outcome(verdict, message.recipients, answer),))

    def _answer_for_bug(self, fault: Exception) -> None:
        """Something of ours failed with a message in hand.  Without its envelope nothing can be said of its recipients."""
        message, sending = self._message, self._sending
        if message is None:
            return
        if not message.envelope_loaded:
            self._give_back(Reason.DISPATCHER_DROP, UNREADABLE_REST)
            return
        answer = Reply(400, None, f"{INTERNAL}error in deliver_message: {type(fault).__name__}: {fault}")
        attempt = self._no_attempt if self._connection is None else self._connection.attempt
        if sending is None:
            self._settle(attempt, (Outcome(Verdict.POSTPONED, message.recipients, answer),))
        else:
            sending.cut_short(Verdict.POSTPONED, answer)
            self._settle(attempt, sending.outcomes)

    def _answer_for_rest(self, sending: Sending) -> None:
        """We ended in the middle of it: what some recipients got stands, the others get it later."""
        sending.cut_short(Verdict.POSTPONED, sending.ended_early())
        attempt = self._no_attempt if self._connection is None else self._connection.attempt
        self._settle(attempt, sending.outcomes)

    @property
    def _no_attempt(self) -> Attempt:
        """What records say of an attempt that reached no host."""
        path = self._path
        return Attempt(
            site=path.name,
            egress_source=path.source.name,
            delivery_protocol=ESMTP,
            provider_name=path.settings.provider_name,
        )


def shutdown_grace(settings: PathSettings) -> float:
    """Seconds that a transaction in flight may still take when the system stops."""
    if settings.system_shutdown_timeout is not None:
        return settings.system_shutdown_timeout
    return settings.mail_from_timeout + settings.rcpt_to_timeout + settings.data_timeout + settings.data_dot_timeout
