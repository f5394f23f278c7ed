"""
The composition root: builds the server from its configuration, joins the stages, starts and stops them in order.

Reading `Server._build` is reading the architecture.  Only here is the reactor imported.
"""

import random
import signal
from collections.abc import Collection
from functools import partial
from itertools import takewhile
from typing import Any
from uuid import UUID

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from kumotwist.config.faults import ConfigFaults
from kumotwist.config.keys import KeyEvent
from kumotwist.config.read import read_config, unanswered
from kumotwist.config.server import Config
from kumotwist.custody import Custody
from kumotwist.delivery.broken import BrokenOffers
from kumotwist.delivery.session import deliver
from kumotwist.delivery.stop import Stop
from kumotwist.delivery.tls import Trust
from kumotwist.dns.resolver import Resolver
from kumotwist.dns.rollup import Rollup
from kumotwist.egress.leases import Leases
from kumotwist.egress.throttles import Throttles
from kumotwist.hooks.context import Services
from kumotwist.hooks.directions import Directions
from kumotwist.hooks.initial import run_init
from kumotwist.hooks.loading import load_policy
from kumotwist.hooks.policy import Policy
from kumotwist.logs.record import RecordWriter, switched_off
from kumotwist.logs.service import MailLog
from kumotwist.mail.message_id import MessageIds
from kumotwist.ready.queue import ReadyQueue
from kumotwist.ready.service import ReadyQueues
from kumotwist.reception.intake import rules_of
from kumotwist.reception.service import CannotListen, EsmtpListener, Reception
from kumotwist.reload import Reload
from kumotwist.scheduled.enumeration import enumerate_spool
from kumotwist.scheduled.service import Scheduler
from kumotwist.spool.opening import kept_node_id, open_store
from kumotwist.spool.residence import Residence
from kumotwist.spool.service import Spool
from kumotwist.spool.space import DiskSpace, minima
from kumotwist.spool.store import SpoolUnusable, Store

RESIDENT = 256 * 1024 * 1024  # octets of waiting messages kept in memory beside the spool


class Options(usage.Options):
    """`twistd kumotwist --config FILE`."""

    optParameters = [["config", "c", None, "The YAML file that configures the server."]]  # noqa: N815  Twisted looks for it

    def postOptions(self) -> None:
        if self["config"] is None:
            raise usage.UsageError("--config FILE is needed; see conf/kumotwist.yaml for one with every key")


def makeService(options: Options) -> "Server":
    """What twistd runs.  A configuration with faults ends the start with one line for each."""
    try:
        config = read_config(options["config"])
    except ConfigFaults as faults:
        raise SystemExit(str(faults)) from None
    return Server(config, options["config"])


