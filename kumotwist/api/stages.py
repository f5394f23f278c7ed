"""What the operators' endpoints reach of the server."""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from kumotwist.automation.overrides import InForce
from kumotwist.custody import Custody
from kumotwist.dns.resolver import Resolver
from kumotwist.hooks.directions import Directions
from kumotwist.injection.service import InThread
from kumotwist.ready.service import ReadyQueues
from kumotwist.reception.shared import Reception
from kumotwist.scheduled.administration import Administration
from kumotwist.scheduled.service import Scheduler
from kumotwist.smtp.watching import Dialogues
from kumotwist.spool.service import Spool


class Stages(Struct, frozen=True, kw_only=True):
    """
    directions: those that hold now.  resident: octets of waiting messages in memory.  dialogues: outbound ones.

    in_force: what automation has set, by source, site and domain.
    """

    reactor: Any
    scheduler: Scheduler
    ready: ReadyQueues
    spool: Spool
    custody: Custody
    resolver: Resolver
    reception: Reception
    dialogues: Dialogues
    node_id: str
    directions: Callable[[], Directions]
    in_thread: InThread
    resident: Callable[[], int]
    randbits: Callable[[int], int]
    in_force: Callable[[str, str, str], Iterator[InForce]] = lambda *_: iter(())

    @property
    def administration(self) -> Administration:
        return self.scheduler.administration

    def now(self) -> float:
        now: float = self.reactor.seconds()
        return now
