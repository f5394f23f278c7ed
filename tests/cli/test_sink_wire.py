"""A client's dialogue with a sink: on a transport in memory, whole and byte by byte."""

from collections.abc import Iterator
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.sink_behaviour import Answer, Behaviour, Kind, Rule, Stage
from kumotwist.cli.sink_counts import UNKNOWN_DOMAIN
from kumotwist.cli.sink_record import Accepted
from kumotwist.cli.sink_wire import SinkFactory, SinkWire

DEFERRAL = b"451 4.7.1 Try again later\r\n"
REFUSAL = b"550 5.1.1 No such user\r\n"
BANNER = b"220 sink.example ESMTP sink\r\n"
ENVELOPE = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
GO_AHEAD = b"354 End data with <CR><LF>.<CR><LF>\r\n"
ENVELOPE_OK = b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n" + GO_AHEAD
TAKEN = b"250 2.0.0 Ok: discarded\r\n"


def rule(stage: Stage, kind: Kind = Kind.DEFERRED, reply: bytes = DEFERRAL, share: float = 100) -> Rule:
    return Rule(answers={stage: (Answer(kind, share, (reply,) if reply else ()),)})


class Dialogue:
    """A sink with one client.  taken: the messages that it gave away."""

    def __init__(self, behaviour: Behaviour, draws: Iterator[float] = iter(()), *, tls: Any = None, wanted: bool = True) -> None:  # noqa: B008 - an empty iterator has no state
        self.clock = Clock()
        self.taken: list[Accepted] = []
        self.factory = SinkFactory(
            behaviour,
            self.clock,
            lambda: next(draws, 0.0),
            hostname="sink.example",
            take=self.taken.append if wanted else None,
            tls=tls,
            max_message_size=1000,
        )
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.11", 40000), lenient=True)
        self.wire: SinkWire = self.factory.buildProtocol(None)
        self.wire.makeConnection(self.transport)

    def said(self) -> bytes:
        """What the sink said since the last time."""
        value: bytes = self.transport.value()
        self.transport.clear()
        return value

    def say(self, octets: bytes) -> bytes:
        self.wire.dataReceived(octets)
        return self.said()

    def greet(self) -> "Dialogue":
        self.say(b"EHLO client.example\r\n")
        return self

    @property
    def total(self) -> dict[str, int]:
        return {name: number for name, number in self.factory.counts.total().items() if number}


