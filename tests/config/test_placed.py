"""What YAML, TOML and JSON say, and where: each value and each key has its line and column."""

import json
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.faults import Broken, FaultList
from kumotwist.config.placed import Items, Placed, Text
from kumotwist.config.placed_json import read_json
from kumotwist.config.placed_toml import read_toml
from kumotwist.config.placed_yaml import read_yaml


def drawn(given: Placed | None) -> object:
    """A tree as something to compare: texts as `text@line:column` (plain ones without quotes), keys as `key@line:column`."""
    if given is None:
        return None
    place = f"{given.place.line}:{given.place.column}"
    if isinstance(given, Text):
        return f"{given.text}@{place}" if given.plain else f"'{given.text}'@{place}"
    if isinstance(given, Items):
        return [f"@{place}", *(drawn(item) for item in given.items)]
    entries = {f"{key}@{entry.place.line}:{entry.place.column}": drawn(entry.value) for key, entry in given.entries.items()}
    return {"": f"@{place}", **entries}


Read = Callable[[str, str, FaultList], Placed | None]


class PlacedTestCase(SynchronousTestCase):
    def drawn(self, read: Read, text: str) -> object:
        faults = FaultList()
        found = drawn(read("x", text, faults))
        self.assertEqual(faults.in_order(), ())
        return found

    def broken(self, read: Read, text: str) -> str:
        fault = self.assertRaises(Broken, read, "x", text, FaultList())
        assert isinstance(fault, Broken)
        return f"{fault.place.line}:{fault.place.column}: {fault.what}"


class YamlTests(PlacedTestCase):
    def test_places(self) -> None:
        self.assertEqual(
            self.drawn(read_yaml, "a: 1\nb:\n  - x\n  - {c: 'y'}\n\"d\": |\n  text\n"),
            {
                "": "@1:1",
                "a@1:1": "1@1:4",
                "b@2:1": ["@3:3", "x@3:5", {"": "@4:5", "c@4:6": "'y'@4:9"}],
                "d@5:1": "'text\n'@5:6",
            },
        )

    def test_scalars_stay_text(self) -> None:
        self.assertEqual(
            self.drawn(read_yaml, "[on, 25:30, 0123, ~, 1_000, 2001-01-01, !!str 5, '5']"),
            ["@1:1", "on@1:2", "25:30@1:6", "0123@1:13", "~@1:19", "1_000@1:22", "2001-01-01@1:29", "'5'@1:41", "'5'@1:50"],
        )

    def test_an_alias_keeps_the_place_of_what_it_stands_for(self) -> None:
        self.assertEqual(
            self.drawn(read_yaml, "a: &x [1]\nb: *x\n"), {"": "@1:1", "a@1:1": ["@1:4", "1@1:8"], "b@2:1": ["@1:4", "1@1:8"]}
        )

    def test_merge_keys(self) -> None:
        self.assertEqual(
            self.drawn(read_yaml, "a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\nc: {<<: [{p: 4}, *x]}\n"),
            {
                "": "@1:1",
                "a@1:1": {"": "@1:4", "p@1:8": "1@1:11", "q@1:14": "2@1:17"},
                "b@2:1": {"": "@2:4", "q@2:13": "3@2:16", "p@1:8": "1@1:11"},
                "c@3:1": {"": "@3:4", "p@3:11": "4@3:14", "q@1:14": "2@1:17"},
            },
        )

    def test_columns_count_characters(self) -> None:
        self.assertEqual(self.drawn(read_yaml, "ä: [é, x]"), {"": "@1:1", "ä@1:1": ["@1:4", "é@1:5", "x@1:8"]})


class JsonTests(PlacedTestCase):
    def test_places(self) -> None:
        self.assertEqual(
            self.drawn(read_json, '{"a": [1, true, null, "x\\n\\u00e4"],\r\n\t"b": {"c": -1.5e3, "e": {}}, "d":[]}'),
            {
                "": "@1:1",
                "a@1:2": ["@1:7", "1@1:8", "true@1:11", "null@1:17", "'x\nä'@1:23"],
                "b@2:2": {"": "@2:7", "c@2:8": "-1.5e3@2:13", "e@2:21": {"": "@2:26"}},
                "d@2:31": ["@2:35"],
            },
        )

    def test_what_is_no_json(self) -> None:
        for text, said in (
            ("", "1:1: not JSON: expecting value"),
            ('{"a": 1', "1:8: not JSON: expecting ',' delimiter"),
            ('{"a" 1}', "1:6: not JSON: expecting ':' delimiter"),
            ("{}\n{}", "2:1: not JSON: extra data"),
            ('["\t"]', "1:3: not JSON: invalid control character at"),
        ):
            with self.subTest(text):
                self.assertEqual(self.broken(read_json, text), said)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3),
            max_leaves=12,
        )
    )
    @settings(max_examples=100, deadline=None)
    def test_every_document_is_read_with_as_many_values_as_it_has(self, value: object) -> None:
        for indent in (None, 2):
            found = read_json("x", json.dumps(value, indent=indent), FaultList())
            self.assertEqual(count(found), count_values(value))


