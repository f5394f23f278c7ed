"""A receiving host that defers, refuses, is silent, talks garbage or goes away, at each stage of the dialogue."""

from collections.abc import Mapping
from typing import Any

from kumotwist.config.egress import EgressSource
from tests.delivery.case import BOUNCED, DELIVERED, POSTPONED, SessionCase, message, settled
from tests.delivery.scripted import EXTENSIONS, HANG_UP, MODERN, PLAIN, RESET, SILENCE, THEN_HANG_UP

BOTH: tuple[Mapping[str, Any], ...] = (PLAIN, MODERN)  # one by one, and pipelined
QUEUED = "250 2.0.0 Ok: queued"
INTERNAL = "KumoMTA internal: "
SITE = "source-1->mx.example.com@smtp_client"
WHERE = "mx.example.com./192.0.2.1:25"
PERHAPS = "; the end of the message had been sent: it may have been delivered, and will be sent again"

# the stage as scripts call it, what the reply's command is, how long we wait
TRANSACTION = (
    ("MAIL", "MAIL FROM:<sender@example.org>", 300),
    ("RCPT", "RCPT TO:<user@example.com>", 300),
    ("DATA", "DATA", 300),
    (".", ".", 300),
)


class AnswerTests(SessionCase):
    """The peer answers, though not as hoped."""

    def test_a_refusal_at_each_stage_decides_and_the_connection_is_kept(self) -> None:
        for answers in BOTH:
            for stage, command, _ in TRANSACTION:
                for answer, verdict in (
                    ("451 4.3.0 not now", POSTPONED),
                    ("450 not now", POSTPONED),
                    ("503 5.5.1 out of order", POSTPONED),
                    ("550 5.7.1 never", BOUNCED),
                    ("554 never", BOUNCED),
                    ("500-5.0.0 never\r\n500 5.0.0 ever", BOUNCED),
                ):
                    mx = self.mx(answers, **{stage: [answer, str(answers[stage])]})
                    supply = self.supply(message(1), message(2))
                    text = answer.replace("\r\n500 5.0.0", "").replace("500-", "500 ")
                    self.assertEqual(
                        self.deliver(supply),
                        [("connected",), settled(1, verdict, text), settled(2, DELIVERED, QUEUED)],
                        (stage, answer),
                    )
                    self.assertEqual(supply.outcomes[0].reply.command, command)
                    self.assertEqual(len(mx.connections), 1)
                    self.assertEqual(mx.heard[-1], "QUIT")
                    sent = [body for body in mx.bodies if body]
                    self.assertEqual(len(sent), 2 if stage == "." else 1, "what was refused is not sent")
                    self.anew()

    def test_421_at_each_stage_postpones_and_ends_the_connection(self) -> None:
        for answers in BOTH:
            for then in ("", THEN_HANG_UP):
                for stage, command, _ in TRANSACTION:
                    mx = self.mx(answers, **{stage: f"421 4.3.2 closing{then}"})
                    supply = self.supply(message(1), message(2))
                    expected = [("connected",), settled(1, POSTPONED, "421 4.3.2 closing")]
                    self.assertEqual(self.deliver(supply), expected, (stage, then))
                    self.assertEqual(supply.outcomes[0].reply.command, command)
                    self.assertEqual(len(mx.connections), 1)
                    self.assertEqual(len(supply.ready), 1, "the second message was not taken, as there was no way to send it")
                    self.anew()

    def test_data_answered_with_success_is_no_delivery(self) -> None:
        for answers in BOTH:
            mx = self.mx(answers, DATA="250 2.0.0 Ok")
            supply = self.supply()
            self.assertEqual(self.deliver(supply), [("connected",), settled(1, POSTPONED, "250 2.0.0 Ok")])
            self.assertEqual(mx.bodies, [])
            self.anew()

    def test_251_to_a_recipient_is_acceptance(self) -> None:
        for answers in BOTH:
            mx = self.mx(answers, RCPT="251 2.1.5 will forward")
            self.assertEqual(self.deliver(self.supply()), [("connected",), settled(1, DELIVERED, QUEUED)])
            self.assertEqual(len(mx.bodies), 1)
            self.anew()

    def test_data_taken_though_nobody_was_gets_an_empty_message_that_counts_for_nobody(self) -> None:
        for changes, verdict, text in (
            ({"MAIL": "550 5.7.1 not you"}, BOUNCED, "550 5.7.1 not you"),
            ({"RCPT": "450 4.2.1 not now"}, POSTPONED, "450 4.2.1 not now"),
            ({"RCPT": "550 5.1.1 no such user", ".": "250 2.0.0 queued"}, BOUNCED, "550 5.1.1 no such user"),
            ({"RCPT": "550 5.1.1 no such user", ".": SILENCE}, BOUNCED, "550 5.1.1 no such user"),
            ({"RCPT": "550 5.1.1 no such user", ".": HANG_UP}, BOUNCED, "550 5.1.1 no such user"),
            ({"RCPT": "550 5.1.1 no such user", ".": "garbage"}, BOUNCED, "550 5.1.1 no such user"),
        ):
            mx = self.mx(MODERN, **changes)
            self.assertEqual(self.deliver(self.supply()), [("connected",), settled(1, verdict, text)])
            self.assertEqual(mx.bodies, [b""])
            self.anew()

    def test_rset_comes_before_the_next_message_and_after_a_failed_one_always(self) -> None:
        for enable_rset, said, rsets in ((True, (), 1), (False, (), 0), (False, ("451 no",), 1), (True, ("451 no",), 1)):
            mx = self.mx(MODERN, RCPT=[*said, "250 Ok"])
            self.deliver(self.supply(message(1), message(2), enable_rset=enable_rset))
            self.assertEqual(mx.heard.count("RSET"), rsets, (enable_rset, said))
            self.anew()

    def test_a_refused_rset_says_nothing_of_the_message(self) -> None:
        for answers in BOTH:
            self.mx(answers, RSET="502 5.5.1 what?")
            supply = self.supply(message(1), message(2))
            self.assertEqual(
                self.deliver(supply),
                [("connected",), settled(1, DELIVERED, QUEUED), settled(2, POSTPONED, "502 5.5.1 what?")],
            )
            self.anew()

    def test_replies_of_many_lines_are_one_reply(self) -> None:
        self.mx(MODERN, **{".": "250-2.0.0 Ok\r\n250-2.0.0 it is\r\n250 2.0.0 queued"})
        supply = self.supply()
        self.deliver(supply)
        self.assertEqual(supply.outcomes[0].reply.text, "Ok\nit is\nqueued")