class AcceptanceTests(SynchronousTestCase):
    """A sink without rules takes everything."""

    maxDiff = None

    def setUp(self) -> None:
        self.dialogue = Dialogue(Behaviour())

    def test_the_banner_comes_first(self) -> None:
        self.assertEqual(self.dialogue.said(), BANNER)

    def test_ehlo_lists_what_is_offered(self) -> None:
        self.dialogue.said()
        self.assertEqual(
            self.dialogue.say(b"EHLO x.example\r\n"),
            b"250-sink.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n",
        )
        self.assertEqual(self.dialogue.say(b"HELO x.example\r\n"), b"250 sink.example\r\n")

    def test_a_pipelined_message_is_answered_in_two_writes(self) -> None:
        self.dialogue.greet()
        self.assertEqual(self.dialogue.say(ENVELOPE), ENVELOPE_OK)
        self.assertEqual(self.dialogue.say(b"Subject: x\r\n\r\nhello\r\n.\r\n"), TAKEN)
        self.assertEqual(self.dialogue.total, {"accepted": 1})

    def test_several_messages_in_one_chunk(self) -> None:
        self.dialogue.greet()
        whole = ENVELOPE + b"one\r\n.\r\n" + ENVELOPE + b"two\r\n.\r\nQUIT\r\n"
        self.assertEqual(self.dialogue.say(whole), 2 * (ENVELOPE_OK + TAKEN) + b"221 2.0.0 Bye\r\n")
        self.assertEqual([message.content for message in self.dialogue.taken], [b"one\r\n", b"two\r\n"])
        self.assertTrue(self.dialogue.transport.disconnecting)

    def test_every_cut_of_the_input_gives_the_same(self) -> None:
        whole = b"EHLO x\r\n" + ENVELOPE + b"..a\r\n.b\r\n\r\n.\r\n" + ENVELOPE + b".\r\nRSET\r\nQUIT\r\n"
        self.dialogue.said()
        expected = self.dialogue.say(whole)
        for size in range(1, len(whole)):
            other = Dialogue(Behaviour())
            other.said()
            said = b"".join(other.say(whole[at : at + size]) for at in range(0, len(whole), size))
            self.assertEqual(said, expected, size)
            self.assertEqual([message.content for message in other.taken], [b".a\r\nb\r\n\r\n", b""], size)
            self.assertEqual(other.factory.counts.octets, self.dialogue.factory.counts.octets, size)

    def test_octets_are_counted_as_received(self) -> None:
        for cut in (5, 1000):
            dialogue = Dialogue(Behaviour(), wanted=False).greet()
            whole = ENVELOPE + b"12345678\r\n.\r\n" + ENVELOPE + b".\r\n"
            for at in range(0, len(whole), cut):
                dialogue.say(whole[at : at + cut])
            self.assertEqual((dialogue.factory.counts.messages, dialogue.factory.counts.octets), (2, 10), cut)

    def test_only_crlf_dot_crlf_ends_a_message(self) -> None:
        self.dialogue.greet()
        self.dialogue.say(ENVELOPE)
        for octets in (b"a\n.\n", b"b\r.\r", b"c\n.\r\n", b"d\r\n.\n"):
            self.assertEqual(self.dialogue.say(octets), b"", octets)
        self.assertEqual(self.dialogue.say(b"e\r\n.\r\n"), TAKEN)

    def test_commands_may_be_in_any_case(self) -> None:
        self.dialogue.say(b"ehlo x\r\n")
        self.assertEqual(self.dialogue.say(b"mail from:<>\r\nrcpt to:<a@b>\r\ndata\r\n"), ENVELOPE_OK)

    def test_the_rest_of_the_commands(self) -> None:
        self.dialogue.greet()
        for command, reply in (
            (b"NOOP", b"250 2.0.0 Ok\r\n"),
            (b"RSET", b"250 2.0.0 Ok\r\n"),
            (b"VRFY root", b"252 2.5.2 Send some mail, I will take it\r\n"),
            (b"HELP", b"214 2.0.0 What is sent here is discarded\r\n"),
            (b"XYZZY", b"500 5.5.1 Unknown command\r\n"),
            (b"", b"500 5.5.1 Unknown command\r\n"),
        ):
            self.assertEqual(self.dialogue.say(command + b"\r\n"), reply, command)

    def test_what_is_out_of_order_or_malformed(self) -> None:
        for dialogue, command, reply in (
            ("", b"MAIL FROM:<a@b>", b"503 5.5.1 Bad sequence of commands\r\n"),
            ("greeted", b"RCPT TO:<a@b>", b"503 5.5.1 Bad sequence of commands\r\n"),
            ("greeted", b"DATA", b"503 5.5.1 Bad sequence of commands\r\n"),
            ("greeted", b"MAIL FROM: a@b", b"501 5.5.4 Syntax error in the address or its parameters\r\n"),
            ("greeted", b"MAIL TO:<a@b>", b"501 5.5.4 Syntax error in the address or its parameters\r\n"),
            ("greeted", b"EHLO", b"501 5.5.4 Syntax error in the address or its parameters\r\n"),
            ("mail", b"MAIL FROM:<a@b>", b"503 5.5.1 Bad sequence of commands\r\n"),
            ("mail", b"RCPT TO:a@b", b"501 5.5.4 Syntax error in the address or its parameters\r\n"),
            ("mail", b"RCPT FROM:<a@b>", b"501 5.5.4 Syntax error in the address or its parameters\r\n"),
            ("mail", b"DATA", b"554 5.5.1 No valid recipients\r\n"),
            ("greeted", b"MAIL FROM:<a@b> SIZE=1001", b"552 5.3.4 Message too big\r\n"),
            ("greeted", b"MAIL FROM:<a@b> SIZE=1000", b"250 2.1.0 Ok\r\n"),
        ):
            one = Dialogue(Behaviour())
            if dialogue:
                one.greet()
            if dialogue == "mail":
                one.say(b"MAIL FROM:<a@b>\r\n")
            one.said()
            self.assertEqual(one.say(command + b"\r\n"), reply, (dialogue, command))

    def test_a_message_above_the_offered_size_is_refused_after_its_end(self) -> None:
        self.dialogue.greet()
        self.dialogue.say(ENVELOPE)
        self.assertEqual(self.dialogue.say(b"x" * 1000 + b"\r\n.\r\n"), b"552 5.3.4 Message too big\r\n")
        self.assertEqual((self.dialogue.taken, self.dialogue.factory.counts.messages), ([], 0))
        self.assertEqual(self.dialogue.say(ENVELOPE), ENVELOPE_OK)

    def test_a_line_without_end_ends_the_connection(self) -> None:
        self.dialogue.said()
        self.assertEqual(self.dialogue.say(b"x" * 9000), b"500 5.5.6 Line too long\r\n")
        self.assertTrue(self.dialogue.transport.disconnecting)

    def test_what_is_given_away_is_the_whole_story(self) -> None:
        self.dialogue.clock.advance(10)
        self.dialogue.greet()
        self.dialogue.clock.advance(1)
        self.dialogue.say(
            b"MAIL FROM:<a@b.example> BODY=8BITMIME\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<\xc3\xbc@e.example>\r\nDATA\r\n"
        )
        self.dialogue.clock.advance(1)
        self.dialogue.say(b"..x\r\n")
        self.dialogue.say(b".\r\n")
        self.assertEqual(
            self.dialogue.taken,
            [
                Accepted(
                    client="127.0.0.11",
                    local="10.0.0.1",
                    ehlo="client.example",
                    tls=False,
                    sender="a@b.example",
                    recipients=("c@d.example", "ü@e.example"),
                    content=b".x\r\n",
                    connected=0.0,
                    began=11.0,
                    ended=12.0,
                )
            ],
        )


