"""LMTP: LHLO, and after the message a reply for each recipient who was accepted."""

from typing import Any

from tests.delivery.case import BOUNCED, DELIVERED, POSTPONED, SessionCase, message
from tests.delivery.scripted import CHUNKING, EXTENSIONS, HANG_UP, LOCAL, SILENCE, THEN_HANG_UP

A, B, C = (f"{name}@example.com" for name in "abc")
ONE_BY_ONE = {**LOCAL, "LHLO": "250 mx.example.com"}
BOTH: tuple[dict[str, Any], ...] = (LOCAL, ONE_BY_ONE)
INTERNAL = "KumoMTA internal: "
PERHAPS = "; the end of the message had been sent: it may have been delivered, and will be sent again"
OK = "250 2.1.5 Ok"


class LmtpCase(SessionCase):
    def told(self, *to: str, **changes: Any) -> list[tuple[str, list[str], str]]:
        """What became of one message to these."""
        calls = self.deliver(self.supply(message(1, *to), use_lmtp=True, **changes))
        (found,) = [call[2] for call in calls if call[0] == "settle"]
        self.assertEqual(sorted(who for _, group, _ in found for who in group), sorted(to), "each recipient is named once")
        return list(found)


class LmtpTests(LmtpCase):
    """RFC 2033."""

    def test_it_greets_with_lhlo_and_is_called_lmtp_in_records(self) -> None:
        mx = self.mx(LOCAL)
        supply = self.supply(use_lmtp=True)
        self.deliver(supply)
        self.assertEqual(mx.heard[0], "LHLO here.example.net")
        self.assertEqual(supply.attempts[0].delivery_protocol, "LMTP")

    def test_records_of_an_attempt_that_reached_nobody_say_so_too(self) -> None:
        supply = self.supply(use_lmtp=True)
        self.deliver(supply)
        self.assertEqual(supply.attempts[0].delivery_protocol, "LMTP")

    def test_each_recipient_gets_the_reply_that_is_about_it(self) -> None:
        for answers in BOTH:
            self.mx(answers, **{".": ["250 2.0.0 first", "452 4.2.2 full", "554 5.7.1 third"]})
            self.assertEqual(
                self.told(A, B, C),
                [(DELIVERED, [A], "250 2.0.0 first"), (POSTPONED, [B], "452 4.2.2 full"), (BOUNCED, [C], "554 5.7.1 third")],
            )
            self.anew()

    def test_whom_the_peer_refused_has_no_reply_among_those_to_the_message(self) -> None:
        for answers in BOTH:
            self.mx(answers, RCPT=[OK, "550 5.1.1 nobody", OK], **{".": ["250 2.0.0 for a", "451 4.3.0 for c"]})
            self.assertEqual(
                self.told(A, B, C),
                [(DELIVERED, [A], "250 2.0.0 for a"), (BOUNCED, [B], "550 5.1.1 nobody"), (POSTPONED, [C], "451 4.3.0 for c")],
            )
            self.anew()

    def test_all_may_be_well_with_different_words(self) -> None:
        self.mx(LOCAL, **{".": ["250 one", "250 two"]})
        self.assertEqual(self.told(A, B), [(DELIVERED, [A], "250 one"), (DELIVERED, [B], "250 two")])

    def test_a_connection_serves_many_messages(self) -> None:
        for answers in BOTH:
            mx = self.mx(answers)
            supply = self.supply(message(1, A, B), message(2, A), message(3, A, B, C), use_lmtp=True)
            calls = self.deliver(supply)
            self.assertEqual([call[2][0][0] for call in calls[1:]], [DELIVERED] * 3)
            self.assertEqual((len(mx.connections), len(mx.taken), mx.heard.count("RSET")), (1, 6, 2))
            self.anew()

    def test_a_clean_transaction_needs_no_rset_where_the_path_wants_none(self) -> None:
        mx = self.mx(LOCAL, **{".": ["250 Ok", "250 Ok", "451 no", "250 Ok"]})
        self.deliver(self.supply(*(message(number, A, B) for number in (1, 2, 3)), use_lmtp=True, enable_rset=False))
        self.assertEqual([line.partition(" ")[0] for line in mx.heard].count("RSET"), 1, "after the one that was refused in part")

    def test_data_refused_is_the_answer_for_all_who_were_accepted(self) -> None:
        for answers in BOTH:
            self.mx(answers, RCPT=[OK, "550 5.1.1 nobody"], DATA="451 4.3.0 not now")
            self.assertEqual(self.told(A, B), [(POSTPONED, [A], "451 4.3.0 not now"), (BOUNCED, [B], "550 5.1.1 nobody")])
            self.anew()

    def test_nobody_accepted_and_data_taken_all_the_same_ends_the_connection(self) -> None:
        mx = self.mx(LOCAL, RCPT="550 5.1.1 nobody")
        self.assertEqual(self.told(A, B), [(BOUNCED, [who], "550 5.1.1 nobody") for who in (A, B)])
        self.assertEqual((mx.bodies, mx.connections[0].aborted), ([], True))

    def test_chunks_are_not_used(self) -> None:
        mx = self.mx(LOCAL, LHLO=CHUNKING["EHLO"])
        self.deliver(self.supply(message(1, content=b"x" * 70000), use_lmtp=True))
        self.assertIn("DATA", mx.heard)


