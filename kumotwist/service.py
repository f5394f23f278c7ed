"""
The composition root: builds the server from its configuration, joins the stages, starts and stops them in order.

Reading `Server._build` is reading the architecture.  Only here is the reactor imported.
"""

import gc
import os
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any
from uuid import UUID

from msgspec.structs import replace
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger, globalLogPublisher
from twisted.python import usage
from twisted.python.failure import Failure

from kumotwist.api.measured import Measured
from kumotwist.api.operating import operate
from kumotwist.api.serving import Around as ApiAround
from kumotwist.api.serving import Serving
from kumotwist.api.stages import Stages
from kumotwist.automation.following import with_publishing
from kumotwist.automation.service import Automation
from kumotwist.books import Books, Holding, Stage, holdings
from kumotwist.bounces.classifier import Classifier, matcher_of
from kumotwist.config.faults import ConfigFaults
from kumotwist.config.keys import KeyEvent
from kumotwist.config.read import read_config, unanswered
from kumotwist.config.server import Config
from kumotwist.custody import Custody
from kumotwist.delivery.dnssec import SecuredRecords
from kumotwist.delivery.service import Delivery
from kumotwist.dns.resolver import Resolver
from kumotwist.dns.rollup import Rollup
from kumotwist.egress.leases import Leases
from kumotwist.egress.throttles import Throttles
from kumotwist.hooks.context import Services
from kumotwist.hooks.directions import Directions
from kumotwist.hooks.initial import run_init
from kumotwist.hooks.loading import load_policy
from kumotwist.hooks.mail_lookups import MailLookups
from kumotwist.hooks.policy import Policy
from kumotwist.hooks.signing import Signing
from kumotwist.hooks.signing_threads import SigningThreads
from kumotwist.logs.logbook import Logbook
from kumotwist.logs.record import RecordWriter, switched_off
from kumotwist.mail.message import Message
from kumotwist.mail.message_id import MessageIds
from kumotwist.mail.reason import Reason
from kumotwist.outermost import PRODUCTION, Outermost
from kumotwist.publishing.service import Publishing, https_policy
from kumotwist.ready.service import ReadyQueues
from kumotwist.reception.intake import rules_of
from kumotwist.reception.service import CannotListen, EsmtpListener, Reception, bind_early, listen_where
from kumotwist.reload import Reload
from kumotwist.scheduled.enumeration import take_up
from kumotwist.scheduled.portions import in_portions
from kumotwist.scheduled.relief import relieve
from kumotwist.scheduled.service import Scheduler
from kumotwist.spool.memory import MemoryWatch
from kumotwist.spool.opening import kept_node_id
from kumotwist.spool.residence import Memory, Residence
from kumotwist.spool.service import Spool
from kumotwist.spool.space import DiskSpace, minima
from kumotwist.spool.store import SpoolUnusable, Store
from kumotwist.suppression.service import Suppression
from kumotwist.transport import Bound

ANY_NUMBER, FEW = 1 << 30, 2  # connections of one path; few where memory is used up


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
    gc.freeze()  # what was imported stays: to look through it again with each collection takes a tenth of a second of the loop's
    return Server(config, options["config"])


