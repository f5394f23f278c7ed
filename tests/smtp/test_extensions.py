"""What EHLO is told."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.smtp.extensions import offered


class OfferedTests(SynchronousTestCase):
    """offered."""

    def test_starttls_is_offered_until_it_is_active(self) -> None:
        always = ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", "SIZE 1000", "CHUNKING")
        self.assertEqual(offered(1000, tls_active=False), (*always, "STARTTLS"))
        self.assertEqual(offered(1000, tls_active=True), always)

    def test_login_is_offered_under_tls_only_and_xclient_to_whom_may(self) -> None:
        for tls_active, auth, xclient, last in (
            (False, True, False, ("STARTTLS",)),
            (True, True, False, ("AUTH PLAIN LOGIN",)),
            (True, False, True, ("XCLIENT ADDR PORT DESTADDR DESTPORT",)),
            (False, True, True, ("STARTTLS", "XCLIENT ADDR PORT DESTADDR DESTPORT")),
            (True, True, True, ("AUTH PLAIN LOGIN", "XCLIENT ADDR PORT DESTADDR DESTPORT")),
        ):
            lines = offered(1000, tls_active=tls_active, auth=auth, xclient=xclient)
            self.assertEqual(lines[6:], last)
