"""The trace fields that a message gets on top."""

import json
from base64 import b64decode

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.mail.address import Mailbox
from kumotwist.mail.disposition import TlsFacts
from kumotwist.reception.trace import received, received_start, supplemental

B = Mailbox("b", "example.org")
ID = "1d98076abbbc11ed940250ebf67f93bd"


class ReceivedTests(SynchronousTestCase):
    """received and received_start."""

    def test_the_layout(self) -> None:
        start = received_start("c.example", "192.0.2.7", "mx.example.com", "10.0.0.1", None)
        self.assertEqual(
            received(start, ID, B, 1_700_000_000.9),
            b"Received: from c.example (192.0.2.7)\r\n"
            b"  by mx.example.com (KumoTwist 10.0.0.1)\r\n"
            b"  with ESMTP id 1d98076abbbc11ed940250ebf67f93bd for <b@example.org>;\r\n"
            b"  Tue, 14 Nov 2023 22:13:20 +0000\r\n",
        )

    def test_under_tls(self) -> None:
        start = received_start("c.example", "2001:db8::1", "mx", "::1", TlsFacts("TLS_AES_256_GCM_SHA384", "TLSv1.3"))
        self.assertIn(b"\r\n  with ESMTPS (TLSv1.3:TLS_AES_256_GCM_SHA384) id ", received(start, ID, B, 0))

    def test_a_client_that_has_not_greeted(self) -> None:
        self.assertTrue(
            received_start(None, "192.0.2.7", "mx", "10.0.0.1", None).startswith(b"Received: from unspecified (192.0.2.7)\r\n")
        )

    def test_no_line_gets_too_long(self) -> None:
        start = received_start("c." + "x" * 250, "192.0.2.7", "mx", "10.0.0.1", TlsFacts("C" * 60, "TLSv1.3"))
        for recipient in (Mailbox("ü" * 256, "example.org"), Mailbox("x" * 240, "example.org")):
            field = received(start, ID, recipient, 0)
            self.assertLess(max(map(len, field.split(b"\r\n"))), 998)
            self.assertIn(b" id 1d98076abbbc11ed940250ebf67f93bd", field)


class SupplementalTests(SynchronousTestCase):
    """supplemental."""

    def read(self, field: bytes) -> object:
        name, _, value = field.partition(b": ")
        self.assertEqual(name, b"X-KumoRef")
        return json.loads(b64decode(value.replace(b"\r\n", b"").replace(b"\t", b"")))

    def test_it_carries_the_recipient_and_what_is_asked_for_and_set(self) -> None:
        field = supplemental(
            "X-KumoRef", (B,), {"tenant": "t", "n": 5, "empty": None, "other": "x"}, ("tenant", "n", "empty", "absent")
        )
        self.assertEqual(self.read(field), {"_@_": "\\_/", "recipient": "b@example.org", "tenant": "t", "n": 5})

    def test_several_recipients_are_a_list(self) -> None:
        field = supplemental("X-KumoRef", (B, Mailbox("c", "example.org")), {}, ())
        self.assertEqual(self.read(field), {"_@_": "\\_/", "recipient": ["b@example.org", "c@example.org"]})

    def test_as_the_model_writes_it(self) -> None:
        self.assertEqual(
            supplemental("X-KumoRef", (Mailbox("test", "example.com"),), {}, ()),
            b"X-KumoRef: eyJfQF8iOiJcXF8vIiwicmVjaXBpZW50IjoidGVzdEBleGFtcGxlLmNvbSJ9\r\n",
        )

    def test_it_is_folded_at_75_columns(self) -> None:
        for length in range(1, 250):
            field = supplemental("X-KumoRef", (Mailbox("x" * length, "example.org"),), {}, ())
            lines = field.split(b"\r\n")
            self.assertEqual(lines.pop(), b"")
            self.assertLessEqual(max(map(len, lines)), 75)
            self.assertTrue(all(line.startswith(b"\t") and len(line) > 1 for line in lines[1:]))
            self.assertEqual(self.read(field), {"_@_": "\\_/", "recipient": "x" * length + "@example.org"})
