"""Where mail goes may be an address in brackets, as a queue or as a routing domain."""

from kumotwist import kumo

WAYS = {
    "one.example": ("queue", "[20.83.209.56]"),
    "two.example": ("routing_domain", "[10.0.0.1]"),
    "three.example": ("routing_domain", "[IPv6:::1]"),
    "four.example": ("queue", "[::1]"),  # SMTP wants the IPv6: in front; understood all the same
}


@kumo.on("smtp_server_message_received")
def received(msg: kumo.Message) -> None:
    way = WAYS.get(msg.recipient.domain)
    if way is not None:
        msg.set_meta(*way)
