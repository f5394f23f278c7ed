"""
Signing, and dkimpy as the judge of it: what we sign it verifies, what we verify it verifies, what is broken both refuse.

KUMOTWIST_DKIM_MESSAGES says how many messages there are of each algorithm and canonicalisation.
"""

import os
import re
from itertools import product
from random import Random

import dkim  # type: ignore[import-untyped]  # it ships no types
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.authentication.canonical import Canonicalization
from kumotwist.authentication.keys import SigningKey
from kumotwist.authentication.signing import Signer, Unsignable, folded, signatures
from kumotwist.authentication.verification import verify
from tests.authentication.keys import Table, answer, ed25519_key, published, rsa_key, rsa_pem
from tests.authentication.odd_mail import as_sent, big_message, message

MESSAGES = int(os.environ.get("KUMOTWIST_DKIM_MESSAGES", "30"))
NOW = 1_700_000_000
DNS = Table(published())
AUTHOR = "joe@example.com"
SIGNER = Signer(domain="example.com", selector="rsa", headers=("from", "to", "subject", "date", "x-odd", "list-unsubscribe"))
PLAIN = b"From: joe@example.com\r\nSubject: one\r\nTo: a@example.org\r\nSubject: two\r\n\r\nhello\r\n"


def tags_of(field: bytes) -> dict[str, str]:
    value = field.decode().partition(":")[2].replace("\r\n", "").replace("\t", "")
    pairs = (part.strip().partition("=") for part in value.split(";") if part.strip())
    return {name: text.replace(" ", "") for name, _, text in pairs}


def results(content: bytes, now: float = NOW) -> list[tuple[str, str | None]]:
    return [(one.result, one.reason) for one in answer(verify(content, DNS, now))]


def signed(content: bytes, signer: Signer = SIGNER, key: SigningKey | None = None, now: int = NOW) -> bytes:
    return signatures(content, [(signer, key or rsa_key())], now) + content


class OracleTests(SynchronousTestCase):
    """dkimpy sees each message as it comes out of SMTP."""

    maxDiff = 3000

    def kinds(self) -> list[tuple[Signer, SigningKey]]:
        keys = (("rsa", rsa_key()), ("ed", ed25519_key()))
        return [
            (
                replace(
                    SIGNER, selector=name, header_canonicalization=header, body_canonicalization=body, over_sign=body is header
                ),
                key,
            )
            for (name, key), header, body in product(keys, Canonicalization, Canonicalization)
        ]

    def assert_verified(self, content: bytes) -> None:
        self.assertEqual(results(content), [("pass", None)], content[:3000])
        self.assertTrue(dkim.verify(content, dnsfunc=DNS.for_dkimpy), content[:3000])

    def test_what_we_sign_is_verified(self) -> None:
        random = Random(6376)
        for signer, key in self.kinds():
            for _ in range(MESSAGES):
                content = message(random, AUTHOR)
                self.assert_verified(as_sent(signed(content, signer, key)))

    def test_ten_megabytes(self) -> None:
        random = Random(10)
        for signer, key in self.kinds()[::3]:
            self.assert_verified(signed(big_message(random, AUTHOR), signer, key))

    def test_what_dkimpy_signs_we_verify(self) -> None:
        random = Random(6377)
        for header, body in product((b"relaxed", b"simple"), repeat=2):
            for _ in range(MESSAGES):
                content = as_sent(message(random, AUTHOR))
                field = dkim.sign(
                    content, b"rsa", b"example.com", rsa_pem(), canonicalize=(header, body), include_headers=[b"from"]
                )
                self.assertEqual(results(field + content), [("pass", None)], content)

    def test_what_is_broken_both_refuse(self) -> None:
        """One octet of a signed message is changed; whatever the canonical form makes of it, both see the same."""
        random = Random(6378)
        refused = 0
        for signer, key in self.kinds():
            for _ in range(MESSAGES):
                content = as_sent(signed(message(random, AUTHOR), signer, key))
                at = random.randrange(len(content))
                broken = content[:at] + random.choice((b"x", b" ", b"=", b"")) + content[at + 1 :]
                broken = re.sub(rb"\r\n|\r|\n", b"\r\n", broken)  # as nothing else comes out of SMTP
                try:
                    theirs = bool(dkim.verify(broken, dnsfunc=DNS.for_dkimpy))
                except dkim.MessageFormatError:
                    continue  # it reads no message with a line in its header that is no field
                except (dkim.DKIMException, ValueError):
                    theirs = False
                told = results(broken)
                ours = bool(told) and told[0][0] == "pass"
                refused += not ours
                self.assertEqual(ours, theirs, (told, at, broken[:2000]))
        self.assertGreater(refused, MESSAGES)


