"""TOML, JSON and YAML for policies."""

import tomllib
from datetime import UTC, date, datetime, time

from hypothesis import given
from hypothesis import strategies as st

from kumotwist import kumo
from kumotwist.hooks.context import entered
from tests.hooks.around import PolicyCase

_TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=10)
_SCALAR = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | _TEXT
_VALUE = st.recursive(_SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3), max_leaves=8)


class ParseTests(PolicyCase):
    """Texts and values."""

    def test_each_format(self) -> None:
        self.assertEqual(kumo.serde.toml_parse("a = 1\n[via.'10.0.0.1']\nb = true\n"), {"a": 1, "via": {"10.0.0.1": {"b": True}}})
        self.assertEqual(kumo.serde.json_parse('{"a": [1, null]}'), {"a": [1, None]})
        self.assertEqual(kumo.serde.yaml_parse("a: [1, ~, x]\non: 25:30\n"), {"a": [1, None, "x"], "on": "25:30"})
        self.assertIsNone(kumo.serde.yaml_parse(""))

    def test_what_is_none_of_it_is_a_value_error(self) -> None:
        for parse, text in (
            (kumo.serde.toml_parse, "a = "),
            (kumo.serde.json_parse, "{"),
            (kumo.serde.json_parse, "[" * 100000),
            (kumo.serde.yaml_parse, "a: ["),
            (kumo.serde.yaml_parse, "a: 1\na: 2"),
            (kumo.serde.yaml_parse, "x: !!python/object:os.system {}"),
            (kumo.serde.yaml_parse, "[" * 1000),
        ):
            with self.assertRaises(ValueError, msg=text[:20]):
                parse(text)

    def test_an_alias_bomb_is_refused(self) -> None:
        bomb = "a: &a [x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9))
        with self.assertRaises(ValueError):
            kumo.serde.yaml_parse(bomb)

    @given(st.dictionaries(_TEXT, _VALUE, max_size=4))
    def test_what_is_encoded_is_read_back(self, value: dict[str, object]) -> None:
        self.assertEqual(kumo.serde.toml_parse(kumo.serde.toml_encode(value)), value)
        self.assertEqual(kumo.serde.json_parse(kumo.serde.json_encode(value)), value)
        self.assertEqual(kumo.serde.json_parse(kumo.serde.json_encode_pretty(value)), value)

    def test_yaml_too(self) -> None:
        value = {"a": [1, 2.5, None, True, "on", "25:30", "grüße"], "b": {"c": {}}}
        self.assertEqual(kumo.serde.yaml_parse(kumo.serde.yaml_encode(value)), value)

    def test_toml_as_people_write_it(self) -> None:
        value = {
            "pool": {"pool-1": {"ip-1": {}, "ip-2": {"weight": 2}}},
            "name": "x",
            "at": [datetime(2023, 11, 14, tzinfo=UTC), date(2023, 11, 14), time(22, 13)],
            "rules": [{"a": 1}, {"a": {"b": 2}}],
        }
        text = kumo.serde.toml_encode(value)
        self.assertEqual(tomllib.loads(text), value)
        self.assertTrue(text.startswith('name = "x"\n'))
        self.assertIn("\n[pool.pool-1.ip-2]\nweight = 2\n", text)
        self.assertIn("\n[[rules]]\na = 1\n\n[[rules]]\n", text)

    def test_what_toml_does_not_have(self) -> None:
        for value in ({"a": None}, {1: 2}, {"a": [object()]}):
            with self.assertRaises(TypeError):
                kumo.serde.toml_encode(value)  # type: ignore[arg-type]


class LoadTests(PolicyCase):
    """Files."""

    def test_names_are_relative_to_the_file_that_calls_also_in_a_handler(self) -> None:
        self.write("a = 1\n", "maps/pools.toml")
        self.write('{"b": 2}', "maps/pools.json")
        self.write("c: 3\n", "maps/pools.yaml")
        policy = self.load("""
            POOLS = kumo.serde.toml_load("maps/pools.toml")
            kumo.on("get_egress_pool", lambda: {
                **POOLS, **kumo.serde.json_load("maps/pools.json"), **kumo.serde.yaml_load("maps/pools.yaml")
            })
        """)
        self.assertEqual(self.services.files, {str(self.place / name) for name in ("policy.py", "maps/pools.toml")})
        self.assertEqual(policy.first("get_egress_pool", "x"), {"a": 1, "b": 2, "c": 3})
        self.assertEqual(len(self.services.files), 4)

    def test_a_file_that_cannot_be_understood_is_named(self) -> None:
        for name, text in (("x.toml", "a = [}"), ("x.json", "{"), ("x.yaml", "a: [")):
            file = self.write(text, name)
            load = getattr(kumo.serde, f"{name[2:]}_load")
            with self.assertRaisesRegex(ValueError, f"{name}: .*line 1"):
                load(file)

    def test_a_file_that_is_not_there_is_still_watched_for(self) -> None:
        with entered(self.services), self.assertRaises(FileNotFoundError):
            kumo.serde.json_load(self.place / "gone.json")
        self.assertEqual(self.services.files, {str(self.place / "gone.json")})