class CountTests(SynchronousTestCase):
    """What is counted, and for whom."""

    def test_recipients_count_by_domain_and_by_client(self) -> None:
        dialogue = Dialogue(Behaviour(local_parts={"no": rule(Stage.RCPT, Kind.REFUSED, REFUSAL)})).greet()
        dialogue.say(
            b"MAIL FROM:<>\r\nRCPT TO:<a@One.Example>\r\nRCPT TO:<b@one.example>\r\nRCPT TO:<no@two.example>\r\nDATA\r\n.\r\n"
        )
        counts = dialogue.factory.counts.as_json()
        empty = {"deferred": 0, "disconnected": 0}
        self.assertEqual(
            counts["domains"],
            {"one.example": {"accepted": 2, "refused": 0, **empty}, "two.example": {"accepted": 0, "refused": 1, **empty}},
        )
        self.assertEqual(
            counts["clients"],
            {"127.0.0.11": {"connections": 1, "greetings": {"client.example": 1}, "accepted": 2, "refused": 1, **empty}},
        )
        self.assertEqual((counts["connections"], counts["open"], counts["messages"]), (1, 1, 1))

    def test_a_lost_connection_is_no_longer_open(self) -> None:
        dialogue = Dialogue(Behaviour())
        dialogue.wire.connectionLost()
        self.assertEqual(dialogue.factory.counts.open, 0)

    def test_an_address_without_a_domain_or_with_a_bad_one_still_counts(self) -> None:
        dialogue = Dialogue(Behaviour()).greet()
        dialogue.say(b"MAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nRCPT TO:<a@-bad->\r\nDATA\r\n.\r\n")
        self.assertEqual(set(dialogue.factory.counts.domains), {"", "-bad-"})


