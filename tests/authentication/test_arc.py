"""ARC: chains that we make, verified by dkimpy; chains that it makes, verified by us; and what breaks one."""

from random import Random
from typing import Any

import dkim  # type: ignore[import-untyped]  # it ships no types
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.authentication.arc import Chain, seal, verify_chain
from kumotwist.authentication.results import AuthenticationResult
from kumotwist.authentication.signing import Signer, Unsignable
from tests.authentication.keys import Table, answer, ed25519_key, published, rsa_key, rsa_pem
from tests.authentication.odd_mail import as_sent, message

NOW = 1_700_000_000
DNS = Table(published())
SIGNER = Signer(domain="example.com", selector="rsa", headers=("from", "to", "subject", "date"))
PLAIN = b"From: joe@example.com\r\nSubject: one\r\n\r\nhello\r\n"
TOLD = [AuthenticationResult(method="dkim", result="pass", props={"header.d": "example.com"})]


def chain_of(content: bytes) -> Chain:
    return answer(verify_chain(content, DNS, NOW))


def sealed(content: bytes, signer: Signer = SIGNER, key: Any = None) -> bytes:
    return seal(content, chain_of(content), signer, key or rsa_key(), "mx.example.com", TOLD, NOW) + content


def sealed_by_dkimpy(content: bytes) -> bytes:
    found = chain_of(content).result.encode()
    content = b"Authentication-Results: mx.example.com; spf=pass; arc=" + found + b"\r\n" + content
    fields = dkim.arc_sign(content, b"rsa", b"example.com", rsa_pem(), b"mx.example.com", include_headers=[b"from", b"subject"])
    return b"".join(fields) + content


def theirs(content: bytes) -> str:
    word: bytes | None = dkim.arc_verify(content, dnsfunc=DNS.for_dkimpy)[0]
    return "fail" if word is None else word.decode()


