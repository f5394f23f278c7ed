"""What follows for each recipient from what was heard of a transaction."""

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.delivery.batch import Batch, conclude
from kumotwist.mail.address import Mailbox, parse_mailbox
from kumotwist.mail.reply import reply

A, B, C = (parse_mailbox(f"{name}@example.com") for name in "abc")
FAULT = "400 connection lost"


def batch(recipients: Sequence[Mailbox], *heard: str, fault: str | None = None, rset: bool = False) -> Batch:
    found = Batch(recipients, rset=rset)
    found.hear([reply(one) for one in heard])
    found.fault = None if fault is None else reply(fault)
    return found


def concluded(found: Batch, *retried: Mailbox) -> tuple[list[str], list[str]]:
    """As `a delivered 250 text`, and who are too many."""
    decided, too_many = conclude(found, retried)
    return [f"{who.local} {verdict.value} {why.single_line}" for verdict, who, why in decided], [who.local for who, _ in too_many]


class ConcludeTests(SynchronousTestCase):
    """Every way a transaction can go."""

    def check(self, found: Batch, *expected: str, too_many: str = "", retried: Sequence[Mailbox] = ()) -> None:
        self.assertEqual(concluded(found, *retried), (list(expected), list(too_many)))

    def test_all_is_well(self) -> None:
        self.check(batch([A], "250 s", "250 r", "354 d", "250 end"), "a delivered 250 end")
        self.check(
            batch([A, B], "250 0", "250 s", "250 r", "251 r", "354 d", "250 end", rset=True),
            "a delivered 250 end",
            "b delivered 250 end",
        )

    def test_a_refused_recipient_has_its_own_reply_whatever_becomes_of_the_others(self) -> None:
        for end, told in (("250 end", "delivered"), ("451 end", "postponed"), ("554 end", "bounced")):
            self.check(batch([A, B], "250 s", "550 no", "250 r", "354 d", end), "a bounced 550 no", f"b {told} {end}")
        self.check(batch([A, B], "250 s", "550 no", "250 r", "451 d"), "a bounced 550 no", "b postponed 451 d")

    def test_a_refused_sender_is_the_answer_for_all(self) -> None:
        for answer, told in (("450 s", "postponed"), ("550 s", "bounced"), ("503 s", "postponed"), ("421 s", "postponed")):
            expected = [f"a {told} {answer}", f"b {told} {answer}"]
            self.check(batch([A, B], answer), *expected)
            self.check(batch([A, B], answer, "503 r", "503 r", "503 d"), *expected)
            self.check(batch([A, B], answer, "250 r", "250 r", "354 d", "250 empty"), *expected)
            self.check(batch([A, B], answer, fault=FAULT), *expected)

    def test_a_refused_rset_postpones_all(self) -> None:
        self.check(batch([A], "502 what?", "250 s", "250 r", "354 d", rset=True), "a postponed 502 what?")

    def test_recipients_who_are_all_refused_keep_their_replies_though_data_was_taken(self) -> None:
        for rest in ((), ("554 no valid recipients",), ("354 d",), ("354 d", "250 empty")):
            self.check(batch([A, B], "250 s", "550 no", "451 later", *rest), "a bounced 550 no", "b postponed 451 later")

    def test_data_answered_with_success_is_no_delivery(self) -> None:
        self.check(batch([A], "250 s", "250 r", "250 d"), "a postponed 250 d")

    def test_where_the_connection_breaks_what_was_said_stands_and_the_rest_is_postponed(self) -> None:
        for heard, expected in (
            ((), ("a postponed 400 connection lost", "b postponed 400 connection lost")),
            (("250 s",), ("a postponed 400 connection lost", "b postponed 400 connection lost")),
            (("250 s", "550 no"), ("a bounced 550 no", "b postponed 400 connection lost")),
            (("250 s", "250 r", "550 no"), ("a postponed 400 connection lost", "b bounced 550 no")),
            (("250 s", "250 r", "250 r", "354 d"), ("a postponed 400 connection lost", "b postponed 400 connection lost")),
            (("250 s", "250 r", "421 bye"), ("a postponed 421 bye", "b postponed 421 bye")),
            (("250 s", "250 r", "250 r", "354 d", "250 end"), ("a delivered 250 end", "b delivered 250 end")),
            (("250 s", "250 r", "250 r", "354 d", "554 end"), ("a bounced 554 end", "b bounced 554 end")),
        ):
            self.check(batch([A, B], *heard, fault=FAULT), *expected)

    def test_too_many_recipients_go_again_once_another_was_accepted(self) -> None:
        for told in ("452 4.5.3 too many", "452 too many", "552 too many", "550 4.5.3 too many"):
            self.check(batch([A, B], "250 s", "250 r", told, "354 d", "250 end"), "a delivered 250 end", too_many="b")

    def test_nobody_accepted_is_not_too_many(self) -> None:
        self.check(batch([A, B], "250 s", "550 no", "452 full"), "a bounced 550 no", "b postponed 452 full")
        self.check(batch([A, B], "250 s", "550 no", "552 full"), "a bounced 550 no", "b postponed 552 full")

    def test_the_first_recipient_is_never_too_many(self) -> None:
        self.check(batch([A, B], "250 s", "452 full", "250 r", "354 d", "250 end"), "a postponed 452 full", "b delivered 250 end")
        self.check(batch([A], "250 s", "552 full"), "a bounced 552 full")

    def test_a_bare_452_is_believed_the_second_time_and_a_clear_one_never(self) -> None:
        bare = batch([A, B], "250 s", "250 r", "452 full", "354 d", "250 end")
        self.check(bare, "a delivered 250 end", "b postponed 452 full", retried=[B])
        clear = batch([A, B], "250 s", "250 r", "452 4.5.3 too many", "354 d", "250 end")
        self.check(clear, "a delivered 250 end", too_many="b", retried=[B])

    def test_the_class_of_a_bare_452_or_552_settles_what_it_means(self) -> None:
        table = {
            ("452 x", "TooManyRecipients"): ("again", "again"),
            ("552 x", "TooManyRecipients"): ("again", "again"),
            ("452 x", "QuotaIssues"): ("postponed", "postponed"),
            ("552 x", "QuotaIssues"): ("bounced", "bounced"),
            ("452 x", "Uncategorized"): ("again", "postponed"),
            ("552 x", "MyOwnClass"): ("again", "postponed"),
            ("552 5.2.2 x", "TooManyRecipients"): ("bounced", "bounced"),
        }
        for (told, label), expected in table.items():
            found = batch([A, B], "250 s", "250 r", told, "354 d", "250 end")
            for retried, became in zip(([], [B]), expected, strict=True):
                decided, too_many = conclude(found, retried, lambda line, label=label: label)  # type: ignore[misc]
                last = "again" if too_many else decided[-1][0].value
                self.assertEqual(last, became, (told, label, retried))

    def test_nothing_is_concluded_from_nothing(self) -> None:
        with self.assertRaises(RuntimeError):
            conclude(batch([A], "250 s", "250 r", "354 d"))


