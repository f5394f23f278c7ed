"""Header fields that hold addresses."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.hooks.address_header import parse_address_header


class AddressHeaderTests(SynchronousTestCase):
    """From, To and the like."""

    def test_one_address(self) -> None:
        table = {
            b" joe@example.com\r\n": (None, "joe", "example.com", "joe@example.com"),
            b"Joe <joe@Example.COM>": ("Joe", "joe", "Example.COM", "joe@Example.COM"),
            b'"Joe, B" <"jo e"@example.com>': ("Joe, B", "jo e", "example.com", '"jo e"@example.com'),
            b'<"a\\"b"@example.com>': (None, 'a"b', "example.com", '"a\\"b"@example.com'),
            b"=?utf-8?q?a=2Cb?= <x@y.example>": ("a,b", "x", "y.example", "x@y.example"),
            "Jö <jö@ex.example>".encode(): ("Jö", "jö", "ex.example", "jö@ex.example"),
            b"\xffx <a@b.example>": ("ÿx", "a", "b.example", "a@b.example"),
            b"joe@example.com (Joe)": (None, "joe", "example.com", "joe@example.com"),
            b" a\r\n <a@[192.0.2.1]>\r\n": ("a", "a", "[192.0.2.1]", "a@[192.0.2.1]"),
        }
        for raw, (name, user, domain, email) in table.items():
            found = parse_address_header("From", raw)
            self.assertEqual((found.name, found.user, found.domain, found.email), (name, user, domain, email), raw)

    def test_several_have_only_a_list(self) -> None:
        found = parse_address_header("To", b"a@b.example, C <c@d.example>")
        self.assertEqual([one.email for one in found.list], ["a@b.example", "c@d.example"])
        for attribute in ("user", "domain", "email", "name"):
            with self.assertRaises(ValueError):
                getattr(found, attribute)

    def test_groups_are_flattened(self) -> None:
        self.assertEqual(
            [one.email for one in parse_address_header("To", b"g: a@b.example, c@d.example;").list], ["a@b.example", "c@d.example"]
        )
        nobody = parse_address_header("To", b"undisclosed-recipients:;")
        self.assertEqual(nobody.list, ())
        for raw in (b"undisclosed-recipients:;", b"g: a@b.example;"):
            with self.assertRaises(ValueError):
                print(parse_address_header("To", raw).email)

    def test_as_json(self) -> None:
        self.assertEqual(str(parse_address_header("From", b"Jo <a@b.example>")), '{"name": "Jo", "address": "a@b.example"}')
        self.assertTrue(str(parse_address_header("To", b"a@b.example, c@d.example")).startswith("[{"))

    def test_what_is_no_address_is_an_error(self) -> None:
        for raw in (b"", b"broken", b"<>", b"a@b c@d", b"<a@b", b"a@@b", b"((((", b'"', b"a" * 100000):
            with self.assertRaises(ValueError, msg=raw[:20]):
                parse_address_header("From", raw)

    @given(st.binary(max_size=40) | st.text('<>@,;:()"\\. \t[]=?utf8qab', max_size=40).map(str.encode))
    def test_whatever_stands_there_is_read_or_a_value_error(self, raw: bytes) -> None:
        try:
            found = parse_address_header("From", raw)
        except ValueError:
            return
        self.assertEqual([one for one in found.list if not one.email], [])
