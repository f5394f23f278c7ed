"""
A policy that raises, sleeps, answers nonsense or imports what is not there never costs a message: every event, every way.

A client is told yes or no, and yes only for what is ours then; what is ours is in a queue and goes out once the policy has
been mended, or at the latest when the time is over that an answer may take.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import EgressPool, PoolEntry
from kumotwist.config.faults import ConfigFaults
from kumotwist.config.queues import QueueSettings
from kumotwist.hooks.initial import run_init
from kumotwist.hooks.points import POINTS
from kumotwist.hooks.policy import LONGEST_ANSWER, Handler, Policy
from kumotwist.mail.disposition import Verdict
from kumotwist.spool.change import Change
from tests.reception.fakes import Line
from tests.support.house import LATER, OK, House

Misbehaviour = Callable[..., Any]


class Broken(Exception):
    """What the policies of these tests raise."""


class Odd:
    """An answer that nothing can be done with."""

    def __bool__(self) -> bool:
        raise Broken

    def __str__(self) -> str:
        raise Broken

    __repr__ = __str__


def _raises(*_: Any) -> None:
    raise Broken


def _imports(*_: Any) -> None:
    import_module("a_module_that_is_not_there")


def _exits(*_: Any) -> None:
    raise SystemExit


def _is_cancelled(*_: Any) -> None:
    raise CancelledError


def _recurses(*_: Any) -> None:
    _recurses()


def _fails(*_: Any) -> "Deferred[None]":
    return fail(Broken())


def misbehaviours(clock: Clock) -> dict[str, Misbehaviour]:
    async def raises_later(*_: Any) -> None:
        await deferLater(clock, 1.0)
        raise Broken

    async def exits_later(*_: Any) -> None:
        await deferLater(clock, 1.0)
        raise SystemExit

    async def sleeps(*_: Any) -> None:
        await Deferred()

    async def sleeps_soundly(*_: Any) -> None:
        try:
            await Deferred()
        except CancelledError:
            raise Broken from None

    def never(*_: Any) -> "Deferred[None]":
        return Deferred()

    nonsense: list[Any] = [7, -1, 0, True, False, "text", "", b"octets", 1.5, float("nan"), object(), int, Broken(), Odd()]
    nonsense += [[], [[]], [7], [["not an address"]], ["a\r\nb"], (1, 2), (None, None, None), ("a", 5), {}, {"a": object()}, {1: 2}]
    nonsense += [{"hostname": 5}, {"via": 3}, {"relay_hosts": "x"}, set(), range(3), iter("a"), lambda: None, Ellipsis]
    found: dict[str, Misbehaviour] = {
        "raises": _raises,
        "imports what is not there": _imports,
        "ends the process": _exits,
        "is cancelled": _is_cancelled,
        "recurses": _recurses,
        "fails": _fails,
        "raises later": raises_later,
        "ends the process later": exits_later,
        "sleeps": sleeps,
        "sleeps and does not like to be woken": sleeps_soundly,
        "answers never": never,
    }
    for n, answer in enumerate(nonsense):
        found[f"answers nonsense {n}"] = lambda *_, answer=answer: answer

        async def later(*_: Any, answer: Any = answer) -> Any:
            await deferLater(clock, 1.0)
            return answer

        found[f"answers nonsense {n} later"] = later
    return found


# Who fires them.
AT_START = {"pre_init", "init"}
IN_QUEUES = {
    "get_queue_config", "get_egress_pool", "get_egress_source", "get_egress_path_config", "throttle_insert_ready_queue",
    "requeue_message", "spool_message_enumerated", "smtp_client_rewrite_delivery_status",
}  # fmt: skip
ON_ORDER = {"rebind_message"}  # an operator's order, which the message survives whatever the policy does (tests/scheduled)


class EveryEventTests(SynchronousTestCase):
    def test_no_event_is_left_out(self) -> None:
        reception = {name for name in POINTS if name.startswith("smtp_server_")} | {"get_listener_domain"}
        self.assertLessEqual(AT_START | IN_QUEUES | ON_ORDER | reception, POINTS.keys())
        later = POINTS.keys() - (AT_START | IN_QUEUES | ON_ORDER | reception)
        self.assertEqual({name for name in later if name.startswith(("smtp_", "get_queue", "get_egress"))}, set())


SAID = (b"EHLO c.example", b"AUTH PLAIN AGpvZQBzZWNyZXQ=", b"MAIL FROM:<a@example.net>", b"RCPT TO:<b@example.org>", b"DATA")
BODY = (b"Subject: x", b"", b"text", b".")


class ReceptionTests(SynchronousTestCase):
    """What a client is told, and what is ours."""

    def _converse(self, event: str, misbehaviour: Callable[[Clock], Misbehaviour]) -> Line:
        line = Line(connect=False)
        handler = Handler(misbehaviour(line.clock), len(POINTS[event].arguments), "policy.py:1")
        line.reception.policy = Policy({event: (handler,)}, line.clock)
        line.connect()
        heard = line.heard() or self._go_on(line)
        if not line.closed:
            line.wire.handshakeCompleted()  # as if STARTTLS had been: AUTH is for those who have
        for command in (*SAID, b"\r\n".join(BODY), b"QUIT"):
            if line.closed:
                break
            answer = line.say(command) or self._go_on(line)
            self.assertTrue(answer, (event, command))
            heard += answer
        self.heard = heard
        return line

    def _go_on(self, line: Line) -> bytes:
        """Until whatever may take its time has had it: the policy, and who guesses passwords."""
        for seconds in (1.0, 1.0, 299.0, 1.0, 1.0, 30.0):
            line.clock.advance(seconds)
            if heard := line.heard():
                return heard
        return b""

    def test_each_message_is_refused_or_ours(self) -> None:
        events = [name for name in POINTS if name.startswith("smtp_server_")] + ["get_listener_domain"]
        taken = 0
        for event in events:
            for name in misbehaviours(Clock()):
                with self.subTest(event=event, policy=name):
                    line = self._converse(event, lambda clock, name=name: misbehaviours(clock)[name])  # type: ignore[misc]
                    accepted = self.heard.count(b" OK ids=")
                    self.assertEqual(accepted, len(line.desk.taken), self.heard)
                    if not accepted:
                        self.assertRegex(self.heard, rb"(?m)^[45][0-9][0-9] ")
                    self.assertTrue(line.closed, self.heard)
                    taken += accepted
                    self.flushLoggedErrors()
        self.assertGreater(taken, 100)  # most of what is nonsense is ignored where every handler is only told


class QueueTests(SynchronousTestCase):
    """What is ours stays ours and goes out."""

    def _house(self, event: str, name: str) -> House:
        house = House()
        house.pool("mine", ours=1)
        house.queues["example.org"] = QueueSettings(egress_pool="mine")
        house.pools["mine"] = EgressPool(name="mine", entries=(PoolEntry(name="ours"),))
        house.handlers[event] = (Handler(misbehaviours(house.clock)[name], len(POINTS[event].arguments), "policy.py:1"),)
        return house

    def _meet(self, house: House, event: str) -> str:
        """One message, and what it takes for the event to come."""
        if event == "spool_message_enumerated":
            message = house.messages.make("bob@example.org")
            message.name_queue()
            change = Change()
            change.store(message)
            house.spool.commit(change)
            house.scheduler.admit_stored([message])
            return message.id
        message = house.take()
        if event in ("requeue_message", "smtp_client_rewrite_delivery_status"):
            for session in house.sessions:
                while session.supply.size:
                    session.answer(Verdict.POSTPONED, LATER)
        return message.id

    def _sent(self, house: House) -> Iterator[str]:
        """What goes out while time passes, once the policy has been mended."""
        house.forward(2 * LONGEST_ANSWER, 20.0)
        house.handlers.clear()
        for _ in range(60):
            house.forward(60.0, 20.0)
            for session in house.sessions:
                yield from (message.id for message in session.drain(answer=OK))

    def test_each_message_goes_out_in_the_end_and_once(self) -> None:
        for event in sorted(IN_QUEUES):
            for name in misbehaviours(Clock()):
                with self.subTest(event=event, policy=name):
                    house = self._house(event, name)
                    message = self._meet(house, event)
                    self.assertEqual(list(self._sent(house)), [message], (event, name))
                    self.assertEqual(house.records("Bounce") + house.records("Expiration"), [])
                    self.flushLoggedErrors()


def _domain_or_name(first: Any) -> str:
    """What an event is about: a domain, the name of a pool or source, or a message."""
    return first if isinstance(first, str) else str(first.recipient.domain)


class SlowTests(SynchronousTestCase):
    """A slow handler slows its own queue only, and one that blocks the reactor is named."""

    def test_other_queues_go_on_while_one_waits_for_its_answer(self) -> None:
        for event in (
            "get_queue_config",
            "get_egress_pool",
            "get_egress_source",
            "get_egress_path_config",
            "throttle_insert_ready_queue",
        ):
            with self.subTest(event):
                house = House()
                for name in ("slow", "quick"):
                    house.pool(name, **{f"{name}-source": 1})
                    house.queues[f"{name}.example"] = QueueSettings(egress_pool=name)
                answer: Deferred[None] = Deferred()
                slow = lambda first, *_, answer=answer: answer if "slow" in _domain_or_name(first) else None  # noqa: E731
                house.handlers[event] = (Handler(slow, len(POINTS[event].arguments), "policy.py:1"),)
                ids = [house.take(f"bob@{name}.example").id for name in ("slow", "quick", "slow", "quick")]
                house.clock.advance(0)
                self.assertEqual([message.id for session in house.sessions for message in session.drain()], ids[1::2])
                answer.callback(None)
                house.forward(3)
                self.assertEqual([message.id for session in house.sessions for message in session.drain()], ids[0::2])

    def test_the_log_names_who_blocks_the_reactor_whatever_the_event(self) -> None:
        for event in sorted(IN_QUEUES - {"requeue_message", "smtp_client_rewrite_delivery_status", "spool_message_enumerated"}):
            with self.subTest(event), capturedLogs() as logged:
                house = House()
                house.pool("mine", ours=1)
                house.queues["example.org"] = QueueSettings(egress_pool="mine")
                blocks = lambda *_, house=house: house.clock.advance(0.25)  # noqa: E731
                house.handlers[event] = (Handler(blocks, 1, "policy.py:7"),)
                house.take()
            said = [formatEvent(one) for one in logged]
            self.assertIn(f"{event} at policy.py:7 kept the whole server waiting for 0.25 s: let it await, or use memoize", said)


class StartTests(SynchronousTestCase):
    """What is wrong at the start is a fault of the configuration: the server does not begin, or goes on with what it had."""

    def test_each_is_told_or_means_nothing(self) -> None:
        for event in sorted(AT_START):
            for name in misbehaviours(Clock()):
                with self.subTest(event=event, policy=name):
                    clock = Clock()
                    policy = Policy({event: (Handler(misbehaviours(clock)[name], 0, "policy.py:1"),)}, clock)
                    running = run_init(policy)
                    clock.pump([1.0, LONGEST_ANSWER, 1.0])
                    if "nonsense" in name:
                        self.successResultOf(running)
                    else:
                        self.failureResultOf(running, ConfigFaults)
                    self.flushLoggedErrors()
