"""
All mail waits in one queue, that of another server, whatever its recipients, tenants and campaigns are.

Mostly smarthost-by-routing-domain.py is better: it keeps them apart.
"""

from kumotwist import kumo


@kumo.on("smtp_server_message_received")
def received(msg: kumo.Message) -> None:
    msg.set_meta("queue", "my.smarthost.com")
