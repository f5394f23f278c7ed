"""What a peer cannot take is found before it is sent."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import PathSettings
from kumotwist.delivery.objection import needs_utf8, objection
from kumotwist.smtp.client_session import Capabilities
from tests.delivery.case import message

ALL = Capabilities(eight_bit_mime=True, smtputf8=True)


class ObjectionTests(SynchronousTestCase):
    """By what content and envelope need and the peer offers."""

    def check(
        self, offered: Capabilities, code: str | None, *, eight_bit: bool = False, utf8: bool = False, ignore: bool = False
    ) -> None:
        settings = PathSettings(ignore_8bit_checks=ignore)
        found = objection(b"x" * 100, eight_bit=eight_bit, utf8=utf8, offered=offered, settings=settings)
        if code is None:
            self.assertIsNone(found)
            return
        assert found is not None
        self.assertEqual(found.single_line[: len(code)], code)
        self.assertTrue(found.text.startswith("KumoMTA internal: "))
        self.assertIsNone(found.command)

    def test_eight_bits_need_8bitmime(self) -> None:
        self.check(ALL, None, eight_bit=True)
        self.check(Capabilities(), None)
        self.check(Capabilities(smtputf8=True), "554 5.6.3 KumoMTA internal: DATA is 8bit", eight_bit=True)

    def test_a_non_ascii_envelope_needs_smtputf8(self) -> None:
        self.check(ALL, None, utf8=True)
        self.check(Capabilities(eight_bit_mime=True), "554 5.6.7 KumoMTA internal: envelope is 8bit", utf8=True)

    def test_a_size_limit_holds_whatever_is_ignored(self) -> None:
        self.check(Capabilities(size=100, size_offered=True), None)
        self.check(Capabilities(size=0, size_offered=True), None)
        self.check(Capabilities(size=99, size_offered=True), "552 5.3.4 KumoMTA internal: ", ignore=True)

    def test_the_checks_can_be_ignored(self) -> None:
        self.check(Capabilities(), None, eight_bit=True, utf8=True, ignore=True)

    def test_an_envelope_needs_smtputf8_for_a_local_part_only(self) -> None:
        self.assertFalse(needs_utf8(message(1, "user@b\xfccher.example")))
        self.assertFalse(needs_utf8(message(1, sender="")))
        self.assertTrue(needs_utf8(message(1, "a@example.com", "m\xfcller@example.com")))
        self.assertTrue(needs_utf8(message(1, sender="m\xfcller@example.com")))