class TomlTests(PlacedTestCase):
    def test_places(self) -> None:
        text = (
            "a = 1\n"
            'b.c = "x" # c\n'
            '[source."ip-1"]\n'
            "  weight = 1.50\n"
            "day = 1979-05-27 07:32:00\n"
            "[[x.automation]]\n"
            "r = [\"a\", 'b', # one\n"
            '  """c""", {k = 1, z.y = true}]\n'
            "[[x.automation]]\n"
            "r = 2\n"
            "[x.automation.sub]\n"
            "q = '''\n\nx'''\n"
            "'quoted . key' = {}\n"
        )
        self.assertEqual(
            self.drawn(read_toml, text),
            {
                "": "@1:1",
                "a@1:1": "1@1:5",
                "b@2:1": {"": "@2:1", "c@2:3": "'x'@2:7"},
                "source@3:2": {
                    "": "@3:1",
                    "ip-1@3:9": {"": "@3:1", "weight@4:3": "1.50@4:12", "day@5:1": "1979-05-27 07:32:00@5:7"},
                },
                "x@6:3": {
                    "": "@6:1",
                    "automation@6:5": [
                        "@6:1",
                        {
                            "": "@6:1",
                            "r@7:1": [
                                "@7:5",
                                "'a'@7:6",
                                "'b'@7:11",
                                "'c'@8:3",
                                {"": "@8:12", "k@8:13": "1@8:17", "z@8:20": {"": "@8:20", "y@8:22": "true@8:26"}},
                            ],
                        },
                        {
                            "": "@9:1",
                            "r@10:1": "2@10:5",
                            "sub@11:15": {"": "@11:1", "q@12:1": "'\nx'@12:5", "quoted . key@15:1": {"": "@15:18"}},
                        },
                    ],
                },
            },
        )

    def test_strings_of_every_form_end_where_they_end(self) -> None:
        for written, meant in (
            ('""', ""), ("''", ""), (r'"\"] = {\\"', '"] = {\\'), (r"'\'", "\\"), ('"""a"b""c"""', 'a"b""c'), ("''''a''''", "'a'"),
            ('"""a"""""', 'a""'), ('"#"', "#"), (r'"""\""""', '"'),
        ):  # fmt: skip
            with self.subTest(written):
                self.assertEqual(
                    self.drawn(read_toml, f"k = [{written}, 1] # x\nl = 2"),
                    {"": "@1:1", "k@1:1": ["@1:5", f"'{meant}'@1:6", f"1@1:{8 + len(written)}"], "l@2:1": "2@2:5"},
                )

    def test_crlf(self) -> None:
        self.assertEqual(self.drawn(read_toml, "a = 1\r\n\r\n[b]\r\nc = 2\r\n"), {
            "": "@1:1", "a@1:1": "1@1:5", "b@3:2": {"": "@3:1", "c@4:1": "2@4:5"},
        })  # fmt: skip

    def test_numbers_and_switches_are_plain_in_ten_digits(self) -> None:
        self.assertEqual(self.drawn(read_toml, "k = [0x10, 1_000, true, +5, inf]"), {
            "": "@1:1", "k@1:1": ["@1:5", "16@1:6", "1000@1:12", "true@1:19", "5@1:25", "Infinity@1:29"],
        })  # fmt: skip

    def test_what_is_no_toml(self) -> None:
        for text, place in (("a", "1:2"), ("a = ", "1:5"), ("[a\n", "1:3"), ("a = 1\nb = [1,\n", "3:1")):
            with self.subTest(text):
                self.assertRegex(self.broken(read_toml, text), rf"^{place}: not TOML: [a-z]")
        for text in ("a = 1\n  a = 2\n", "a = 1\n  [a]\n"):
            self.assertEqual(self.broken(read_toml, text), '2:3: duplicate key "a"')


def count(given: Placed | None) -> int:
    if given is None or isinstance(given, Text):
        return 1
    if isinstance(given, Items):
        return 1 + sum(map(count, given.items))
    return 1 + sum(count(entry.value) for entry in given.entries.values())


def count_values(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(count_values, value.values()))
    return 1 + sum(map(count_values, value)) if isinstance(value, list) else 1
