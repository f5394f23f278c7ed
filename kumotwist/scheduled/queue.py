"""One scheduled queue: its name, what holds for it, and the messages that are due but cannot go on yet."""

from collections import deque

from kumotwist.config.egress import UNSPECIFIED, EgressPool, PoolEntry
from kumotwist.config.queues import QueueSettings
from kumotwist.egress.limits import RateLimit
from kumotwist.egress.path import Destination
from kumotwist.egress.rotation import Rotation
from kumotwist.mail.message import Message
from kumotwist.mail.queue_name import QueueName, parse_queue_name
from kumotwist.mail.reason import Reason
from kumotwist.ready.queue import ReadyQueue


class ScheduledQueue:
    """
    Messages that are not yet due wait in the wheel; those that are due wait in `held` while something holds the queue up.

    blocked: what holds it up; None: nothing does.  told: the cause that a Delayed record was last written for.
    parked: how many of its messages are in the wheel.  paths: source name → ready queue, for the present destination.
    """

    __slots__ = (
        "blocked", "destination", "entries", "held", "idle_since", "limit", "name", "parked", "parts", "paths", "pool",
        "rotation", "settings", "told",
    )  # fmt: skip

    def __init__(self, name: str, settings: QueueSettings, pool: EgressPool, now: float) -> None:
        self.name = name
        self.parts: QueueName = parse_queue_name(name)
        self.held: deque[Message] = deque()
        self.blocked: Reason | None = None
        self.told: Reason | None = None
        self.parked = 0
        self.idle_since = now
        self.destination: Destination | None = None
        self.paths: dict[str, ReadyQueue] = {}
        self.rotation = Rotation()
        self.apply(settings, pool)

    def apply(self, settings: QueueSettings, pool: EgressPool) -> None:
        """What holds from now on."""
        self.settings = settings
        self.pool = settings.egress_pool or UNSPECIFIED
        self.entries: tuple[PoolEntry, ...] = tuple(entry for entry in pool.entries if entry.weight > 0)
        self.limit = RateLimit(settings.max_message_rate) if settings.max_message_rate else None

    @property
    def empty(self) -> bool:
        return not self.held and not self.parked
