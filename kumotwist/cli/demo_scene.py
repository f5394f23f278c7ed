"""
The demo's scene: sources, tenants and receiving sites, and the two files that bring them to life.

Pure: names and ports in, text out.
"""

from collections.abc import Iterable

from msgspec import Struct


class Source(Struct, frozen=True):
    """An address that we send from."""

    name: str
    address: str
    ehlo_domain: str


class Pool(Struct, frozen=True):
    """Sources by name, with their weights."""

    name: str
    weights: tuple[tuple[str, int], ...]


class Tenant(Struct, frozen=True):
    """A customer: whose mail, from which pool, with which share of the load."""

    name: str
    pool: str
    share: float


class Site(Struct, frozen=True):
    """
    A receiving site.

    behaves: what it does, for people.  behaviour: the same for the sink.  shaping: how carefully we treat it.
    weight: its share of the load.
    """

    domain: str
    behaves: str
    behaviour: str
    weight: int
    shaping: str = ""


SOURCES = (
    Source("source-1", "127.0.0.11", "mta1.demo.example"),
    Source("source-2", "127.0.0.12", "mta2.demo.example"),
    Source("source-3", "127.0.0.13", "mta3.demo.example"),
)
POOLS = (Pool("pool-a", (("source-1", 2), ("source-2", 1))), Pool("pool-b", (("source-3", 1),)))
TENANTS = (Tenant("acme", "pool-a", 0.6), Tenant("globex", "pool-b", 0.4))
SITES = (
    Site("friendly.example", "accepts", "{}", 4),
    Site("slow.example", "is slow", "{delay: 100 ms}", 2, "{connection_limit: 10, mx_rollup: false}"),
    Site(
        "busy.example",
        "defers 30%",
        '{defer: {share: 30, replies: ["451 4.7.1 Greylisted, try again", "421 4.7.0 Too busy, try again"]}}',
        2,
    ),
    Site("strict.example", "refuses 20%", '{refuse: {share: 20, replies: ["550 5.1.1 No such user"]}}', 2),
)


class Ports(Struct, frozen=True):
    """Where everything listens, all of it on 127.0.0.1; sites in the order of `SITES`."""

    server: int
    sites: tuple[int, ...]


_CONFIGURATION = """\
# The demo's server: a whole configuration, as `twistd kumotwist --config FILE` reads it.
hostname: demo.example
spool: {{path: spool, min_free_space: "1%"}}      # beside this file
logs: {{log_dir: log, min_free_space: "1%", headers: [Subject], meta: [tenant]}}
esmtp_listeners:
  - listen: 127.0.0.1:{server}
    relay_hosts: [127.0.0.1]

egress:
  source:
{sources}
  pool:
{pools}

queues:
  tenant_header: X-Tenant
  remove_tenant_header: true
  require_tenant: true
  tenant:
{tenants}
  queue:
    # So that you can watch retries: a real server waits 20 minutes before the first.
    default: {{retry_interval: 1 second, max_retry_interval: 1 second, max_age: 10 minutes}}
    # These domains exist nowhere: instead of asking for their MX, mail goes to the sink.
{sites}

shaping:
  rules:
    # The sink is on this machine, where mail to others must never go.
    default: {{prohibited_hosts: []}}
{shaping}
"""


def configuration(ports: Ports) -> str:
    """The server's YAML file."""
    return _CONFIGURATION.format(
        server=ports.server,
        sources=_lines(f"{one.name}: {{source_address: {one.address}, ehlo_domain: {one.ehlo_domain}}}" for one in SOURCES),
        pools=_lines(
            f"{pool.name}: {{{', '.join(f'{name}: {{weight: {weight}}}' for name, weight in pool.weights)}}}" for pool in POOLS
        ),
        tenants=_lines(f"{tenant.name}: {{egress_pool: {tenant.pool}}}" for tenant in TENANTS),
        sites=_lines(
            f'{site.domain}: {{protocol: {{smtp: {{mx_list: [{{name: mx.{site.domain}, addr: "127.0.0.1:{port}"}}]}}}}}}'
            for site, port in zip(SITES, ports.sites, strict=True)
        ),
        shaping=_lines(f"{site.domain}: {site.shaping}" for site in SITES if site.shaping),
    )


def behaviour() -> str:
    """The sink's YAML file."""
    return "# How the demo's receiving sites answer.\ndomains:\n" + "".join(
        f"  {site.domain}: {site.behaviour}\n" for site in SITES
    )


def messages_of(tenant: Tenant, total: int) -> int:
    """How many of the messages are this tenant's; the last gets what rounding leaves."""
    if tenant is TENANTS[-1]:
        return total - sum(messages_of(other, total) for other in TENANTS[:-1])
    return round(total * tenant.share)


def place_in_pool(source: str) -> tuple[str, int, int]:
    """The pool that a source is in, its weight there, and the weights of all in it."""
    for pool in POOLS:
        weights = dict(pool.weights)
        if source in weights:
            return pool.name, weights[source], sum(weights.values())
    raise KeyError(source)


def _lines(entries: Iterable[str]) -> str:
    return "\n".join(f"    {entry}" for entry in entries)
