"""Large messages to peers that offer CHUNKING go with BDAT."""

from typing import Any

from kumotwist.delivery.broken import BrokenOffers
from kumotwist.delivery.sending import CHUNKED
from kumotwist.delivery.wire import PIECE
from tests.delivery.case import BOUNCED, DELIVERED, POSTPONED, SessionCase, message, settled
from tests.delivery.scripted import CHUNKING, HANG_UP, MODERN, RESET, SILENCE, THEN_HANG_UP

QUEUED = "250 2.0.0 Ok: queued"
CHUNK_QUEUED = "250 2.0.0 Ok: chunk queued"
INTERNAL = "KumoMTA internal: "
PERHAPS = "; the end of the message had been sent: it may have been delivered, and will be sent again"
BIG = (b".dots " * 12 + b"\r\n") * (CHUNKED // 74 + 1)
ONE_BY_ONE = {**CHUNKING, "EHLO": "250-mx\r\n250 CHUNKING"}


class ChunkingTests(SessionCase):
    """One chunk, as it is."""

    def test_a_large_message_goes_in_one_chunk_without_doubled_dots(self) -> None:
        for answers in (CHUNKING, ONE_BY_ONE):
            mx = self.mx(answers)
            calls = self.deliver(self.supply(message(1, content=BIG), message(2, content=BIG)))
            self.assertEqual(calls, [("connected",), settled(1, DELIVERED, CHUNK_QUEUED), settled(2, DELIVERED, CHUNK_QUEUED)])
            self.assertEqual(mx.bodies, [BIG, BIG])
            self.assertEqual([line for line in mx.heard if line[:4] in ("DATA", "BDAT")], [f"BDAT {len(BIG)} LAST"] * 2)
            self.anew()

    def test_the_record_names_the_command(self) -> None:
        self.mx(CHUNKING)
        supply = self.supply(message(1, content=BIG))
        self.deliver(supply)
        self.assertEqual(supply.outcomes[0].reply.command, f"BDAT {len(BIG)} LAST")

    def test_the_envelope_is_one_write_and_the_chunk_waits_for_its_answers(self) -> None:
        mx = self.mx(CHUNKING)
        self.deliver(self.supply(message(1, "a@example.com", "b@example.com", content=BIG)))
        envelope, chunk = mx.writes[1:3]
        self.assertEqual([line[:4] for line in envelope.split(b"\r\n")], [b"MAIL", b"RCPT", b"RCPT", b""])
        self.assertEqual(chunk, b"BDAT %d LAST\r\n%b" % (len(BIG), BIG))

    def test_a_small_message_and_a_peer_without_the_offer_keep_to_data(self) -> None:
        for answers, content in ((CHUNKING, BIG[: CHUNKED - 1]), (MODERN, BIG)):
            mx = self.mx(answers)
            self.assertEqual(self.deliver(self.supply(message(1, content=content)))[1], settled(1, DELIVERED, QUEUED))
            self.assertIn("DATA", mx.heard)
            self.anew()

    def test_nobody_who_was_not_accepted_is_sent_anything(self) -> None:
        for answers in (CHUNKING, ONE_BY_ONE):
            for changes, verdict, text in (
                ({"MAIL": "550 5.7.1 not you"}, BOUNCED, "550 5.7.1 not you"),
                ({"RCPT": "550 5.1.1 no such user"}, BOUNCED, "550 5.1.1 no such user"),
                ({"RCPT": "451 4.2.1 later"}, POSTPONED, "451 4.2.1 later"),
                ({"RCPT": "421 4.3.2 closing"}, POSTPONED, "421 4.3.2 closing"),
            ):
                mx = self.mx(answers, **changes)
                self.assertEqual(self.deliver(self.supply(message(1, content=BIG)))[1], settled(1, verdict, text))
                self.assertEqual(mx.bodies, [])
                self.anew()

    def test_a_recipient_after_whom_the_peer_closes_gets_nothing_nor_do_the_others(self) -> None:
        mx = self.mx(CHUNKING, RCPT=["250 Ok", "421 4.3.2 closing"])
        supply = self.supply(message(1, "a@example.com", "b@example.com", content=BIG))
        told = settled(1, POSTPONED, "421 4.3.2 closing", "a@example.com", "b@example.com")
        self.assertEqual(self.deliver(supply)[1], told)
        self.assertEqual(mx.bodies, [])

    def test_refused_recipients_keep_their_replies(self) -> None:
        for answers in (CHUNKING, ONE_BY_ONE):
            mx = self.mx(answers, RCPT=["250 Ok", "550 5.1.1 no such user"])
            supply = self.supply(message(1, "a@example.com", "b@example.com", content=BIG))
            told = [(DELIVERED, ["a@example.com"], CHUNK_QUEUED), (BOUNCED, ["b@example.com"], "550 5.1.1 no such user")]
            self.assertEqual(self.deliver(supply)[1], ("settle", 1, told))
            self.assertEqual(mx.taken, [(["a@example.com"], BIG)])
            self.anew()

    def test_a_refusal_of_the_chunk_is_one_of_the_message_and_the_connection_serves_on(self) -> None:
        for answer, verdict in (("451 4.3.0 not now", POSTPONED), ("554 5.6.0 never", BOUNCED), ("552 5.3.4 big", BOUNCED)):
            mx = self.mx(CHUNKING, BDAT=[answer, CHUNK_QUEUED])
            supply = self.supply(message(1, content=BIG), message(2, content=BIG))
            self.assertEqual(
                self.deliver(supply), [("connected",), settled(1, verdict, answer), settled(2, DELIVERED, CHUNK_QUEUED)]
            )
            self.assertEqual((mx.heard.count("RSET"), len(mx.connections)), (1, 1))
            self.anew()

    def test_more_recipients_than_one_transaction_takes(self) -> None:
        mx = self.mx(CHUNKING, RCPT=["250 Ok", "452 4.5.3 too many", "250 Ok"])
        supply = self.supply(message(1, "a@example.com", "b@example.com", content=BIG))
        told = ("settle", 1, [(DELIVERED, [f"{who}@example.com"], CHUNK_QUEUED) for who in "ab"])
        self.assertEqual(self.deliver(supply)[1], told)
        self.assertEqual(mx.bodies, [BIG, BIG])

    def test_a_very_large_one_is_written_piece_by_piece(self) -> None:
        mx = self.mx(CHUNKING)
        content = b"x" * 998 + b"\r\n"
        content *= 5 * PIECE // len(content)
        self.assertEqual(self.deliver(self.supply(message(1, content=content)))[1], settled(1, DELIVERED, CHUNK_QUEUED))
        self.assertEqual(mx.bodies, [content])
        self.assertLessEqual(max(len(write) for write in mx.writes), PIECE)


class BrokenChunkingTests(SessionCase):
    """A peer that offers CHUNKING and cannot do it costs one attempt."""

    def retried(self, answer: str, text: str) -> None:
        broken = BrokenOffers()
        mx = self.mx(CHUNKING, BDAT=answer)
        calls = self.deliver(self.supply(message(1, content=BIG), **self.changes), broken=broken)
        self.assertEqual(calls, [("connected",), settled(1, POSTPONED, text)])
        self.assertEqual(self.deliver(self.supply(message(2, content=BIG)), broken=broken)[1], settled(2, DELIVERED, QUEUED))
        self.assertEqual([line.split()[0] for line in mx.heard if line[:4] in ("DATA", "BDAT")], ["BDAT", "DATA"])
        self.network.wait(3600)
        mx = self.mx(CHUNKING)
        self.assertEqual(self.deliver(self.supply(message(3, content=BIG)), broken=broken)[1], settled(3, DELIVERED, CHUNK_QUEUED))

    changes: dict[str, Any] = {}

    def test_a_command_that_it_does_not_know_bounces_nothing(self) -> None:
        for answer in ("500 5.5.1 what?", "502 5.5.1 not implemented", "503 5.5.1 DATA first", "504 no"):
            self.retried(answer, answer)
            self.anew()

    def test_a_connection_that_breaks_at_the_chunk(self) -> None:
        failed = f"400 {INTERNAL}failed to send message: "
        for answer, text in (
            (HANG_UP, f"{failed}connection closed by the peer{PERHAPS}"),
            (RESET, f"{failed}connection lost: Connection to the other side was lost in a non-clean fashion.{PERHAPS}"),
            ("garbage", f"{failed}not a reply: 'garbage'{PERHAPS}"),
        ):
            self.retried(answer, text)
            self.anew()

    def test_silence_after_the_chunk(self) -> None:
        self.changes = {"data_dot_timeout": 20.0}
        where = "source-1->mx.example.com@smtp_client mx.example.com./192.0.2.1:25"
        text = f"421 4.4.2 {INTERNAL}failed to send message to {where}: Timed Out waiting 20s for response to BDAT {len(BIG)} LAST"
        self.retried(SILENCE, text + PERHAPS)

    def test_a_busy_host_is_no_broken_one(self) -> None:
        broken = BrokenOffers()
        self.mx(CHUNKING, BDAT=[f"421 4.3.2 busy{THEN_HANG_UP}", CHUNK_QUEUED])
        first = self.deliver(self.supply(message(1, content=BIG)), broken=broken)
        self.assertEqual(first[1], settled(1, POSTPONED, "421 4.3.2 busy"))
        self.assertEqual(self.deliver(self.supply(message(2, content=BIG)), broken=broken)[1], settled(2, DELIVERED, CHUNK_QUEUED))
