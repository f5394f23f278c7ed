"""What a start finds at the spool's path: the store of the configured kind, and the node's own id."""

import os
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from kumotwist.config.server import SpoolSettings
from kumotwist.spool.directory import DirectoryStore
from kumotwist.spool.rocks import RocksStore
from kumotwist.spool.store import Store


def open_store(settings: SpoolSettings) -> Store:
    """Raises SpoolUnusable."""
    with suppress(OSError):  # the store has better words for it
        os.makedirs(settings.path, mode=0o750, exist_ok=True)
    path = os.path.join(settings.path, settings.kind)
    if settings.kind == "rocksdb":
        return RocksStore(path, flush=settings.flush, buffers=settings.buffers)
    return DirectoryStore(path, flush=settings.flush)


def kept_node_id(path: str, randbits: Callable[[int], int]) -> str:
    """This node's id: made once, kept beside the spool.  randbits: so many bits by chance."""
    place = os.path.join(path, "node_id")
    try:
        with open(place) as file:
            return str(UUID(file.read().strip()))
    except (FileNotFoundError, ValueError):
        made = str(UUID(int=randbits(128), version=4))
        with open(place, "w") as file:
            file.write(made + "\n")
        return made
