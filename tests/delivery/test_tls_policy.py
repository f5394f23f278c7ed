"""When a connection is encrypted."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import EnableTls
from kumotwist.delivery.tls_policy import TlsChoice, clear_after_failure, tls_choice


class TlsPolicyTests(SynchronousTestCase):
    """The table of `enable_tls`."""

    def test_every_mode_with_and_without_an_offer(self) -> None:
        for mode, without, with_offer, clear in (
            (EnableTls.DISABLED, TlsChoice.PLAIN, TlsChoice.PLAIN, False),
            (EnableTls.OPPORTUNISTIC, TlsChoice.PLAIN, TlsChoice.VERIFIED, False),
            (EnableTls.OPPORTUNISTIC_INSECURE, TlsChoice.PLAIN, TlsChoice.UNVERIFIED, True),
            (EnableTls.REQUIRED, TlsChoice.REFUSE, TlsChoice.VERIFIED, False),
            (EnableTls.REQUIRED_INSECURE, TlsChoice.REFUSE, TlsChoice.UNVERIFIED, False),
        ):
            self.assertIs(tls_choice(mode, offered=False), without, mode)
            self.assertIs(tls_choice(mode, offered=True), with_offer, mode)
            self.assertIs(clear_after_failure(mode), clear, mode)
