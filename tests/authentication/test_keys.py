"""Private keys as operators have them, and those that cannot be used."""

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.authentication.keys import KeyUnusable, load_key, parse_key_record
from tests.authentication.keys import ed25519_key, ed25519_pem, rsa_key, rsa_pem


class LoadingTests(SynchronousTestCase):
    def test_forms(self) -> None:
        rsa, ed25519 = load_pem_private_key(rsa_pem(), None), load_pem_private_key(ed25519_pem(), None)
        for key, algorithm in ((rsa, "rsa-sha256"), (ed25519, "ed25519-sha256")):
            for encoding in (Encoding.PEM, Encoding.DER):
                octets = key.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption())
                self.assertEqual(load_key(octets).algorithm, algorithm)
        for encoding in (Encoding.PEM, Encoding.DER):
            octets = rsa.private_bytes(encoding, PrivateFormat.TraditionalOpenSSL, NoEncryption())
            self.assertEqual(load_key(octets).algorithm, "rsa-sha256")
        self.assertEqual(load_key(b"# a comment\n" + rsa_pem() + b"\n\n").algorithm, "rsa-sha256")

    def test_what_cannot_be_used_says_why_and_nothing_of_itself(self) -> None:
        rsa = load_pem_private_key(rsa_pem(), None)
        curve = generate_private_key(SECP256R1())
        table = {
            b"": "it is no private key in PEM or DER form",
            b"secret": "it is no private key in PEM or DER form",
            rsa_pem()[:-100]: "it is no private key in PEM or DER form",
            rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")): (
                "it is encrypted, and nobody is here to give a password"
            ),
            curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()): "it is neither an RSA nor an Ed25519 key",
        }
        for octets, reason in table.items():
            self.assertEqual(str(self.assertRaises(KeyUnusable, load_key, octets)), reason)

    def test_records_publish_the_key(self) -> None:
        for key in (rsa_key(), ed25519_key()):
            published = parse_key_record(key.record())
            self.assertEqual(f"{published.kind}-sha256", key.algorithm)
            self.assertTrue(published.verifies(key.sign(b"hello"), b"hello"))
            self.assertFalse(published.verifies(key.sign(b"hello"), b"hallo"))
