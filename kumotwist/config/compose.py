"""
Which settings hold for a queue, an egress path, a recipient's domain: the rules laid over one another.

Pure, and called once for each new queue or path: callers keep the answers until the configuration changes.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kumotwist.config.egress import PathSettings
from kumotwist.config.listeners import ListenerDomain, ListenerDomains
from kumotwist.config.queues import QueueRule, QueueSettings, QueuesSettings, TenantSettings
from kumotwist.config.shaping import JOINED, Matcher, Provider, ProviderMatch, ShapingRule, ShapingSettings

_NO_RULE = QueueRule()
_NO_SHAPING = ShapingRule()


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


def path_settings(
    shaping: ShapingSettings,
    rollup: Mapping[str, str],
    *,
    domain: str,
    source: str,
    site: str,
    mx_hosts: tuple[str, ...] = (),
) -> PathSettings:
    """
    What holds when `source` sends to `site` for `domain`.

    domain: where the mail is sent to, perhaps with a port.  rollup: domain of a rule → the name of its site; a domain whose
    site is not known is not in it.  mx_hosts: the names of the site's hosts, without ports.
    Later wins: default, the providers, the providers for the source, the site's rules, the domain's own (mx_rollup: false),
    the site's rules for the source, the domain's own for the source; among providers, and among rules, in their order.
    """
    domain = domain.lower()
    forget_base, options, of_source = _of_rules(shaping, rollup, domain, source, site)
    composed: dict[str, Any] = {}
    if not forget_base:
        _lay(composed, shaping.rules.get("default", _NO_SHAPING).options)
        for said in _of_providers(shaping, domain, source, mx_hosts):
            _lay(composed, said)
    _lay(composed, options)
    _lay(composed, of_source)
    return PathSettings(**composed)


def _of_rules(
    shaping: ShapingSettings, rollup: Mapping[str, str], domain: str, source: str, site: str
) -> tuple[bool, dict[str, Any], dict[str, Any]]:
    """Whether default and providers are forgotten; what the rules of site and domain say; what they say for the source."""
    forget_base = False
    options: dict[str, Any] = {}
    of_source: dict[str, Any] = {}
    for count, rule in enumerate(_site_rules(shaping, rollup, domain, site)):
        if rule.replace_base and count == 0:
            forget_base = True
        elif rule.replace_base:
            # As if a later file said it of the same domain: the site's rules so far go, and only they.
            options.clear()
            of_source.clear()
        _lay(options, rule.options)
        _lay(of_source, rule.sources.get(source, {}))
    own = shaping.rules.get(domain)
    if own is not None and domain != "default" and not own.mx_rollup:
        if own.replace_base:
            forget_base = True
            options.clear()
        _lay(options, own.options)
        _lay(of_source, own.sources.get(source, {}))
    return forget_base, options, of_source


def _lay(over: dict[str, Any], options: Mapping[str, Any]) -> None:
    """Lay parameters of a path over others: later wins, and of mappings each name by itself."""
    for name, value in options.items():
        over[name] = {**over[name], **value} if name in JOINED and name in over else value


def _site_rules(shaping: ShapingSettings, rollup: Mapping[str, str], domain: str, site: str) -> Iterator[ShapingRule]:
    """The rules of the site, in their order; where a rule's site is not known, it is for its domain alone."""
    for name, rule in shaping.rules.items():
        if name != "default" and rule.mx_rollup:
            known = rollup.get(name)
            if known == site if known is not None else name == domain:
                yield rule


# --- providers -------------------------------------------------------------------------------------------------------


def _of_providers(shaping: ShapingSettings, domain: str, source: str, mx_hosts: tuple[str, ...]) -> Iterator[Mapping[str, Any]]:
    """What the providers of a site say: each for all sources, then each for this one."""
    found = [provider for provider in shaping.provider.values() if is_of_provider(provider, domain, mx_hosts)]
    for provider in found:
        yield provider.options
        yield _shared_limits(provider, source)
    for provider in found:
        yield provider.sources.get(source, {})
        rate = provider.source_selection_rates.get(source)
        if rate is not None:
            yield {"additional_source_selection_rates": {f"shaping-provider-{provider.name}-{source}-selection-rate": rate}}


def _shared_limits(provider: Provider, source: str) -> dict[str, Any]:
    """What a source may do to all sites of a provider together, as limits that their paths share by name."""
    shared: dict[str, Any] = {"provider_name": provider.name}
    name = f"shaping-provider-{provider.name}-{source}"
    if provider.connection_limit is not None:
        shared["additional_connection_limits"] = {f"{name}-limit": provider.connection_limit}
    if provider.max_message_rate is not None:
        shared["additional_message_rate_throttles"] = {f"{name}-rate": provider.max_message_rate}
    return shared


def is_of_provider(provider: Provider, domain: str, mx_hosts: tuple[str, ...]) -> bool:
    """
    Whether a site is one of a provider's: by its domain, or because every one of its hosts is the provider's.

    Suffixes are plain ends of names.  An address instead of a domain is nobody's.
    """
    name = domain.lower().partition(":")[0].rstrip(".")
    if domain.startswith("["):
        return False
    if any(match.by is Matcher.DOMAIN_SUFFIX and name.endswith(match.text) for match in provider.match):
        return True
    hosts = [match for match in provider.match if match.by is not Matcher.DOMAIN_SUFFIX]
    return bool(mx_hosts) and all(any(_is_host(match, host) for match in hosts) for host in mx_hosts)


def _is_host(match: ProviderMatch, host: str) -> bool:
    name = host.lower().rstrip(".")
    return name == match.text if match.by is Matcher.HOST_NAME else name.endswith(match.text)


# --- domains ---------------------------------------------------------------------------------------------------------


def listener_domain(domains: ListenerDomains, domain: str, listener: str = "") -> ListenerDomain | None:
    """
    What a domain may do here: its own entry, else that of the nearest `*.` above it, else that of `*`; never merged.

    listener: the local address that the mail came in on, `ip:port`; what is said for that is asked first.
    """
    of_listener = domains.by_listener.get(listener) if domains.by_listener else None
    found = None if of_listener is None else _nearest(of_listener, domain)
    return found or _nearest(domains.domains, domain)


def _nearest(domains: Mapping[str, ListenerDomain], domain: str) -> ListenerDomain | None:
    for key in _keys(domain.lower()):
        found = domains.get(key)
        if found is not None:
            return found
    return domains.get("*")


def pool_of_sender(tenant: TenantSettings, domain: str) -> str | None:
    """
    The pool that a tenant has for mail of a sender's domain; the nearest `*.` above it counts too.

    None: the tenant has pools for some senders and this is none of them, so its mail is refused.  Only to be asked of a
    tenant that has a `domain_to_pool`.
    """
    return next((tenant.domain_to_pool[key] for key in _keys(domain.lower()) if key in tenant.domain_to_pool), None)
