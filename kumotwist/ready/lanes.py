"""The lanes of a ready queue: one for each scheduled queue, served in turn, a message each."""

from collections import deque
from collections.abc import Callable, Iterator

from kumotwist.mail.message import Message


class Lanes:
    """Messages that are ready, by the scheduled queue that they come from."""

    __slots__ = ("_lanes", "_turns", "size")

    def __init__(self) -> None:
        self.size = 0
        self._lanes: dict[str, deque[Message]] = {}
        self._turns: deque[str] = deque()  # the lanes that have messages, the one whose turn is next first

    def append(self, message: Message) -> None:
        lane = self._lanes.get(message.queue)
        if lane is None:
            lane = self._lanes[message.queue] = deque()
            self._turns.append(message.queue)
        lane.append(message)
        self.size += 1

    def put_first(self, message: Message) -> None:
        """It was taken and comes back untried: it is the next again."""
        lane = self._lanes.get(message.queue)
        if lane is None:
            lane = self._lanes[message.queue] = deque()
        else:
            self._turns.remove(message.queue)
        lane.appendleft(message)
        self._turns.appendleft(message.queue)
        self.size += 1

    def next(self) -> Message:
        """Take the next; there must be one."""
        turn = self._turns.popleft()
        lane = self._lanes[turn]
        message = lane.popleft()
        if lane:
            self._turns.append(turn)
        else:
            del self._lanes[turn]
        self.size -= 1
        return message

    @property
    def first(self) -> Message | None:
        """The next; it stays."""
        return self._lanes[self._turns[0]][0] if self._turns else None

    def withdraw(self, queue_fits: Callable[[str], bool]) -> list[Message]:
        """Take out all of the scheduled queues whose names fit."""
        taken: list[Message] = []
        for name in [name for name in self._lanes if queue_fits(name)]:
            taken += self._lanes.pop(name)
            self._turns.remove(name)
        self.size -= len(taken)
        return taken

    def take_if(self, fits: Callable[[Message], bool]) -> list[Message]:
        """Take out the messages that fit."""
        taken: list[Message] = []
        for name, lane in list(self._lanes.items()):
            found = [message for message in lane if fits(message)]
            if not found:
                continue
            taken += found
            kept = deque(message for message in lane if message not in found)
            if kept:
                self._lanes[name] = kept
            else:
                del self._lanes[name]
                self._turns.remove(name)
        self.size -= len(taken)
        return taken

    def take_all(self) -> list[Message]:
        return self.withdraw(lambda _: True)

    def messages(self) -> Iterator[Message]:
        """All of them, lane by lane; they may come and go in between."""
        for lane in list(self._lanes.values()):
            yield from tuple(lane)

    def count_of(self, queue: str) -> int:
        """How many messages of a scheduled queue are here."""
        return len(self._lanes.get(queue, ()))

    @property
    def queues(self) -> tuple[str, ...]:
        """The scheduled queues that have messages here."""
        return tuple(self._lanes)
