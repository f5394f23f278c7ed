"""Addresses as they stand in an envelope."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.mail.address import NULL_SENDER, POSTMASTER, BadAddress, Mailbox, parse_domain, parse_mailbox, stored_mailbox


class DomainTests(SynchronousTestCase):
    """parse_domain."""

    def test_a_domain_becomes_lower_case_a_labels(self) -> None:
        for given, domain in (
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("under_score.example", "under_score.example"),
            ("1and1.example", "1and1.example"),
            ("localhost", "localhost"),
        ):
            self.assertEqual(parse_domain(given), domain)

    def test_a_literal_gets_its_canonical_form(self) -> None:
        for given, literal in (
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("[IPv6:2001:DB8:0:0:0::1]", "[IPv6:2001:db8::1]"),
            ("[ipv6:::1]", "[IPv6:::1]"),
            ("[x-tag:Whatever!]", "[x-tag:Whatever!]"),
        ):
            self.assertEqual(parse_domain(given), literal)

    def test_what_is_no_domain_is_refused(self) -> None:
        for given in (
            "", ".", "a..b", ".a", "-a.example", "a-.example", "_a.example", "a b", "a\r\nb", "a.example:25", "a@b", "[::1]",
            "[1.2.3]", "[1.2.3.4", "[:x]", "[IPv6:zz]", "[tag:a b]", "x" * 64 + ".example", ".".join(["x" * 60] * 5), "a\x00b",
        ):  # fmt: skip
            with self.assertRaises(BadAddress, msg=given):
                parse_domain(given)


class MailboxTests(SynchronousTestCase):
    """parse_mailbox and Mailbox."""

    def test_the_local_part_stays_as_it_came(self) -> None:
        for given, local, domain in (
            ("A.b+c@Example.org", "A.b+c", "example.org"),
            ('"a b"@example.org', '"a b"', "example.org"),
            ('"a@b"@example.org', '"a@b"', "example.org"),
            (r'"a\"b"@example.org', r'"a\"b"', "example.org"),
            ("üser@example.org", "üser", "example.org"),
            ("a@[192.0.2.1]", "a", "[192.0.2.1]"),
        ):
            self.assertEqual(parse_mailbox(given), Mailbox(local, domain))

    def test_what_is_no_mailbox_is_refused(self) -> None:
        for given in (
            "",
            "a",
            "@b",
            "a@",
            "a..b@c",
            ".a@c",
            "a.@c",
            "a b@c",
            '"a@c',
            'a"b"@c',
            "a\r\n@c",
            "a@b\n",
            "x" * 300 + "@c",
            "a\x7f@c",
        ):
            with self.assertRaises(BadAddress, msg=given):
                parse_mailbox(given)

    def test_postmaster_needs_no_domain(self) -> None:
        self.assertIs(parse_mailbox("PostMaster"), POSTMASTER)
        self.assertEqual(parse_mailbox("postmaster@example.org"), Mailbox("postmaster", "example.org"))

    def test_email_and_user(self) -> None:
        self.assertEqual(Mailbox("a", "b.example").email, "a@b.example")
        self.assertEqual(str(Mailbox('"a b"', "b.example")), '"a b"@b.example')
        self.assertEqual(Mailbox(r'"a\" b"', "b.example").user, 'a" b')
        self.assertEqual(Mailbox("a.b", "b.example").user, "a.b")
        self.assertEqual(NULL_SENDER.email, "")

    def test_what_was_stored_reads_back(self) -> None:
        for text in ("a@b.example", '"a@b"@c.example', "", "postmaster", "a@[IPv6:2001:db8::1]"):
            self.assertEqual(stored_mailbox(text).email, text)
