"""What EHLO is told."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.smtp.extensions import offered


class OfferedTests(SynchronousTestCase):
    """offered."""

    def test_starttls_is_offered_until_it_is_active(self) -> None:
        always = ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", "SIZE 1000", "CHUNKING")
        self.assertEqual(offered(1000, tls_active=False), (*always, "STARTTLS"))
        self.assertEqual(offered(1000, tls_active=True), always)
