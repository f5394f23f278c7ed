"""A source that is only a name: the system picks the address, and what is counted and limited by source goes by the name."""

from kumotwist import kumo


@kumo.on("get_egress_source")
def egress_source(source_name: str) -> kumo.EgressSource | None:
    return kumo.make_egress_source(name="ip-1") if source_name == "ip-1" else None


@kumo.on("get_egress_pool")
def egress_pool(pool_name: str) -> kumo.EgressPool | None:
    return kumo.make_egress_pool(name="pool-1", entries=[{"name": "ip-1"}]) if pool_name == "pool-1" else None


@kumo.on("get_queue_config")
def queue_config() -> kumo.QueueConfig:
    return kumo.make_queue_config(egress_pool="pool-1")