class LmtpBreaksTests(LmtpCase):
    """The replies to the message do not all come."""

    def test_those_that_came_stand_and_the_rest_may_have_been_delivered(self) -> None:
        failed = f"400 {INTERNAL}failed to send message: "
        for how, text in (
            (HANG_UP, f"{failed}connection closed by the peer{PERHAPS}"),
            ("garbage", f"{failed}not a reply: 'garbage'{PERHAPS}"),
        ):
            for answers in BOTH:
                self.mx(answers, **{".": ["250 2.0.0 first", how]})
                self.assertEqual(self.told(A, B, C), [(DELIVERED, [A], "250 2.0.0 first"), (POSTPONED, [B, C], text)])
                self.anew()

    def test_a_421_among_them_is_about_one_and_the_others_may_have_been_delivered(self) -> None:
        closed = f"400 {INTERNAL}failed to send message: connection closed by the peer{PERHAPS}"
        self.mx(LOCAL, **{".": ["250 2.0.0 first", f"421 4.3.2 closing{THEN_HANG_UP}"]})
        self.assertEqual(
            self.told(A, B, C),
            [(DELIVERED, [A], "250 2.0.0 first"), (POSTPONED, [B], "421 4.3.2 closing"), (POSTPONED, [C], closed)],
        )

    def test_each_reply_has_its_own_time(self) -> None:
        mx = self.mx(LOCAL, **{".": SILENCE})
        supply = self.supply(message(1, A, B), use_lmtp=True, data_dot_timeout=30.0)
        ended = self.start(supply)
        for said in (b"250 one\r\n", b"250 two\r\n"):
            self.network.wait(29.0)
            mx.connections[0].send(said)
        calls = self.finish(supply, ended)
        self.assertEqual(calls[1], ("settle", 1, [(DELIVERED, [A], "250 one"), (DELIVERED, [B], "250 two")]))

    def test_silence_after_some_of_them(self) -> None:
        self.mx(LOCAL, **{".": ["250 one", SILENCE]})
        (first, second) = self.told(A, B, data_dot_timeout=30.0)
        self.assertEqual(first, (DELIVERED, [A], "250 one"))
        self.assertEqual(second[:2], (POSTPONED, [B]))
        self.assertTrue(second[2].startswith(f"421 4.4.2 {INTERNAL}"), second)
        self.assertTrue(second[2].endswith(f"Timed Out waiting 30s for response to .{PERHAPS}"), second)

    def test_a_reply_too_many_answers_nothing_that_comes_next(self) -> None:
        self.mx(LOCAL, **{".": ["250 one\r\n250 two", "250 three"]})
        supply = self.supply(message(1, A), message(2, A), use_lmtp=True)
        self.assertEqual(self.deliver(supply), [("connected",), ("settle", 1, [(DELIVERED, [A], "250 one")])])

    def test_batches_follow_each_other(self) -> None:
        mx = self.mx({**LOCAL, "LHLO": EXTENSIONS})
        self.assertEqual(
            self.told(A, B, C, max_recipients_per_batch=2),
            [(DELIVERED, [A, B], "250 2.0.0 Ok: queued"), (DELIVERED, [C], "250 2.0.0 Ok: queued")],
        )
        self.assertEqual([to for to, _ in mx.taken], [[A], [B], [C]])
