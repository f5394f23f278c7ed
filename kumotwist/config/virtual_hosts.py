"""
Which listener parameters hold for one connection: those of the listener, with what its addresses change laid over them.

Later wins: the listener's own, its `peer`, its `via`; then, of what the policy answered for this connection, its own, its
`peer`, its `via`.  In a `peer` or `via` block it is the same again: its own, its `peer`, its `via`.  Of the networks that
overlap the smallest counts, and only that.  Parameters are replaced whole, lists and mappings too; `meta` is merged.

Called for each connection, and again once a PROXY header or XCLIENT names other addresses: microseconds.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from kumotwist.config.listeners import ListenerOverrides, ListenerSettings
from kumotwist.config.networks import ByNetwork

_NONE: ByNetwork[ListenerOverrides] = ByNetwork()


def effective(
    settings: ListenerSettings, *, peer_ip: str, local_ip: str, dynamic: ListenerOverrides | None = None
) -> ListenerSettings:
    """
    What holds for a connection from `peer_ip` to `local_ip`; `meta` is what its metadata begins with.

    dynamic: what the policy answered for it.  The result has no `peer` and no `via` of its own: they are decided.
    """
    if dynamic is None and not settings.peer and not settings.via:
        return settings
    options: dict[str, Any] = {"peer": _NONE, "via": _NONE}
    meta: Mapping[str, object] = settings.meta
    for layer in _layers(settings, peer_ip, local_ip, dynamic):
        options.update(layer.options)
        if layer.meta:
            meta = {**meta, **layer.meta}
    options["meta"] = meta
    return replace(settings, **options)


def _layers(
    settings: ListenerSettings, peer_ip: str, local_ip: str, dynamic: ListenerOverrides | None
) -> Iterator[ListenerOverrides]:
    """What is laid over the listener's own parameters, in order; of each only its own."""
    yield from _chosen(settings.peer, settings.via, peer_ip, local_ip)
    if dynamic is not None:
        yield from _whole(dynamic, peer_ip, local_ip)


def _chosen(
    peer: ByNetwork[ListenerOverrides], via: ByNetwork[ListenerOverrides], peer_ip: str, local_ip: str
) -> Iterator[ListenerOverrides]:
    for overrides in (peer.nearest(peer_ip), via.nearest(local_ip)):
        if overrides is not None:
            yield from _whole(overrides, peer_ip, local_ip)


def _whole(overrides: ListenerOverrides, peer_ip: str, local_ip: str) -> Iterator[ListenerOverrides]:
    yield overrides
    yield from _chosen(overrides.peer, overrides.via, peer_ip, local_ip)
