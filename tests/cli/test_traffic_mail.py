"""The mail of a load."""

from collections import Counter
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.traffic_mail import Mailing, WeightedDomain, body, parse_domain_weight, parse_header


def mailing(**changes: object) -> Mailing:
    given: dict[str, object] = {
        "run": "0badcafe",
        "sender": "me@from.example",
        "domains": [WeightedDomain("to.example")],
        "body_size": 100,
        "date": "Thu, 01 Jan 1970 00:00:00 -0000",
        "draw": Random(1).random,
    }
    return Mailing(**{**given, **changes})  # type: ignore[arg-type]  # the tests' own table


class LetterTests(SynchronousTestCase):
    """One message."""

    maxDiff = None

    def test_a_whole_one(self) -> None:
        letter = mailing(headers=["X-Tenant: acme"], body_size=10).letter(7)
        self.assertEqual((letter.id, letter.recipient), (b"0badcafe-7", b"0badcafe-7@to.example"))
        self.assertEqual(
            letter.content,
            b"From: <me@from.example>\r\n"
            b"To: <0badcafe-7@to.example>\r\n"
            b"Subject: Test message 0badcafe-7\r\n"
            b"Date: Thu, 01 Jan 1970 00:00:00 -0000\r\n"
            b"Message-ID: <0badcafe-7@from.example>\r\n"
            b"X-Traffic-Id: 0badcafe-7\r\n"
            b"MIME-Version: 1.0\r\n"
            b"Content-Type: text/plain; charset=us-ascii\r\n"
            b"X-Tenant: acme\r\n"
            b"\r\n"
            b"The quic\r\n.\r\n",
        )

    def test_ids_and_recipients_are_their_own(self) -> None:
        one = mailing()
        letters = [one.letter(number) for number in range(100)]
        self.assertEqual((len({letter.id for letter in letters}), len({letter.recipient for letter in letters})), (100, 100))

    def test_the_null_sender_and_odd_ones(self) -> None:
        for sender, origin in (("", b"@localhost>"), ("100%d@from.example", b"@from.example>")):
            letter = mailing(sender=sender).letter(1)
            self.assertIn(b"Message-ID: <0badcafe-1" + origin, letter.content)
        self.assertIn(b"From: <100%d@from.example>", letter.content)

    def test_domains_get_their_shares(self) -> None:
        one = mailing(domains=[WeightedDomain("a.example", 3), WeightedDomain("none.example", 0), WeightedDomain("b.example", 1)])
        counts = Counter(one.letter(number).recipient.rpartition(b"@")[2] for number in range(4000))
        self.assertEqual(set(counts), {b"a.example", b"b.example"})
        self.assertApproximates(counts[b"a.example"], 3000, 120)


class BodyTests(SynchronousTestCase):
    """What stands below the header."""

    def test_it_has_exactly_its_size_and_needs_no_stuffing(self) -> None:
        for size in (2, 3, 79, 80, 81, 82, 83, 160, 161, 162, 1024, 10_000):
            octets = body(size)
            self.assertEqual(len(octets), size)
            self.assertTrue(octets.endswith(b"\r\n"))
            self.assertNotIn(b"\n.", octets)
            self.assertLessEqual(max(map(len, octets.split(b"\r\n"))), 998)

    def test_below_a_line_s_end_there_is_none(self) -> None:
        self.assertEqual([body(0), body(1)], [b"", b""])


class OptionTests(SynchronousTestCase):
    """What the command line may say."""

    def test_domains_with_weights(self) -> None:
        for text, domain in (
            ("Example.COM:3", WeightedDomain("example.com", 3)),
            ("example.com", WeightedDomain("example.com", 1)),
            ("bücher.example:2", WeightedDomain("xn--bcher-kva.example", 2)),
            ("[127.0.0.1]:2", WeightedDomain("[127.0.0.1]", 2)),
            ("[IPv6:::1]", WeightedDomain("[IPv6:::1]", 1)),
        ):
            self.assertEqual(parse_domain_weight(text), domain)
        for text in ("example.com:x", "a..b:1", ":3"):
            self.assertRaises(ValueError, parse_domain_weight, text)

    def test_headers(self) -> None:
        self.assertEqual(parse_header("X-Tenant:acme"), "X-Tenant: acme")
        for text in ("no colon", ": empty", "X Y: z", "X: a\r\nY: b"):
            self.assertRaises(ValueError, parse_header, text)
