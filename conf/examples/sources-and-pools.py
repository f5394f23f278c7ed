"""Sources and pools from tables of one's own, and who uses which."""

from kumotwist import kumo

SOURCES = {
    "ip-1": {"source_address": "10.0.0.1", "ehlo_domain": "mta1.examplecorp.com"},
    "ip-2": {"source_address": "10.0.0.2", "ehlo_domain": "mta2.examplecorp.com"},
    "ip-3": {"source_address": "10.0.0.3", "ehlo_domain": "mta3.examplecorp.com"},
}

TENANT_TO_POOL: dict[str | None, str] = {
    "tenant-1": "pool-1",
    "tenant-2": "pool-2",
    "tenant-3": "pool-1",
}


# It makes all pools for the sake of one, so what it answers is kept for a while.
@kumo.memoize(name="pools", ttl="5 minutes", capacity=10)
def pools() -> dict[str, kumo.EgressPool]:
    entries = {
        "pool-1": [{"name": "ip-1"}],
        # ip-3 is new to the receivers and must be warmed up, so ip-2 gets twice as much.
        "pool-2": [{"name": "ip-2", "weight": 2}, {"name": "ip-3", "weight": 1}],
    }
    return {name: kumo.make_egress_pool({"name": name, "entries": inside}) for name, inside in entries.items()}


@kumo.on("get_egress_pool")
def egress_pool(pool_name: str) -> kumo.EgressPool | None:
    return pools().get(pool_name)


@kumo.on("get_egress_source")
def egress_source(source_name: str) -> kumo.EgressSource | None:
    if source_name not in SOURCES:
        return None
    return kumo.make_egress_source({"name": source_name, **SOURCES[source_name]})


@kumo.on("smtp_server_message_received")
def received(msg: kumo.Message) -> None:
    msg.set_meta("tenant", msg.get_first_named_header_value("X-Tenant"))


@kumo.on("get_queue_config")
def queue_config(domain: str, tenant: str | None) -> kumo.QueueConfig:
    return kumo.make_queue_config(egress_pool=TENANT_TO_POOL.get(tenant))
