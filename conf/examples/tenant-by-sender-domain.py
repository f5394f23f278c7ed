"""A tenant may send only in the name of its own domains, and each domain has its pool."""

from kumotwist import kumo

TENANTS = {
    "tenant-id-0": {
        "domain_to_pool": {
            "tenant-0.com": "pool-0",
            "news.tenant-0.com": "pool-1",
        },
    },
    "tenant-id-1": {
        "domain_to_pool": {
            "tenant-1.com": "pool-1",
        },
    },
}


@kumo.on("smtp_server_message_received")
def received(msg: kumo.Message) -> None:
    tenant = msg.get_first_named_header_value("X-Tenant")
    if not tenant:
        kumo.reject(500, "missing X-Tenant header")
    if tenant not in TENANTS:
        kumo.reject(500, f"invalid/unknown tenant {tenant}")
    pool = TENANTS[tenant]["domain_to_pool"].get(msg.sender.domain.lower())
    if pool is None:
        kumo.reject(500, f"tenant {tenant} does not send for {msg.sender.domain or 'the null sender'}")
    msg.set_meta("tenant", tenant)
    msg.set_meta("egress_pool", pool)  # the queue's pool goes by tenant; this message's goes by its sender too
