"""What tests of whole sessions share: a supply that is a list and writes down what it is told, and a session to run on it."""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import EgressSource, EnableTls, IpLookupStrategy, PathSettings
from kumotwist.config.queues import MxHost
from kumotwist.delivery.session import deliver
from kumotwist.delivery.shown import Shown
from kumotwist.delivery.stop import Stop
from kumotwist.delivery.tls import Trust
from kumotwist.egress.path import Destination, EgressPath
from kumotwist.mail.address import NULL_SENDER, Mailbox, parse_mailbox
from kumotwist.mail.disposition import Attempt, Outcome, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import Reply
from tests.delivery.scripted import Mx, Network

CONTENT = b"Subject: hello\r\n\r\nHello.\r\n"
DELIVERED, POSTPONED, BOUNCED = "delivered", "postponed", "bounced"


def message(number: int = 1, *to: str, sender: str = "sender@example.org", content: bytes | None = CONTENT) -> Message:
    recipients = tuple(parse_mailbox(one) for one in to or ("user@example.com",))
    from_ = parse_mailbox(sender) if sender else NULL_SENDER
    return Message(f"{number:032x}", from_, recipients, content)


def destination(*hosts: MxHost | Sequence[MxHost], **facts: Any) -> Destination:
    groups = tuple((host,) if isinstance(host, MxHost) else tuple(host) for host in hosts)
    return Destination(domain="example.com", site="mx.example.com", groups=groups, **facts)


def host(name: str, ip: str | None = None, port: int | None = None) -> MxHost:
    return MxHost(name=name, label=name, addr=ip, port=port)