class FaultTests(SessionCase):
    """The peer does not answer, or with something that is no reply."""

    def told(self, text: str, stage: str) -> list[tuple[Any, ...]]:
        return [("connected",), settled(1, POSTPONED, f"{text}{PERHAPS if stage == '.' else ''}")]

    def test_silence_at_each_stage_lasts_as_long_as_the_path_allows(self) -> None:
        for answers in BOTH:
            for stage, command, _ in TRANSACTION:
                patience = {"mail_from_timeout": 11.0, "rcpt_to_timeout": 12.5, "data_timeout": 13.0, "data_dot_timeout": 14.0}
                seconds = dict(zip(("MAIL", "RCPT", "DATA", "."), patience.values(), strict=True))[stage]
                self.mx(answers, **{stage: SILENCE})
                supply = self.supply(**patience)
                ended = self.start(supply)
                self.network.wait(seconds - 0.01)
                self.assertEqual(supply.calls, [("connected",)], "not a moment too early")
                self.network.wait(0.02)
                text = f"421 4.4.2 {INTERNAL}failed to send message to {SITE} {WHERE}: "
                text += f"Timed Out waiting {seconds:g}s for response to {command}"
                self.assertEqual(supply.calls, self.told(text, stage))
                self.finish(supply, ended)
                self.anew()

    def test_each_reply_of_a_group_has_its_own_time(self) -> None:
        mx = self.mx(MODERN, MAIL=SILENCE)
        supply = self.supply(mail_from_timeout=10.0, rcpt_to_timeout=20.0, data_timeout=30.0, data_dot_timeout=40.0)
        ended = self.start(supply)
        said = (9.9, b"250 Ok\r\n"), (19.0, b"250-"), (0.9, b"Ok\r\n250 Ok\r\n"), (29.9, b"354 go\r\n"), (39.9, b"250 taken\r\n")
        for wait, say in said:
            self.network.wait(wait)
            self.assertEqual(supply.calls, [("connected",)])
            mx.connections[0].send(say)
        self.assertEqual(self.finish(supply, ended), [("connected",), settled(1, DELIVERED, "250 taken")])

    def test_half_a_reply_does_not_buy_time(self) -> None:
        mx = self.mx(MODERN, MAIL=SILENCE)
        supply = self.supply(mail_from_timeout=10.0)
        ended = self.start(supply)
        for _ in range(5):
            self.network.wait(2.0)
            mx.connections[0].send(b"250-still here\r\n")
        self.network.wait(0.1)
        self.assertEqual(len(supply.calls), 2)
        self.finish(supply, ended)

    def test_a_connection_that_ends_at_each_stage_postpones(self) -> None:
        for answers in BOTH:
            for how, words in (
                (HANG_UP, "connection closed by the peer"),
                (RESET, "connection lost: Connection to the other side was lost in a non-clean fashion."),
            ):
                for stage, _, _ in TRANSACTION:
                    self.mx(answers, **{stage: how})
                    supply = self.supply()
                    text = f"400 {INTERNAL}failed to send message: {words}"
                    self.assertEqual(self.deliver(supply), self.told(text, stage), (stage, how))
                    self.assertIsNone(supply.outcomes[0].reply.command)
                    self.anew()

    def test_garbage_at_each_stage_postpones_and_ends_the_connection(self) -> None:
        for answers in BOTH:
            for garbage in ("hello", "25", "250-one\r\n251 two", "999 nine", "250 Ok\n250 Ok", "x" * 5000):
                for stage, _, _ in TRANSACTION:
                    mx = self.mx(answers, **{stage: garbage})
                    supply = self.supply(message(1), message(2))
                    calls = self.deliver(supply)
                    self.assertEqual(len(calls), 2, (stage, garbage))
                    ((verdict, _, text),) = calls[1][2]
                    self.assertEqual(verdict, POSTPONED)
                    self.assertTrue(text.startswith(f"400 {INTERNAL}failed to send message: "), text)
                    self.assertEqual(text.endswith(PERHAPS), stage == ".", text)
                    self.assertTrue(mx.connections[0].aborted)
                    self.anew()

    def test_more_replies_than_commands_never_answer_what_comes_next(self) -> None:
        for stage in ("MAIL", "RCPT", "DATA"):
            first = MODERN[stage]
            mx = self.mx(MODERN, **{stage: f"{first}\r\n250 2.0.0 Ok: queued"})
            calls = self.deliver(self.supply())
            self.assertNotEqual(calls[1][2][0][0], DELIVERED, stage)
            self.assertEqual(mx.bodies, [], stage)
            self.anew()

    def test_a_421_after_the_last_reply_takes_nothing_back(self) -> None:
        self.mx(MODERN, **{".": f"{QUEUED}\r\n421 4.3.2 and goodbye{THEN_HANG_UP}"})
        supply = self.supply(message(1), message(2))
        self.assertEqual(self.deliver(supply), [("connected",), settled(1, DELIVERED, QUEUED)])

    def test_an_answer_before_garbage_in_one_chunk_still_counts(self) -> None:
        self.mx(MODERN, **{".": f"{QUEUED}\r\ngarbage"})
        supply = self.supply(message(1), message(2))
        self.assertEqual(self.deliver(supply), [("connected",), settled(1, DELIVERED, QUEUED)])


