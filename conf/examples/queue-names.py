"""A queue is called campaign:tenant@domain!routing_domain; what a message does not have is left out."""

from kumotwist import kumo


@kumo.on("smtp_server_message_received")
def received(msg: kumo.Message) -> None:
    msg.set_meta("tenant", msg.get_first_named_header_value("X-Tenant"))
    msg.set_meta("campaign", msg.get_first_named_header_value("X-Campaign"))
    if msg.get_first_named_header_value("X-Route") == "smarthost":
        msg.set_meta("routing_domain", "my.smarthost.com")
