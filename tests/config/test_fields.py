"""Durations, rates, limits, sizes, networks: text → value, and back."""

import string

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.fields import (
    ANYWHERE,
    BadValue,
    Limit,
    Networks,
    Rate,
    format_duration,
    format_rate,
    nearest,
    parse_duration,
    parse_limit,
    parse_listen,
    parse_networks,
    parse_rate,
    parse_size,
    parse_whole,
    shown,
)

DURATIONS = {
    "0": 0.0, "300": 300.0, "1.5": 1.5, " 5 ": 5.0, "5 minutes": 300.0, "5minutes": 300.0, "1d 2h": 93600.0, "1h30m": 5400.0,
    "17 mins": 1020.0, "200 ms": 0.2, "250msec": 0.25, "10us": 1e-5, "90 seconds": 90.0, "1 hour": 3600.0, "10 hours": 36000.0,
    "30m": 1800.0, "3 days": 259200.0, "1w": 604800.0, "2 weeks": 1209600.0, "1 month": 2630016.0, "1year": 31557600.0,
    "1 Day 2 HOURS": 93600.0, "1.5 hours": 5400.0, "1h 1h": 7200.0, "60s": 60.0, "1 sec": 1.0, "2 secs": 2.0, "3hrs": 10800.0,
}  # fmt: skip
NO_DURATIONS = {
    "": '"" is not a duration',
    "soon": '"soon" is not a duration',
    "-1": '"-1" is not a duration',
    "1:30": '"1:30" is not a duration',
    "5 minutes ago": '"5 minutes ago" is not a duration',
    "1e3": '"1e3" is not a duration',
    "inf": '"inf" is not a duration',
    "nan": '"nan" is not a duration',
    "5 mintes": 'unknown unit "mintes" in "5 mintes", did you mean "5 minutes"?',
    "1d 2 hurs": 'unknown unit "hurs" in "1d 2 hurs", did you mean "1d 2 hours"?',
    "5M": 'unknown unit "M" in "5M", did you mean "5m"?',
    "3 parsecs": 'unknown unit "parsecs" in "3 parsecs", did you mean "3 secs"?',
    "101 years": '"101 years" is longer than 100 years',
    "999999999999999": '"999999999999999" is longer than 100 years',
    "1h" * 200: f'"{"1h" * 28}1..." has 400 characters',
}
FORMATTED = {
    0.0: "0s", 1.0: "1s", 60.0: "1m", 1200.0: "20m", 3661.0: "1h 1m 1s", 86400.0: "1day", 604800.0: "7days", 93600.0: "1day 2h",
    0.2: "200ms", 1.5: "1s 500ms", 2630016.0: "1month", 31557600.0: "1year", 2 * 31557600.0 + 2 * 2630016.0: "2years 2months",
    -5.0: "-5s", 0.0001: "0s", 59.9996: "1m",
}  # fmt: skip


class DurationTests(SynchronousTestCase):
    def test_what_is_a_duration(self) -> None:
        for text, seconds in DURATIONS.items():
            with self.subTest(text):
                self.assertAlmostEqual(parse_duration(text), seconds, places=9)

    def test_what_is_none(self) -> None:
        for text, wrong in NO_DURATIONS.items():
            with self.subTest(text):
                self.assertEqual(str(self.assertRaises(BadValue, parse_duration, text)), wrong)

    def test_how_they_are_written(self) -> None:
        for seconds, text in FORMATTED.items():
            with self.subTest(seconds):
                self.assertEqual(format_duration(seconds), text)

    @given(st.integers(0, 100 * 31_557_600 * 1000))
    @settings(max_examples=200, deadline=None)
    def test_what_is_written_reads_back_to_the_millisecond(self, milliseconds: int) -> None:
        self.assertEqual(round(parse_duration(format_duration(milliseconds / 1000)) * 1000), milliseconds)


