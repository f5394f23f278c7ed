"""Tenants, pools, sources, and how sites are treated: by the site that a domain's mail goes to, then by domain."""

from typing import Any

from kumotwist import kumo

SOURCES = {
    "ip-1": {"source_address": "10.0.0.1"},
    "ip-2": {"source_address": "10.0.0.2"},
    "ip-3": {"source_address": "10.0.0.3"},
}

POOLS: dict[str, list[dict[str, Any]]] = {
    "pool1": [{"name": "ip-1"}],
    "pool2": [
        {"name": "ip-2", "weight": 2},
        # we're warming up ip-3, so use it less frequently than ip-2
        {"name": "ip-3", "weight": 1},
    ],
}

TENANT_TO_POOL = {"tenant-1": "pool1", "tenant-2": "pool2", "tenant-3": "pool1"}


@kumo.on("get_egress_pool")
def egress_pool(pool_name: str) -> kumo.EgressPool:
    return kumo.make_egress_pool(name=pool_name, entries=POOLS[pool_name])


@kumo.on("get_egress_source")
def egress_source(source_name: str) -> kumo.EgressSource:
    return kumo.make_egress_source(SOURCES[source_name], name=source_name)


@kumo.on("get_queue_config")
def queue_config(domain: str, tenant: str | None) -> kumo.QueueConfig:
    return kumo.make_queue_config(egress_pool=TENANT_TO_POOL.get(tenant or ""))


# From a domain name to the "site name".  You only need it for the big domains for which there are several aliases;
# you needn't specify any of the aliases.
@kumo.memoize(name="site-of", ttl="1 hour", capacity=100)
async def site_of(domain: str) -> str:
    try:
        return (await kumo.dns.lookup_mx(domain)).site_name
    except kumo.LookupFailed:
        return domain


Shapes = tuple[dict[str, dict[str, object]], dict[tuple[str, str], dict[str, object]]]


@kumo.memoize(name="shapes", ttl="5 minutes", capacity=1)
async def shapes() -> Shapes:
    gmail, yahoo = await site_of("gmail.com"), await site_of("yahoo.com")
    # Keyed by either site name or domain name.  Site names are looked up first, then domain names.
    shape_by_domain: dict[str, dict[str, object]] = {
        gmail: {"max_connection_rate": "1000/hr", "connection_limit": 20},
        yahoo: {"max_connection_rate": "500/hr"},
        "example.com": {"max_connection_rate": "10/hr"},
    }
    # Keyed by (site name, source) or (domain, source).  Values override those in shape_by_domain.
    shape_by_source: dict[tuple[str, str], dict[str, object]] = {
        (gmail, "ip-1"): {"max_message_rate": "1000/hr", "connection_limit": 5},
    }
    return shape_by_domain, shape_by_source


@kumo.on("get_egress_path_config")
async def egress_path_config(domain: str, source: str, site_name: str) -> kumo.EgressPath:
    shape_by_domain, shape_by_source = await shapes()
    # resolve parameters first based on the site, if any, then based on the domain, if any, otherwise use the defaults
    domain_params = shape_by_domain.get(site_name) or shape_by_domain.get(domain) or {}
    source_params = shape_by_source.get((site_name, source)) or shape_by_source.get((domain, source)) or {}
    # compose the source params over the domain params
    return kumo.make_egress_path({**domain_params, **source_params})
