"""A server that accepts all mail and forgets it: the queue "null"."""

from kumotwist import kumo


@kumo.on("smtp_server_message_received")
def received(msg: kumo.Message) -> None:
    msg.set_meta("queue", "null")
