"""
What holds for a queue, a pool, a source, a path: the policy's answer if it has one, else the configuration's, else the default.

Answers come at once where nothing has to be waited for, else as Deferreds.  A policy that breaks gives HookFailed, an answer
of the wrong kind too: the message waits, it is never bounced for it.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, TypeVar

from msgspec import Struct
from twisted.internet.defer import Deferred

from kumotwist.config.compose import path_settings, queue_settings
from kumotwist.config.egress import UNSPECIFIED, EgressPool, EgressSource, PathSettings, PoolEntry
from kumotwist.config.fields import Rate
from kumotwist.config.origins import Origin, path_origins
from kumotwist.config.queues import MaildirDelivery, QueueSettings, XferDelivery
from kumotwist.config.server import Config
from kumotwist.egress.path import Destination
from kumotwist.egress.transfer import XFER, xfer_settings
from kumotwist.hooks.policy import HookFailed, Policy
from kumotwist.mail.queue_name import QueueName

Found = TypeVar("Found")
Made = TypeVar("Made")

_UNSPECIFIED_SOURCE = EgressSource(name=UNSPECIFIED)


class Pool(Struct, frozen=True, kw_only=True):
    """A pool with its sources looked up.  entries: those with a weight, in the pool's order."""

    name: str
    entries: tuple[PoolEntry, ...]
    sources: Mapping[str, EgressSource]


def then(found: "Found | Deferred[Found]", make: "Callable[[Found], Made | Deferred[Made]]") -> "Made | Deferred[Made]":
    """make(found), now or when it has come."""
    if isinstance(found, Deferred):
        return found.addCallback(make)
    return make(found)


