"""
What a message is told on its way in: schedule, campaign, tenant and route.  Pure decisions, first `queues`, then `routing`.

A message in hand keeps the rules that it began with: an `Intake` is made once for a set of rules and never changes.
"""

import json
import re
from collections.abc import Mapping
from fnmatch import translate
from functools import lru_cache
from typing import Any

from msgspec import Struct

from kumotwist.config.compose import pool_of_sender, queue_routing_domain
from kumotwist.config.listeners import ListenerDomains
from kumotwist.config.queues import QueuesSettings, TenantSettings
from kumotwist.config.routing import RoutingMatch, RoutingRule
from kumotwist.config.server import Config
from kumotwist.mail.address import Mailbox
from kumotwist.mail.headers import Field, Wanted, has_hops, without
from kumotwist.mail.reply import refuse
from kumotwist.mail.schedule import BadSchedule, Schedule, parse_schedule

MOST_HOPS = 100  # RFC 5321 section 6.3: a message that passed so many servers is in a loop


class Rules(Struct, frozen=True, kw_only=True):
    """What reception is told by the configuration.  log_headers: the fields that log records show, with `*` at the end or not."""

    queues: QueuesSettings = QueuesSettings()
    routing: tuple[RoutingRule, ...] = ()
    listener_domains: ListenerDomains = ListenerDomains()
    log_headers: tuple[str, ...] = ()


def rules_of(config: Config) -> Rules:
    return Rules(
        queues=config.queues,
        routing=config.routing,
        listener_domains=config.listener_domains,
        log_headers=config.logs.headers,
    )


class Reading(Struct, frozen=True, kw_only=True):
    """What a message's own header says about it, for all its recipients.  content: without the fields that were for us only."""

    content: bytes
    schedule: Schedule | None = None
    campaign: str | None = None
    tenant: str | None = None
    log_headers: Mapping[str, Any] | None = None
    fields: tuple[Field, ...] = ()


class Origin(Struct, frozen=True, kw_only=True):
    """Where messages come from.  listener: `ip:port` as configured.  peer: the client's IP address."""

    listener: str
    peer: str


class Intake:
    """The rules, prepared for use."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        queues = rules.queues
        headers = [queues.scheduling_header, queues.campaign_header, queues.tenant_header]
        headers += [name for rule in rules.routing for name in rule.match.header]
        self._wanted = Wanted([*filter(None, headers), *rules.log_headers])
        self._logged = Wanted(rules.log_headers)
        self._removed = tuple(
            name
            for name, removed in (
                (queues.scheduling_header, True),
                (queues.campaign_header, queues.remove_campaign_header),
                (queues.tenant_header, queues.remove_tenant_header),
            )
            if name and removed
        )
        self._fits = tuple((_Fit(rule.match), rule.set) for rule in rules.routing)
        # Tenants whose mail is not taken from everybody, or has a pool by who it is from.
        self._guarded = {name: one for name, one in queues.tenant.items() if one.domain_to_pool or one.require_authz}
        # The rules are laid over one another anew for each domain, tenant and campaign, so the answers are kept.
        self._queue_routing_domain = lru_cache(maxsize=4096)(self._lay_queue_routing_domain)

    def read(self, content: bytes, meta: Mapping[str, Any] = {}, *, anonymous: bool = False) -> Reading:
        """
        What the header says.  Raises Refusal: a loop, a tenant or schedule that is not to be had.

        meta: what is known of the message already; a tenant named there counts where the header names none.
        anonymous: no tenant needs to be named, as in a report, which nobody sends in a tenant's name.
        """
        if has_hops(content, MOST_HOPS):
            raise refuse("554 5.4.6 too many hops: mail loop", f"{MOST_HOPS} Received fields or more")
        queues = self.rules.queues
        fields = self._wanted.read(content)
        if not fields:
            return Reading(content=content, tenant=self._tenant(_text(meta.get("tenant")), anonymous=anonymous))
        schedule = _schedule(queues.scheduling_header, fields)
        campaign = _name_in(queues.campaign_header, fields)
        tenant = self._tenant(_name_in(queues.tenant_header, fields) or _text(meta.get("tenant")), anonymous=anonymous)
        if self._removed:
            content = without(content, self._removed)
        log_headers = _for_log(self._logged, fields) if self._logged else None
        return Reading(content=content, schedule=schedule, campaign=campaign, tenant=tenant, log_headers=log_headers, fields=fields)

    def tell(self, meta: dict[str, Any], reading: Reading, sender: Mailbox, recipient: Mailbox, origin: Origin) -> None:
        """Put what holds for one message into its metadata; recipient: its first.  Raises Refusal."""
        if reading.campaign is not None:
            meta["campaign"] = reading.campaign
        if reading.tenant is not None:
            meta["tenant"] = reading.tenant
        if self.rules.queues.queue:
            routing_domain = self._queue_routing_domain(recipient.domain, reading.tenant, reading.campaign)
            if routing_domain is not None:
                meta["routing_domain"] = routing_domain
        for fit, told in self._fits:
            if fit(meta, reading.fields, sender, recipient, origin):
                meta.update(told)
                break
        else:
            told = _NOTHING
        if self._guarded:
            tenant = self._guarded.get(_text(meta.get("tenant")) or "")
            if tenant is not None:
                self._guard(meta, tenant, sender, pooled="egress_pool" in told)

    def _guard(self, meta: dict[str, Any], tenant: TenantSettings, sender: Mailbox, *, pooled: bool) -> None:
        """Whether the client may send for the tenant, and from where that mail goes.  pooled: a routing rule named the pool."""
        name = shown(meta["tenant"])
        if tenant.require_authz:
            authz_id = meta.get("authz_id")
            if authz_id is None:
                raise refuse(f"500 5.7.1 tenant '{name}' requires SMTP AUTH")
            if authz_id not in tenant.require_authz:
                raise refuse(f"500 5.7.1 authz_id '{shown(str(authz_id))}' is not authorized to send as tenant '{name}'")
        if tenant.domain_to_pool:
            pool = pool_of_sender(tenant, sender.domain)
            if pool is None:
                raise refuse(f"500 5.7.1 sender domain '{shown(sender.domain)}' is not one of tenant '{name}'")
            if not pooled:
                meta["egress_pool"] = pool

    def logged(self, content: bytes, before: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """The header values that log records show of a content that was changed, with those that were taken from it before."""
        if not self._logged:
            return before
        now = _for_log(self._logged, self._wanted.read(content))
        return {**(before or {}), **(now or {})} or None

    def _lay_queue_routing_domain(self, domain: str, tenant: str | None, campaign: str | None) -> str | None:
        return queue_routing_domain(self.rules.queues, domain, tenant, campaign)

    def _tenant(self, named: str | None, *, anonymous: bool = False) -> str | None:
        """The message's tenant.  Raises Refusal where it must be known and is not."""
        queues = self.rules.queues
        tenant = named if named is not None else queues.default_tenant
        if tenant is None:
            if queues.require_tenant and not anonymous:
                raise refuse(
                    f"500 5.7.1 missing {queues.tenant_header} header" if queues.tenant_header else "500 5.7.1 missing tenant"
                )
            return None
        if queues.tenant and tenant not in queues.tenant and not queues.unknown_tenant_accepted:
            raise refuse(f"500 5.7.1 invalid/unknown tenant {shown(tenant)}")
        return tenant


