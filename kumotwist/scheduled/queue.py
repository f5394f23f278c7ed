"""One scheduled queue: its name, what holds for it, and the messages that are due but cannot go on yet."""

from collections import deque

from twisted.internet.interfaces import IDelayedCall

from kumotwist.config.queues import QueueSettings
from kumotwist.egress.path import Destination
from kumotwist.egress.rotation import Rotation
from kumotwist.egress.sharing import SharedRate
from kumotwist.hooks.directions import Pool
from kumotwist.mail.message import Message
from kumotwist.mail.queue_name import QueueName, parse_queue_name
from kumotwist.mail.reason import Reason
from kumotwist.ready.queue import ReadyQueue

NEVER_PLANNED = -1


class Outlet:
    """A pool as one queue uses it: whose turn it is, and the ready queues of its sources for the present destination."""

    __slots__ = ("paths", "pool", "rotation")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.rotation = Rotation()
        self.paths: dict[str, ReadyQueue] = {}


class ScheduledQueue:
    """
    Messages that are not yet due wait in the wheel; those that are due wait in `held` while something holds the queue up.

    blocked: what holds it up; None: nothing does.  told: the cause that a Delayed record was last written for.
    alarm: wakes it at the earliest time that was asked for.
    parked: how many of its messages are in the wheel.
    epoch: which configuration `settings` are of.  ask_again_at: when a policy is asked for them anew; asking: it is just now.
    outlets: by pool name; the queue's own is `outlet`, others are those that messages name.
    overtaken: for messages that were received under the configuration before.
    delayed_full, delayed_rate, delayed_policy: how often that held it up, or one of its messages.
    """

    __slots__ = (
        "alarm", "ask_again_at", "asking", "blocked", "delayed_full", "delayed_policy", "delayed_rate", "destination",
        "epoch", "held", "idle_since", "limits", "name", "outlet",
        "outlets", "overtaken", "parked", "parts", "settings", "told",
    )  # fmt: skip

    def __init__(self, name: str, settings: QueueSettings, now: float) -> None:
        """settings: what is known before the queue is planned; good enough to say when to try again."""
        self.name = name
        self.parts: QueueName = parse_queue_name(name)
        self.settings = settings
        self.held: deque[Message] = deque()
        self.blocked: Reason | None = None
        self.told: object = None
        self.parked = 0
        self.delayed_full = self.delayed_rate = self.delayed_policy = 0
        self.idle_since = now
        self.destination: Destination | None = None
        self.outlet: Outlet | None = None
        self.outlets: dict[str, Outlet] = {}
        self.overtaken: Outlet | None = None
        self.limits: tuple[tuple[SharedRate, str], ...] = ()
        self.epoch = NEVER_PLANNED
        self.ask_again_at = 0.0
        self.asking = False
        self.alarm: IDelayedCall | None = None

    def plan(self, settings: QueueSettings, pool: Pool, limits: tuple[tuple[SharedRate, str], ...], epoch: int) -> None:
        """What holds from now on.  Whose turn it is stays as it was where the pool is the same."""
        before = self.settings
        if (settings.mx_list, settings.instead_of_smtp) != (before.mx_list, before.instead_of_smtp):
            self.point(None)
        self.settings = settings
        self.limits = limits
        self.epoch = epoch
        self.outlets = {}
        if self.outlet is None or self.outlet.pool != pool:
            self.outlet = Outlet(pool)

    def point(self, destination: Destination | None) -> None:
        """Where the mail goes from now on."""
        known = self.destination
        if known is None or destination is None or known.site != destination.site:
            for outlet in (self.outlet, *self.outlets.values()):
                if outlet is not None:
                    outlet.paths = {}
        self.destination = destination

    def draws_on(self, source: str) -> bool:
        """Whether a pool that it uses has that source."""
        outlets = (self.outlet, *self.outlets.values())
        return any(outlet is not None and source in outlet.pool.sources for outlet in outlets)

    @property
    def pool(self) -> str | None:
        """The pool's name as records show it; None before the queue is planned."""
        return self.outlet.pool.name if self.outlet is not None else None

    @property
    def size(self) -> int:
        """How many messages wait here."""
        return len(self.held) + self.parked

    @property
    def empty(self) -> bool:
        return not self.held and not self.parked