class Server(Service):
    """One whole mail server."""

    log = Logger()

    def __init__(self, config: Config, path: str, reactor: Any = None) -> None:
        """path: the file that the configuration was read from, and is read from again.  reactor: the one that runs, if None."""
        if reactor is None:
            from twisted.internet import reactor
        self.reactor = reactor
        self.config = config
        self.listeners: dict[str, EsmtpListener] = {}
        self.enumerated: Deferred[int | None] | None = None  # fires when all that the spool had at the start is in its queues
        self.reload = Reload(reactor, lambda: read_config(path), self._change, config, deferToThread, self._policy_files)
        self._told_log = 0  # the number of the last record that the log's files were told of
        self._fault: str | None = None  # why the server cannot start
        self._begun = False

    # Start

    def startService(self) -> None:
        """Load the policy and let it say what it adds to the configuration, then build and start everything."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        chance = random.SystemRandom()
        self.ids = MessageIds(self.reactor.seconds, chance.getrandbits)
        self.throttles = Throttles()
        self.resolver = Resolver(self.config.dns, self.reactor)
        begun = maybeDeferred(self._whole, self.config, 0)
        begun.addCallback(lambda whole: self._begin(*whole))
        begun.addErrback(self._cannot_begin)
        if self._fault is not None:
            raise SystemExit(self._fault)

    def _cannot_begin(self, failure: Failure) -> None:
        if failure.check(ConfigFaults, SpoolUnusable, CannotListen):
            self._fault = failure.getErrorMessage() if not failure.check(ConfigFaults) else str(failure.value)
        else:
            self._fault = failure.getTraceback()
        if self.reactor.running:  # a policy took its time, and twistd has gone on
            self.log.critical("the server cannot start: {fault}", fault=self._fault)
            self.reactor.stop()

    def _whole(self, config: Config, epoch: int) -> "Deferred[tuple[Config, Policy]]":
        """The configuration with what its policy adds to it, and the policy.  Fails with ConfigFaults."""
        services = Services(
            clock=self.reactor,
            resolver=self.resolver,
            inject=lambda message: self.custody.adopt(message),
            message_id=self.ids.next,
            epoch=epoch,
            throttles=self.throttles,
        )
        policy = load_policy(config.policy, self.reactor, services, own_events=config.own_events)
        doubts = unanswered(config.doubts, policy)
        if doubts:
            raise ConfigFaults(doubts)
        return run_init(policy, config).addCallback(lambda definitions: (definitions.over(config), policy))

    def _begin(self, config: Config, policy: Policy) -> None:
        self.config = config
        self._build(config, policy, open_store(config.spool))
        self.space.start()
        self.spool.start()
        self._start_log()
        self.rollup.start()
        self.ready.start()
        self.scheduler.start()
        self._enumerate()
        self._listen(config)
        self._begun = True
        self.reload.start()
        signal.signal(signal.SIGHUP, lambda *_: self.reactor.callFromThread(self.reload.now))

    def _build(self, config: Config, policy: Policy, store: Store) -> None:
        reactor = self.reactor
        self.node_id = config.node_id or kept_node_id(config.spool.path, random.SystemRandom().getrandbits)
        self.spool = Spool(store, reactor.callFromThread, lambda call: reactor.callLater(0, call), self._log_records)
        self._told_log = store.last_sequence()
        self.space = DiskSpace(reactor, minima(config))
        self.custody = Custody(
            self.spool,
            RecordWriter(self.node_id, config.logs.meta),
            Residence(RESIDENT),
            reactor,
            lambda message, reason: self.scheduler.admit(message, reason),
            disabled=switched_off(config.logs.per_record),
            obstacles=lambda: "disk is too full. Try later" if self.space.full else None,
        )
        self.rollup = self._new_rollup(config)
        self.trust = Trust(config.tls.ca_file)
        self.end_of_sessions = Stop()
        self.broken_offers = BrokenOffers()
        self.directions = Directions(config, policy, lambda: self.rollup.sites)
        self.ready = ReadyQueues(reactor, self.spool.load, self._open_session, self.directions, self.throttles, Leases())
        self.scheduler = Scheduler(
            reactor,
            random.random,
            self.custody,
            lambda message: self.spool.load(message, content=False),
            self.ready,
            self.resolver,
            self.directions,
            self.throttles,
        )
        self.ready.home = self.scheduler
        self.reception = Reception(
            hostname=config.hostname,
            clock=reactor,
            ids=self.ids,
            randbits=random.getrandbits,
            desk=self.custody,
            rules=rules_of(config),
            policy=policy,
        )

    def _new_rollup(self, config: Config) -> Rollup:
        rolled_up = [domain for domain, rule in config.shaping.rules.items() if rule.mx_rollup and domain != "default"]
        return Rollup(rolled_up, self.resolver, self.reactor, lambda: self.ready.direct(self.directions))

    def _start_log(self) -> None:
        """Start the log's files on the journal as it is: they may lack what it has."""
        upto = self._told_log
        self.mail_log: MailLog | None = MailLog(
            self.config.logs,
            self.reactor,
            call_from_thread=self.reactor.callFromThread,
            forget=self.spool.forget_records,
            reread=self.spool.records,
        )
        self.mail_log.start(takewhile(lambda entry: entry[0] <= upto, self.spool.records(0)))

    def _listen(self, config: Config) -> None:
        """Listen where the configuration says, and nowhere else.  Raises CannotListen."""
        wanted = {settings.listen: settings for settings in config.esmtp_listeners}
        for listen in self.listeners.keys() - wanted.keys():
            self.listeners.pop(listen).stopService()
        for listen, settings in wanted.items():
            if listen in self.listeners:
                self.listeners[listen].settings = settings
            else:
                listener = EsmtpListener(settings, self.reception, self.reactor)
                listener.startService()
                self.listeners[listen] = listener

    # Another configuration

    def _change(self, config: Config) -> "Deferred[None]":
        """All of a valid configuration, or nothing of it.  Fails with ConfigFaults."""
        whole = self._whole(config, self.directions.epoch + 1)
        return whole.addCallback(lambda found: self._take_effect(*found))

    def _policy_files(self) -> Collection[str]:
        services = self.directions.policy.services
        return services.files if services is not None else ()

    def _take_effect(self, config: Config, policy: Policy) -> None:
        """From the next message on; what has begun ends as it began."""
        old, self.config = self.config, config
        if config.spool != old.spool:
            self.log.warn("configuration: spool: what changed there takes effect at the next start")
        if config.dns != old.dns:
            self.resolver.configure(config.dns)
        if config.tls != old.tls:
            self.trust = Trust(config.tls.ca_file)
        self.rollup.stop()
        self.rollup = self._new_rollup(config)
        self.rollup.start()
        self.directions = Directions(config, policy, lambda: self.rollup.sites, self.directions.epoch + 1)
        self.ready.direct(self.directions)
        self.scheduler.direct(self.directions)
        self.reception.hostname = config.hostname
        self.reception.rules = rules_of(config)
        self.reception.policy = policy
        self.custody.write(RecordWriter(self.node_id, config.logs.meta), switched_off(config.logs.per_record))
        if config.logs != old.logs:
            self._change_log()
        try:
            self._listen(config)
        except CannotListen as fault:
            self.log.error("configuration: {fault}; the other listeners go on", fault=fault)

    def _change_log(self) -> None:
        """Records of the meantime stay in the journal, where the new files find them."""
        log, self.mail_log = self.mail_log, None
        if log is not None:
            log.stop().addCallback(lambda _: self._start_log())

    # Joints between the stages

    def _log_records(self, first: int, records: Any) -> None:
        self._told_log = first + len(records) - 1
        if self.mail_log is None:
            return
        append = self.mail_log.append
        for sequence, (record_type, line) in enumerate(records, first):
            append(sequence, record_type, line)

    def _ask_for_key(self, key: KeyEvent) -> Any:
        """The octets of a key or certificate that the policy keeps."""
        return self.directions.policy.first(key.event_name, *key.event_args)

    def _open_session(self, supply: ReadyQueue) -> "Deferred[None]":
        session = deliver(
            supply,
            reactor=self.reactor,
            resolver=self.resolver,
            trust=self.trust,
            hostname=self.config.hostname,
            draw=random.random,
            session_id=lambda: str(UUID(int=random.getrandbits(128), version=4)),
            stop=self.end_of_sessions,
            source_unplumbed=self.scheduler.source_missing,
            broken=self.broken_offers,
            ask_policy=self._ask_for_key,
            went_on=self.scheduler.went_on,
            dropped=self.scheduler.dropped,
        )
        return Deferred.fromCoroutine(session)

    # What was here before

    def _enumerate(self) -> None:
        """Looked up before anybody can send us mail: what is found here was here before."""
        envelopes = self.spool.envelopes()
        admit = partial(self.reactor.callFromThread, self.scheduler.admit_stored)
        self.enumerated = deferToThread(enumerate_spool, envelopes, admit)
        self.enumerated.addCallbacks(self._enumeration_ended, self._enumeration_failed)

    def _enumeration_ended(self, count: int) -> None:
        if count:
            self.log.info("{count} messages were in the spool", count=count)

    def _enumeration_failed(self, failure: Failure) -> None:
        self.log.failure("the spool could not be read through; what is in it waits for the next start", failure)

    # Stop

    def stopService(self) -> "Deferred[None]":
        """Take no more, finish what is on the wire, write everything down."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        if not self._begun:
            return self.resolver.stop()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.reload.stop()
        await DeferredList([listener.stopService() for listener in self.listeners.values()], consumeErrors=True)
        self.scheduler.stop()
        self.end_of_sessions.give()
        await self.ready.stop()
        self.rollup.stop()
        self.space.stop()
        await self.resolver.stop()
        await deferToThread(self.spool.finish)
        if self.mail_log is not None:
            await self.mail_log.stop()
        await deferToThread(self.spool.close)
