"""When a connection is encrypted."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import EnableTls, PathSettings
from kumotwist.delivery.tls_policy import TlsChoice, broken_tls_remembered, clear_after_failure, tls_choice

OPPORTUNISTIC = (EnableTls.OPPORTUNISTIC, EnableTls.OPPORTUNISTIC_INSECURE)


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
            self.assertIs(clear_after_failure(mode, PathSettings(), handshake=True), clear, mode)
            self.assertIs(clear_after_failure(mode, PathSettings(), handshake=False), False, mode)

    def test_what_is_known_to_be_broken_is_not_tried_where_nobody_insists(self) -> None:
        for mode in EnableTls:
            for offered in (False, True):
                expected = TlsChoice.PLAIN if mode in OPPORTUNISTIC else tls_choice(mode, offered=offered)
                self.assertIs(tls_choice(mode, offered=offered, broken=True), expected, mode)

    def test_reconnecting_in_clear_is_for_those_who_do_not_insist(self) -> None:
        settings = PathSettings(opportunistic_tls_reconnect_on_failed_handshake=True)
        for mode in EnableTls:
            for handshake in (False, True):
                self.assertIs(clear_after_failure(mode, settings, handshake=handshake), mode in OPPORTUNISTIC, mode)

    def test_how_long_a_failure_is_remembered(self) -> None:
        for changes, seconds in (
            ({}, 0.0),
            ({"remember_broken_tls": 3600.0}, 3600.0),
            ({"opportunistic_tls_reconnect_on_failed_handshake": True}, 900.0),
            ({"opportunistic_tls_reconnect_on_failed_handshake": True, "remember_broken_tls": 60.0}, 60.0),
        ):
            settings = PathSettings(**changes)  # type: ignore[arg-type]
            for mode in EnableTls:
                self.assertEqual(broken_tls_remembered(mode, settings), seconds if mode in OPPORTUNISTIC else 0.0, mode)