class Supply:
    """
    The messages are a list.  calls: what the session said, in a form that a test can write down:

    ("settle", number, [(verdict, [recipients], single line of the reply)]), ("give_back", number, reason, delay), …
    """

    def __init__(self, network: Network, path: EgressPath, messages: Sequence[Message] = ()) -> None:
        self.path = path
        self.ready = list(messages)
        self.calls: list[tuple[Any, ...]] = []
        self.attempts: list[Attempt] = []
        self.outcomes: list[Outcome] = []
        self.taken: list[str] = []
        self.answered: list[str] = []
        self.contents: dict[str, Any] = {}
        self.connect_waits: list[float] = []
        self.send_waits: list[float] = []
        self._network = network
        self._waiting: Deferred[Message | None] | None = None

    def offer(self, *messages: Message) -> None:
        """Messages become ready; a session that waits gets one."""
        self.ready += messages
        if self._waiting is not None and self.ready:
            waiting, self._waiting = self._waiting, None
            waiting.callback(self.next_message())

    @property
    def idle(self) -> bool:
        return self._waiting is not None

    def next_message(self) -> Message | None:
        if not self.ready:
            return None
        taken = self.ready.pop(0)
        self.taken.append(taken.id)
        return taken

    def message_or_none(self, patience: float) -> "Deferred[Message | None]":
        if self.ready:
            return succeed(self.next_message())
        self._waiting = waiting = Deferred(lambda _: self._end_waiting())
        self._network.callLater(patience, self._run_out, waiting)
        return waiting

    def _end_waiting(self) -> None:
        self._waiting = None

    def _run_out(self, waiting: "Deferred[Message | None]") -> None:
        if self._waiting is waiting:
            self._waiting = None
            waiting.callback(None)

    def content(self, message: Message) -> Any:
        given = self.contents.get(message.id, message.content)
        if isinstance(given, Exception):
            raise given
        return given

    def may_connect(self) -> float:
        return self.connect_waits.pop(0) if self.connect_waits else 0.0

    def may_send(self) -> float:
        return self.send_waits.pop(0) if self.send_waits else 0.0

    def settle(self, message: Message, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        self.answered.append(message.id)
        self.attempts.append(attempt)
        self.outcomes += outcomes
        told = [(one.verdict.value, [to.email for to in one.recipients], one.reply.single_line) for one in outcomes]
        self.calls.append(("settle", int(message.id, 16), told))

    def give_back(self, message: Message, reason: Reason, delay: float = 0.0) -> None:
        self.answered.append(message.id)
        self.calls.append(("give_back", int(message.id, 16), reason.value, delay))

    def show(self, session: Shown) -> None:
        self.shown = session

    def throttled(self, reason: Reason, delay: float) -> None:
        self.calls.append(("throttled", reason.value, delay))

    def dispose_all(self, verdict: Verdict, reply: Reply, reason: Reason) -> None:
        self.calls.append(("dispose_all", verdict.value, reply.single_line, reason.value))

    def connected(self) -> None:
        self.calls.append(("connected",))

    def connection_failed(self) -> None:
        self.calls.append(("connection_failed",))


class Names:
    """A resolver of fixed answers: a failure where it is one, no addresses where there is none."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, IpLookupStrategy]] = []

    def addresses(self, host: str, strategy: IpLookupStrategy) -> "Deferred[tuple[str, ...]]":
        self.asked.append((host, strategy))
        answer = self.answers.get(host, ())
        if isinstance(answer, Exception):
            failed: Deferred[tuple[str, ...]] = Deferred()
            failed.errback(answer)
            return failed
        return answer if isinstance(answer, Deferred) else succeed(answer)


MX = "192.0.2.1"
MX2 = "192.0.2.2"


class SessionCase(SynchronousTestCase):
    """
    Runs sessions against scripted hosts.  After each test every message that was taken was answered for exactly once, and
    an ended session left no timer and no open connection behind.
    """

    settings = PathSettings(enable_tls=EnableTls.DISABLED)

    def setUp(self) -> None:
        self.network = Network()
        self.supplies: list[Supply] = []
        self.ended: list[Deferred[None]] = []
        self.stop = Stop()
        self.unplumbed: list[str] = []
        self.expected_failures: tuple[type[Exception], ...] = ()

    def path(self, *hosts: MxHost | Sequence[MxHost], source: EgressSource | None = None, **changes: Any) -> EgressPath:
        return EgressPath(
            source=source or EgressSource(name="source-1"),
            destination=destination(*(hosts or (host("mx.example.com", MX),)), shuffled=False),
            settings=replace(self.settings, **changes),
        )

    def supply(self, *messages: Message, path: EgressPath | None = None, **changes: Any) -> Supply:
        supply = Supply(self.network, path or self.path(**changes), messages or (message(),))
        self.supplies.append(supply)
        return supply

    def start(self, supply: Supply, *, names: Names | None = None, trust: Trust | None = None, **means: Any) -> "Deferred[None]":
        ids = count(1)
        session = deliver(
            supply,
            reactor=self.network,
            resolver=names or Names({}),
            trust=trust or Trust(),
            hostname="here.example.net",
            session_id=lambda: f"session-{next(ids)}",
            stop=self.stop,
            **{"draw": lambda: 0.0, "source_unplumbed": self.unplumbed.append, **means},
        )
        ended = Deferred.fromCoroutine(session)
        self.ended.append(ended)
        self.network.run()
        return ended

    def mx(self, answers: Mapping[str, Any] | None = None, ip: str = MX, **changes: Any) -> Mx:
        """A host at an address that is on the network from now on."""
        there = Mx(answers, **changes) if answers is not None else Mx(**changes)
        self.network.hosts[ip] = there
        return there

    def finish(self, supply: Supply, ended: "Deferred[None]") -> list[tuple[Any, ...]]:
        """Wait until the session has run out of messages; what it said in the meantime."""
        for _ in range(200):
            if ended.called:
                break
            self.network.wait(10.0)
        self.successResultOf(ended)
        return supply.calls

    def deliver(self, supply: Supply, **means: Any) -> list[tuple[Any, ...]]:
        return self.finish(supply, self.start(supply, **means))

    def tearDown(self) -> None:
        self.verify()

    def anew(self) -> None:
        """Another case of the same test, on a network of its own."""
        self.verify()
        self.setUp()

    def verify(self) -> None:
        for supply in self.supplies:
            self.assertEqual(sorted(supply.answered), sorted(supply.taken), "each message taken is answered for once")
        for ended in self.ended:
            self.assertTrue(ended.called, "the session has ended")
            ended.addErrback(lambda failure: failure.trap(CancelledError, *self.expected_failures))
        self.network.run()
        for mx in self.network.hosts.values():
            if isinstance(mx, Mx):
                self.assertEqual([link for link in mx.connections if link.open], [], "no connection is left open")
        left = [call for call in self.network.getDelayedCalls() if call.func.__name__ != "_run_out"]
        self.assertEqual(left, [], "no timer is left")


def settled(number: int, verdict: str, text: str, *to: str) -> tuple[Any, ...]:
    """The call that tells one outcome for all recipients of a message."""
    return ("settle", number, [(verdict, list(to or ("user@example.com",)), text)])


def mailbox(text: str) -> Mailbox:
    return parse_mailbox(text)