class SignatureTests(SynchronousTestCase):
    def test_tags_stand_in_the_models_order(self) -> None:
        field = signatures(PLAIN, [(replace(SIGNER, expiration=60), rsa_key())], NOW)
        self.assertEqual(list(tags_of(field)), ["v", "a", "d", "s", "c", "bh", "h", "t", "x", "b"])
        tags = tags_of(field)
        self.assertEqual((tags["t"], tags["x"]), (str(NOW), str(NOW + 60)))
        self.assertEqual((tags["a"], tags["d"], tags["s"], tags["c"]), ("rsa-sha256", "example.com", "rsa", "relaxed/relaxed"))

    def test_names_that_are_not_there_are_not_signed(self) -> None:
        self.assertEqual(tags_of(signatures(PLAIN, [(SIGNER, rsa_key())], NOW))["h"], "from:to:subject")

    def test_over_signing_names_each_once_more_than_it_is_there_in_order(self) -> None:
        signer = replace(SIGNER, over_sign=True, headers=("subject", "from", "subject", "cc"))
        content = signed(PLAIN, signer)
        self.assertEqual(tags_of(content.partition(b"From")[0])["h"], "cc:from:from:subject:subject:subject")
        self.assertEqual(results(content), [("pass", None)])
        for added in (b"Cc: x\r\n", b"From: x\r\n", b"Subject: x\r\n"):
            self.assertEqual([word for word, _ in results(added + content)], ["fail"], added)
        without = signed(PLAIN, replace(signer, over_sign=False))
        self.assertEqual(results(b"Cc: x\r\n" + without), [("pass", None)])

    def test_a_list_that_names_a_field_twice_signs_two_of_them(self) -> None:
        signer = replace(SIGNER, headers=("from", "subject", "subject"))
        self.assertEqual(tags_of(signatures(PLAIN, [(signer, rsa_key())], NOW))["h"], "from:subject:subject")

    def test_what_else_can_be_asked_for_is_said(self) -> None:
        signer = replace(
            SIGNER,
            atps="author.example",
            atpsh="sha256",
            agent_user_identifier="@news.example.com",
            reporting=True,
            body_length=True,
        )
        content = signed(PLAIN, signer)
        tags = tags_of(content.partition(b"From")[0])
        self.assertEqual(
            {name: tags[name] for name in ("atps", "atpsh", "i", "r", "l")},
            {"atps": "author.example", "atpsh": "sha256", "i": "@news.example.com", "r": "y", "l": "7"},
        )
        self.assertEqual(results(content + b"added later\r\n"), [("pass", None)])
        self.assertEqual(results(content[:-3]), [("fail", "the body is shorter than what was signed")])
        self.assertNotIn("l", tags_of(signatures(PLAIN, [(SIGNER, rsa_key())], NOW)))

    def test_several_signatures_stand_above_each_other(self) -> None:
        other = replace(SIGNER, selector="ed")
        fields = signatures(PLAIN, [(SIGNER, rsa_key()), (other, ed25519_key())], NOW)
        first, second = (b"DKIM-Signature:" + part for part in fields.split(b"DKIM-Signature:")[1:])
        self.assertEqual([tags_of(first)["s"], tags_of(second)["s"]], ["ed", "rsa"])
        self.assertEqual(results(fields + PLAIN), [("pass", None)] * 2)

    def test_no_line_is_longer_than_it_must_be(self) -> None:
        signer = replace(SIGNER, headers=("from", *(f"x-a-long-name-{n}" for n in range(40))), over_sign=True)
        field = signatures(PLAIN, [(signer, rsa_key())], NOW)
        self.assertLessEqual(max(map(len, field.split(b"\r\n"))), 80)
        self.assertTrue(field.endswith(b"\r\n"))
        self.assertEqual(results(field + PLAIN), [("pass", None)])
        long = folded("DKIM-Signature:", ["v=1", "d=" + "a" * 200])
        self.assertEqual(long, "DKIM-Signature: v=1;\r\n\td=" + "a" * 200 + ";")

    def test_the_message_below_is_not_touched(self) -> None:
        random = Random(1)
        for _ in range(20):
            content = message(random, AUTHOR)
            self.assertTrue(signed(content).endswith(content))

    def test_what_no_signature_would_hold_for_is_not_signed(self) -> None:
        table = {
            b"Subject: x\r\n\r\nhello\r\n": "DKIM signing requires a From header, but it is missing from this message",
            b"From: a@example.com\nSubject: x\r\n\r\n": "a line ends in CR or LF alone, which no signature survives",
            b"From: a@example.com\r\n\r\na\nb\r\n": "a line ends in CR or LF alone, which no signature survives",
            b"From: a@example.com\r\n\r\na\rb\r\n": "a line ends in CR or LF alone, which no signature survives",
            b"From: a@example.com\r\n\r\na\n\rb\r\n": "a line ends in CR or LF alone, which no signature survives",
        }
        for content, expected in table.items():
            fault = self.assertRaises(Unsignable, signatures, content, [(SIGNER, rsa_key())], NOW)
            self.assertEqual(str(fault), expected)
