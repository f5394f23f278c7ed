"""Where a session goes when its connection is lost: with the next message, and with the one that was being sent."""

from collections.abc import Sequence
from typing import Any

from kumotwist.config.egress import ReconnectStrategy
from kumotwist.mail.disposition import Attempt, Outcome
from kumotwist.mail.message import Message
from tests.delivery.case import BOUNCED, DELIVERED, MX, MX2, POSTPONED, SessionCase, host, message, settled
from tests.delivery.scripted import CHUNKING, HANG_UP, MODERN, PLAIN, RESET, SILENCE, THEN_HANG_UP

QUEUED = "250 2.0.0 Ok: queued"
INTERNAL = "KumoMTA internal: "
FAILED = f"400 {INTERNAL}failed to connect to any candidate hosts: "
SAME, NEXT, END = ReconnectStrategy.RECONNECT_SAME_HOST, ReconnectStrategy.CONNECT_NEXT_HOST, ReconnectStrategy.TERMINATE_SESSION
CLOSED = "connection closed by the peer"
LEAVES_AFTER = f"{QUEUED}{THEN_HANG_UP}"


class TwoHosts(SessionCase):
    def two(self, **changes: Any) -> Any:
        return self.path(host("mx1.example.com", MX), host("mx2.example.com", MX2), **changes)

    def went(self) -> list[str]:
        return [attempt[0] for attempt in self.network.attempts]


class StrategyTests(TwoHosts):
    """`reconnect_strategy`: the peer left between messages."""

    def run_with(self, strategy: ReconnectStrategy, **answers: Any) -> list[Any]:
        self.mx(MODERN, MX, **answers)
        self.mx(MODERN, MX2)
        supply = self.supply(message(1), message(2), message(3), path=self.two(reconnect_strategy=strategy))
        return self.deliver(supply)

    def test_a_peer_that_leaves_after_each_message(self) -> None:
        one, two, three = (settled(number, DELIVERED, QUEUED) for number in (1, 2, 3))
        for strategy, went, calls in (
            (NEXT, [MX, MX2], [("connected",), one, ("connected",), two, three]),
            (SAME, [MX, MX, MX], [("connected",), one, ("connected",), two, ("connected",), three]),
            (END, [MX], [("connected",), one, ("give_back", 2, "PeerClosedConnection", 0.0)]),
        ):
            self.assertEqual(self.run_with(strategy, **{".": LEAVES_AFTER}), calls, strategy)
            self.assertEqual(self.went(), went, strategy)
            self.anew()

    def test_a_peer_that_turns_out_to_have_left_as_the_next_message_begins(self) -> None:
        for strategy, went, delivered in ((NEXT, [MX, MX2], [1, 2, 3]), (SAME, [MX, MX], [1, 2, 3])):
            calls = self.run_with(strategy, RSET=[HANG_UP, "250 Ok"])
            self.assertEqual([call[1] for call in calls if call[0] == "settle"], delivered, strategy)
            self.assertEqual(self.went(), went, strategy)
            self.anew()
        calls = self.run_with(END, RSET=HANG_UP)
        self.assertEqual(calls[-1], ("give_back", 2, "PeerClosedConnection", 0.0))
        self.assertEqual(self.went(), [MX])

    def test_a_421_ends_the_session_or_leads_to_the_other_or_the_same_host(self) -> None:
        busy = f"421 4.3.2 busy{THEN_HANG_UP}"
        for strategy, went in ((NEXT, [MX, MX2]), (SAME, [MX, MX]), (END, [MX])):
            calls = self.run_with(strategy, MAIL=[busy, "250 Ok"])
            self.assertEqual(calls[1], settled(1, POSTPONED, "421 4.3.2 busy"))
            self.assertEqual(self.went(), went, strategy)
            self.anew()

    def test_the_same_host_is_not_gone_to_for_ever(self) -> None:
        self.mx(MODERN, MX, MAIL=HANG_UP)
        supply = self.supply(*(message(number) for number in range(1, 6)), reconnect_strategy=SAME)
        calls = self.deliver(supply)
        self.assertEqual([call[0] for call in calls], ["connected", "settle"] * 5, "each costs its message an attempt")

    def test_the_same_host_that_does_not_answer_any_more_is_followed_by_the_next(self) -> None:
        self.mx(MODERN, MX, banner=["220 mx", "554 no more"], **{".": LEAVES_AFTER})
        self.mx(MODERN, MX2)
        supply = self.supply(message(1), message(2), path=self.two(reconnect_strategy=SAME))
        self.assertEqual(self.deliver(supply)[-1], settled(2, DELIVERED, QUEUED))
        self.assertEqual(self.went(), [MX, MX, MX2])


