"""What our verifier says of signatures that are broken, each in its own way."""

import re

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.authentication.signing import Signer, signatures
from kumotwist.authentication.verification import MOST_SIGNATURES, verify
from tests.authentication.keys import Table, answer, ed25519_key, published, rsa_key

NOW = 1_700_000_000
SIGNER = Signer(domain="example.com", selector="rsa", headers=("from", "subject"))
CONTENT = b"From: joe@example.com\r\nSubject: hello\r\n\r\nhello\r\n"
NAME = "rsa._domainkey.example.com"
RECORD = published()[NAME][0]
PUBLIC = RECORD.partition("p=")[2]
_SHORT = (  # 512 bits
    "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+Cqvj"
    "WYzvQwECAwEAAQ=="
)


def signed(signer: Signer = SIGNER) -> bytes:
    return signatures(CONTENT, [(signer, rsa_key())], NOW) + CONTENT


def verdict(content: bytes, record: str | None = RECORD, now: float = NOW) -> tuple[str, str | None]:
    dns = Table({} if record is None else {NAME: (record,)})
    (one,) = answer(verify(content, dns, now))
    return one.result, one.reason


class VerdictTests(SynchronousTestCase):
    def test_broken_messages(self) -> None:
        good = signed()
        table: dict[bytes, tuple[str, str]] = {
            good.replace(b"hello\r\n\r\n", b"hallo\r\n\r\n"): ("fail", "signature did not verify"),
            good + b"more\r\n": ("fail", "body hash did not verify"),
            good.replace(b"v=1;", b"v=2;"): ("permerror", "v= is not 1"),
            good.replace(b"v=1;", b""): ("permerror", "v= is missing"),
            good.replace(b"v=1;", b"v=1; v=1;"): ("permerror", "v= stands there twice"),
            good.replace(b"v=1;", b"v=1; nonsense;"): ("permerror", "not a tag: 'nonsense'"),
            good.replace(b"a=rsa-sha256", b"a=rsa-sha1"): ("permerror", "a=rsa-sha1 does not count"),
            good.replace(b"a=rsa-sha256", b"a=ed25519-sha256"): ("permerror", "a=ed25519-sha256 and a key of kind rsa"),
            good.replace(b"c=relaxed/relaxed", b"c=odd"): ("permerror", "c= is not known"),
            good.replace(b"h=from:subject", b"h=subject"): ("permerror", "From is not signed"),
            good.replace(b"v=1;", b"v=1; q=other;"): ("permerror", "q= is not known"),
            good.replace(b"v=1;", b"v=1; i=@example.org;"): ("permerror", "i= is not under d="),
            good.replace(b"v=1;", b"v=1; l=many;"): ("permerror", "l= is no number"),
            good.replace(b"d=example.com", b"d=exa mple.com"): ("permerror", "d= is no name"),
            re.sub(rb"bh=[^;]*", b"bh=!!", good): ("permerror", "bh= is not Base64"),
        }
        for content, expected in table.items():
            self.assertNotEqual(content, good)
            self.assertEqual(verdict(content), expected)

    def test_key_records(self) -> None:
        ed = ed25519_key().record()
        table: dict[str | None, tuple[str, str | None]] = {
            RECORD: ("pass", None),
            f"p={PUBLIC}": ("pass", None),
            f"v=DKIM1; p={PUBLIC}; s=*; h=sha1:sha256; n=note; t=y:s": ("pass", None),
            f"v=DKIM1; p={PUBLIC}; s=other:email": ("pass", None),
            None: ("temperror", f"no key record at {NAME}"),
            "v=DKIM1; p=": ("permerror", "the key has been revoked"),
            f"v=DKIM2; p={PUBLIC}": ("permerror", f"the key record at {NAME} is none: not a key record of version DKIM1"),
            "v=DKIM1": ("permerror", f"the key record at {NAME} is none: p= is missing"),
            "v=DKIM1; p=AAAA": ("permerror", f"the key record at {NAME} is none: p= is no public key"),
            f"v=DKIM1; p={_SHORT}": ("permerror", f"the key record at {NAME} is none: p= is a key of 512 bits, too short to count"),
            f"v=DKIM1; k=ed25519; p={PUBLIC}": ("permerror", f"the key record at {NAME} is none: p= is no public key"),
            ed: ("permerror", "a=rsa-sha256 and a key of kind ed25519"),
            f"v=DKIM1; h=sha1; p={PUBLIC}": ("permerror", "the key is not for sha256"),
            f"v=DKIM1; s=tlsrpt; p={PUBLIC}": ("permerror", "the key is not for mail"),
        }
        for record, expected in table.items():
            self.assertEqual(verdict(signed(), record), expected, record)

    def test_a_strict_key_is_for_the_domain_itself(self) -> None:
        content = signed(replace(SIGNER, agent_user_identifier="@news.example.com"))
        self.assertEqual(verdict(content)[0], "pass")
        self.assertEqual(verdict(content, f"v=DKIM1; t=s; p={PUBLIC}")[0], "permerror")

    def test_an_expired_signature_has_a_quarter_of_an_hour(self) -> None:
        content = signed(replace(SIGNER, expiration=60))
        self.assertEqual(verdict(content, now=NOW + 60 + 899), ("pass", None))
        self.assertEqual(verdict(content, now=NOW + 60 + 901), ("permerror", "expired"))

    def test_a_silent_dns_is_a_temporary_error(self) -> None:
        (one,) = answer(verify(signed(), Table(silent=[NAME]), NOW))
        self.assertEqual((one.result, one.reason), ("temperror", f"no answer for {NAME}: timeout"))

    def test_of_several_records_the_first_that_is_one_counts(self) -> None:
        (one,) = answer(verify(signed(), Table({NAME: ("something else", RECORD)}), NOW))
        self.assertEqual(one.result, "pass")

    def test_what_is_told_of_a_signature(self) -> None:
        (one,) = answer(verify(signed(replace(SIGNER, expiration=60)), Table({NAME: (RECORD,)}), NOW))
        self.assertEqual(one.method, "dkim")
        self.assertEqual(
            {name: value for name, value in one.props.items() if name != "header.b"},
            {
                "header.a": "rsa-sha256",
                "header.c": "relaxed/relaxed",
                "header.d": "example.com",
                "header.i": "@example.com",
                "header.s": "rsa",
                "header.t": str(NOW),
                "header.x": str(NOW + 60),
            },
        )
        self.assertEqual(len(one.props["header.b"]), 8)

    def test_signatures_that_begin_alike_are_told_apart(self) -> None:
        content = signed()
        found = re.search(rb"\tb=([^;]*?)\r\nFrom", content, re.DOTALL)
        assert found is not None
        start = b"".join(found[1].split())[:12]
        end = b"BB" if start[10:11] == b"A" else b"AA"  # the eleventh character is to be the first that differs
        other = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=x; h=from; bh=AAAA; b=" + start[:10] + end + b"\r\n"
        told = answer(verify(other + content, Table({NAME: (RECORD,)}), NOW))
        self.assertEqual([len(one.props["header.b"]) for one in told], [11, 11])

    def test_unsigned_mail_has_no_result_and_much_signed_mail_not_too_many(self) -> None:
        self.assertEqual(answer(verify(CONTENT, Table(), NOW)), [])
        dns = Table({NAME: (RECORD,)})
        many = signatures(CONTENT, [(SIGNER, rsa_key())] * 30, NOW) + CONTENT
        self.assertEqual(len(answer(verify(many, dns, NOW))), MOST_SIGNATURES)
        self.assertEqual(len(dns.asked), MOST_SIGNATURES)