def shown(text: str) -> str:
    """A peer's word as it may stand in a reply: printable, on one line, not long."""
    return "".join(character if character.isprintable() else "?" for character in text[:100])


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _values(name: str, fields: tuple[Field, ...]) -> list[str]:
    lower = name.lower()
    return [field.value for field in fields if field.name.lower() == lower]


def _name_in(header: str | None, fields: tuple[Field, ...]) -> str | None:
    """A tenant's or campaign's name from its header field; an empty field is none.  Raises Refusal."""
    if not header:
        return None
    value = next(iter(_values(header, fields)), "")
    if not value.isprintable():  # it becomes part of queue names, which stand in logs and listings
        raise refuse(f"500 5.7.1 invalid {header} header")
    return value or None


def _schedule(header: str | None, fields: tuple[Field, ...]) -> Schedule | None:
    """
    The model's JSON of scheduling constraints.  Raises Refusal.

    A constraint that cannot be read is refused for good, and named: sending at another time would be worse.
    """
    values = _values(header, fields) if header else []
    if not values:
        return None
    try:
        return parse_schedule(json.loads(values[0]))
    except (BadSchedule, ValueError, RecursionError) as fault:
        reason = str(fault) if isinstance(fault, BadSchedule) else "it is not JSON"
        raise refuse(f"554 5.6.0 invalid {header} header: {shown(reason)}") from None


def _for_log(logged: Wanted, fields: tuple[Field, ...]) -> Mapping[str, Any] | None:
    """Name as in the message → value, or list of values where it is repeated."""
    found: dict[str, Any] = {}
    for field in fields:
        if field.name.lower().encode("latin-1") not in logged:
            continue
        before = found.get(field.name)
        if before is None:
            found[field.name] = field.value
        elif isinstance(before, list):
            before.append(field.value)
        else:
            found[field.name] = [before, field.value]
    return found or None


_NOTHING: Mapping[str, object] = {}


class _Fit:
    """One rule's conditions with their patterns compiled; called to ask whether a message fits."""

    __slots__ = ("_headers", "_match", "_patterns")

    def __init__(self, match: RoutingMatch) -> None:
        self._match = match
        self._patterns = {
            name: _pattern(given.lower() if name.endswith("domain") else given)
            for name in ("recipient_domain", "sender_domain", "tenant", "campaign", "listener")
            if (given := getattr(match, name)) is not None
        }
        self._headers = tuple((name, _pattern(given)) for name, given in match.header.items())

    def __call__(
        self, meta: Mapping[str, Any], fields: tuple[Field, ...], sender: Mailbox, recipient: Mailbox, origin: Origin
    ) -> bool:
        """All that are named must fit; what the message does not have fits nothing."""
        facts = {
            "recipient_domain": recipient.domain,
            "sender_domain": sender.domain,
            "tenant": meta.get("tenant"),
            "campaign": meta.get("campaign"),
            "listener": origin.listener,
        }
        for name, pattern in self._patterns.items():
            fact = facts[name]
            if fact is None or not pattern.match(fact):
                return False
        if self._match.peer is not None and origin.peer not in self._match.peer:
            return False
        return all(any(pattern.match(value) for value in _values(name, fields)) for name, pattern in self._headers)


def _pattern(given: str) -> re.Pattern[str]:
    """A shell pattern: `*`, `?`, `[]`."""
    return re.compile(translate(given))
