"""
Automation shared with other nodes: what we publish to a daemon, and what we hear from it.

Suspensions and bounces come over a WebSocket and are kept as orders of our own until they expire.  Parameters of paths are
asked for now and then; while a daemon does not answer, what it said last holds.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import msgspec
import treq
from msgspec import Struct
from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.automation.effects import Effects
from kumotwist.config.egress import PathSettings
from kumotwist.config.faults import Broken, Place
from kumotwist.config.log_hooks import WebhookHook
from kumotwist.config.placed import Entry, Table
from kumotwist.config.placed_toml import read_toml
from kumotwist.config.read_shaping import read_shaping
from kumotwist.config.reading import Reading
from kumotwist.config.server import Config
from kumotwist.config.shaping import JOINED, ShapingRule, ShapingSettings
from kumotwist.dns.answers import LookupFailed
from kumotwist.dns.resolver import Resolver
from kumotwist.scheduled.orders import Criteria

AGAIN = 30.0  # seconds until a lost daemon is called again
OVERLAY = 5.0  # seconds between two looks at the parameters
_PATIENCE = 20.0  # seconds
_PUBLISHED = ("TransientFailure", "Bounce")


def with_publishing(config: Config) -> Config:
    """With a log hook for each daemon that we publish to: one record a request."""
    hooks = tuple(
        WebhookHook(
            name=f"automation-{number}",
            url=f"{url.rstrip('/')}/publish_log_v1",
            record_types=_PUBLISHED,
            batch_size=1,
            max_batch_latency=0.0,
        )
        for number, url in enumerate(config.shaping.publish)
    )
    return replace(config, log_hooks=(*config.log_hooks, *hooks))


class Heard(Struct, frozen=True, kw_only=True):
    """The fields of an event, of whichever kind."""

    rule_hash: str
    reason: str
    expires: datetime
    site_name: str = ""
    source: str = ""
    tenant: str | None = None
    domain: str | None = None
    campaign: str | None = None


class Following:
    """The daemons that we follow."""

    log = Logger()

    def __init__(self, reactor: Any, effects: Effects, resolver: Resolver, changed: Callable[[], None]) -> None:
        """changed: told that parameters of paths may be others."""
        self._reactor = reactor
        self._effects = effects
        self._resolver = resolver
        self._changed = changed
        self._daemons: dict[str, _Daemon] = {}
        self._said: dict[str, tuple[ShapingSettings, Mapping[str, str]]] = {}  # by daemon, with the sites of the domains

    def configure(self, shaping: ShapingSettings) -> None:
        """Follow these, and no others."""
        for url in set(self._daemons) - set(shaping.subscribe):
            self._daemons.pop(url).stop()
            if self._said.pop(url, None) is not None:
                self._changed()
        for url in shaping.subscribe:
            if url not in self._daemons:
                self._daemons[url] = _Daemon(self._reactor, url.rstrip("/"), self.hear, partial(self.learn, url))
                self._daemons[url].start()

    def stop(self) -> None:
        for daemon in self._daemons.values():
            daemon.stop()
        self._daemons.clear()

    def hear(self, frame: bytes) -> None:
        """One event.  What is no event of ours is logged, and nothing else."""
        try:
            events = msgspec.json.decode(frame, type=dict[str, Heard])
        except msgspec.MsgspecError as fault:
            self.log.warn("automation: an event that is not known: {fault}", fault=str(fault))
            return
        for kind, heard in events.items():
            reason = f"automation: rule {heard.rule_hash}: {heard.reason}"
            expires = heard.expires.timestamp()
            criteria = Criteria(domain=heard.domain, tenant=heard.tenant, campaign=heard.campaign)
            if kind == "ReadyQSuspension" and heard.site_name:
                self._effects.suspend_path(heard.site_name, reason, expires)
            elif kind == "SchedQSuspension" and heard.domain:
                self._effects.suspend_queues(criteria, reason, expires)
            elif kind == "SchedQBounce" and heard.domain:
                self._effects.bounce_queues(criteria, reason, expires)

    # Parameters of paths

    async def learn(self, url: str, text: str) -> None:
        """What a daemon says of parameters, as a shaping file."""
        reading = Reading()
        place = Place(url, 1, 1)
        try:
            table = read_toml(url, text, reading.faults)
        except Broken as fault:
            self.log.warn("automation: {fault}", fault=f"{url}:{fault.place.line}: {fault.what}")
            return
        if not isinstance(table, Table):
            table = Table({}, place)
        shaping = read_shaping(reading, Table({"rules": Entry(table, place)}, place))
        if reading.faults:
            self.log.warn("automation: {url}: {fault}", url=url, fault=str(reading.faults.in_order()[0]))
            return
        before = self._said.get(url)
        shaping = replace(shaping, places={})
        if before is not None and before[0] == shaping:
            return
        sites = {domain: site for domain in shaping.rules if (site := await self._site(domain))}
        self._said[url] = (shaping, sites)
        self._changed()

    async def _site(self, domain: str) -> str:
        try:
            found = self._resolver.destination(domain)
            return (await found if isinstance(found, Deferred) else found).site
        except LookupFailed:
            return ""

    def over(self, settings: PathSettings, source: str, site: str, domain: str) -> PathSettings:
        """The settings of a path with what daemons have set there."""
        said: dict[str, Any] = {}
        for shaping, sites in self._said.values():
            for name, rule in shaping.rules.items():
                if name == domain.lower() or (rule.mx_rollup and sites.get(name) == site):
                    self._lay(said, settings, rule, source)
        return replace(settings, **said) if said else settings

    @staticmethod
    def _lay(said: dict[str, Any], settings: PathSettings, rule: ShapingRule, source: str) -> None:
        for name, value in rule.sources.get(source, {}).items():
            joined: Any = value
            if name in JOINED:
                joined = {**said.get(name, getattr(settings, name)), **joined}
            said[name] = joined


class _Daemon:
    """One daemon: called again when it is lost."""

    log = Logger()

    def __init__(self, reactor: Any, url: str, hear: Callable[[bytes], None], learn: Callable[[str], Any]) -> None:
        self._reactor = reactor
        self._url = url
        self._hear = hear
        self._learn = learn
        self._line: Any = None
        self._calling: IDelayedCall | None = None
        self._looking: IDelayedCall | None = None
        self._stopped = False

    def start(self) -> None:
        self._call()
        self._look()

    def stop(self) -> None:
        self._stopped = True
        for call in (self._calling, self._looking):
            if call is not None and call.active():
                call.cancel()
        if self._line is not None:
            self._line.transport.abortConnection()

    def _call(self) -> None:
        from twisted.internet.endpoints import clientFromString, wrapClientTLS
        from twisted.internet.ssl import optionsForClientTLS

        from kumotwist.automation.follower import FollowerFactory  # autobahn takes half a second to load

        parts = urlsplit(self._url)
        secure = parts.scheme == "https"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        address = f"{'wss' if secure else 'ws'}://{parts.netloc}{parts.path}/subscribe_event_v1"
        factory = FollowerFactory(address, self._hear, self._lost)
        escaped = host.replace(":", "\\:")
        endpoint = clientFromString(self._reactor, f"tcp:{escaped}:{port}:timeout={int(_PATIENCE)}")
        if secure:
            endpoint = wrapClientTLS(optionsForClientTLS(host), endpoint)
        endpoint.connect(factory).addCallbacks(self._connected, self._not_connected)

    def _connected(self, line: Any) -> None:
        self._line = line
        if self._stopped:
            line.transport.abortConnection()

    def _not_connected(self, failure: Failure) -> None:
        self._lost(failure.getErrorMessage())

    def _lost(self, why: str) -> None:
        self._line = None
        if not self._stopped:
            self.log.warn("automation: {url} is lost: {why}", url=self._url, why=why)
            self._calling = self._reactor.callLater(AGAIN, self._call)

    def _look(self) -> None:
        looking = Deferred.fromCoroutine(self._ask())
        looking.addErrback(lambda failure: self.log.warn("automation: {url}: {why}", url=self._url, why=failure.getErrorMessage()))
        looking.addBoth(self._look_again)

    def _look_again(self, _: object) -> None:
        if not self._stopped:
            self._looking = self._reactor.callLater(OVERLAY, self._look)

    async def _ask(self) -> None:
        try:
            url = f"{self._url}/get_config_v1/shaping.toml"
            answer = await treq.get(url, timeout=_PATIENCE, reactor=self._reactor, persistent=False)
            text = await treq.text_content(answer, "utf-8")
        except CancelledError:
            return
        if answer.code == 200 and not self._stopped:
            await self._learn(text)
