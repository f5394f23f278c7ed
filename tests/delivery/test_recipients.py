"""Messages with several recipients: each gets the answer that is about it, once."""

from tests.delivery.case import BOUNCED, DELIVERED, POSTPONED, SessionCase, message
from tests.delivery.scripted import HANG_UP, MODERN, PLAIN, SILENCE, THEN_HANG_UP

A, B, C, D, E = (f"{name}@example.com" for name in "abcde")
QUEUED = "250 2.0.0 Ok: queued"
OK = "250 2.1.5 Ok"
TOO_MANY = "452 4.5.3 too many recipients"


class RecipientsCase(SessionCase):
    def outcomes(self, *to: str, **changes: object) -> list[tuple[str, list[str], str]]:
        """What became of one message to these."""
        supply = self.supply(message(1, *to), **changes)
        calls = [call for call in self.deliver(supply) if call[0] == "settle"]
        self.assertEqual(len(calls), 1, calls)
        told: list[tuple[str, list[str], str]] = calls[0][2]
        self.assertEqual(sorted(who for _, group, _ in told for who in group), sorted(to), "each recipient is named once")
        return told


class GroupTests(RecipientsCase):
    """Recipients with the same answer are told of together."""

    def test_all_accepted_share_the_answer_to_the_message(self) -> None:
        for answers in (PLAIN, MODERN):
            mx = self.mx(answers)
            self.assertEqual(self.outcomes(A, B, C), [(DELIVERED, [A, B, C], QUEUED)])
            self.assertEqual(len(mx.bodies), 1)
            self.anew()

    def test_each_answer_is_told_with_those_whom_it_is_about(self) -> None:
        for answers in (PLAIN, MODERN):
            self.mx(answers, RCPT=[OK, "550 5.1.1 no such user", "251 2.1.5 forwarded", "451 4.2.1 greylisted", OK])
            self.assertEqual(
                self.outcomes(A, B, C, D, E),
                [
                    (DELIVERED, [A, C, E], QUEUED),
                    (BOUNCED, [B], "550 5.1.1 no such user"),
                    (POSTPONED, [D], "451 4.2.1 greylisted"),
                ],
            )
            self.anew()

    def test_a_refused_message_does_not_change_what_a_recipient_was_told(self) -> None:
        self.mx(MODERN, RCPT=[OK, "550 5.1.1 no such user", OK], **{".": "451 4.3.0 not now"})
        self.assertEqual(
            self.outcomes(A, B, C),
            [(POSTPONED, [A, C], "451 4.3.0 not now"), (BOUNCED, [B], "550 5.1.1 no such user")],
        )

    def test_a_connection_that_breaks_leaves_the_refusals_standing(self) -> None:
        self.mx(MODERN, RCPT=["550 5.1.1 no such user", HANG_UP])
        self.assertEqual(
            self.outcomes(A, B, C),
            [
                (BOUNCED, [A], "550 5.1.1 no such user"),
                (POSTPONED, [B, C], "400 KumoMTA internal: failed to send message: connection closed by the peer"),
            ],
        )

    def test_421_to_a_recipient_is_the_answer_for_all_after_it(self) -> None:
        for answers in (PLAIN, MODERN):
            self.mx(answers, RCPT=[OK, f"421 4.7.0 slow down{THEN_HANG_UP}"])
            self.assertEqual(self.outcomes(A, B, C), [(POSTPONED, [A, B, C], "421 4.7.0 slow down")])
            self.anew()