RATES = {
    "100/s": Rate(100, 1.0),
    "1,000/hr": Rate(1000, 3600.0),
    "10_000/day": Rate(10_000, 86400.0),
    "20/30min": Rate(20, 1800.0),
    "5/1m": Rate(5, 60.0),
    "7/sec": Rate(7, 1.0),
    "7/second": Rate(7, 1.0),
    "7/seconds": Rate(7, 1.0),
    "7/minute": Rate(7, 60.0),
    "7/2 hours": Rate(7, 7200.0),
    "7/h": Rate(7, 3600.0),
    "7/d": Rate(7, 86400.0),
    "100 / min": Rate(100, 60.0),
    "local:100/s": Rate(100, 1.0, local=True),
    "50/d,max_burst=1": Rate(50, 86400.0, 1),
    "1,000/hr,max_burst=1,000": Rate(1000, 3600.0, 1000),
    "local:1/s, max_burst = 10": Rate(1, 1.0, 10, local=True),
}
NO_RATES = {
    "": '"" has no period',
    "100": '"100" has no period, did you mean "100/s"?',
    "100 per second": '"100 per second" has no period',
    "/s": '"" in "/s" is not a whole number',
    "0/s": '"0/s" lets nothing pass',
    "1/0s": '"1/0s" lets nothing pass',
    "-1/s": '"-1" in "-1/s" is not a whole number',
    "1.5/s": '"1.5" in "1.5/s" is not a whole number',
    "1/": '"1/" has no unit',
    "1/5": '"1/5" has no unit',
    "1/S": 'unknown unit "S" in "1/S", did you mean "1/s"?',
    "1/secnd": 'unknown unit "secnd" in "1/secnd", did you mean "1/second"?',
    "local:3/2minuts": 'unknown unit "minuts" in "local:3/2minuts", did you mean "local:3/2minutes"?',
    "1/week": 'unknown unit "week" in "1/week"',
    "1/s,burst=2": '"1/s,burst=2" has no period',
    "1/s,max_burst=0": '"1/s,max_burst=0" lets nothing pass',
    "1/s,max_burst=": '"" in "1/s,max_burst=" is not a whole number',
    "1/99999999d": 'the period of "1/99999999d" is longer than 100 years',
    "global:1/s": '"global:1" in "global:1/s" is not a whole number',
}


class RateTests(SynchronousTestCase):
    def test_what_is_a_rate(self) -> None:
        for text, rate in RATES.items():
            with self.subTest(text):
                self.assertEqual(parse_rate(text), rate)

    def test_what_is_none(self) -> None:
        for text, wrong in NO_RATES.items():
            with self.subTest(text):
                self.assertEqual(str(self.assertRaises(BadValue, parse_rate, text)), wrong)

    def test_they_are_written_in_the_models_canonical_form(self) -> None:
        for rate, text in (
            (Rate(100, 3600.0), "100/h"),
            (Rate(50, 86400.0, 1), "50/d,max_burst=1"),
            (Rate(100, 7380.0, local=True), "local:100/7380s"),
            (Rate(20, 60.0), "20/m"),
        ):
            with self.subTest(text):
                self.assertEqual(format_rate(rate), text)

    @given(
        st.builds(
            Rate,
            st.integers(1, 10**12),
            st.one_of(st.sampled_from([1.0, 60.0, 3600.0, 86400.0]), st.integers(1, 10**9).map(float)),
            st.none() | st.integers(1, 10**6),
            st.booleans(),
        )
    )
    @settings(max_examples=200, deadline=None)
    def test_what_is_written_reads_back(self, rate: Rate) -> None:
        self.assertEqual(parse_rate(format_rate(rate)), rate)


