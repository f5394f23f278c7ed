"""As tenant-from-header.py, with the tenants in a file of their own, which another program may write."""

from kumotwist import kumo

# Read when the policy is loaded, and again when the file changes.
TENANT_TO_POOL = {tenant: params["egress_pool"] for tenant, params in kumo.serde.json_load("tenants.json")["tenant"].items()}


@kumo.on("smtp_server_message_received")
def received(msg: kumo.Message) -> None:
    tenant = msg.get_first_named_header_value("X-Tenant")
    if not tenant:
        kumo.reject(500, "missing X-Tenant header")
    if tenant not in TENANT_TO_POOL:
        kumo.reject(500, f"invalid/unknown tenant {tenant}")
    msg.set_meta("tenant", tenant)


@kumo.on("get_queue_config")
def queue_config(domain: str, tenant: str | None) -> kumo.QueueConfig:
    return kumo.make_queue_config(egress_pool=TENANT_TO_POOL[tenant] if tenant else None)