class BatchTests(SynchronousTestCase):
    """What is asked of a transaction on its way."""

    def test_a_message_is_sent_where_there_is_a_sender_and_a_recipient(self) -> None:
        for heard, ready, anybody in (
            (("250 s", "250 r", "354 d"), True, True),
            (("250 s", "550 r", "354 d"), True, False),
            (("550 s", "250 r", "354 d"), True, False),
            (("250 s", "250 r", "451 d"), False, True),
            (("250 s", "250 r"), False, True),
            (("250 s",), False, False),
        ):
            found = batch([A], *heard)
            self.assertEqual((found.peer_is_ready, found.anybody), (ready, anybody), heard)

    def test_the_connection_ends_with_a_421_a_break_or_words_out_of_place(self) -> None:
        for heard, fault, last_word in (
            (("250 s", "250 r", "354 d", "250 end"), None, None),
            (("250 s", "550 r", "451 d"), None, None),
            (("250 s", "421 r"), None, "421 r"),
            (("250 s", "421 r"), FAULT, "421 r"),
            (("250 s", "550 r"), FAULT, FAULT),
            (("250 s", "250 r", "250 d"), None, "250 d"),
            (("250 s", "250 r", "354 d", "354 end"), None, "354 end"),
        ):
            found = batch([A], *heard, fault=fault).last_word
            self.assertEqual(found, None if last_word is None else reply(last_word), heard)

    def test_only_a_message_that_was_taken_leaves_the_peer_as_it_was(self) -> None:
        for heard, complete in (
            (("250 s", "250 r", "354 d", "250 end"), True),
            (("250 s", "250 r", "354 d", "554 end"), False),
            (("250 s", "250 r", "354 d"), False),
            (("550 s",), False),
        ):
            self.assertIs(batch([A], *heard).complete, complete, heard)