class BatchTests(RecipientsCase):
    """More recipients than one transaction may have."""

    def transactions(self, heard: list[str]) -> list[str]:
        """The local parts of the recipients of each MAIL."""
        found: list[str] = []
        for line in heard:
            if line.startswith("MAIL"):
                found.append("")
            elif line.startswith("RCPT"):
                found[-1] += line.removeprefix("RCPT TO:<").partition("@")[0]
        return found

    def test_the_path_s_limit_makes_batches_on_the_same_connection(self) -> None:
        for answers in (PLAIN, MODERN):
            mx = self.mx(answers, **{".": [QUEUED, "550 5.7.1 enough", QUEUED]})
            told = self.outcomes(A, B, C, D, E, max_recipients_per_batch=2)
            self.assertEqual(told, [(DELIVERED, [A, B], QUEUED), (BOUNCED, [C, D], "550 5.7.1 enough"), (DELIVERED, [E], QUEUED)])
            self.assertEqual(self.transactions(mx.heard), ["ab", "cd", "e"])
            self.assertEqual(len(mx.connections), 1)
            self.anew()

    def test_whom_the_peer_finds_too_many_goes_again_at_once(self) -> None:
        for told in (TOO_MANY, "452 too many", "552 too many"):
            mx = self.mx(MODERN, RCPT=[OK, OK, told, told, OK])
            self.assertEqual(self.outcomes(A, B, C, D), [(DELIVERED, [A, B], QUEUED), (DELIVERED, [C, D], QUEUED)])
            self.assertEqual(self.transactions(mx.heard), ["abcd", "cd"])
            self.anew()

    def test_one_at_a_time_if_it_must_be(self) -> None:
        mx = self.mx(MODERN, RCPT=[OK, TOO_MANY, TOO_MANY, OK, TOO_MANY, OK])
        self.assertEqual(self.outcomes(A, B, C), [(DELIVERED, [who], QUEUED) for who in (A, B, C)])
        self.assertEqual(self.transactions(mx.heard), ["abc", "bc", "c"])

    def test_a_full_mailbox_is_not_tried_for_ever(self) -> None:
        full = "452 mailbox full"
        mx = self.mx(MODERN, RCPT=[OK, full, full, OK, full])
        self.assertEqual(
            self.outcomes(A, B, C, D, max_recipients_per_batch=3),
            [(DELIVERED, [A], QUEUED), (DELIVERED, [B], QUEUED), (POSTPONED, [C], full), (POSTPONED, [D], full)],
        )
        self.assertEqual(self.transactions(mx.heard), ["abc", "bcd", "d"])

    def test_nobody_is_too_many_where_nobody_was_taken(self) -> None:
        mx = self.mx(MODERN, RCPT=TOO_MANY)
        self.assertEqual(self.outcomes(A, B), [(POSTPONED, [A], TOO_MANY), (POSTPONED, [B], TOO_MANY)])
        self.assertEqual(self.transactions(mx.heard), ["ab"])

    def test_those_left_when_the_connection_ends_are_postponed(self) -> None:
        for end, last in (
            ("421 4.7.0 enough" + THEN_HANG_UP, "421 4.7.0 enough"),
            (HANG_UP, "400 KumoMTA internal: failed to send message: connection closed by the peer"),
        ):
            self.mx(MODERN, MAIL=["250 Ok", end])
            self.assertEqual(
                self.outcomes(A, B, C, max_recipients_per_batch=1),
                [(DELIVERED, [A], QUEUED), (POSTPONED, [B], last), (POSTPONED, [C], last)],
            )
            self.anew()

    def test_too_many_keep_their_reply_when_the_connection_ends(self) -> None:
        self.mx(MODERN, RCPT=[OK, TOO_MANY], **{".": f"{QUEUED}{THEN_HANG_UP}"})
        told = self.outcomes(A, B)
        self.assertEqual(told[0], (DELIVERED, [A], QUEUED))
        self.assertEqual(told[1][:2], (POSTPONED, [B]))

    def test_what_was_delivered_is_not_forgotten_when_the_session_is_cancelled(self) -> None:
        self.mx(MODERN, MAIL=["250 Ok", SILENCE])
        supply = self.supply(message(1, A, B, C), max_recipients_per_batch=1)
        ended = self.start(supply)
        ended.cancel()
        self.network.run()
        text = "400 KumoMTA internal: failed to send message: the session was ended"
        self.assertEqual(supply.calls, [("connected",), ("settle", 1, [(DELIVERED, [A], QUEUED), (POSTPONED, [B, C], text)])])
