"""Tenants with a pool use it; all other mail uses a fallback pool."""

from kumotwist import kumo

TENANT_TO_POOL: dict[str | None, str] = {
    "tenant-id-0": "pool-0",
    "tenant-id-2": "pool-1",
}


@kumo.on("smtp_server_message_received")
def received(msg: kumo.Message) -> None:
    msg.set_meta("tenant", msg.get_first_named_header_value("X-Tenant"))


@kumo.on("get_queue_config")
def queue_config(domain: str, tenant: str | None) -> kumo.QueueConfig:
    return kumo.make_queue_config(
        egress_pool=TENANT_TO_POOL.get(tenant) or "my-fallback-pool-name",
        max_age="5 minutes",
        retry_interval="10 minutes",
        max_retry_interval="100 minutes",
    )
