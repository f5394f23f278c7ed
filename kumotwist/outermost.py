"""
Where the server meets the machine: disk, threads, name servers, chance, signals.  Each piece can be replaced.

Production runs the defaults.  The simulation (tests/simulation) replaces all of them, and the reactor, and nothing else: what
it drives is the server itself.
"""

import os
import random
import signal
import time
from collections import ChainMap
from collections.abc import Callable
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from kumotwist.config.read import read_config
from kumotwist.config.server import Config, SpoolSettings
from kumotwist.delivery.dnssec import Found
from kumotwist.dns.lookups import RunInThread
from kumotwist.dns.resolver import Questions
from kumotwist.logs.segment import Disk
from kumotwist.spool.memory import Machine
from kumotwist.spool.opening import open_store
from kumotwist.spool.space import Room, measure
from kumotwist.spool.store import Store
from kumotwist.spool.threads import REAL, Threads
from kumotwist.systemd import Systemd, environment_at_start


def on_hangup(call: Callable[[], None]) -> None:
    """Call it, between two instructions of the main thread, whenever the process gets SIGHUP."""
    signal.signal(signal.SIGHUP, lambda *_: call())


class Outermost(Struct, frozen=True, kw_only=True):
    """
    read: the configuration that a file holds now.  open_store: the spool.  log_disk, measure: the log's files; how full a
    file system is.  machine: how much memory there is, and in use.  threads: what the threads of spool and log are
    made of.  in_thread: runs a call in a borrowed thread.
    look_up: runs a DNS question; None: in threads of the resolver's own.  questions: whom it asks; None: name servers.
    find: answers, authentic or not, what MTA-STS and DANE ask of the DNS; blocks; None: name servers.
    draw: uniform in [0, 1).  randbits, secret_bits: so many bits; the second kind nobody can guess.
    on_hangup: has a call made at SIGHUP.  systemd: who has started us.
    """

    read: Callable[[str], Config] = read_config
    open_store: Callable[[SpoolSettings], Store] = open_store
    log_disk: Disk | None = None
    measure: Callable[[str], tuple[Room, Room]] = measure
    machine: Machine = Machine()
    threads: Threads = REAL
    in_thread: "Callable[..., Deferred[Any]]" = deferToThread
    look_up: RunInThread | None = None
    questions: Questions | None = None
    find: Callable[[str, str], Found] | None = None
    draw: Callable[[], float] = random.random
    randbits: Callable[[int], int] = random.getrandbits
    secret_bits: Callable[[int], int] = random.SystemRandom().getrandbits
    on_hangup: Callable[[Callable[[], None]], None] = on_hangup
    systemd: Systemd = Systemd(ChainMap(os.environ, environment_at_start()), os.getpid, time.monotonic)


PRODUCTION = Outermost()
