"""
The books: every message that is ours is in exactly one place, with a next step, or has ended and left the spool.

What the spool holds is compared with what the stages say that they hold: scheduled queues, ready queues, sessions with a
message in hand, policies that are asked about one, changes on their way to the disk.  A message of the spool that nobody holds
would lie there until the next start: it is stranded, and there must never be one.

A message moves while we count.  So whatever looks wrong is looked at again, in one turn of the reactor in which nothing
moves; what is then in nobody's hands, and afterwards still in the spool, nobody can have brought back: that verdict is certain.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from enum import Enum
from itertools import islice
from typing import Any, Protocol

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kumotwist.ready.service import ReadyQueues
from kumotwist.scheduled.service import Scheduler

AT_A_TIME = 5000  # messages that are walked over in one turn of the reactor
MOST_NAMED = 100  # messages that an audit names; the others are counted
OVERDUE = 60.0  # seconds after its time that a message is still in the wheel, where something is wrong


class Stage(Enum):
    """Where a message is."""

    SCHEDULED = "scheduled"  # until its due time
    HELD = "held"  # due, and its queue is held up
    READY = "ready"
    DELIVERY = "delivery"  # a session has it in hand
    POLICY = "policy"  # a policy is asked about it
    REQUEST = "request"  # not mail yet, but a request from which mail will be made
    SPOOL = "spool"  # a change of it is being written, or it is being read back


class Holding(Struct, frozen=True):
    """
    One message, and who has it.

    due: when its next step is, epoch seconds; None: when what `waits_for` says has happened.
    """

    message_id: str
    stage: Stage
    waits_for: str
    due: float | None = None


class Stranded(Struct, frozen=True, kw_only=True):
    """A message that is not where it should be: `why` says what is wrong with it."""

    id: str
    why: str


class Audit(Struct, frozen=True, kw_only=True):
    """
    What an audit found.  at: epoch seconds.

    complete: False while a start is still reading the spool through: then nothing can be said of what it has not read.
    spooled: messages in the spool when the audit began.  holdings: how many each stage held, as they were walked over; a
    message in a change counts beside the stage that waits for it.  stranded_messages: how many are not where they should be;
    stranded names the first of them.
    """

    at: float
    complete: bool
    spooled: int
    holdings: dict[str, int]
    stranded_messages: int
    stranded: tuple[Stranded, ...]


class Kept(Protocol):
    """What the books need of the spool."""

    def envelopes(self) -> Iterator[tuple[str, bytes]]: ...

    def still_here(self, message_ids: Collection[str]) -> set[str]:
        """Those of them that are stored; blocks, for a thread."""

    def under_way(self) -> Iterator[tuple[str, str]]:
        """(message id, what is done) of changes and readings in progress."""


def holdings(scheduler: Scheduler, ready: ReadyQueues, spool: Kept) -> Iterator[Holding]:
    """All that the stages have, each message as often as somebody has it; messages may move in between."""
    for bucket in scheduler.wheel.buckets():
        for message in bucket:
            yield Holding(message.id, Stage.SCHEDULED, "its due time", message.due)
    for queue in list(scheduler.queues.values()):
        alarm = queue.alarm
        until = alarm.getTime() if alarm is not None and alarm.active() else None
        cause = "its turn" if queue.blocked is None else queue.blocked.value
        for message in list(queue.held):
            yield Holding(message.id, Stage.HELD, cause, until)
    for path in list(ready):
        for message in path.lanes.messages():
            yield Holding(message.id, Stage.READY, "a session", path.resting_until)
        for message in list(path.in_hand):
            yield Holding(message.id, Stage.DELIVERY, "its session")
    for message in list(scheduler.asked):
        yield Holding(message.id, Stage.POLICY, "a policy")
    for message_id, doing in list(spool.under_way()):
        yield Holding(message_id, Stage.SPOOL, doing)


def misplaced(spooled: Iterable[str], held: Iterable[Holding], now: float) -> Iterator[Stranded]:
    """What is wrong, if both are of one moment.  Beside a stage, the spool may be at work on a message."""
    places: dict[str, list[Holding]] = {}
    for one in held:
        places.setdefault(one.message_id, []).append(one)
    here = set(spooled)
    for message_id in here - places.keys():
        yield Stranded(id=message_id, why="in the spool, and nobody has it")
    for message_id, those in places.items():
        own = [one for one in those if one.stage is not Stage.SPOOL]
        if len(own) > 1:
            yield Stranded(id=message_id, why="in more than one place: " + ", ".join(one.stage.value for one in own))
        elif len(own) == len(those) and message_id not in here:
            yield Stranded(id=message_id, why=f"{own[0].stage.value}, and not in the spool")
        elif own and own[0].stage is Stage.SCHEDULED and own[0].due is not None and own[0].due < now - OVERDUE:
            yield Stranded(id=message_id, why=f"was due {now - own[0].due:.0f} s ago")


class Books:
    """Audits a running server.  stranded_messages: what the last audit found; 0 before there was one."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        spool: Kept,
        held: Callable[[], Iterator[Holding]],
        in_thread: "Callable[..., Deferred[Any]]",
        complete: Callable[[], bool],
    ) -> None:
        """held: as `holdings`.  in_thread: runs what blocks.  complete: whether all that a start found is in its queue."""
        self._clock = clock
        self._spool = spool
        self._held = held
        self._in_thread = in_thread
        self._complete = complete
        self._stopped = False
        self.stranded_messages = 0

    def stop(self) -> None:
        """The stages let go of what they have: from now on nothing would be found where it belongs."""
        self._stopped = True

    async def audit(self) -> Audit:
        """
        Compare spool and queues; reading is done in a thread, walking in portions.

        For its duration it takes some 150 octets of memory for each message in the spool.
        """
        complete = self._complete()
        spooled: set[str] = await self._in_thread(self._ids)
        counts, suspects = await self._walk(spooled)
        wrong: list[Stranded] = []
        if complete and suspects and not self._stopped:
            wrong = await self._look_closely(suspects)
        if self._stopped:
            complete, wrong = False, []
        self.stranded_messages = len(wrong)
        for one in wrong[:MOST_NAMED]:
            self.log.critical("the books do not balance: message {id}: {why}", id=one.id, why=one.why)
        return Audit(
            at=self._clock.seconds(),
            complete=complete,
            spooled=len(spooled),
            holdings=counts,
            stranded_messages=len(wrong),
            stranded=tuple(wrong[:MOST_NAMED]),
        )

    def _ids(self) -> set[str]:
        return {message_id for message_id, _ in self._spool.envelopes()}

    async def _walk(self, spooled: set[str]) -> tuple[dict[str, int], set[str]]:
        """How much each stage holds, and every message that may not be in exactly one place."""
        counts = {stage.value: 0 for stage in Stage}
        unseen, suspects, seen = set(spooled), set[str](), set[str]()
        late = self._clock.seconds() - OVERDUE
        held = self._held()
        while portion := list(islice(held, AT_A_TIME)):
            for one in portion:
                counts[one.stage.value] += 1
                unseen.discard(one.message_id)
                if one.stage is Stage.SPOOL:
                    continue
                overdue = one.stage is Stage.SCHEDULED and one.due is not None and one.due < late
                if one.message_id in seen or one.message_id not in spooled or overdue:
                    suspects.add(one.message_id)
                seen.add(one.message_id)
            await self._next_turn()
        return counts, suspects | unseen

    async def _look_closely(self, suspects: set[str]) -> list[Stranded]:
        """The verdict on these; see the module."""
        held = [one for one in self._held() if one.message_id in suspects]
        now = self._clock.seconds()
        here: set[str] = await self._in_thread(self._spool.still_here, suspects)
        found = list(misplaced(here, held, now))
        if not found:
            return []
        # Held and not in the spool: the change may have been on its way when we looked, or have come after it.
        again = {one.id for one in found if one.id not in here}
        still = {one.message_id for one in self._held() if one.message_id in again and one.stage is not Stage.SPOOL}
        return [one for one in found if one.id in here or one.id in still]

    def _next_turn(self) -> "Deferred[None]":
        turn: Deferred[None] = Deferred()
        self._clock.callLater(0, turn.callback, None)
        return turn
