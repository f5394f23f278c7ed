"""Tenants from a header, verified, and the pool that each of them sends from."""

from typing import Any

from kumotwist import kumo

TENANT_TO_POOL = {
    "tenant-id-0": "pool-0",
    "tenant-id-1": "pool-0",
    "tenant-id-2": "pool-1",
}

TENANT_PARAMS: dict[str | None, dict[str, Any]] = {
    "tenant-id-1": {"max_age": "1 hour"},
}


@kumo.on("smtp_server_message_received")
def received(msg: kumo.Message) -> None:
    tenant = msg.get_first_named_header_value("X-tenant")
    if not tenant:
        kumo.reject(500, "missing x-tenant header")
    if tenant not in TENANT_TO_POOL:
        kumo.reject(500, f"invalid/unknown tenant {tenant}")
    msg.set_meta("tenant", tenant)


@kumo.on("get_queue_config")
def queue_config(domain: str, tenant: str | None, campaign: str | None, routing_domain: str | None) -> kumo.QueueConfig:
    params = {
        "max_age": "5 minutes",
        "retry_interval": "10 minutes",
        "max_retry_interval": "100 minutes",
        "egress_pool": TENANT_TO_POOL.get(tenant or ""),  # None leaves the pool unspecified
    }
    params |= TENANT_PARAMS.get(tenant, {})
    return kumo.make_queue_config(params)