class GreetingTests(SessionCase):
    """Before the first message nothing is said of any; the next host is tried."""

    def failed(self, supply: Any, text: str) -> None:
        self.assertEqual(
            self.deliver(supply),
            [settled(1, POSTPONED, f"400 {INTERNAL}failed to connect to any candidate hosts: {text}"), ("connection_failed",)],
        )
        (attempt,) = supply.attempts
        self.assertEqual((attempt.site, attempt.egress_source, attempt.peer), (SITE, "source-1", None))

    def test_a_host_that_does_not_greet_well_will_not_do(self) -> None:
        for stage, answer, text in (
            ("banner", "554 5.3.2 not you", f"{WHERE}: the greeting was answered 554 5.3.2 not you"),
            ("banner", "250 hello", f"{WHERE}: the greeting was answered 250 hello"),
            ("banner", "421 4.3.2 busy" + THEN_HANG_UP, f"{WHERE}: the greeting was answered 421 4.3.2 busy"),
            ("banner", HANG_UP, f"{WHERE}: connection closed by the peer"),
            ("banner", "SSH-2.0-OpenSSH", f"{WHERE}: not a reply: 'SSH-2.0-OpenSSH'"),
            ("EHLO", "502 5.5.1 what?", f"{WHERE}: EHLO here.example.net was answered 502 5.5.1 what?"),
            ("EHLO", "220 hello", f"{WHERE}: EHLO here.example.net was answered 220 hello"),
            ("EHLO", HANG_UP, f"{WHERE}: connection closed by the peer"),
        ):
            self.mx(PLAIN, **{stage: answer})
            self.failed(self.supply(message(1), message(2)), text)
            self.anew()

    def test_silence_before_the_first_message(self) -> None:
        for stage, changes, text in (
            ("banner", {"banner_timeout": 7.0}, "Timed Out waiting 7s for response to the greeting"),
            ("EHLO", {"ehlo_timeout": 8.0}, "Timed Out waiting 8s for response to EHLO here.example.net"),
        ):
            self.mx(PLAIN, **{stage: SILENCE})
            self.failed(self.supply(**changes), f"{WHERE}: {text}")
            self.anew()

    def test_words_before_they_are_asked_for_spoil_a_greeting(self) -> None:
        mx = self.mx(PLAIN, banner="220 hello\r\n250 mx.example.com")
        self.failed(self.supply(), f"{WHERE}: said without being asked: 250 mx.example.com")
        self.assertEqual(mx.heard, [])

    def test_the_name_for_ehlo_is_the_path_s_else_the_source_s_else_ours(self) -> None:
        for of_path, of_source, expected in (
            (None, None, "here.example.net"),
            (None, "source.example.org", "source.example.org"),
            ("path.example.org", "source.example.org", "path.example.org"),
        ):
            mx = self.mx()
            path = self.path(source=EgressSource(name="source-1", ehlo_domain=of_source), ehlo_domain=of_path)
            self.deliver(self.supply(path=path))
            self.assertEqual(mx.heard[0], f"EHLO {expected}")
            self.anew()


