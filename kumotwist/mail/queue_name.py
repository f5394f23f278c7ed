"""
The names of scheduled queues: `campaign:tenant@domain!routing_domain`, absent parts left out.

Parts are not escaped, as in the model: an `@` in a tenant or a `:` in a campaign changes how the name is read back.
"""

from functools import lru_cache

from msgspec import Struct

NULL_QUEUE = "null"  # accepted, logged, discarded


class QueueName(Struct, frozen=True, gc=False):
    """The parts of a queue's name.  None is absent; `campaign:@domain` reads back with an empty tenant, as in the model."""

    domain: str
    tenant: str | None = None
    campaign: str | None = None
    routing_domain: str | None = None

    def __str__(self) -> str:
        return format_queue_name(self.domain, self.tenant, self.campaign, self.routing_domain)

    @property
    def routed_to(self) -> str:
        """The domain whose receivers get the mail."""
        return self.routing_domain or self.domain


def format_queue_name(
    domain: str, tenant: str | None = None, campaign: str | None = None, routing_domain: str | None = None
) -> str:
    """The eight forms of the model's table."""
    if campaign is not None:
        name = f"{campaign}:{tenant or ''}@{domain}"
    else:
        name = domain if tenant is None else f"{tenant}@{domain}"
    return name if routing_domain is None else f"{name}!{routing_domain}"


@lru_cache(maxsize=65536)
def parse_queue_name(name: str) -> QueueName:
    """Read a name back: the first `@`, then the first `:` before it and the first `!` after it."""
    left, at, right = name.partition("@")
    if not at:
        left, right = "", name
    domain, bang, routing_domain = right.partition("!")
    campaign, colon, tenant = left.partition(":")
    if not colon:
        campaign, tenant = "", left
    return QueueName(
        domain,
        tenant if at else None,
        campaign if colon else None,
        routing_domain if bang else None,
    )