class ChainTests(SynchronousTestCase):
    def test_chains_of_ours_theirs_and_both(self) -> None:
        random = Random(8617)
        for makers in ("o", "ooo", "t", "ot", "to", "oot", "tooo", "ooooo"):
            for _ in range(4):
                content = as_sent(message(random, "joe@example.com"))
                for maker in makers:
                    content = sealed(content) if maker == "o" else sealed_by_dkimpy(content)
                self.assertEqual((chain_of(content).result, theirs(content)), ("pass", "pass"), (makers, content))
                self.assertEqual(len(chain_of(content).sets), len(makers))

    def test_mail_that_nobody_handled_has_no_chain(self) -> None:
        self.assertEqual((chain_of(PLAIN).result, theirs(PLAIN)), ("none", "none"))
        self.assertEqual(chain_of(PLAIN).told(), AuthenticationResult(method="arc", result="none"))

    def test_broken_chains_fail_for_both(self) -> None:
        two = sealed(sealed(PLAIN))
        table = [
            two.replace(b"hello", b"hallo"),
            two.replace(b"Subject: one", b"Subject: two"),
            two.replace(b"dkim=pass", b"dkim=fail", 1),
            two.replace(b"cv=pass", b"cv=none"),
            two.replace(b"cv=none", b"cv=pass"),
            two.replace(b"ARC-Seal: i=1", b"ARC-Seal: i=3"),
            two.replace(b"ARC-Message-Signature: i=2", b"X-Nothing: i=2"),
            two.replace(b"i=1;", b"i=7;"),
            sealed(PLAIN) + b"more\r\n",
        ]
        for content in table:
            self.assertNotEqual(content, two)
            self.assertEqual((chain_of(content).result, theirs(content)), ("fail", "fail"), content)

    def test_one_octet_changed_anywhere_is_seen_alike(self) -> None:
        random = Random(50)
        two = sealed(sealed(PLAIN))
        for _ in range(150):
            at = random.randrange(two.index(b"\r\n\r\n"))
            if two[at : at + 1] in (b"\r", b"\n"):
                continue
            content = two[:at] + b"x" + two[at + 1 :]
            try:
                expected = theirs(content)
            except (dkim.DKIMException, ValueError, KeyError):  # it stumbles over some of what is no header any more
                expected = "fail"
            self.assertEqual(chain_of(content).result == "pass", expected == "pass", (at, content))

    def test_reasons(self) -> None:
        one = sealed(PLAIN)
        table = {
            one.replace(b"ARC-Seal: i=1;", b"ARC-Seal: i=0;"): "i= is no instance from 1 to 50",
            one.replace(b"ARC-Seal: i=1;", b"ARC-Seal: i=51;"): "i= is no instance from 1 to 50",
            one.replace(b"ARC-Seal:", b"X-Seal:"): "the set of instance 1 is not whole",
            b"ARC-Seal: i=1; cv=none\r\n" + one: "arc-seal stands there twice with the same instance",
            one.replace(b"cv=none", b"cv=pass"): "the seal of instance 1 says cv=pass",
            one.replace(b"cv=none;", b"cv=none; h=from;"): "a seal with h=",
            one.replace(b"hello", b"hallo"): "body hash did not verify",
            one.replace(b"header.d=example.com", b"header.d=example.org"): "the seal of instance 1 did not verify",
        }
        for content, reason in table.items():
            self.assertEqual((chain_of(content).result, chain_of(content).reason), ("fail", reason))

    def test_a_silent_dns_breaks_it_for_now(self) -> None:
        found = answer(verify_chain(sealed(PLAIN), Table(silent=["rsa._domainkey.example.com"]), NOW))
        self.assertEqual((found.result, found.reason), ("fail", "no answer for rsa._domainkey.example.com: timeout"))

    def test_older_message_signatures_may_be_broken_and_it_is_told_since_when_all_hold(self) -> None:
        first = sealed(PLAIN)
        changed = first.replace(b"Subject: one", b"Subject: [list] one")
        second = seal(changed, chain_of(first), SIGNER, rsa_key(), "list.example", TOLD, NOW) + changed
        self.assertEqual((chain_of(second).result, chain_of(second).oldest_pass), ("pass", 2))
        self.assertEqual(chain_of(second).told().props, {"header.oldest-pass": "2"})
        self.assertEqual(chain_of(sealed(first)).told().props, {"header.oldest-pass": "0"})


class SealTests(SynchronousTestCase):
    def test_what_is_said_of_the_chain_so_far(self) -> None:
        one = sealed(PLAIN)
        self.assertIn(b"; cv=none;", one.replace(b"\r\n\t", b" "))
        self.assertIn(b"; cv=pass;", sealed(one).replace(b"\r\n\t", b" "))
        self.assertIn(
            b"ARC-Authentication-Results: i=1; mx.example.com;\r\n\tdkim=pass header.d=example.com;\r\n\tarc=none\r\n", one
        )

    def test_seals_and_results_are_never_among_the_signed_headers(self) -> None:
        signer = replace(SIGNER, headers=("from", "arc-seal", "authentication-results"))
        content = sealed(sealed(PLAIN, signer), signer)
        self.assertNotIn(b"h=from:", content)
        self.assertEqual(theirs(content), "pass")

    def test_an_ed25519_key(self) -> None:
        content = sealed(PLAIN, replace(SIGNER, selector="ed"), ed25519_key())
        self.assertEqual(chain_of(content).result, "pass")

    def test_a_broken_or_full_chain_does_not_go_on(self) -> None:
        for chain in (Chain((), "fail", "body hash did not verify"), Chain(chain_of(sealed(PLAIN)).sets * 50, "pass")):
            self.assertRaises(Unsignable, seal, PLAIN, chain, SIGNER, rsa_key(), "mx", TOLD, NOW)

    def test_a_message_without_an_author_is_not_sealed(self) -> None:
        self.assertRaises(Unsignable, seal, b"Subject: x\r\n\r\n", Chain((), "none"), SIGNER, rsa_key(), "mx", TOLD, NOW)
