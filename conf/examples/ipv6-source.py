"""A source with an IPv6 address: it sends only to receivers that have one, too."""

from kumotwist import kumo


@kumo.on("get_egress_source")
def egress_source(source_name: str) -> kumo.EgressSource | None:
    if source_name == "ip-1":
        return kumo.make_egress_source(
            name="ip-1",
            source_address="2001:db8:3333:4444:5555:6666:7777:8888",
            ehlo_domain="mta2.examplecorp.com",
        )
    return None


@kumo.on("get_egress_pool")
def egress_pool(pool_name: str) -> kumo.EgressPool | None:
    if pool_name == "pool-1":
        return kumo.make_egress_pool(name="pool-1", entries=[{"name": "ip-1"}])
    return None


@kumo.on("get_queue_config")
def queue_config() -> kumo.QueueConfig:
    return kumo.make_queue_config(egress_pool="pool-1")
