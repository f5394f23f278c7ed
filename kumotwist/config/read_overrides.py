"""
What holds for a listener, and in `via` and `peer`, to any depth, what holds otherwise for some of its connections.

A listener may have `files` of the same shape.  They merge in their order and what stands in line comes last; of what is
named twice the later wins: parameters one by one, `meta` and `sni` by name, `via` and `peer` by network.
"""

from collections.abc import Collection
from typing import Any

from kumotwist.config.faults import Place
from kumotwist.config.fields import parse_networks, shown
from kumotwist.config.kinds import Kind, kind_of
from kumotwist.config.listeners import ListenerOverrides, ListenerSettings, ServerName, TlsIdentity
from kumotwist.config.networks import ByNetwork, Network
from kumotwist.config.placed import Entry, Table, Text
from kumotwist.config.read_keys import CERTIFICATE, KEY, PAIR, check_both, check_ca, check_fit
from kumotwist.config.reading import UNFIT, Reading, Settings, values_of

WHOLE = ("listen", "max_connections")  # what a listener has but once
# What the model can do and we never shall; to say that it is off is no fault.
_NEVER = {
    "deferred_spool": "would say 250 for messages that a crash loses; leave it out: many messages share one write to the disk",
    "deferred_queue": "would say 250 before the policy has seen the message, and what it refuses would have to bounce; leave it "
    "out: a handler that awaits holds up its own session only",
}
_READ_HERE = ("sni", "meta", "peer", "via")
_NETWORK = Kind("an address, a network such as 10.0.0.0/8, or any", lambda text: parse_networks(text.text))
_SERVER_NAME = kind_of(ServerName)
assert _SERVER_NAME is not None


class Block:
    """What is named for a listener, or for some of its connections, in all files so far."""

    __slots__ = ("meta", "named", "options", "peer", "sni", "via")

    def __init__(self) -> None:
        self.options: Settings = {}
        self.named: dict[str, Place] = {}  # those of PAIR that stand here, faulty ones too
        self.meta: dict[str, object] = {}
        self.sni: dict[str, Settings] | None = None
        self.peer: Blocks = {}
        self.via: Blocks = {}

    def values(self) -> dict[str, Any]:
        """Parameters by name, without those that stand beside `options` in ListenerOverrides."""
        values = values_of(self.options)
        if self.sni is not None:
            found = {name: values_of(identity) for name, identity in self.sni.items()}
            values["sni"] = {name: TlsIdentity(**identity) for name, identity in found.items() if set(identity) == set(PAIR)}
        return values

    def overrides(self) -> ListenerOverrides:
        return ListenerOverrides(
            options=self.values(), meta=self.meta, peer=overrides_by_network(self.peer), via=overrides_by_network(self.via)
        )


Blocks = dict[tuple[Network, ...], Block]  # by what a key stands for: `any` is two networks


def overrides_by_network(blocks: Blocks) -> ByNetwork[ListenerOverrides]:
    return ByNetwork({network: made for networks, block in blocks.items() for made in (block.overrides(),) for network in networks})


def add_table(
    reading: Reading, table: Table, block: Block, where: str, *, refused: Collection[str] = (), leave: Collection[str] = ()
) -> None:
    """Lay what a table says over a block.  refused: parameters that mean nothing there.  leave: keys that the caller reads."""
    for key in refused:
        if key in table.entries:
            reading.faults.note(table.entries[key].place, f"{key} holds for the whole listener, expected it beside listen")
    named = Table({key: entry for key, entry in table.entries.items() if key not in refused}, table.place)
    block.options.update(reading.settings(ListenerSettings, named, where, leave=(*_READ_HERE, *leave)))
    for key, reason in _NEVER.items():
        setting = block.options.get(key)
        if setting is not None and setting.value is True:
            del block.options[key]
            reading.faults.note(setting.place, f"{key}: {reason}")
    block.named.update({name: table.entries[name].place for name in PAIR if name in table.entries})
    _add_meta(reading, named, block)
    _add_sni(reading, named, block)
    for key, blocks in (("peer", block.peer), ("via", block.via)):
        entry = reading.entry(named, key, ListenerSettings)
        if entry is not None:
            _add_networks(reading, reading.table(entry.value, key), blocks, key)


def _add_meta(reading: Reading, table: Table, block: Block) -> None:
    entry = reading.entry(table, "meta", ListenerSettings)
    if entry is not None:
        for key, inner in reading.table(entry.value, "meta").entries.items():
            block.meta[key] = reading.free(inner.value, key)


def _add_sni(reading: Reading, table: Table, block: Block) -> None:
    entry = reading.entry(table, "sni", ListenerSettings)
    if entry is None:
        return
    block.sni = {} if block.sni is None else block.sni
    assert _SERVER_NAME is not None
    for key, inner in reading.table(entry.value, "sni").entries.items():
        name = reading.scalar(_SERVER_NAME, Text(key, inner.place), "sni")
        identity = _identity(reading, inner, key)
        if name is not UNFIT:
            block.sni[name] = identity


def _identity(reading: Reading, entry: Entry, name: str) -> Settings:
    table = reading.table(entry.value, name)
    for key in PAIR if isinstance(entry.value, Table) else ():
        if key not in table.entries:
            reading.faults.note(entry.place, f"sni {shown(name)}: {key} is missing")
    return reading.settings(TlsIdentity, table, f"sni {shown(name)}")


def _add_networks(reading: Reading, table: Table, blocks: Blocks, key: str) -> None:
    """`via` or `peer`.  The same network twice in one table, however it is written, is a fault."""
    here: set[Network] = set()
    for name, entry in table.entries.items():
        found = reading.scalar(_NETWORK, Text(name, entry.place), key)
        networks: tuple[Network, ...] = () if found is UNFIT else found
        if here.intersection(networks):
            reading.faults.note(entry.place, f"{key}: {shown(name)} is a network that stands here already, expected each once")
        here.update(networks)
        block = blocks.setdefault(networks, Block()) if networks else Block()
        add_table(reading, reading.table(entry.value, name), block, f"{key} {shown(name)}", refused=WHOLE)


def check_keys(reading: Reading, block: Block, *, files: bool = True) -> None:
    """Certificates and keys, here and in everything below, are what they should be.  files: also what is in them."""
    check_both(reading, block.named)
    if files:
        check_fit(reading, block.options.get(CERTIFICATE), block.options.get(KEY))
        check_ca(reading, block.options.get("tls_required_client_ca"), "tls_required_client_ca")
        for identity in (block.sni or {}).values():
            check_fit(reading, identity.get(CERTIFICATE), identity.get(KEY))
    for below in (*block.peer.values(), *block.via.values()):
        check_keys(reading, below, files=files)
