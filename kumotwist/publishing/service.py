"""All log hooks: started, changed and stopped as the configuration says."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.ssl import Certificate, platformTrust, trustRootFromCertificates
from twisted.logger import Logger
from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.iweb import IPolicyForHTTPS

from kumotwist import __version__
from kumotwist.config.log_hooks import AmqpHook, FileHook, KafkaHook, LogHook, NatsHook, PolicyHook, WebhookHook
from kumotwist.config.server import Config
from kumotwist.delivery.keys import AskPolicy
from kumotwist.hooks.policy import Policy
from kumotwist.mail.message import Message
from kumotwist.metrics.family import Family, counters, gauges
from kumotwist.publishing.file import RecordFile
from kumotwist.publishing.publisher import InThread, Progress, Publisher
from kumotwist.publishing.queue import Enqueue
from kumotwist.publishing.source import LogSource
from kumotwist.publishing.target import Target
from kumotwist.publishing.webhook import Webhook
from kumotwist.spool.service import Spool

_PEM_BEGIN = b"-----BEGIN CERTIFICATE-----"


class Publishing:
    """The hooks that run."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        spool: Spool,
        *,
        in_thread: InThread,
        draw: Callable[[], float],
        policy: Callable[[], Policy],
        ask_policy: AskPolicy,
        adopt: "Callable[[Message], Deferred[None]]",
        message_id: Callable[[], str],
    ) -> None:
        """
        in_thread: runs what blocks.  draw: uniform in [0, 1).  policy: the one that holds now.
        adopt: takes a message into custody and its queue.
        """
        self._reactor = reactor
        self._spool = spool
        self._in_thread = in_thread
        self._draw = draw
        self._policy = policy
        self._ask_policy = ask_policy
        self._adopt = adopt
        self._message_id = message_id
        self._publishers: dict[str, Publisher] = {}
        self._directories: tuple[str, ...] = ()
        self._ca_file: str | None = None
        self._changing: Deferred[None] | None = None

    @property
    def progress(self) -> Mapping[str, Progress]:
        """By the hooks' names."""
        return {name: publisher.progress for name, publisher in self._publishers.items()}

    def measures(self) -> Iterator[Family]:
        """For the metrics; counts are since a hook was started, or changed."""
        progress = list(self.progress.items())

        def of(value: Callable[[Progress], float]) -> list[tuple[tuple[str, ...], float]]:
            return [((name,), value(one)) for name, one in progress]

        labels = ("hook",)
        yield gauges("log_hook_lag_octets", "octets of the log that a hook has not read", labels, of(lambda one: one.unread))
        yield counters("log_hook_sent_total", "records that a hook's target took", labels, of(lambda one: one.sent))
        yield counters("log_hook_dropped_total", "records that a target will never take", labels, of(lambda one: one.dropped))
        yield counters("log_hook_failures_total", "attempts that a target did not take", labels, of(lambda one: one.failures))
        yield gauges("log_hook_failing", "1 while a target takes nothing", labels, of(lambda one: float(bool(one.fault))))

    def configure(self, config: Config) -> None:
        """Run the hooks of this configuration; one that it leaves as it was goes on undisturbed."""
        self._changing = Deferred.fromCoroutine(self._change(config, self._changing))
        self._changing.addErrback(lambda failure: self.log.failure("log hooks could not be changed", failure))

    async def stop(self) -> None:
        """Fires when all have ended; what their targets have not taken is sent at the next start."""
        if self._changing is not None:
            await self._changing
        await self._stop_all(list(self._publishers))

    async def _change(self, config: Config, before: "Deferred[None] | None") -> None:
        if before is not None:
            await before
        directories = tuple(
            dict.fromkeys([config.logs.log_dir, *(one.log_dir for one in config.logs.per_record.values() if one.log_dir)])
        )
        wanted = {hook.name: hook for hook in config.log_hooks}
        same = directories == self._directories and config.tls.ca_file == self._ca_file
        self._directories, self._ca_file = directories, config.tls.ca_file
        await self._stop_all([name for name, running in self._publishers.items() if not same or wanted.get(name) != running.hook])
        for name, hook in wanted.items():
            if name not in self._publishers:
                publisher = self._publishers[name] = self._publisher(hook)
                publisher.start()

    async def _stop_all(self, names: list[str]) -> None:
        stopping = [Deferred.fromCoroutine(self._publishers.pop(name).stop()) for name in names]
        await DeferredList(stopping, consumeErrors=True)

    def _publisher(self, hook: LogHook) -> Publisher:
        directories = self._directories
        return Publisher(
            hook,
            self._target(hook),
            lambda cursor, wanted, complain: LogSource(directories, cursor, wanted, complain),
            spool=self._spool,
            clock=self._reactor,
            in_thread=self._in_thread,
            draw=self._draw,
        )

    def _target(self, hook: LogHook) -> Target:
        if isinstance(hook, WebhookHook):
            return Webhook(hook, self._reactor, https_policy(self._ca_file), self._ask_policy, f"KumoTwist/{__version__}")
        if isinstance(hook, FileHook):
            return RecordFile(hook, self._in_thread)
        if isinstance(hook, PolicyHook):
            return Enqueue(hook, self._policy, self._adopt, self._message_id)
        # Their libraries are extras, so they are imported by whoever uses them only; the configuration has looked for them.
        if isinstance(hook, AmqpHook):
            trusted = https_policy(self._ca_file)
            made: Target = _module("amqp").Amqp(hook, self._reactor, trusted, self._ask_policy)
        elif isinstance(hook, KafkaHook):
            made = _module("kafka").Kafka(hook, self._in_thread, self._ask_policy)
        else:
            assert isinstance(hook, NatsHook)
            made = _module("nats").Nats(hook, self._reactor.callFromThread, self._ask_policy)
        return made


def _module(name: str) -> Any:
    return import_module(f"kumotwist.publishing.{name}")


def https_policy(ca_file: str | None) -> IPolicyForHTTPS:
    """Whom we believe.  ca_file: PEM; None: $SSL_CERT_FILE, else where OpenSSL looks.  Raises OSError."""
    if ca_file is None:
        return BrowserLikePolicyForHTTPS(platformTrust())
    with open(ca_file, "rb") as stream:
        blocks = stream.read().split(_PEM_BEGIN)[1:]
    return BrowserLikePolicyForHTTPS(trustRootFromCertificates([Certificate.loadPEM(_PEM_BEGIN + block) for block in blocks]))
