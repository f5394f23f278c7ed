"""What somebody who watches an outbound dialogue is shown of it beside its bytes."""

from collections.abc import Mapping
from typing import Any

from kumotwist.delivery.in_hand import InHand
from kumotwist.delivery.plan import Address
from kumotwist.egress.path import EgressPath
from kumotwist.mail.queue_name import parse_queue_name


def known(path: EgressPath, session_id: str, address: Address, hand: InHand) -> Mapping[str, Any]:
    """The connection's metadata, as the model's filters name them; those of the message while there is one."""
    found: dict[str, Any] = {
        "id": session_id,
        "ready_queue": path.name,
        "egress_source": path.source.name,
        "mx_host": address.host,
        "mx_addr": address.ip,
    }
    if path.source.source_address is not None:
        found["source_addr"] = path.source.source_address
    message = hand.message
    if message is not None and message.envelope_loaded:
        name = parse_queue_name(message.queue)
        found |= {
            "message_id": message.id,
            "domain": name.domain,
            "mail_from": message.sender.email,
            "rcpt_to": [one.email for one in message.recipients],
        }
        more = {
            "tenant": name.tenant,
            "campaign": name.campaign,
            "routing_domain": name.routing_domain,
            "egress_pool": message.through,
        }
        found |= {key: value for key, value in more.items() if value is not None}
    return found
