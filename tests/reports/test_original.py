"""What a report's addresses and the quoted header tell of the original message."""

from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.mail.address import parse_mailbox
from kumotwist.reception.trace import received, received_start, supplemental
from kumotwist.reports.original import Original, original_of, recipient_of_verp

ANN = parse_mailbox("ann@example.net")
ID = "5d1fa2b09a3b11f18001020304050607"


class OriginalTests(SynchronousTestCase):
    def test_what_we_write_into_a_message_is_found_in_its_report(self) -> None:
        start = received_start("app.example", "10.0.0.7", "mta1.example.com", "10.0.0.1", None)
        meta = {"tenant": "shop", "long": "x" * 300}
        ours = supplemental("X-Other-Name", [ANN], meta, ("tenant", "long")) + received(start, ID, ANN, 1_786_104_000.0)
        found = original_of(ours + b"Message-ID: <1@shop.example>\r\n\r\nHello\r\n")
        self.assertEqual((found.id, found.recipient, found.message_id), (ID, "ann@example.net", "1@shop.example"))
        self.assertEqual(found.trace, {"recipient": "ann@example.net", **meta})

    def test_the_id_of_another_server_is_none_of_ours(self) -> None:
        other = f"Received: from a (10.0.0.1)\r\n by mx.example (Postfix) with ESMTP id {ID} for <ann@example.net>;\r\n"
        self.assertEqual(original_of(other.encode()), Original())

    def test_fields_that_only_look_like_a_trace(self) -> None:
        for value in (b"eyJ", b"eyJfQF8iOiAxfQ==", b"%%%%", b64encode(b'{"a": 1}'), b64encode(b'["_@_"]'), b64encode(b'{"' * 5000)):
            self.assertIsNone(original_of(b"X-KumoRef: " + value + b"\r\n\r\n").trace, value)

    def test_the_first_recipient_of_several_is_not_guessed(self) -> None:
        several = supplemental("X-KumoRef", [ANN, parse_mailbox("bob@example.net")], {}, ())
        self.assertEqual(original_of(several).recipient, "")

    def test_bounce_addresses(self) -> None:
        table = {
            "bounce+ann=example.net@b.example": "ann@example.net",
            "bounce-ann=example.net@b.example": "ann@example.net",
            "b+tag+ann=example.net@b.example": "ann@example.net",
            "bounce+ann@b.example": "",
            "ann=example.net@b.example": "",
            "bounce+ann=localhost@b.example": "",
            "bounce+=example.net@b.example": "",
        }
        self.assertEqual({address: recipient_of_verp(parse_mailbox(address)) for address in table}, table)
