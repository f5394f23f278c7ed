"""An egress path: one source sending to one receiving site, and what holds there."""

from msgspec import Struct

from kumotwist.config.egress import EgressSource, PathSettings
from kumotwist.config.queues import MaildirDelivery, MxHost, PolicyDelivery, XferDelivery


class Destination(Struct, frozen=True, kw_only=True):
    """
    The hosts that a domain's mail goes to.

    groups: hosts in order of preference; the addresses of one group are tried in random order (`shuffled`), those of an
    `mx_list` strictly in its order.  site: the name that groups domains with the same hosts.  null_mx: RFC 7505.
    is_mx: real MX records were found.  expires: epoch seconds until which this may be kept.
    instead_of_smtp: no host is connected to, the mail goes there.
    """

    domain: str
    site: str
    groups: tuple[tuple[MxHost, ...], ...]
    shuffled: bool = True
    null_mx: bool = False
    is_mx: bool = False
    expires: float = 0.0
    instead_of_smtp: MaildirDelivery | PolicyDelivery | XferDelivery | None = None

    @property
    def protocol(self) -> str:
        """How a ready queue's name says it."""
        instead = self.instead_of_smtp
        if instead is None:
            return "smtp_client"
        if isinstance(instead, PolicyDelivery):
            return f"lua:{instead.constructor}"
        if isinstance(instead, XferDelivery):
            return "xfer"
        return f"maildir:{instead.maildir_path.text}"

    @property
    def service(self) -> str:
        """The protocol as metrics name it: `smtp_client`, `maildir`, `lua` …"""
        return self.protocol.partition(":")[0]


class EgressPath(Struct, frozen=True, kw_only=True):
    """What a ready queue is for.  name: `source->site@smtp_client`."""

    source: EgressSource
    destination: Destination
    settings: PathSettings

    @property
    def name(self) -> str:
        return path_name(self.source.name, self.destination.site, self.destination.protocol)


def path_name(source: str, site: str, protocol: str = "smtp_client") -> str:
    """The ready queue's name."""
    return f"{source}->{site}@{protocol}"
