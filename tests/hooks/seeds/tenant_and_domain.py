"""The sender's domain must be one of its tenant's; each has its pool, and there is one for all others."""

from kumotwist import kumo

TENANTS = kumo.serde.json_load("tenants.json")
FALLBACK = "my-fallback-pool-name"


def pool_of(tenant: str, domain: str) -> str | None:
    pool: str | None = TENANTS[tenant]["domain_to_pool"].get(domain)
    return pool


@kumo.on("smtp_server_message_received")
def received(msg: kumo.Message) -> None:
    tenant = msg.get_first_named_header_value("X-tenant")
    if tenant is None or tenant not in TENANTS:
        kumo.reject(500, f"invalid/unknown tenant {tenant}")
    if pool_of(tenant, msg.sender.domain) is None:
        kumo.reject(500, f"tenant {tenant} does not send for {msg.sender.domain}")
    msg.set_meta("tenant", tenant)
    msg.set_meta("campaign", msg.sender.domain)


@kumo.on("get_queue_config")
def queue_config(domain: str, tenant: str | None, campaign: str | None) -> kumo.QueueConfig:
    pool = pool_of(tenant, campaign) if tenant and campaign else None
    return kumo.make_queue_config(egress_pool=pool or FALLBACK)
