"""All mail goes through another server.  Each recipient domain keeps a queue of its own, such as example.com!my.smarthost.com."""

from kumotwist import kumo


@kumo.on("smtp_server_message_received")
def received(msg: kumo.Message) -> None:
    msg.set_meta("routing_domain", "my.smarthost.com")
