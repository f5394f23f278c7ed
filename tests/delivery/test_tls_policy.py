"""When a connection is encrypted."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import EnableTls, PathSettings
from kumotwist.delivery.sts_policy import StsMode, StsPolicy
from kumotwist.delivery.tls_policy import (
    Agreed,
    Demand,
    Terms,
    TlsChoice,
    broken_tls_remembered,
    clear_after_failure,
    fits,
    terms_of,
    tls_choice,
)
from kumotwist.delivery.tlsa import Tlsa
from kumotwist.mail.disposition import TlsFacts

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


ENFORCE = StsPolicy(mode=StsMode.ENFORCE, hosts=("mx.example.com",), max_age=1.0)
TESTING = StsPolicy(mode=StsMode.TESTING, hosts=("elsewhere.example.org",), max_age=1.0)
TLS = TlsFacts("cipher", "TLSv1.3")
PLAIN, ENCRYPTED, VERIFIED = Agreed(), Agreed(tls=TLS), Agreed(tls=TLS, verified=True)
ASKED, MATCHED = Agreed(tls=TLS, dane=True), Agreed(tls=TLS, dane=True, vouched_for=True)
BOTH = Agreed(tls=TLS, dane=True, verified=True)
HOSTS = frozenset({"mx.example.com"})


class TermsTests(SynchronousTestCase):
    """What TLSA records do to what was configured."""

    def test_the_table_of_dane(self) -> None:
        record = Tlsa(3, 1, 1, b"x" * 32)
        for mode in EnableTls:
            demand = Demand(mode=mode)
            self.assertEqual(terms_of(demand, None), Terms(mode=mode))
            self.assertEqual(terms_of(demand, (record,)), Terms(mode=EnableTls.REQUIRED, tlsa=(record,)))
            unusable = EnableTls.REQUIRED if mode is EnableTls.REQUIRED else EnableTls.REQUIRED_INSECURE
            self.assertEqual(terms_of(demand, ()), Terms(mode=unusable))


class FitsTests(SynchronousTestCase):
    """Whether mail for one domain may go over a connection that was made for another."""

    def check(self, demand: Demand, *fitting: Agreed, host: str = "mx.example.com") -> None:
        for agreed in (PLAIN, ENCRYPTED, VERIFIED, ASKED, MATCHED, BOTH):
            self.assertIs(fits(demand, host, agreed), any(agreed is one for one in fitting), (demand, agreed))

    def test_who_demands_nothing_takes_anything(self) -> None:
        for mode in (EnableTls.DISABLED, EnableTls.OPPORTUNISTIC, EnableTls.OPPORTUNISTIC_INSECURE):
            self.check(Demand(mode=mode), PLAIN, ENCRYPTED, VERIFIED, ASKED, MATCHED, BOTH)
        self.check(Demand(mode=EnableTls.OPPORTUNISTIC, policy=TESTING), PLAIN, ENCRYPTED, VERIFIED, ASKED, MATCHED, BOTH)

    def test_encryption(self) -> None:
        self.check(Demand(mode=EnableTls.REQUIRED_INSECURE), ENCRYPTED, VERIFIED, ASKED, MATCHED, BOTH)

    def test_a_verified_certificate(self) -> None:
        self.check(Demand(mode=EnableTls.REQUIRED), VERIFIED, BOTH)
        self.check(Demand(mode=EnableTls.REQUIRED, policy=ENFORCE), VERIFIED, BOTH)

    def test_another_host_than_the_policy_names(self) -> None:
        self.check(Demand(mode=EnableTls.REQUIRED, policy=ENFORCE), host="mx2.example.com")

    def test_tlsa_records_that_were_heeded(self) -> None:
        self.check(Demand(mode=EnableTls.OPPORTUNISTIC, secure_hosts=HOSTS), ASKED, MATCHED, BOTH)
        self.check(Demand(mode=EnableTls.REQUIRED, secure_hosts=HOSTS), MATCHED, BOTH)
        self.check(Demand(mode=EnableTls.REQUIRED, secure_hosts=HOSTS), host="mx2.example.com")