class StageTests(SynchronousTestCase):
    """Refusals, deferrals and disconnections at each stage."""

    maxDiff = None

    def test_each_stage_before_a_recipient_is_known(self) -> None:
        for stage, expected in (
            (Stage.BANNER, DEFERRAL + b"503 5.5.1 Bad sequence of commands\r\n" * 2 + b"221 2.0.0 Bye\r\n"),
            (Stage.EHLO, BANNER + DEFERRAL + b"503 5.5.1 Bad sequence of commands\r\n221 2.0.0 Bye\r\n"),
            (Stage.MAIL, None),
        ):
            dialogue = Dialogue(Behaviour(default=rule(stage)))
            said = dialogue.said() + dialogue.say(b"EHLO x\r\nMAIL FROM:<a@b>\r\nQUIT\r\n")
            if expected is None:
                self.assertTrue(said.endswith(b"ENHANCEDSTATUSCODES\r\n" + DEFERRAL + b"221 2.0.0 Bye\r\n"))
            else:
                self.assertEqual(said, expected, stage)
            self.assertEqual(dialogue.factory.counts.domains[UNKNOWN_DOMAIN].deferred, 1, stage)

    def test_each_stage_after_a_recipient_is_known(self) -> None:
        no_recipients = b"554 5.5.1 No valid recipients\r\n"
        for stage, expected in (
            (Stage.RCPT, b"250 2.1.0 Ok\r\n" + REFUSAL + no_recipients),
            (Stage.DATA, b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n" + REFUSAL),
            (Stage.DOT, ENVELOPE_OK + REFUSAL),
        ):
            dialogue = Dialogue(Behaviour(domains={"d.example": rule(stage, Kind.REFUSED, REFUSAL)})).greet()
            said = dialogue.say(ENVELOPE)
            if stage is Stage.DOT:
                said += dialogue.say(b"x\r\n.\r\n")
            self.assertEqual(said, expected, stage)
            self.assertEqual(dialogue.total, {"refused": 1}, stage)
            self.assertEqual(dialogue.taken, [], stage)

    def test_the_session_goes_on_after_a_refusal_at_data(self) -> None:
        dialogue = Dialogue(Behaviour(domains={"d.example": rule(Stage.DATA)})).greet()
        dialogue.say(ENVELOPE)
        other = ENVELOPE.replace(b"d.example", b"e.example")
        self.assertEqual(dialogue.say(other), ENVELOPE_OK)

    def test_a_disconnection_says_nothing_at_any_stage(self) -> None:
        for stage in Stage:
            gone = rule(stage, Kind.DISCONNECTED, b"")
            dialogue = Dialogue(Behaviour(default=gone))
            dialogue.wire.dataReceived(b"EHLO x\r\n" + ENVELOPE)
            if stage is Stage.DOT:
                dialogue.wire.dataReceived(b"x\r\n.\r\n")
            said = dialogue.said()
            self.assertTrue(dialogue.transport.disconnecting, stage)
            self.assertEqual(said.count(b"250 2.1.0"), stage in (Stage.RCPT, Stage.DATA, Stage.DOT), stage)
            self.assertEqual(said.endswith(GO_AHEAD), stage is Stage.DOT, stage)
            self.assertEqual((dialogue.total, dialogue.taken), ({"disconnected": 1}, []), stage)

    def test_nothing_is_answered_after_the_end(self) -> None:
        dialogue = Dialogue(Behaviour(default=rule(Stage.MAIL, Kind.DISCONNECTED, b""))).greet()
        dialogue.say(ENVELOPE)
        self.assertEqual(dialogue.say(b"NOOP\r\n"), b"")

    def test_421_ends_the_connection(self) -> None:
        busy = b"421 4.7.0 Try again later\r\n"
        dialogue = Dialogue(Behaviour(domains={"d.example": rule(Stage.RCPT, Kind.DEFERRED, busy)})).greet()
        self.assertEqual(dialogue.say(ENVELOPE), b"250 2.1.0 Ok\r\n" + busy)
        self.assertTrue(dialogue.transport.disconnecting)

    def test_shares_fall_by_the_draw(self) -> None:
        dialogue = Dialogue(Behaviour(default=rule(Stage.RCPT, share=50)), iter([0.49, 0.5, 0.1])).greet()
        said = dialogue.say(b"MAIL FROM:<>\r\n" + b"RCPT TO:<a@b>\r\n" * 3)
        self.assertEqual(said, b"250 2.1.0 Ok\r\n" + DEFERRAL + b"250 2.1.5 Ok\r\n" + DEFERRAL)

    def test_one_recipient_s_rule_at_the_dot_answers_for_all(self) -> None:
        dialogue = Dialogue(Behaviour(domains={"e.example": rule(Stage.DOT)})).greet()
        dialogue.say(b"MAIL FROM:<>\r\nRCPT TO:<a@d.example>\r\nRCPT TO:<a@e.example>\r\nDATA\r\n")
        self.assertEqual(dialogue.say(b"x\r\n.\r\n"), DEFERRAL)
        self.assertEqual(dialogue.total, {"deferred": 2})

    def test_a_rule_is_asked_once_for_all_its_recipients(self) -> None:
        draws = iter([0.9, 0.1])
        dialogue = Dialogue(Behaviour(domains={"d.example": rule(Stage.DOT, share=50)}), draws).greet()
        dialogue.say(b"MAIL FROM:<>\r\nRCPT TO:<a@d.example>\r\nRCPT TO:<b@d.example>\r\nDATA\r\n")
        self.assertEqual(dialogue.say(b"x\r\n.\r\n"), TAKEN)
        self.assertEqual(next(draws), 0.1)


class DelayTests(SynchronousTestCase):
    """Answers that are waited for."""

    def test_the_reply_to_the_dot_waits_and_nothing_overtakes_it(self) -> None:
        dialogue = Dialogue(Behaviour(domains={"d.example": Rule(delay=0.2)})).greet()
        self.assertEqual(dialogue.say(ENVELOPE), ENVELOPE_OK)
        self.assertEqual(dialogue.say(b"x\r\n.\r\nNOOP\r\n"), b"")
        self.assertEqual(dialogue.transport.producerState, "paused")
        self.assertEqual(dialogue.say(b"QUIT\r\n"), b"")
        dialogue.clock.advance(0.1)
        self.assertEqual(dialogue.said(), b"")
        dialogue.clock.advance(0.1)
        self.assertEqual(dialogue.said(), TAKEN + b"250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n")

    def test_what_was_answered_before_the_wait_is_said_before_it(self) -> None:
        dialogue = Dialogue(Behaviour(domains={"d.example": Rule(delay=1, delay_stage=Stage.RCPT)})).greet()
        self.assertEqual(dialogue.say(ENVELOPE), b"250 2.1.0 Ok\r\n")
        dialogue.clock.advance(1)
        self.assertEqual(dialogue.said(), b"250 2.1.5 Ok\r\n" + GO_AHEAD)
        self.assertEqual(dialogue.transport.producerState, "producing")

    def test_the_banner_can_wait(self) -> None:
        dialogue = Dialogue(Behaviour(default=Rule(delay=5, delay_stage=Stage.BANNER)))
        self.assertEqual(dialogue.say(b"NOOP\r\n"), b"")
        dialogue.clock.advance(5)
        self.assertEqual(dialogue.said(), BANNER + b"250 2.0.0 Ok\r\n")

    def test_a_disconnection_can_wait(self) -> None:
        gone = Rule(delay=1, delay_stage=Stage.RCPT, answers={Stage.RCPT: (Answer(Kind.DISCONNECTED, 100),)})
        dialogue = Dialogue(Behaviour(default=gone)).greet()
        dialogue.say(ENVELOPE)
        self.assertFalse(dialogue.transport.disconnecting)
        dialogue.clock.advance(1)
        self.assertTrue(dialogue.transport.disconnecting)

    def test_a_client_that_leaves_during_the_wait_leaves_no_timer(self) -> None:
        dialogue = Dialogue(Behaviour(default=Rule(delay=1))).greet()
        dialogue.say(ENVELOPE + b".\r\n")
        dialogue.wire.connectionLost()
        self.assertEqual(dialogue.clock.getDelayedCalls(), [])


class TlsTransport(StringTransport):
    """Notes that TLS began."""

    begun: Any = None

    def startTLS(self, options: Any) -> None:
        self.begun = options


class StarttlsTests(SynchronousTestCase):
    """RFC 3207."""

    def dialogue(self) -> Dialogue:
        dialogue = Dialogue(Behaviour(), tls="options")
        dialogue.transport = TlsTransport()
        dialogue.wire = dialogue.factory.buildProtocol(None)
        dialogue.wire.makeConnection(dialogue.transport)
        dialogue.said()
        return dialogue

    def test_it_is_offered_once(self) -> None:
        dialogue = self.dialogue()
        self.assertIn(b"250 STARTTLS\r\n", dialogue.say(b"EHLO x\r\n"))
        self.assertEqual(dialogue.say(b"STARTTLS\r\n"), b"220 2.0.0 Ready to start TLS\r\n")
        self.assertEqual(dialogue.transport.begun, "options")
        self.assertNotIn(b"STARTTLS", dialogue.say(b"EHLO x\r\n"))
        self.assertEqual(dialogue.say(b"STARTTLS\r\n"), b"503 5.5.1 Bad sequence of commands\r\n")

    def test_what_was_said_in_clear_is_forgotten(self) -> None:
        dialogue = self.dialogue()
        dialogue.say(b"EHLO x\r\nMAIL FROM:<a@b>\r\n")
        dialogue.say(b"STARTTLS\r\n")
        self.assertEqual(dialogue.say(b"RCPT TO:<a@b>\r\n"), b"503 5.5.1 Bad sequence of commands\r\n")
        self.assertEqual(dialogue.say(b"MAIL FROM:<a@b>\r\n"), b"503 5.5.1 Bad sequence of commands\r\n")

    def test_input_that_came_early_ends_the_connection(self) -> None:
        dialogue = self.dialogue()
        dialogue.say(b"EHLO x\r\n")
        dialogue.say(b"STARTTLS\r\nMAIL FROM:<a@b>\r\n")
        self.assertEqual((dialogue.transport.disconnecting, dialogue.transport.begun), (True, None))

    def test_without_a_certificate_it_is_not_there(self) -> None:
        dialogue = Dialogue(Behaviour()).greet()
        self.assertEqual(dialogue.say(b"STARTTLS\r\n"), b"503 5.5.1 Bad sequence of commands\r\n")
