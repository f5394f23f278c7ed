"""
Site names: domains whose mail goes to the same hosts share one name, and with it one ready queue a source.

The name shows what the hosts have in common, label by label from the right: `(mta5|mta6|mta7).am0.yahoodns.net`.  It
depends on the order of the hosts but not on their preferences, and it cannot be turned back into hosts.
"""

from collections.abc import Sequence

from kumotwist.config.queues import MaildirDelivery, MxHost, PolicyDelivery, XferDelivery
from kumotwist.egress.path import Destination

_MOST_LABEL = 63  # RFC 1035 section 2.3.4, in octets; the same for a whole name, without its final dot:
_MOST_NAME = 253

NEVER = float("inf")  # a destination that configuration or a literal names does not expire


def site_name(hosts: Sequence[str]) -> str:
    """
    The name of the site that these hosts make, given in order of preference, each `name` or `name:port`.

    What is no host name is left out; nothing left (a null MX): the empty name.
    """
    names = [labels for labels in map(_labels, hosts) if labels]
    longest = max(map(len, names), default=0)
    return ".".join(_position(names, place) for place in reversed(range(longest)))


def _labels(host: str) -> list[str]:
    """The labels from the right, lower-cased, the port still on its label; empty for what is no host name."""
    name, colon, port = host.lower().partition(":")
    name = name.removesuffix(".")
    labels = name.split(".")
    if len(name) > _MOST_NAME or not all(0 < len(label) <= _MOST_LABEL for label in labels):
        return []
    if colon:
        if not (port.isascii() and port.isdigit()):
            return []
        labels[-1] = f"{labels[-1]}:{port}"
    labels.reverse()
    return labels


def _position(names: Sequence[Sequence[str]], place: int) -> str:
    """One label of the name: alternatives as they were first seen, `?` if some host has none here."""
    labels = dict.fromkeys(name[place] for name in names if place < len(name))
    text = "|".join(labels)
    if len(labels) > 1:
        text = f"({text})"
    return text if all(place < len(name) for name in names) else f"{text}?"


def destination_of_mx_list(domain: str, mx_list: tuple[MxHost, ...]) -> Destination:
    """Where a queue's `mx_list` sends the mail of a domain: one host after the other, strictly in the list's order."""
    return Destination(
        domain=domain,
        # Apart from the same list without that word: what DANE makes of one must not hold for the other.
        site="mx_list:" + ",".join(host.label for host in mx_list) + ("!secure" if mx_list[0].secure else ""),
        groups=tuple((host,) for host in mx_list),
        shuffled=False,
        expires=NEVER,
    )


def destination_without_hosts(domain: str, instead: MaildirDelivery | PolicyDelivery | XferDelivery) -> Destination:
    """Where the mail of a domain goes that no host is connected to for: the site is the domain."""
    return Destination(domain=domain, site=domain, groups=(), expires=NEVER, instead_of_smtp=instead)
