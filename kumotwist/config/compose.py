"""
Which settings hold for a queue, an egress path, a recipient's domain: the rules laid over one another.

Pure, and called once for each new queue or path: callers keep the answers until the configuration changes.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kumotwist.config.egress import PathSettings, ShapingRule, ShapingSettings
from kumotwist.config.listeners import ListenerDomain, ListenerDomains
from kumotwist.config.queues import QueueRule, QueueSettings, QueuesSettings

_NO_RULE = QueueRule()


def _keys(domain: str) -> Iterator[str]:
    """The keys under which a domain is looked up: itself, then `*.` and what is above it, the longest first."""
    yield domain
    _, dot, above = domain.partition(".")
    while dot:
        yield f"*.{above}"
        _, dot, above = above.partition(".")


def _layers(queues: QueuesSettings, domain: str, tenant: str | None, campaign: str | None) -> Iterator[QueueRule]:
    """What the `queue` rules say, later wins: `default`, the domain's best rule, in it the tenant, in that the campaign."""
    yield queues.queue.get("default", _NO_RULE)
    # Every label path is tried: a rule for a.b.example.com does not hide *.example.com, as it does in the model.
    name = domain.lower()
    rule = next((queues.queue[key] for key in _keys(name) if key in queues.queue and key != "default"), _NO_RULE)
    yield rule
    of_tenant = rule.tenants.get(tenant, _NO_RULE) if tenant is not None else _NO_RULE
    yield of_tenant
    yield of_tenant.tenants.get(campaign, _NO_RULE) if campaign is not None else _NO_RULE


def queue_settings(queues: QueuesSettings, domain: str, tenant: str | None, campaign: str | None) -> QueueSettings:
    """
    What holds for one scheduled queue.  domain: the recipient's, not the routing domain.

    Later wins: queue.default, queue.DOMAIN, tenant.TENANT, queue.DOMAIN.TENANT, queue.DOMAIN.TENANT.CAMPAIGN.
    """
    default, of_domain, of_tenant, of_campaign = _layers(queues, domain, tenant, campaign)
    listed = queues.tenant.get(tenant) if tenant is not None else None
    options: dict[str, Any] = {**default.options, **of_domain.options}
    if listed is not None:
        options.update(listed.options)
    options.update(of_tenant.options)
    options.update(of_campaign.options)
    return QueueSettings(**options)


def queue_routing_domain(queues: QueuesSettings, domain: str, tenant: str | None, campaign: str | None) -> str | None:
    """The routing domain that the `queue` rules give to mail for a domain; the most specific rule that names one wins."""
    found = None
    for rule in _layers(queues, domain, tenant, campaign):
        found = rule.routing_domain or found
    return found


def path_settings(shaping: ShapingSettings, rollup: Mapping[str, str], *, domain: str, source: str, site: str) -> PathSettings:
    """
    What holds when `source` sends to `site` for `domain`.

    rollup: domain of a rule → the name of its site; a domain whose site is not known is not in it.
    Later wins: default, the site's rules in their order, the domain's own (mx_rollup: false), then both for the source.
    """
    domain = domain.lower()
    default = shaping.rules.get("default")
    options: dict[str, Any] = {}
    of_source: dict[str, Any] = {}
    wipes: bool | None = None  # whether the site's first rule forgets `default`
    for rule in _site_rules(shaping, rollup, domain, site):
        if wipes is None:
            wipes = rule.replace_base
        elif rule.replace_base:
            # As if a later file said it of the same domain: the site's rules so far go, and only they.
            options.clear()
            of_source.clear()
        options.update(rule.options)
        of_source.update(rule.sources.get(source, {}))
    if default is not None and not wipes:
        options = {**default.options, **options}
    own = shaping.rules.get(domain)
    if own is not None and domain != "default" and not own.mx_rollup:
        if own.replace_base:
            options.clear()
        options.update(own.options)
        of_source.update(own.sources.get(source, {}))
    return PathSettings(**{**options, **of_source})


def _site_rules(shaping: ShapingSettings, rollup: Mapping[str, str], domain: str, site: str) -> Iterator[ShapingRule]:
    """The rules of the site, in their order; where a rule's site is not known, it is for its domain alone."""
    for name, rule in shaping.rules.items():
        if name != "default" and rule.mx_rollup:
            known = rollup.get(name)
            if known == site if known is not None else name == domain:
                yield rule


def listener_domain(domains: ListenerDomains, domain: str) -> ListenerDomain | None:
    """What a domain may do here: its own entry, else that of the nearest `*.` above it, else that of `*`; never merged."""
    for key in _keys(domain.lower()):
        found = domains.domains.get(key)
        if found is not None:
            return found
    return domains.domains.get("*")
