"""One domain's mail goes to hosts of ours, in this order, instead of those that its MX records name.  Its queue keeps its name."""

from kumotwist import kumo


@kumo.on("get_queue_config")
def queue_config(domain: str) -> kumo.QueueConfig | None:
    if domain == "domain.to.be.smart.hosted":
        return kumo.make_queue_config(
            protocol={
                "smtp": {
                    # Addresses without a name go into brackets: "[10.0.0.1]".  Of names A and AAAA are looked up, never MX.
                    "mx_list": ["smart.host.local", {"name": "mx.example.com", "addr": "10.0.0.1"}],
                },
            },
        )
    return None  # for all others what the configuration says, or the defaults
