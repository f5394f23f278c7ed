"""Which signatures a message gets, by the domain of its From."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.authentication.selection import Selection
from kumotwist.config.dkim import (
    HEADERS,
    AdditionalPolicy,
    Algorithm,
    Canonicalization,
    DkimBase,
    DkimDomain,
    DkimSettings,
    DkimSignature,
    KeyFailure,
)
from kumotwist.config.keys import KeyData

ESP = DkimSignature(domain="esp.example", filename="/esp.key", selector="e")
FALLBACK = DkimSignature(domain="esp.example", policy=AdditionalPolicy.ONLY_IF_MISSING_DOMAIN_BLOCK, selector="f")


def selection(**settings: object) -> Selection:
    return Selection(DkimSettings(**settings))  # type: ignore[arg-type]  # each test names what it is about


class SelectionTests(SynchronousTestCase):
    def signers(self, chosen: Selection, author: str) -> list[tuple[str, str]]:
        return [(one.signer.domain, one.signer.selector) for one in chosen.wanted(author)]

    def test_a_domain_has_its_entry_or_the_nearest_above_it(self) -> None:
        chosen = selection(
            domain={
                "example.com": DkimDomain(selector="own"),
                "*.example.com": DkimDomain(selector="below"),
                "*.news.example.com": DkimDomain(selector="news"),
            }
        )
        table = {
            "example.com": [("example.com", "own")],
            "a.example.com": [("a.example.com", "below")],
            "a.b.example.com": [("a.b.example.com", "below")],
            "news.example.com": [("news.example.com", "below")],
            "x.news.example.com": [("x.news.example.com", "news")],
            "example.org": [],
        }
        for author, expected in table.items():
            self.assertEqual(self.signers(chosen, author), expected, author)
        self.assertEqual(self.signers(selection(domain={"*": DkimDomain(selector="s")}), "any.example"), [("any.example", "s")])

    def test_additional_signatures_come_after_and_some_only_where_there_is_none(self) -> None:
        chosen = selection(
            base=DkimBase(additional_signatures=("esp", "fallback"), selector="s"),
            domain={"example.com": DkimDomain()},
            signature={"esp": ESP, "fallback": FALLBACK, "unused": ESP},
        )
        self.assertEqual(self.signers(chosen, "example.com"), [("example.com", "s"), ("esp.example", "e")])
        self.assertEqual(self.signers(chosen, "example.org"), [("esp.example", "e"), ("esp.example", "f")])

    def test_an_entrys_own_words_come_before_those_of_base(self) -> None:
        base = DkimBase(
            selector="s", headers=("From", "To"), expiration=60.0, over_sign=True, key_ttl=7.0,
            header_canonicalization=Canonicalization.SIMPLE, on_key_failure=KeyFailure.SEND_UNSIGNED, key_directory="/keys",
        )  # fmt: skip
        own = DkimDomain(
            selector="t", headers=("FROM",), expiration=5.0, over_sign=False, algo=Algorithm.ED25519,
            header_canonicalization=Canonicalization.RELAXED, on_key_failure=KeyFailure.REFUSE, key=KeyData(b"k"),
        )  # fmt: skip
        chosen = selection(base=base, domain={"a.example": DkimDomain(), "b.example": own})
        (of_base,), (of_own,) = chosen.wanted("a.example"), chosen.wanted("b.example")
        signer = of_base.signer
        self.assertEqual(
            (signer.headers, signer.expiration, signer.over_sign, signer.header_canonicalization, signer.body_canonicalization),
            (("from", "to"), 60, True, Canonicalization.SIMPLE, Canonicalization.RELAXED),
        )
        self.assertEqual(
            (of_base.key, of_base.algorithm, of_base.ttl, of_base.unsigned), ("/keys/a.example/s.key", None, 7.0, True)
        )
        signer = of_own.signer
        self.assertEqual((signer.headers, signer.expiration, signer.over_sign), (("from",), 5, False))
        self.assertEqual((of_own.key, of_own.algorithm, of_own.unsigned), (KeyData(b"k"), "ed25519-sha256", False))

    def test_where_nobody_says_what_is_signed_it_is_what_readers_see(self) -> None:
        (one,) = selection(base=DkimBase(selector="s"), domain={"a.example": DkimDomain()}).wanted("a.example")
        self.assertEqual(one.signer.headers, tuple(name.lower() for name in HEADERS))
        self.assertEqual(one.key, "/opt/kumomta/etc/dkim/a.example/s.key")

    def test_without_entries_nothing_is_wanted(self) -> None:
        self.assertFalse(selection())
        self.assertFalse(selection(signature={"esp": ESP}))
        self.assertTrue(selection(domain={"a.example": DkimDomain()}))
        self.assertTrue(selection(base=DkimBase(additional_signatures=("esp",)), signature={"esp": ESP}))