class NextHostTests(TwoHosts):
    """`try_next_host_on_transport_error`: the same message goes to the next host at once, told of and uncounted."""

    def setUp(self) -> None:
        super().setUp()
        self.told: list[tuple[str | None, list[tuple[str, list[str], str]], list[str]]] = []

    def went_on(self, message: Message, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        told = [(one.verdict.value, [to.email for to in one.recipients], one.reply.single_line) for one in outcomes]
        assert attempt.peer is not None
        self.told.append((attempt.peer.addr, told, [to.email for to in message.recipients]))

    def send(self, *messages: Message, second: Any = MODERN, path: Any = None, **changes: Any) -> list[Any]:
        if second is not None:
            self.mx(second, MX2)
        path = path or self.two(
            **{"try_next_host_on_transport_error": True, "rcpt_to_timeout": 30.0, "data_dot_timeout": 30.0, **changes}
        )
        return self.deliver(self.supply(*(messages or (message(),)), path=path), went_on=self.went_on)

    def test_each_error_of_the_transport_before_the_end_of_the_message_leads_to_the_next_host(self) -> None:
        failed = f"400 {INTERNAL}failed to send message: "
        lost = "connection lost: Connection to the other side was lost in a non-clean fashion."
        timed_out = (
            f"421 4.4.2 {INTERNAL}failed to send message to source-1->mx.example.com@smtp_client mx1.example.com./192.0.2.1:25: "
            "Timed Out waiting 30s for response to RCPT TO:<user@example.com>"
        )
        for answers in (PLAIN, MODERN, CHUNKING):
            for stage in ("MAIL", "RCPT", "DATA"):
                for how, text in (
                    (HANG_UP, f"{failed}{CLOSED}"),
                    (RESET, f"{failed}{lost}"),
                    ("garbage", f"{failed}not a reply: 'garbage'"),
                    (f"421 4.3.2 busy{THEN_HANG_UP}", "421 4.3.2 busy"),
                    ("421 4.3.2 busy", "421 4.3.2 busy"),
                    *([(SILENCE, timed_out)] if stage == "RCPT" else ()),
                ):
                    self.mx(answers, MX, **{stage: how})
                    calls = self.send()
                    self.assertEqual(calls, [("connected",), ("connected",), settled(1, DELIVERED, QUEUED)], (stage, how))
                    self.assertEqual(self.told, [(MX, [(POSTPONED, ["user@example.com"], text)], ["user@example.com"])])
                    self.anew()

    def test_the_path_must_ask_for_it_and_somebody_be_told(self) -> None:
        self.mx(MODERN, MX, MAIL="421 4.3.2 busy")
        self.assertEqual(self.send(try_next_host_on_transport_error=False)[1], settled(1, POSTPONED, "421 4.3.2 busy"))
        self.anew()
        self.mx(MODERN, MX, MAIL="421 4.3.2 busy")
        self.mx(MODERN, MX2)
        supply = self.supply(path=self.two(try_next_host_on_transport_error=True))
        self.assertEqual(self.deliver(supply), [("connected",), settled(1, POSTPONED, "421 4.3.2 busy")])

    def test_after_the_end_of_the_message_a_second_copy_waits_for_its_turn(self) -> None:
        for how in (HANG_UP, RESET, SILENCE, "garbage"):
            for answers in (PLAIN, MODERN):
                self.mx(answers, MX, **{".": how})
                calls = self.send()
                self.assertEqual(len(calls), 2, how)
                self.assertIn("may have been delivered", calls[1][2][0][2])
                self.assertEqual((self.told, self.went()), ([], [MX]))
                self.anew()

    def test_but_a_421_to_it_says_that_there_was_no_first(self) -> None:
        self.mx(MODERN, MX, **{".": "421 4.3.2 busy"})
        self.assertEqual(self.send()[-1], settled(1, DELIVERED, QUEUED))
        self.assertEqual(len(self.told), 1)

    def test_a_refused_rset_leads_to_the_next_host(self) -> None:
        self.mx(MODERN, MX, RSET="502 5.5.1 what?")
        calls = self.send(message(1), message(2))
        self.assertEqual(calls, [("connected",), settled(1, DELIVERED, QUEUED), ("connected",), settled(2, DELIVERED, QUEUED)])
        self.assertEqual(self.told, [(MX, [(POSTPONED, ["user@example.com"], "502 5.5.1 what?")], ["user@example.com"])])

    def test_what_the_peer_said_of_the_message_is_no_error_of_the_transport(self) -> None:
        for stage, answer, verdict in (("MAIL", "451 no", POSTPONED), ("RCPT", "550 no", BOUNCED), (".", "452 no", POSTPONED)):
            self.mx(MODERN, MX, **{stage: answer})
            self.assertEqual(self.send()[1], settled(1, verdict, answer))
            self.assertEqual(self.went(), [MX])
            self.anew()

    def test_who_got_the_message_or_never_will_is_left_out(self) -> None:
        self.mx(MODERN, MX, RCPT=["250 Ok", "550 5.1.1 nobody", f"421 4.3.2 busy{THEN_HANG_UP}"])
        second = self.mx(MODERN, MX2)
        calls = self.send(message(1, "a@example.com", "b@example.com", "c@example.com"), second=None)
        expected = [
            (POSTPONED, ["a@example.com", "c@example.com"], "421 4.3.2 busy"),
            (BOUNCED, ["b@example.com"], "550 5.1.1 nobody"),
        ]
        self.assertEqual(self.told, [(MX, expected, ["a@example.com", "c@example.com"])])
        self.assertEqual(calls[-1], settled(1, DELIVERED, QUEUED, "a@example.com", "c@example.com"))
        self.assertEqual([to for to, _ in second.taken], [["a@example.com", "c@example.com"]])

    def test_batches_that_were_delivered_stay_delivered(self) -> None:
        self.mx(MODERN, MX, MAIL=["250 Ok", HANG_UP])
        calls = self.send(message(1, "a@example.com", "b@example.com"), max_recipients_per_batch=1)
        told = [
            (DELIVERED, ["a@example.com"], QUEUED),
            (POSTPONED, ["b@example.com"], f"400 {INTERNAL}failed to send message: {CLOSED}"),
        ]
        self.assertEqual(self.told, [(MX, told, ["b@example.com"])])
        self.assertEqual(calls[-1], settled(1, DELIVERED, QUEUED, "b@example.com"))

    def test_a_connection_that_ends_between_batches_is_an_error_of_the_transport(self) -> None:
        self.mx(PLAIN, MX, **{".": LEAVES_AFTER})
        calls = self.send(message(1, "a@example.com", "b@example.com"), max_recipients_per_batch=1)
        self.assertEqual([told[2] for told in self.told], [["b@example.com"]])
        self.assertEqual(calls[-1], settled(1, DELIVERED, QUEUED, "b@example.com"))

    def test_where_there_is_no_other_host_it_is_an_attempt(self) -> None:
        self.mx(MODERN, MX, MAIL="421 4.3.2 busy")
        path = self.path(try_next_host_on_transport_error=True)
        self.assertEqual(self.send(path=path, second=None)[1], settled(1, POSTPONED, "421 4.3.2 busy"))
        self.assertEqual(self.told, [])

    def test_where_the_other_host_does_not_answer_it_is_an_attempt_too(self) -> None:
        self.mx(MODERN, MX, MAIL="421 4.3.2 busy")
        calls = self.send(second=None)
        text = f"{FAILED}connect to mx2.example.com./192.0.2.2:25: An error occurred while connecting: Connection refused."
        self.assertEqual(calls, [("connected",), settled(1, POSTPONED, text)])
        self.assertEqual(len(self.told), 1)

    def test_every_host_may_be_busy(self) -> None:
        self.mx(MODERN, MX, MAIL="421 4.3.2 busy")
        calls = self.send(message(1), message(2), second={**MODERN, "MAIL": "421 4.7.0 busy too"})
        self.assertEqual(calls, [("connected",), ("connected",), settled(1, POSTPONED, "421 4.7.0 busy too")])
        self.assertEqual([told[0] for told in self.told], [MX])

    def test_the_strategy_does_not_lead_back_to_a_host_that_just_failed(self) -> None:
        self.mx(MODERN, MX, MAIL="421 4.3.2 busy")
        self.assertEqual(self.send(reconnect_strategy=SAME)[-1], settled(1, DELIVERED, QUEUED))
        self.assertEqual(self.went(), [MX, MX2])

    def test_a_strategy_that_ends_the_session_ends_it(self) -> None:
        self.mx(MODERN, MX, MAIL="421 4.3.2 busy")
        self.assertEqual(self.send(reconnect_strategy=END)[1], settled(1, POSTPONED, "421 4.3.2 busy"))
        self.assertEqual(self.went(), [MX])

    def test_a_message_that_waits_for_a_limit_on_its_way_goes_back(self) -> None:
        self.mx(MODERN, MX, MAIL="421 4.3.2 busy")
        self.mx(MODERN, MX2)
        supply = self.supply(path=self.two(try_next_host_on_transport_error=True))
        supply.connect_waits = [0.0, 60.0]
        calls = self.deliver(supply, went_on=self.went_on)
        self.assertEqual(calls[1], ("give_back", 1, "ConnectionRateThrottle", 60.0))

    def test_a_system_that_stops_does_not_begin_anew(self) -> None:
        self.mx(MODERN, MX, MAIL=SILENCE)
        self.mx(MODERN, MX2)
        supply = self.supply(path=self.two(try_next_host_on_transport_error=True))
        ended = self.start(supply, went_on=self.went_on)
        self.stop.give()
        self.network.hosts[MX].connections[0].send(b"421 4.3.2 busy\r\n")  # type: ignore[union-attr]
        self.network.run()
        self.assertEqual(self.finish(supply, ended)[1], settled(1, POSTPONED, "421 4.3.2 busy"))
        self.assertEqual(self.told, [])


class EagerTests(TwoHosts):
    """`aggressive_connection_opening`: the connection is there before the message is taken."""

    eager = {"aggressive_connection_opening": True}

    def test_the_message_is_taken_when_the_connection_is_there(self) -> None:
        mx = self.mx(MODERN, banner=SILENCE)
        supply = self.supply(message(1), message(2), **self.eager)
        ended = self.start(supply)
        self.assertEqual(supply.taken, [])
        mx.connections[0].stuck = False
        mx.connections[0].send(b"220 at last\r\n")
        self.network.run()
        calls = self.finish(supply, ended)
        self.assertEqual(calls, [("connected",), settled(1, DELIVERED, QUEUED), settled(2, DELIVERED, QUEUED)])

    def test_it_waits_for_one_if_another_session_was_faster(self) -> None:
        self.mx(MODERN)
        supply = self.supply(path=self.path(**self.eager))
        supply.ready.clear()
        ended = self.start(supply)
        self.assertTrue(supply.idle)
        supply.offer(message(7))
        self.network.run()
        self.assertEqual(self.finish(supply, ended), [("connected",), settled(7, DELIVERED, QUEUED)])

    def test_without_any_host_no_message_is_touched_and_the_failure_counts(self) -> None:
        supply = self.supply(path=self.two(**self.eager))
        self.assertEqual(self.deliver(supply), [("connection_failed",)])
        self.assertEqual(supply.taken, [])

    def test_the_next_host_is_tried(self) -> None:
        self.mx(MODERN, MX2)
        self.assertEqual(self.deliver(self.supply(path=self.two(**self.eager)))[-1], settled(1, DELIVERED, QUEUED))

    def test_what_holds_for_the_whole_path_is_said_of_it(self) -> None:
        supply = self.supply(path=self.path(host("none.example.com"), **self.eager))
        self.assertEqual([call[0] for call in self.deliver(supply)], ["dispose_all"])
        self.assertEqual(supply.taken, [])

    def test_limits_hold(self) -> None:
        supply = self.supply(**self.eager)
        supply.connect_waits = [60.0]
        self.assertEqual(self.deliver(supply), [("throttled", "ConnectionRateThrottle", 60.0)])
