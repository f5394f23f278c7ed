"""
One delivery session's whole life: take a message, find the hosts, connect, send message after message, part.

`deliver` is all that the ready queue needs to know.  Whatever happens, each message that was taken is answered for exactly
once: it was tried (`settle`), or it was not (`give_back`), and then nothing is counted.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from kumotwist.delivery.broken import BrokenOffers, Offer
from kumotwist.delivery.demands import Demands, DemandUnknown
from kumotwist.delivery.hosts import Hosts
from kumotwist.delivery.in_hand import InHand
from kumotwist.delivery.keys import AskPolicy
from kumotwist.delivery.means import Classify, Dropped, Means, Policies, Secured, WentOn
from kumotwist.delivery.opening import (
    Connection,
    HostFailed,
    SourceUnplumbed,
    Why,
    open_connection,
    patience_of,
)
from kumotwist.delivery.plan import Address, Hopeless, Resolver, in_clear, make_plan
from kumotwist.delivery.proxy import sends_from
from kumotwist.delivery.sending import Sending
from kumotwist.delivery.shown import Showing
from kumotwist.delivery.stop import Stop, Stopped, shutdown_grace
from kumotwist.delivery.supply import Supply
from kumotwist.delivery.tls import Trust
from kumotwist.delivery.tls_policy import broken_tls_remembered, clear_after_failure, fits
from kumotwist.delivery.watchdog import UNTROUBLED, Phase, Watchdog, stuck_reply, watchdog_patience
from kumotwist.delivery.watched import known
from kumotwist.delivery.wire import ClientWire, Reactor, ShutDown
from kumotwist.mail.disposition import Attempt, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import INTERNAL, EnhancedCode, Reply
from kumotwist.smtp.client_session import ClientSession
from kumotwist.smtp.watching import UNWATCHED, Dialogues

T = TypeVar("T")

UNPLUMBED_REST = 30.0  # seconds that a message waits where nobody asked to be told of a source without its address
CHUNKING_REST = 3600.0  # seconds for which a site that could not do BDAT gets DATA

_NOT_KNOWN = EnhancedCode(4, 4, 4)
REASONS = {
    Phase.CONNECTION_RATE_THROTTLED: Reason.CONNECTION_RATE_THROTTLE,
    Phase.MESSAGE_RATE_THROTTLED: Reason.MESSAGE_RATE_THROTTLE,
}


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
    broken: BrokenOffers | None = None,
    policies: Policies | None = None,
    secured: Secured | None = None,
    ask_policy: AskPolicy | None = None,
    source_unplumbed: Callable[[str], bool | None] | None = None,
    proxy_unhealthy: Callable[[str], bool | None] | None = None,
    source_usable: Callable[[str], bool] | None = None,
    went_on: WentOn | None = None,
    dropped: Dropped | None = None,
    dialogues: Dialogues = UNWATCHED,
    classify: Classify | None = None,
) -> None:
    """
    Deliver what the supply has until it has no more, the connection has served its time, or we are told to stop.

    hostname: for EHLO, unless path or source names another.  draw: uniform in [0, 1).  session_id: one for each connection.
    broken: what sites offer and cannot do; one for all sessions.  policies, secured: MTA-STS and DANE, for paths that want them.
    source_unplumbed: told the source whose address is not on this machine; where it answers False, the source goes on to be
    used, and that is a failed host like any other.  proxy_unhealthy: told the source whose proxy does not do its part.
    source_usable: False for one from which nothing connects just now.  ask_policy: answers for keys that the policy has.
    went_on: told of an attempt after which the message, with the recipients that are left in it, is tried with the next
    host at once, uncounted; without it no message is (`try_next_host_on_transport_error`).
    dropped: gets the message of a session that was stuck, why, and the seconds it is to wait; else it is given back.
    Cancelled: closes at once.  Fails only with what broke in us; the message in hand is answered for even then.
    """
    if stop.given:
        return
    means = Means(
        reactor=reactor,
        resolver=resolver,
        trust=trust,
        hostname=hostname,
        draw=draw,
        session_id=session_id,
        stop=stop,
        broken=broken or BrokenOffers(),
        policies=policies,
        secured=secured,
        ask_policy=ask_policy,
        source_unplumbed=source_unplumbed,
        proxy_unhealthy=proxy_unhealthy,
        source_usable=source_usable,
        went_on=went_on,
        dropped=dropped,
        dialogues=dialogues,
        classify=classify,
    )
    await _Session(supply, means).live()


class _Session(Showing):
    """What one session has in hand: at most one message, at most one connection, and the hosts not yet tried."""

    log = Logger()

    def __init__(self, supply: Supply, means: Means) -> None:
        self._supply = supply
        self._means = means
        self._path = supply.path  # what holds when a session begins, holds until it ends
        self._settings = self._path.settings
        self._hand = InHand(supply, self._path, means)
        self._hosts = Hosts(self._settings.reconnect_strategy)
        self._demands = Demands(self._path, means)
        self._demand = self._demands.usual  # of the message in hand
        self._connection: Connection | None = None
        self._tried = 0  # messages, by this session
        self._nowhere = False  # there is no source, or no plan, to connect with
        self._waiting_for: Deferred[Any] | None = None  # what a stop interrupts
        self._grace: IDelayedCall | None = None
        # For the watchdog.
        self._phase = Phase.STARTING
        self._wire: ClientWire | None = None  # the last one, made or in the making
        self._session_id = "none"
        self._began = means.reactor.seconds()
        self._stuck: Reply | None = None
        self._running: Deferred[None] | None = None

    async def live(self) -> None:
        """From the beginning to the end, whatever that is."""
        means = self._means
        self._supply.show(self)
        means.stop.listen(self._hear_stop)
        watchdog = Watchdog(means.reactor, watchdog_patience(self._settings), self._where, self._end_stuck)
        self._running = Deferred.fromCoroutine(self._run())
        try:
            await self._running
        except CancelledError:
            if self._stuck is None:
                raise
        finally:
            watchdog.stop()
            means.stop.forget(self._hear_stop)
            self._close()

    async def _run(self) -> None:
        hand = self._hand
        try:
            if not await self._begin():
                return
            allowed = False
            while hand.message is not None:
                if self._demands.differ and not self._knows_demand(hand.message) and not await self._learn_demand():
                    await self._take_next()
                    continue
                if not await self._connected() or not (allowed or await self._may_send()):
                    break
                allowed = not await self._send()  # not sent: the kept connection was dead, and the next one is for this message
                if hand.message is None:
                    await self._take_next()
            await self._part()
        except Stopped:
            hand.give_back(Reason.DISPATCHER_DROP)
            await self._part()
        except CancelledError:
            raise
        except Exception as fault:
            # Our own bug, which the owner of the session gets to see.  The message counts an attempt: it may be the cause.
            hand.answer_for_bug(fault, self._attempt)
            raise

    # The steps of it.  Each leaves either the message in hand, or the message answered for.

    async def _begin(self) -> bool:
        """Have a message and know where to; or a connection too, before there is a message, if the path wants that."""
        if not self._settings.aggressive_connection_opening:
            return self._hand.take() and await self._plan()
        if not await self._plan() or not await self._connected():
            return False
        await self._take_next()
        return True

    async def _plan(self) -> bool:
        """Find out where to connect to."""
        means = self._means
        plan = await self._wait(Deferred.fromCoroutine(make_plan(self._path, means.resolver, means.draw)))
        if not isinstance(plan, Hopeless):
            self._hosts.plan(plan)
            return True
        await self._hand.settle_unsent(
            plan.verdict, plan.reply, Attempt(site=self._path.name, egress_source=self._path.source.name), self._wait
        )
        self._supply.dispose_all(plan.verdict, plan.reply, plan.reason)
        return False

    def _knows_demand(self, message: Message) -> bool:
        """Whether it is known already what the message in hand needs of a connection."""
        if (known := self._demands.known(message)) is None:
            return False
        self._demand = known
        return True

    async def _learn_demand(self) -> bool:
        """What the message in hand needs of a connection; messages of which that is not known are answered for."""
        while (message := self._hand.message) is not None:
            try:
                self._demand = await self._wait(Deferred.fromCoroutine(self._demands.learn(message)))
                return True
            except DemandUnknown as fault:
                answer = Reply(451, _NOT_KNOWN, f"{INTERNAL}{fault}")
                await self._hand.settle_unsent(Verdict.POSTPONED, answer, self._hand.no_attempt, self._wait)
            if self._means.stop.given or not self._hand.take():
                break
        return False

    async def _connected(self) -> bool:
        """Keep the connection if it is fit for another transaction, else make one to the next address that will do."""
        connection = self._connection
        if connection is not None:
            if not connection.wire.check():
                self._lose()
            elif connection.demand is self._demand or fits(self._demand, connection.address.host, connection.agreed):
                return True
            else:
                await self._start_anew(connection)
        while self._hosts:
            address = self._hosts.next()
            if (source_address := self._of_other_family(address)) is not None:
                self._hosts.failed(HostFailed(f"{address}: not of the family of source address {source_address}"))
            elif self._source_suspended() or not await self._throttle(self._supply.may_connect, Phase.CONNECTION_RATE_THROTTLED):
                return False
            elif await self._open(address):
                return True
            elif self._nowhere:
                return False
        await self._give_up_hosts()
        return False

    async def _start_anew(self, connection: Connection) -> None:
        """The message needs a better connection than this one: all hosts may have one, this one too."""
        self._connection = None
        self._hosts.renew()
        self._hand.owed = True
        await connection.wire.part()

    def _of_other_family(self, address: Address) -> str | None:
        """The address that we send from, if nothing of this family can be reached from there."""
        source_address = sends_from(self._path.source)
        return source_address if source_address is not None and (":" in source_address) != (":" in address.ip) else None

    def _lose(self) -> None:
        """The connection is of no more use.  One that served leaves it to the path where to go; another was a failed host."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.used:
            self._hosts.lost(connection.address)
        else:
            self._hosts.failed(HostFailed(f"{connection.address}: {connection.wire.broken}"))

    async def _open(self, address: Address) -> bool:
        """Connect to one address; False with the message in hand: try the next."""
        means = self._means
        self._phase = Phase.ATTEMPTING_CONNECTION
        self._wire = wire = ClientWire(means.reactor, ClientSession(), patience_of(self._settings), means.dialogues)
        self._session_id = means.session_id()
        wire.introduce(lambda: known(self._path, self._session_id, address, self._hand))
        opening = open_connection(wire, self._path, address, means, self._session_id, self._demand)
        try:
            self._connection = await self._wait(Deferred.fromCoroutine(opening))
        except SourceUnplumbed as fault:
            self._lack_source(fault, address)
            return False
        except HostFailed as fault:
            self.log.debug("{path}: {fault}", path=self._path.name, fault=str(fault))
            self._hosts.failed(fault)
            self._learn(fault, address)
            return False
        self._hosts.succeeded()
        self._supply.connected()
        return True

    def _learn(self, fault: HostFailed, address: Address) -> None:
        """What a failed host means for this one and the others."""
        means, settings = self._means, self._settings
        if fault.why in (Why.HANDSHAKE, Why.GREETING):
            if (remembered := broken_tls_remembered(fault.mode, settings)) > 0.0:
                means.broken.note(self._path.name, Offer.STARTTLS, means.reactor.seconds() + remembered)
            handshake = fault.why is Why.HANDSHAKE
            if clear_after_failure(fault.mode, settings, handshake=handshake) and not address.in_clear:
                # On a new connection: what two ends that disagree on TLS make of further bytes on the old one is
                # anybody's guess (the model goes on there).
                self._hosts.again(in_clear(address))
        elif fault.why in (Why.PROXY, Why.PROXY_SOURCE):
            self._hosts.clear()  # the way to all of them leads through the same proxy
            if means.proxy_unhealthy is not None:
                means.proxy_unhealthy(self._path.source.name)

    def _lack_source(self, fault: SourceUnplumbed, address: Address) -> None:
        """No host can be reached from here, which is no fault of the message: another source may have it."""
        self.log.debug("{path}: {fault}", path=self._path.name, fault=str(fault))
        tell = self._means.source_unplumbed
        if tell is not None and tell(self._path.source.name) is False:
            self._hosts.clear()
            self._hosts.failed(HostFailed(f"connect to {address}: {fault}"))
            return
        self._nowhere = True
        self._hand.give_back(Reason.SOURCE_IS_UNHEALTHY_AND_SUSPENDED, UNPLUMBED_REST if tell is None else 0.0)

    def _source_suspended(self) -> bool:
        """Nothing is to connect from here just now: the message in hand chooses afresh, as all others on this path do."""
        usable = self._means.source_usable
        if usable is None or usable(self._path.source.name):
            return False
        self._nowhere = True
        self._hand.give_back(Reason.SOURCE_IS_UNHEALTHY_AND_SUSPENDED)
        return True

    async def _give_up_hosts(self) -> None:
        """There is no further address.  Where something was sent, that is only the end of this session's plan."""
        usual = self._demand is self._demands.usual  # else it is its domain that finds no host good enough
        if self._tried and usual and not self._hand.owed:
            self._hand.give_back(Reason.PEER_CLOSED_CONNECTION)
            return
        answer = self._hosts.in_vain()
        await self._hand.settle_unsent(Verdict.POSTPONED, answer, self._hand.no_attempt, self._wait)
        if usual and not self._tried:
            self._supply.connection_failed()

    async def _may_send(self) -> bool:
        return await self._throttle(self._supply.may_send, Phase.MESSAGE_RATE_THROTTLED)

    async def _throttle(self, spend: Callable[[], float], phase: Phase) -> bool:
        """Wait here, message in hand, for a limit that frees soon; else everything on this path waits where it came from."""
        if self._means.stop.given:
            raise Stopped
        while (delay := spend()) > 0.0:
            if delay >= self._settings.idle_timeout:
                reason = REASONS[phase]
                self._hand.give_back(reason, delay)
                self._supply.throttled(reason, delay)
                return False
            self._phase = phase
            await self._wait(self._sleep(delay))
        return True

    async def _send(self) -> bool:
        """Send the message in hand; False: it is still there, to be sent on another connection."""
        hand, connection = self._hand, self._connection
        message = hand.message
        if message is None or connection is None:
            raise RuntimeError("nothing to send, or nothing to send it on")  # ours
        self._phase = Phase.DELIVERING_MESSAGE
        content = await hand.read(message, self._wait, connection.attempt)
        if content is None:
            return True
        if not connection.wire.check():
            return False
        hand.sending = sending = Sending(connection, message, content, self._settings, self._means.classify)
        await sending.run()
        if sending.not_tried:
            hand.sending = None
            if self._means.stop.given:
                raise Stopped
            return False
        self._tried += 1
        if sending.last_word is None:
            hand.settle(connection.attempt, sending.outcomes)
            return True
        return await self._after_last_word(sending, connection)

    async def _after_last_word(self, sending: Sending, connection: Connection) -> bool:
        """The connection ended with the message; there may be another host for what is left of it."""
        if sending.chunking_broke:
            self._means.broken.note(self._path.name, Offer.CHUNKING, self._means.reactor.seconds() + CHUNKING_REST)
        elsewhere = (
            self._settings.try_next_host_on_transport_error
            and self._hosts.another
            and not self._means.stop.given
            and sending.may_go_elsewhere
            and self._hand.go_on(connection.attempt, sending.outcomes)
        )
        if elsewhere:
            self._connection = None  # not lost: whatever the strategy, the next is another host
        else:
            self._hand.settle(connection.attempt, sending.outcomes)
        await connection.wire.part()
        return not elsewhere

    async def _take_next(self) -> None:
        """The next message, if this session is to have another."""
        connection = self._connection
        if connection is None or self._means.stop.given:
            return
        fit = connection.wire.check()
        if fit and connection.used >= max(1, self._settings.max_deliveries_per_connection):
            return
        if not fit:
            self._lose()
            if not self._hosts:
                return  # a new session makes a new plan
        if not self._hand.take() and fit:
            self._hand.hold(await self._idle(connection))

    async def _idle(self, connection: Connection) -> Message | None:
        """Wait for a message as long as the connection may be kept, and as long as the peer keeps it."""
        self._phase = Phase.IDLE
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
        self._phase = Phase.CLOSING
        if self._connection is not None:
            await self._connection.wire.part()

    @property
    def _attempt(self) -> Attempt:
        return self._hand.no_attempt if self._connection is None else self._connection.attempt

    # Waiting, and the end of it.

    async def _wait(self, coming: "Deferred[T]") -> T:
        self._waiting_for = coming
        try:
            return await coming
        except CancelledError:
            if self._means.stop.given:
                raise Stopped from None
            raise
        finally:
            self._waiting_for = None

    def _sleep(self, seconds: float) -> "Deferred[None]":
        slept: Deferred[None] = Deferred(lambda _: timer.cancel())
        timer = self._means.reactor.callLater(seconds, slept.callback, None)
        return slept

    def _hear_stop(self) -> None:
        """Between messages: end.  Within one: there is some time left to finish it."""
        if self._waiting_for is not None:
            self._waiting_for.cancel()
        elif self._connection is not None:
            grace = shutdown_grace(self._settings)
            self._grace = self._means.reactor.callLater(
                grace, self._connection.wire.give_up, ShutDown("the system is shutting down")
            )

    def _close(self) -> None:
        """On every way out: nothing stays in hand, nothing stays open."""
        if self._grace is not None and self._grace.active():
            self._grace.cancel()
        self._hand.let_go(self._attempt, self._stuck)
        if self._connection is not None:
            self._connection.wire.abort()

    # Getting on, or not.

    def _now(self) -> float:
        return self._means.reactor.seconds()

    def _where(self) -> object:
        """What changes whenever the session gets on."""
        if self._phase in UNTROUBLED:
            return object()
        deadline = None if self._wire is None else self._wire.deadline
        return self._phase, self._tried, self._waiting_for, deadline, len(self._hosts)

    def _end_stuck(self, seconds: float) -> None:
        """The watchdog found no progress for so long: end it, whatever it waits for."""
        detail = self._wire.session.due_command if self._wire is not None else ""
        age = self._means.reactor.seconds() - self._began
        self._stuck = stuck_reply(self._phase, detail, self._session_id, age, seconds)
        self.log.warn("{path}: {text}", path=self._path.name, text=self._stuck.text)
        if self._running is not None:
            self._running.cancel()