class NumberTests(SynchronousTestCase):
    def test_limits(self) -> None:
        for text, limit in (("10", Limit(10)), ("1,000", Limit(1000)), ("1_000", Limit(1000)), ("local:3", Limit(3, local=True))):
            with self.subTest(text):
                self.assertEqual(parse_limit(text), limit)

    def test_no_limits(self) -> None:
        for text, wrong in (
            ("0", '"0" lets nothing pass'),
            ("", '"" is not a whole number'),
            ("1.5", '"1.5" is not a whole number'),
            ("Local:3", '"Local:3" is not a limit, did you mean "local:3"?'),
            ("node:3", '"node:3" is not a limit'),
        ):
            with self.subTest(text):
                self.assertEqual(str(self.assertRaises(BadValue, parse_limit, text)), wrong)

    def test_sizes(self) -> None:
        for text, octets in (
            ("4096", 4096), ("10kb", 10_000), ("1MiB", 1 << 20), ("1 GiB", 1 << 30), ("1.5KiB", 1536), ("20 MB", 20_000_000),
            ("1_000_000", 1_000_000), ("7 bytes", 7), ("2TiB", 2 << 40),
        ):  # fmt: skip
            with self.subTest(text):
                self.assertEqual(parse_size(text), octets)

    def test_no_sizes(self) -> None:
        for text, wrong in (
            ("", '"" is not a size'),
            ("-1", '"-1" is not a size'),
            ("big", '"big" is not a size'),
            ("10k", 'unknown unit "k" in "10k", did you mean "10kb"?'),
            ("10 Mi", 'unknown unit "Mi" in "10 Mi", did you mean "10Mib"?'),
            ("10 XB", 'unknown unit "XB" in "10 XB"'),
        ):
            with self.subTest(text):
                self.assertEqual(str(self.assertRaises(BadValue, parse_size, text)), wrong)

    def test_whole_numbers(self) -> None:
        for text, number in (("0", 0), ("25", 25), ("-3", -3), ("10_000", 10_000), ("1,000", 1000), ("1,000,000", 1_000_000)):
            with self.subTest(text):
                self.assertEqual(parse_whole(text), number)
        for text in ("", "025", "0x19", "1e3", "1.0", "1,00", "+3", "٣", "1 000", "9" * 30):
            with self.subTest(text):
                self.assertRaises(BadValue, parse_whole, text)


class AddressTests(SynchronousTestCase):
    def test_networks(self) -> None:
        for text, expected in (
            ("10.0.0.1", "10.0.0.1/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
        ):
            with self.subTest(text):
                self.assertEqual([str(network) for network in parse_networks(text)], [expected])
        self.assertEqual(parse_networks("any"), ANYWHERE)
        self.assertIn("2001:db8::1", Networks(ANYWHERE))
        self.assertIn("10.0.0.1", Networks(ANYWHERE))

    def test_host_bits_are_a_fault_that_suggests_the_block(self) -> None:
        for text, block in (("10.1.2.3/8", "10.0.0.0/8"), ("2001:db8::1/64", "2001:db8::/64"), ("10.0.0.3/31", "10.0.0.2/31")):
            with self.subTest(text):
                fault = self.assertRaises(BadValue, parse_networks, text)
                self.assertEqual(str(fault), f'"{text}" has bits set beyond its prefix, did you mean "{block}"?')

    def test_listen_addresses(self) -> None:
        self.assertEqual(parse_listen("0.0.0.0:25"), ("0.0.0.0", 25))
        self.assertEqual(parse_listen("[::]:25"), ("::", 25))
        self.assertEqual(parse_listen("127.0.0.1:0"), ("127.0.0.1", 0))
        for text in (
            "",
            ":25",
            "25",
            "10.0.0.1:",
            "10.0.0.1:x",
            "10.0.0.1:99999",
            "[::1]",
            "::1:25",
            "[10.0.0.1]:25",
            "10.0.0.1:٣",
        ):
            with self.subTest(text):
                self.assertRaises(BadValue, parse_listen, text)


class WordingTests(SynchronousTestCase):
    def test_what_is_shown_is_printable_and_on_one_line(self) -> None:
        self.assertEqual(shown("a\nb\x00\ud800ä"), '"a\\nb\\x00\\ud800ä"')
        self.assertEqual(shown("x" * 100), f'"{"x" * 57}..."')

    def test_the_nearest_word(self) -> None:
        words = ("max_age", "egress_pool", "Opportunistic")
        for word, meant in (
            ("max-age", "max_age"), ("Max_Age", "max_age"), ("egres_pool", "egress_pool"), ("opportunistic", "Opportunistic"),
            ("nothing", ""), ("", ""),
        ):  # fmt: skip
            with self.subTest(word):
                self.assertEqual(nearest(word, words), meant)

    def test_no_suggestion_is_searched_among_very_many(self) -> None:
        self.assertEqual(nearest("pool-5x", [f"pool-{n}" for n in range(5000)]), "")


class AnyTextTests(SynchronousTestCase):
    """Whatever the text, a value or BadValue."""

    @given(st.text(max_size=30) | st.text(alphabet=string.digits + "/:,._ smhd=[]", max_size=30))
    @settings(max_examples=300, deadline=None)
    def test_text(self, text: str) -> None:
        for parse in (parse_duration, parse_rate, parse_limit, parse_size, parse_whole, parse_networks, parse_listen):
            try:
                parse(text)
            except BadValue as fault:
                self.assertNotIn("\n", str(fault))
