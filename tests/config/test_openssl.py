"""Suites by rustls' names, and options: what OpenSSL makes of them."""

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.openssl import CipherSuite, checked_suites, in_openssl, openssl_options


class SuiteTests(SynchronousTestCase):
    def test_each_of_rustls_is_one_that_openssl_has(self) -> None:
        for suite in CipherSuite:
            older, newer = in_openssl([suite])
            self.assertEqual([bool(older), bool(newer)], [not suite.value.startswith("TLS13_"), suite.value.startswith("TLS13_")])
            context = SSL.Context(SSL.TLS_METHOD)
            if older:
                context.set_cipher_list(older.encode())
                self.assertIn(older, SSL.Connection(context, None).get_cipher_list())
            else:
                self.assertEqual(checked_suites(newer), newer)

    def test_they_keep_their_order(self) -> None:
        suites = [CipherSuite.RSA_CHACHA20, CipherSuite.AES_128_GCM, CipherSuite.ECDSA_AES_256_GCM, CipherSuite.AES_256_GCM]
        self.assertEqual(
            in_openssl(suites),
            ("ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"),
        )

    def test_what_openssl_does_not_have(self) -> None:
        self.assertRaises(ValueError, checked_suites, "TLS_NONSENSE")
        self.assertRaises(ValueError, openssl_options, "NO_NONSENSE")