class OfferTests(SessionCase):
    """What the peer offered decides how it is spoken to."""

    def test_pipelining_needs_an_offer_and_our_consent(self) -> None:
        for answers, enable, writes in ((PLAIN, True, 3), (MODERN, False, 3), (MODERN, True, 1)):
            mx = self.mx(answers)
            self.deliver(self.supply(enable_pipelining=enable))
            self.assertEqual(len([write for write in mx.writes if write.startswith((b"MAIL", b"RCPT", b"DATA"))]), writes)
            self.anew()

    def test_mail_carries_what_the_message_needs(self) -> None:
        for content, sender, parameters in (
            (b"plain\r\n", "a@example.org", " SIZE=7"),
            (b"caf\xe9\r\n", "a@example.org", " SIZE=6 BODY=8BITMIME"),
            (b"plain\r\n", "m\xfcller@example.org", " SIZE=7 SMTPUTF8"),
        ):
            mx = self.mx(MODERN)
            self.deliver(self.supply(message(1, sender=sender, content=content)))
            self.assertEqual(mx.heard[1], f"MAIL FROM:<{sender}>{parameters}")
            self.anew()

    def test_what_the_peer_cannot_take_bounces_unsent_and_the_connection_serves_on(self) -> None:
        for ehlo, changes, code in (
            ("250-mx\r\n250 SIZE 5", {}, "552 5.3.4"),
            ("250 mx", {"content": b"caf\xe9\r\n"}, "554 5.6.3"),
            ("250 mx", {"sender": "m\xfcller@example.org"}, "554 5.6.7"),
        ):
            mx = self.mx(PLAIN, EHLO=ehlo)
            supply = self.supply(message(1, **changes), message(2, content=b"ok\r\n"))
            _, first, second = self.deliver(supply)
            self.assertEqual(first[2][0][0], BOUNCED)
            self.assertTrue(first[2][0][2].startswith(f"{code} {INTERNAL}"), first)
            self.assertEqual(second, settled(2, DELIVERED, QUEUED))
            self.assertEqual((len(mx.bodies), len(mx.connections)), (1, 1))
            self.assertIsNotNone(supply.attempts[0].peer)
            self.anew()

    def test_eight_bit_checks_can_be_ignored(self) -> None:
        mx = self.mx(PLAIN)
        supply = self.supply(message(1, sender="m\xfcller@example.org", content=b"caf\xe9\r\n"), ignore_8bit_checks=True)
        self.assertEqual(self.deliver(supply)[1], settled(1, DELIVERED, QUEUED))
        self.assertEqual(mx.heard[1], "MAIL FROM:<m\xfcller@example.org>")

    def test_dots_are_doubled_and_the_end_is_a_line(self) -> None:
        mx = self.mx(MODERN, EHLO=EXTENSIONS)
        self.deliver(self.supply(message(1, content=b".a\r\n..b\r\n.\r\nno end")))
        self.assertEqual(mx.writes[2], b"..a\r\n...b\r\n..\r\nno end\r\n.\r\n")
