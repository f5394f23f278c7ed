"""DMARC: whose record counts, what is aligned, and what the domain wants done."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.authentication.dmarc import aligned, evaluate, is_record, organizational, parse_record
from kumotwist.authentication.results import AuthenticationResult
from kumotwist.authentication.tags import BadTags
from tests.authentication.keys import Table, answer


class DomainTests(SynchronousTestCase):
    def test_the_domain_that_somebody_registered(self) -> None:
        table = {
            "example.com": "example.com",
            "a.b.Example.com.": "example.com",
            "a.example.co.uk": "example.co.uk",
            "co.uk": "co.uk",
            "localhost": "localhost",
            "a.unheard-of": "a.unheard-of",
        }
        for domain, expected in table.items():
            self.assertEqual(organizational(domain), expected, domain)

    def test_alignment(self) -> None:
        table = {
            ("example.com", "example.com"): (True, True),
            ("Example.COM.", "example.com"): (True, True),
            ("news.example.com", "example.com"): (False, True),
            ("news.example.com", "shop.example.com"): (False, True),
            ("example.org", "example.com"): (False, False),
            ("a.co.uk", "b.co.uk"): (False, False),
            ("", "example.com"): (False, False),
        }
        for (one, other), (strict, relaxed) in table.items():
            self.assertEqual((aligned(one, other, strict=True), aligned(one, other, strict=False)), (strict, relaxed), one)


class RecordTests(SynchronousTestCase):
    def test_records(self) -> None:
        record = parse_record("v=DMARC1; p=reject; sp=quarantine; adkim=s; aspf=r; pct=25; rua=mailto:a@example.com")
        self.assertEqual(
            (record.policy, record.subdomains, record.strict_dkim, record.strict_spf, record.percent),
            ("reject", "quarantine", True, False, 25),
        )
        self.assertEqual(parse_record("v=DMARC1; p=reject").subdomains, "reject")
        self.assertEqual(parse_record("v=DMARC1; p=odd; rua=mailto:a@example.com").policy, "none")
        self.assertEqual(parse_record("v=DMARC1; p=none; pct=many").percent, 100)
        self.assertRaises(BadTags, parse_record, "v=DMARC1; p=odd")
        self.assertRaises(BadTags, parse_record, "v=DMARC1")

    def test_what_is_a_record_at_all(self) -> None:
        for text, expected in {
            "v=DMARC1; p=none": True,
            "v = DMARC1;p=none": True,
            "v=dmarc1; p=none": False,
            "v=spf1 -all": False,
        }.items():
            self.assertEqual(is_record(text), expected, text)


def passed(domain: str) -> AuthenticationResult:
    return AuthenticationResult(method="dkim", result="pass", props={"header.d": domain})


class EvaluationTests(SynchronousTestCase):
    DNS = Table(
        {
            "_dmarc.example.com": ("something else", "v=DMARC1; p=reject; sp=quarantine"),
            "_dmarc.strict.example": ("v=DMARC1; p=reject; adkim=s; aspf=s",),
            "_dmarc.none.example": ("v=DMARC1; p=none",),
            "_dmarc.some.example": ("v=DMARC1; p=reject; pct=30",),
            "_dmarc.two.example": ("v=DMARC1; p=none", "v=DMARC1; p=reject"),
            "_dmarc.bad.example": ("v=DMARC1; p=odd",),
        },
        silent=["_dmarc.silent.example"],
    )

    def judged(self, author: str, dkim: str = "", spf: str = "none", spf_domain: str = "", draw: float = 0.0) -> tuple[str, str]:
        signed = [passed(dkim)] if dkim else [AuthenticationResult(method="dkim", result="fail", props={"header.d": author})]
        found = answer(evaluate(self.DNS, author, dkim=signed, spf=spf, spf_domain=spf_domain, draw=lambda: draw))
        return found.disposition, found.result.result

    def test_dispositions(self) -> None:
        self.assertEqual(self.judged("example.com", dkim="example.com"), ("Pass", "pass"))
        self.assertEqual(self.judged("example.com", dkim="news.example.com"), ("Pass", "pass"))
        self.assertEqual(self.judged("example.com", dkim="example.org"), ("Reject", "fail"))
        self.assertEqual(self.judged("example.com", spf="pass", spf_domain="bounces.example.com"), ("Pass", "pass"))
        self.assertEqual(self.judged("example.com", spf="softfail", spf_domain="example.com"), ("Reject", "fail"))
        self.assertEqual(self.judged("news.example.com"), ("Quarantine", "fail"))  # its organization's word for those below
        self.assertEqual(self.judged("strict.example", dkim="a.strict.example"), ("Reject", "fail"))
        self.assertEqual(self.judged("strict.example", spf="pass", spf_domain="a.strict.example"), ("Reject", "fail"))
        self.assertEqual(self.judged("strict.example", dkim="strict.example"), ("Pass", "pass"))
        self.assertEqual(self.judged("none.example"), ("None", "none"))
        self.assertEqual(self.judged("unheard.example"), ("None", "none"))
        self.assertEqual(self.judged("two.example"), ("None", "none"))  # RFC 7489 section 6.6.3: two are none
        self.assertEqual(self.judged("silent.example"), ("TempError", "temperror"))
        self.assertEqual(self.judged("bad.example"), ("PermError", "permerror"))

    def test_a_share_of_the_mail(self) -> None:
        self.assertEqual(self.judged("some.example", draw=0.29), ("Reject", "fail"))
        self.assertEqual(self.judged("some.example", draw=0.30), ("Pass", "pass"))

    def test_what_is_told(self) -> None:
        found = answer(evaluate(self.DNS, "example.com", dkim=(), spf="none", spf_domain="", draw=lambda: 0.0))
        self.assertEqual(
            found.result.props,
            {
                "header.from": "example.com",
                "policy.p": "reject",
                "policy.sp": "quarantine",
                "policy.published-domain-policy": "reject",
            },
        )