class Server(Service):
    """One whole mail server."""

    log = Logger()

    def __init__(self, config: Config, path: str, reactor: Any = None, outermost: Outermost = PRODUCTION) -> None:
        """
        path: the file that the configuration was read from, and is read from again.  reactor: the one that runs, if None.
        outermost: where we meet the machine.
        """
        if reactor is None:
            from twisted.internet import reactor
        self.reactor = reactor
        self.outermost = outermost
        self.config = config
        self.listeners: dict[str, EsmtpListener] = {}
        self.enumerated: Deferred[int | None] | None = None  # fires when all that the spool had at the start is in its queues
        read, told = partial(outermost.read, path), outermost.systemd.reloading
        self.reload = Reload(reactor, read, self._change, config, outermost.in_thread, self._policy_files, told)
        self.bound = Bound()
        self._fault: str | None = None  # why the server cannot start
        self._begun = False

    # Start

    def privilegedStartService(self) -> None:
        """While we may: the ports below 1024 that the configuration names are bound, by systemd or by us."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]  # Twisted's
        self.bound.take(self.outermost.systemd.sockets())
        try:
            bind_early(self.bound, self.config)
        except CannotListen as fault:
            raise SystemExit(str(fault)) from None

    def startService(self) -> None:
        """Load the policy and let it say what it adds to the configuration, then build and start everything."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        self.ids = MessageIds(self.reactor.seconds, self.outermost.secret_bits)
        self.throttles = Throttles()
        self.resolver = Resolver(self.config.dns, self.reactor, self.outermost.look_up, self.outermost.questions)
        threads = self.outermost.threads
        self.signing_threads = SigningThreads(self.reactor.callFromThread, os.cpu_count() or 2, threads.thread, threads.queue)
        self.signing = Signing(self.reactor, self.signing_threads, self._ask_for_key)
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
            signing=self.signing,
            draw=self.outermost.draw,
            suppression=lambda: getattr(self, "suppression", None),  # `init` runs before there is one
            lookups=MailLookups(lambda name, kind: self.delivery.secured.find(name, kind)),
        )
        policy = load_policy(config.policy, self.reactor, services, own_events=config.own_events)
        doubts = unanswered(config.doubts, policy)
        if doubts:
            raise ConfigFaults(doubts)
        return run_init(policy, config).addCallback(lambda definitions: (definitions.over(config), policy))

    def _begin(self, config: Config, policy: Policy) -> None:
        self.config = config
        self.signing.configure(config.dkim)
        self.memory = MemoryWatch(self.reactor, config.memory, self.outermost.machine, self._memory_changed)
        spool = replace(config.spool, buffers=self.memory.limits.buffers)
        self._build(config, policy, self.outermost.open_store(spool))
        self._open_books()
        self.measured = Measured(self, self.reactor)
        self.measured.offer(self.serving.endpoints)
        self.space.start()
        self.memory.start()
        self.spool.start()
        self._load_orders()
        self.logbook.start(config.logs, self.spool, self.spool.newest_record)
        self.rollup.start()
        self.ready.start()
        self.scheduler.start()
        self.suppression.start()
        self.automation.start()
        self.serving.start()
        self.transfers.start()
        self._enumerate()
        self.publishing.configure(with_publishing(config))
        self._listen(config)
        self._begun = True
        self.reload.start()
        self.outermost.systemd.ready(self.reactor)
        self.outermost.on_hangup(lambda: self.reactor.callFromThread(self.reload.now))

    def _build(self, config: Config, policy: Policy, store: Store) -> None:
        reactor = self.reactor
        self.node_id = config.node_id or kept_node_id(config.spool.path, self.outermost.secret_bits)
        self.logbook = Logbook(reactor, reactor.callFromThread, self.outermost.log_disk, self.outermost.threads)
        self.spool = Spool(
            store,
            reactor.callFromThread,
            lambda call: reactor.callLater(0, call),
            self.logbook.committed,
            self.outermost.threads,
            reactor.seconds,
        )
        self.space = DiskSpace(reactor, minima(config), self.outermost.measure)
        self.residence = Residence(self.memory.limits.resident)
        self.classifier = Classifier(config.bounce_classifier, reactor.seconds)
        self.custody = Custody(
            self.spool,
            self._record_writer(config),
            self.residence,
            reactor,
            self._admit,
            disabled=switched_off(config.logs.per_record),
            obstacles=lambda: self.memory.closed_for or self.space.closed_for,
        )
        self.suppression = Suppression(reactor, self.custody.shelve, self.spool.shelved)
        self.suppression.heed(config.suppression, self.classifier.classify, self.custody.learn_by)
        self.rollup = self._new_rollup(config)
        self.directions = Directions(config, policy, self._sites, over_path=lambda *path: self.automation.over(*path))
        self._build_queues()
        self.automation = Automation(
            reactor, self.custody.shelve, self._session_id, self.ready, self.scheduler.administration, self._sites, self.resolver
        )
        self.automation.heed(config.shaping, self.custody.tell_failures)
        self._build_reception(config, policy)
        self.publishing = Publishing(
            reactor,
            self.spool,
            in_thread=self.outermost.in_thread,
            draw=self.outermost.draw,
            policy=lambda: self.directions.policy,
            ask_policy=self._ask_for_key,
            adopt=self.custody.adopt,
            message_id=self.ids.next,
        )

    def _build_reception(self, config: Config, policy: Policy) -> None:
        """Where mail comes in, by ESMTP and by HTTP, and where operators ask."""
        self.reception = Reception(
            hostname=config.hostname,
            clock=self.reactor,
            ids=self.ids,
            randbits=self.outermost.randbits,
            desk=self.custody,
            rules=rules_of(config),
            policy=policy,
            directions=self.directions,
            signing=self.signing,
            suppressed=self.suppression.listed,
            arrivals=self.memory.arrivals,
            memory_for=lambda: self.memory.memory is not Memory.NONE,
        )
        self.serving = Serving(
            ApiAround(
                reactor=self.reactor,
                ids=self.ids,
                randbits=self.outermost.secret_bits,
                custody=self.custody,
                spool=self.spool,
                reception=self.reception,
                throttles=self.throttles,
                suppression=self.suppression,
                in_thread=self.outermost.in_thread,
                node_id=self.node_id,
                bump=self.reload.now,
                ask_policy=self._ask_for_key,
                bound=self.bound,
            )
        )
        self.transfers = operate(self.serving.endpoints, self._stages(), globalLogPublisher)

    def _stages(self) -> Stages:
        """What operators reach."""
        return Stages(
            reactor=self.reactor,
            scheduler=self.scheduler,
            ready=self.ready,
            spool=self.spool,
            custody=self.custody,
            resolver=self.resolver,
            reception=self.reception,
            dialogues=self.delivery.dialogues,
            node_id=self.node_id,
            directions=lambda: self.directions,
            in_thread=self.outermost.in_thread,
            resident=lambda: self.residence.held,
            randbits=self.outermost.randbits,
            in_force=lambda *path: self.automation.overrides.in_force(*path),
        )

    def _build_queues(self) -> None:
        """Where mail waits, and where it is ready; the one way back that is no import is joined here."""
        self.delivery = Delivery(
            self.config,
            self.reactor,
            self.resolver,
            SecuredRecords(self.config.dns, self.reactor, self.outermost.look_up, self.outermost.find),
            draw=self.outermost.draw,
            session_id=self._session_id,
            in_thread=self.outermost.in_thread,
            policy=lambda: self.directions.policy,
            ask_policy=self._ask_for_key,
            classify=lambda line: self.classifier.classify(line),
        )
        self.ready = ReadyQueues(
            self.reactor,
            self.spool.load,
            self.delivery.open,
            self.directions,
            self.throttles,
            Leases(),
            self.custody.shelve,
            self._session_id,
        )
        self.scheduler = Scheduler(
            self.reactor,
            self.outermost.draw,
            self.custody,
            lambda message: self.spool.load(message, content=False),
            self.ready,
            self.resolver,
            self.directions,
            self.throttles,
            self._session_id,
            self.suppression.listed,
        )
        self.ready.home = self.delivery.told = self.scheduler
        self.delivery.courier.introduce(self.node_id, lambda: https_policy(self.config.tls.ca_file))
        self.ready.most_connections = lambda: FEW if self.memory.memory is Memory.NONE else ANY_NUMBER

    def _sites(self) -> Mapping[str, str]:
        return self.rollup.sites

    def _new_rollup(self, config: Config) -> Rollup:
        rolled_up = [domain for domain, rule in config.shaping.rules.items() if rule.mx_rollup and domain != "default"]
        return Rollup(rolled_up, self.resolver, self.reactor, lambda: self.ready.direct(self.directions))

    def _listen(self, config: Config) -> None:
        """Listen where the configuration says, and nowhere else.  Raises CannotListen."""
        listen_where(config.esmtp_listeners, self.listeners, self.reception, self.reactor, self.bound)
        self.serving.listen(config)

    # Another configuration

    def _change(self, config: Config) -> "Deferred[None]":
        """All of a valid configuration, or nothing of it.  Fails with ConfigFaults."""
        return Deferred.fromCoroutine(self._change_whole(config))

    async def _change_whole(self, config: Config) -> None:
        whole, policy = await self._whole(config, self.directions.epoch + 1)
        await self.outermost.in_thread(matcher_of, whole.bounce_classifier.rules)  # which takes long; nobody waits for that
        self.reload.check_unchanged()
        if self.running:  # else it has been told to stop meanwhile
            self._take_effect(whole, policy)

    def _policy_files(self) -> Collection[str]:
        services = self.directions.policy.services
        return services.files if services is not None else ()

    def _record_writer(self, config: Config) -> RecordWriter:
        return RecordWriter(self.node_id, config.logs.meta, self.classifier.classify)

    def _take_effect(self, config: Config, policy: Policy) -> None:
        """From the next message on; what has begun ends as it began."""
        old, self.config = self.config, config
        if config.spool != old.spool:
            self.log.warn("configuration: spool: what changed there takes effect at the next start")
        if config.memory != old.memory:
            self.memory.configure(config.memory)
            self.residence.bound(self.memory.limits.resident)
        if config.dns != old.dns:
            self.resolver.configure(config.dns)
        self.delivery.configure(config, old)
        self.rollup.stop()
        self.rollup = self._new_rollup(config)
        self.rollup.start()
        self.automation.heed(config.shaping, self.custody.tell_failures)
        policy.times = self.directions.policy.times
        self.directions = Directions(config, policy, self._sites, self.directions.epoch + 1, self.automation.over)
        self.ready.direct(self.directions)
        self.scheduler.direct(self.directions)
        self.reception.hostname = config.hostname
        self.signing.configure(config.dkim)
        self.reception.hold(rules_of(config), policy, self.directions)
        if config.bounce_classifier != old.bounce_classifier:
            self.classifier = Classifier(config.bounce_classifier, self.reactor.seconds)
        self.custody.write(self._record_writer(config), switched_off(config.logs.per_record))
        self.suppression.heed(config.suppression, self.classifier.classify, self.custody.learn_by)
        if config.logs != old.logs:
            self.logbook.change(config.logs)
        self.publishing.configure(with_publishing(config))
        try:
            self._listen(config)
        except CannotListen as fault:
            self.log.error("configuration: {fault}; the other listeners go on", fault=fault)

    # Joints between the stages

    def _ask_for_key(self, key: KeyEvent) -> Any:
        """The octets of a key or certificate that the policy keeps."""
        return self.directions.policy.first(key.event_name, *key.event_args)

    # The books

    def _open_books(self) -> None:
        whole = lambda: self.enumerated is not None and self.enumerated.called  # noqa: E731
        self.books = Books(self.reactor, self.spool, self._held, self.outermost.in_thread, whole)

    def _audit(self) -> None:
        audit = Deferred.fromCoroutine(self.books.audit())
        audit.addErrback(lambda failure: self.log.failure("the books could not be audited", failure))

    def _held(self) -> Iterator[Holding]:
        yield from holdings(self.scheduler, self.ready, self.spool)
        for request in self.serving.generator.holding():
            yield Holding(request.id, Stage.REQUEST, "being generated")

    def _admit(self, message: Message, reason: Reason) -> None:
        """What is generated from later is not mail yet, and waits elsewhere."""
        if not self.serving.admits(message):
            self.scheduler.admit(message, reason)

    def _memory_changed(self, memory: Memory) -> None:
        self.residence.server = memory
        if memory is Memory.NONE:
            in_portions(self.reactor, relieve(self.ready, self.scheduler, self.custody), "making room in memory")

    def _session_id(self) -> str:
        return str(UUID(int=self.outermost.randbits(128), version=4))

    # What was here before

    def _load_orders(self) -> None:
        """Operators' orders stand before the first message is admitted."""
        orders = self.spool.shelved("orders/")
        self.ready.load(orders)
        self.scheduler.administration.load(orders)
        self.automation.load(self.spool.shelved("automation/"))

    def _enumerate(self) -> None:
        """Looked up before anybody can send us mail: what is found here was here before."""
        admit = partial(self.reactor.callFromThread, self._admit_stored)
        self.enumerated = take_up(self.spool.envelopes(), admit, self.outermost.in_thread)
        self.enumerated.addCallback(lambda count: self._audit() if count is not None else None)

    def _admit_stored(self, messages: "list[Message]") -> None:
        self.scheduler.admit_stored([message for message in messages if not self.serving.admits(message)])

    # Stop

    def stopService(self) -> "Deferred[None]":
        """Take no more, finish what is on the wire, write everything down."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        if not self._begun:
            return self.resolver.stop()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.outermost.systemd.stopping()
        self.reload.stop()
        listeners = [listener.stopService() for listener in self.listeners.values()]
        await DeferredList([*listeners, self.serving.stop()], consumeErrors=True)
        self.books.stop()
        self.measured.stop()
        self.transfers.stop()
        self.scheduler.stop()
        self.suppression.stop()
        self.delivery.end.give()
        await self.ready.stop()
        self.automation.stop()
        await self.publishing.stop()
        self.rollup.stop()
        self.space.stop()
        self.memory.stop()
        self.signing_threads.stop()
        await self.resolver.stop()
        await self.delivery.secured.stop()
        await self.outermost.in_thread(self.spool.finish)
        await self.logbook.stop()
        await self.outermost.in_thread(self.spool.close)
        self.outermost.systemd.stopped()
