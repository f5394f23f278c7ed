"""
An example policy: loads as it is, and does nothing that the configuration would not do without it.

Name it in the configuration (`policy: policy.py`), take what you need, and throw the rest away.  The guide is docs/policy.md;
`mypy --strict policy.py` checks it, and so does `kumotwist check`.
"""

from kumotwist import kumo

# Which pool each tenant sends from.  Instead of a table this can be a file: kumo.serde.toml_load("tenants.toml") reads one
# beside this file, and when it changes, the policy is loaded anew.
TENANT_TO_POOL = {
    "tenant-id-0": "pool-0",
    "tenant-id-1": "pool-0",
    "tenant-id-2": "pool-1",
}


# For each message that was received.  A handler takes as many of an event's arguments as it needs, from the left; here there
# would also be the connection.
@kumo.on("smtp_server_message_received")
def received(msg: kumo.Message) -> None:
    tenant = msg.get_first_named_header_value("X-Tenant")
    if tenant is None:
        return
    # What is refused here is refused to the client, with this reply.
    if tenant not in TENANT_TO_POOL:
        kumo.reject(500, f"5.7.1 invalid/unknown tenant {tenant}")
    # tenant, campaign and routing_domain choose the queue: campaign:tenant@domain!routing_domain
    msg.set_meta("tenant", tenant)
    msg.remove_all_named_headers("X-Tenant")


# What holds for a queue.  None leaves it to the configuration: here for all mail without one of our tenants.
@kumo.on("get_queue_config")
def queue_config(domain: str, tenant: str | None) -> kumo.QueueConfig | None:
    if tenant not in TENANT_TO_POOL:
        return None
    return kumo.make_queue_config(
        egress_pool=TENANT_TO_POOL[tenant],
        retry_interval="10 minutes",
        max_retry_interval="100 minutes",
        max_age="2 days",
    )


# Sources and pools that the configuration does not have.
@kumo.on("get_egress_source")
def egress_source(name: str) -> kumo.EgressSource | None:
    if not name.startswith("lab-"):
        return None
    return kumo.make_egress_source(name=name, ehlo_domain=f"{name}.example.com")


# Who may send mail to or from a domain through us.  None leaves it to the configuration.
@kumo.on("get_listener_domain")
def listener_domain(domain: str, listener: str, conn_meta: kumo.ConnMeta) -> kumo.ListenerDomain | None:
    if conn_meta.get_meta("authz_id") is not None:
        return kumo.make_listener_domain(relay_to=True)
    return None
