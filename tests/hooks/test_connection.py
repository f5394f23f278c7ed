"""Metadata of connections and messages: what they hold, and what they refuse."""

import math
from enum import StrEnum
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.hooks.connection import AuthInfo, ConnMeta, Identity
from kumotwist.hooks.meta import NAMES
from tests.hooks.around import PolicyCase

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Color(StrEnum):
    """A text that is an enumeration."""

    RED = "red"


class MetaTests(PolicyCase):
    """The same rules for connections and messages."""

    def both(self) -> "list[tuple[Any, dict[str, Any]]]":
        meta: dict[str, Any] = {}
        message = self.messages.make()
        return [(ConnMeta(meta), meta), (self.message(), {}), (type(self.message())(message), message.meta)]

    @given(_JSON)
    def test_what_json_has_comes_back_and_can_be_stored(self, value: Any) -> None:
        meta: dict[str, Any] = {}
        ConnMeta(meta).set_meta("x_key", value)
        self.assertEqual(ConnMeta(meta).get_meta("x_key"), value)
        self.assertEqual(msgspec.json.decode(msgspec.json.encode(meta)).get("x_key"), value)

    def test_none_removes_a_key(self) -> None:
        for view, _ in self.both():
            view.set_meta("x_key", 1)
            view.set_meta("x_key", None)
            self.assertIsNone(view.get_meta("x_key"))
            view.set_meta("x_never", None)

    def test_what_json_does_not_have_is_refused(self) -> None:
        cyclic: list[Any] = []
        cyclic.append(cyclic)
        for value in (
            b"x",
            object(),
            {1},
            math.nan,
            math.inf,
            2**64,
            -(2**63) - 1,
            [object()],
            {1: 2},
            "\ud800",
            {"\ud800": 1},
            cyclic,
        ):
            for view, meta in self.both():
                with self.assertRaises(ValueError):
                    view.set_meta("x_key", value)
                self.assertNotIn("x_key", meta)

    def test_a_key_is_a_text(self) -> None:
        for view, _ in self.both():
            for key in (None, 1, "", b"x"):
                with self.assertRaises(ValueError):
                    view.set_meta(key, "x")

    def test_what_names_a_queue_or_a_pool_is_a_text_that_can_be_a_name(self) -> None:
        for view, _ in self.both():
            for key in NAMES:
                for value in (1, True, ["a"], "a\nb", "a\x00"):
                    with self.assertRaises(ValueError):
                        view.set_meta(key, value)
                view.set_meta(key, "größe")
                view.set_meta(key, None)

    def test_what_was_set_and_what_was_got_can_change_without_changing_what_is_noted(self) -> None:
        for view, _ in self.both():
            given = {"a": [1, {"b": 2}]}
            view.set_meta("x_key", given)
            given["a"].append(3)
            got = view.get_meta("x_key")
            got["a"][1]["b"] = 9
            self.assertEqual(view.get_meta("x_key"), {"a": [1, {"b": 2}]})

    def test_an_enumeration_and_a_tuple_become_what_json_has(self) -> None:
        for view, _ in self.both():
            view.set_meta("x_key", (Color.RED, 1))
            self.assertEqual(repr(view.get_meta("x_key")), "['red', 1]")

    def test_what_the_policy_notes_is_in_the_connections_own_metadata(self) -> None:
        meta: dict[str, Any] = {"hostname": "mx.example.com"}
        view = ConnMeta(meta)
        view.set_meta("x_key", 1)
        self.assertEqual(meta, {"hostname": "mx.example.com", "x_key": 1})
        self.assertEqual(view.get_meta("hostname"), "mx.example.com")


class AuthInfoTests(PolicyCase):
    """Who the client is."""

    def test_nobody_at_first(self) -> None:
        self.assertEqual(ConnMeta({}).auth_info(), AuthInfo())

    def test_whoever_it_proved_to_be(self) -> None:
        auth = AuthInfo(peer_address="192.0.2.1", identities=(Identity("joe", "SmtpAuthPlainAuthentication"),), groups=("staff",))
        self.assertIs(ConnMeta({}, auth).auth_info(), auth)