class Directions:
    """
    One epoch's answers.

    epoch: counts configurations; whoever keeps an answer knows by it when to ask again.
    """

    def __init__(
        self,
        config: Config,
        policy: Policy,
        rollup: Callable[[], Mapping[str, str]],
        epoch: int = 0,
        over_path: "Callable[[PathSettings, str, str, str], PathSettings] | None" = None,
    ) -> None:
        """
        rollup: the sites that rule domains are known to have now.

        over_path: what automation has made of settings of a path, given them, source, site and domain.
        """
        self._config = config
        self._policy = policy
        self._rollup = rollup
        self.epoch = epoch
        self._over_path = over_path
        self._kept: dict[tuple[str, str], tuple[Any, float]] = {}  # (event, name) → a policy's answer, and until when it holds

    @property
    def policy(self) -> Policy:
        return self._policy

    def queue(self, name: QueueName) -> "QueueSettings | Deferred[QueueSettings]":
        """What holds for a scheduled queue."""
        if name.domain.endswith(XFER):
            return xfer_settings(name.domain)
        return self._answer(
            "get_queue_config",
            QueueSettings,
            lambda: self.configured_queue(name),
            (name.domain, name.tenant, name.campaign, name.routing_domain),
        )

    def configured_queue(self, name: QueueName) -> QueueSettings:
        """The same as far as data say it, for a queue whose policy does not answer."""
        if name.domain.endswith(XFER):
            return xfer_settings(name.domain)
        return queue_settings(self._config.queues, name.domain, name.tenant, name.campaign)

    def overall_rates(self, name: QueueName) -> list[tuple[str, Rate, str]]:
        """Rates over all queues of a tenant, and of a campaign of it: the name to share it by, the rate, what it is called."""
        tenant = self._config.queues.tenant.get(name.tenant or "")
        if tenant is None:
            return []
        found = [("tenant", f"{name.tenant}", tenant.overall_max_message_rate)]
        if name.campaign is not None and (campaign := tenant.campaigns.get(name.campaign)) is not None:
            found.append(("tenant-campaign", f"{name.tenant}-{name.campaign}", campaign.overall_max_message_rate))
        return [
            (f"queue-helper-{kind}-overall_max_message_rate-{whose}", rate, f"overall_max_message_rate of {whose}")
            for kind, whose, rate in found
            if rate is not None
        ]

    def pool(self, name: str | None) -> "Pool | Deferred[Pool]":
        """A pool and all of its sources; None is the built-in pool of the unspecified source."""
        if name is None or name == UNSPECIFIED:
            entry = PoolEntry(name=UNSPECIFIED)
            return Pool(name=UNSPECIFIED, entries=(entry,), sources={UNSPECIFIED: _UNSPECIFIED_SOURCE})
        found = self._kept_answer("get_egress_pool", EgressPool, lambda: self._config.egress.pool.get(name), name)
        return then(found, self._with_sources)

    def pool_kept_until(self, pool: Pool) -> float:
        """When what is said of a pool or of its sources is to be asked for again; never, where no policy says it."""
        names = [("get_egress_pool", pool.name), *(("get_egress_source", name) for name in pool.sources)]
        return min((self._kept[key][1] for key in names if key in self._kept), default=inf)

    def _with_sources(self, pool: EgressPool) -> "Pool | Deferred[Pool]":
        entries = tuple(entry for entry in pool.entries if entry.weight > 0)
        return self._add_sources(pool.name, entries, {})

    def _add_sources(self, name: str, entries: Sequence[PoolEntry], known: dict[str, EgressSource]) -> "Pool | Deferred[Pool]":
        for entry in entries:
            if entry.name not in known:
                found = self.source(entry.name)
                if isinstance(found, Deferred):
                    return found.addCallback(lambda one: self._add_sources(name, entries, {**known, one.name: one}))
                known[entry.name] = found
        return Pool(name=name, entries=tuple(entries), sources=known)

    def source(self, name: str) -> "EgressSource | Deferred[EgressSource]":
        if name == UNSPECIFIED:
            return _UNSPECIFIED_SOURCE
        return self._kept_answer("get_egress_source", EgressSource, lambda: self._config.egress.source.get(name), name)

    def _kept_answer(
        self, event: str, kind: type[Found], otherwise: Callable[[], Found | None], name: str
    ) -> "Found | Deferred[Found]":
        """A policy's answer is kept for the `ttl` that it has itself."""
        if event not in self._policy:
            return self._answer(event, kind, otherwise, (name,))
        kept = self._kept.get((event, name))
        if kept is not None and self._policy.seconds() < kept[1]:
            return kept[0]  # type: ignore[no-any-return]  # of that kind, by its key
        return then(self._answer(event, kind, otherwise, (name,)), lambda answer: self._keep((event, name), answer))

    def _keep(self, key: tuple[str, str], answer: Any) -> Any:
        self._kept[key] = (answer, self._policy.seconds() + answer.ttl)
        return answer

    def path(self, domain: str, source: str, destination: Destination) -> "PathSettings | Deferred[PathSettings]":
        """What holds on the way from a source to a site, as `domain` would have it."""
        if isinstance(destination.instead_of_smtp, MaildirDelivery | XferDelivery):
            return PathSettings()  # nobody's rates and limits are touched there
        found = self._answer(
            "get_egress_path_config",
            PathSettings,
            lambda: self._configured_path(domain, source, destination),
            (domain, source, destination.site),
        )
        over = self._over_path
        return found if over is None else then(found, lambda settings: over(settings, source, destination.site, domain))

    def path_origins(self, domain: str, source: str, destination: Destination) -> dict[str, Origin]:
        """What rules of shaping say of a path, and where each of them stands; the policy is not asked."""
        return path_origins(
            self._config.shaping,
            self._rollup(),
            domain=domain,
            source=source,
            site=destination.site,
            mx_hosts=_mx_hosts(destination),
        )

    def _configured_path(self, domain: str, source: str, destination: Destination) -> PathSettings:
        return path_settings(
            self._config.shaping,
            self._rollup(),
            domain=domain,
            source=source,
            site=destination.site,
            mx_hosts=_mx_hosts(destination),
        )

    def _answer(
        self, event: str, kind: type[Found], otherwise: Callable[[], Found | None], arguments: tuple[Any, ...]
    ) -> "Found | Deferred[Found]":
        """Raises (or fails with) HookFailed, where nobody knows too."""

        def judged(answer: Any) -> Found:
            if answer is None:
                answer = otherwise()
            if isinstance(answer, kind):
                return answer
            if answer is None:
                raise HookFailed(f"{event}: there is no {arguments[0]!r}")
            raise HookFailed(f"{event} must answer a {kind.__name__} (kumo.make_…) or None, not {answer!r}")

        if event not in self._policy:
            return judged(None)
        return then(self._policy.in_time(event, self._policy.first(event, *arguments)), judged)


def _mx_hosts(destination: Destination) -> tuple[str, ...]:
    """The names of the hosts, where they are from MX records."""
    return tuple(host.name for group in destination.groups for host in group) if destination.is_mx else ()
