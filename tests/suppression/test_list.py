"""The list in memory: whom it stops, for whose mail, and until when."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.mail.address import parse_mailbox
from kumotwist.suppression.entry import Entry, id_of, parse_subject, restored_entry, stored_entry
from kumotwist.suppression.list import SuppressionList

NOW = 1_700_000_000.0
EVERYBODY, ACME, NOBODYS = None, "acme", ""


class ListTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.listed = SuppressionList()
        self.listed.hold([
            Entry("bob@example.org", EVERYBODY, "asked", NOW),
            Entry("ann@example.org", ACME, "complained", NOW, NOW + 60),
            Entry("gone.example", EVERYBODY, "gone", NOW),
            Entry("cold.example", ACME, "cold", NOW),
            Entry("eve@example.org", NOBODYS, "bounced", NOW),
        ])  # fmt: skip

    def test_who_is_stopped_for_whom(self) -> None:
        table = {
            ("bob@example.org", "acme"): "asked",
            ("bob@example.org", None): "asked",
            ("BOB@Example.ORG", ""): "asked",
            ('"bob"@example.org', ""): "asked",
            ("bobby@example.org", "acme"): None,
            ("ann@example.org", "acme"): "complained",
            ("ann@example.org", "other"): None,
            ("ann@example.org", ""): None,
            ("ann@example.org", None): None,
            ("anyone@gone.example", "acme"): "gone",
            ("anyone@gone.example", None): "gone",
            ("anyone@sub.gone.example", None): None,
            ("anyone@cold.example", "acme"): "cold",
            ("anyone@cold.example", "other"): None,
            ("eve@example.org", ""): "bounced",
            ("eve@example.org", "acme"): None,
            ("eve@example.org", None): None,
        }
        for (recipient, tenant), reason in table.items():
            with self.subTest(recipient, tenant=tenant):
                found = self.listed.find(parse_mailbox(recipient), tenant, NOW)
                self.assertEqual(found and found.reason, reason)

    def test_an_entry_that_has_expired_stops_nobody(self) -> None:
        ann = parse_mailbox("ann@example.org")
        self.assertIsNotNone(self.listed.find(ann, ACME, NOW + 59.9))
        self.assertIsNone(self.listed.find(ann, ACME, NOW + 60))

    def test_it_stands_while_anything_is_on_it(self) -> None:
        self.assertEqual((self.listed.stands, self.listed.size), (True, 5))
        self.assertFalse(self.listed.drop("bob@example.org", ACME))
        for subject, tenant in (("bob@example.org", None), ("ann@example.org", "acme"), ("gone.example", None)):
            self.assertTrue(self.listed.drop(subject, tenant))
        self.assertTrue(self.listed.stands)
        self.listed.drop("cold.example", ACME)
        self.listed.drop("eve@example.org", NOBODYS)
        self.assertEqual((self.listed.stands, self.listed.size), (False, 0))

    def test_a_second_entry_takes_the_place_of_the_first(self) -> None:
        self.listed.hold([Entry("bob@example.org", EVERYBODY, "again", NOW, NOW + 5)])
        self.assertEqual(self.listed.size, 5)
        self.assertEqual(self.listed.lasts("bob@example.org", None), NOW + 5)
        self.assertEqual(self.listed.lasts("gone.example", None), float("inf"))
        self.assertIsNone(self.listed.lasts("bob@example.org", ACME))

    def test_what_a_client_hears_says_nothing_of_tenants_and_reasons(self) -> None:
        found = self.listed.find(parse_mailbox("ann@example.org"), ACME, NOW)
        assert found is not None
        self.assertEqual(found.refusal.single_line, "550 5.1.1 ann@example.org is suppressed")
        said = "550 5.1.1 KumoMTA internal: recipient is suppressed: address ann@example.org for tenant acme: complained"
        self.assertEqual(found.bounce.single_line, said)


class EntryTests(SynchronousTestCase):
    def test_the_shelf_gives_back_what_it_got(self) -> None:
        for entry in (Entry("a@b.example", None, "why", NOW), Entry("b.example", "t", "wäre", NOW, NOW + 1, "ab" * 16)):
            self.assertEqual(restored_entry(stored_entry(entry)), entry)

    def test_an_id_tells_tenants_and_subjects_apart(self) -> None:
        pairs = [(s, t) for s in ("a@b.example", "b.example") for t in (None, "", "*", "=", "acme")]
        self.assertEqual(len({id_of(subject, tenant) for subject, tenant in pairs}), len(pairs))

    def test_subjects_have_one_form(self) -> None:
        self.assertEqual(parse_subject('"Bob"@EXAMPLE.org'), "bob@example.org")
        self.assertEqual(parse_subject("EXAMPLE.org.", domain=True), "example.org")
