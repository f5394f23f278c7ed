"""Mail sent through other servers than those that its domain's MX names: each of the ways, by the recipient's domain."""

from kumotwist import kumo


@kumo.on("smtp_server_message_received")
def received(msg: kumo.Message) -> None:
    match msg.recipient.domain:
        case "example.com":
            # The domain, the tenant and the campaign stay in the queue's name: example.com!my.smarthost.com
            msg.set_meta("routing_domain", "my.smarthost.com")
        case "queued.example":
            # All of this mail shares one queue
            msg.set_meta("queue", "my.smarthost.com")
        case "literal.example":
            msg.set_meta("queue", "[20.83.209.56]")
        case "test.invalid":
            # Accept and discard
            msg.set_meta("queue", "null")


@kumo.on("get_queue_config")
def queue_config(domain: str) -> kumo.QueueConfig:
    if domain == "domain.to.be.smart.hosted":
        # Relay via some other internal infrastructure.
        # Enclose IP (or IPv6) addresses in `[]`.
        # Otherwise the name will be resolved for A and AAAA records
        return kumo.make_queue_config(
            protocol={"smtp": {"mx_list": ["smart.host.local", {"name": "mx.example.com", "addr": "10.0.0.1"}]}},
        )
    # Otherwise, just use the defaults
    return kumo.make_queue_config()
