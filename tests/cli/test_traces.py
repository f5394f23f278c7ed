"""Traces in words, and how they end."""

from typing import Any

import click
import msgspec
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.api import Api, Credentials, NotThere, Refused
from kumotwist.cli.trace_lines import Frame, Sessions, read_frame, told
from kumotwist.cli.trace_wire import closing, websocket_url
from kumotwist.cli.traces import FILTERS, trace_smtp_client

PEER = {"received_from": "127.0.0.1:1", "received_via": "127.0.0.1:25"}


def frame(payload: Any, second: float = 0.0, **meta: Any) -> Frame:
    return read_frame(
        msgspec.json.encode({"conn_meta": meta or None, "payload": payload, "when": f"2026-08-04T12:00:{second:06.3f}Z"})
    )


class LineTests(SynchronousTestCase):
    def test_a_dialogue_with_its_times_and_what_is_known_of_it(self) -> None:
        sessions = Sessions(client=False)
        lines = [
            str(line)
            for one in (
                frame("Connected", 0, **PEER),
                frame({"Write": "220 mta\r\n"}, 0.5, **PEER),
                frame({"Read": "EHLO a\r\n"}, 1, **PEER, ehlo_domain="a"),
                frame("Closed", 2, **PEER),
            )
            for line in sessions.lines(one)
        ]
        key = "[127.0.0.1:1->127.0.0.1:25]"
        self.assertEqual(
            lines,
            [
                f"{key}   0.0 === conn_meta received_from=127.0.0.1:1",
                f"{key}   0.0 === conn_meta received_via=127.0.0.1:25",
                f"{key}   0.0 === Connected",
                f"{key}   0.5 <- 220 mta",
                f"{key}   1.0 === conn_meta ehlo_domain=a",
                f"{key}   1.0 -> EHLO a",
                f"{key}   2.0 === conn_meta deleted ehlo_domain",
                f"{key}   2.0 === Closed",
            ],
        )

    def test_each_event_has_its_words(self) -> None:
        disposition = {
            "id": "i",
            "sender": "a@b",
            "recipient": "c@d",
            "queue": "d",
            "relay": True,
            "will_enqueue": True,
            "meta": {"t": 1},
        }
        table: list[tuple[Any, bool, list[tuple[str, str]]]] = [
            ({"Read": "250-a\r\n250 b\r\n"}, True, [("<-", "250-a"), ("<-", "250 b")]),
            ({"Write": "QUIT\r\n"}, True, [("->", "QUIT")]),
            ({"AbbreviatedRead": {"snippet": "Subject: x", "len": 2000}}, False, [("->", "Subject: x [2,000 bytes in all]")]),
            ({"AbbreviatedWrite": {"snippet": "a\nb", "len": 9}}, True, [("->", "a"), ("->", "b [9 bytes in all]")]),
            ({"Diagnostic": {"level": "ERROR", "message": "missed 5"}}, True, [("===", "ERROR: missed 5")]),
            ({"Callback": {"name": "init", "result": None}}, False, [("===", "init: ok")]),
            ({"Callback": {"name": "init", "error": "no"}}, False, [("===", "init: error no")]),
            ("BeginSession", True, [("===", "BeginSession")]),
            (
                {"MessageDisposition": disposition},
                False,
                [("===", "message i from <a@b> to c@d"), ("===", "queue=d relay=true will_enqueue=true"), ("===", "meta t=1")],
            ),
        ]
        for payload, client, expected in table:
            self.assertEqual(list(told(frame(payload), client=client)), expected)

    def test_nothing_that_is_said_steers_the_terminal(self) -> None:
        (line,) = Sessions(client=True).lines(frame({"Read": "220 \x1b[2Jmx"}))
        self.assertEqual(str(line), "[]   0.0 <- 220 \\x1b[2Jmx")


class FollowingTests(SynchronousTestCase):
    def seen(self, sessions: Sessions, *frames: Frame) -> list[str]:
        return [line.session for one in frames for line in sessions.lines(one) if line.mark != "==="]

    def test_sessions_that_had_begun_may_be_left_out(self) -> None:
        frames = [frame({"Read": "x"}, id="old"), frame("BeginSession", id="new"), frame({"Read": "x"}, id="new")]
        self.assertEqual(self.seen(Sessions(client=True, only_new=True), *frames), ["new"])
        self.assertEqual(self.seen(Sessions(client=True), *frames), ["old", "new"])

    def test_one_session_is_followed_to_its_end(self) -> None:
        sessions = Sessions(client=True, only_one=True)
        frames = [frame({"Read": "x"}, id="a"), frame({"Read": "x"}, id="b"), frame({"Read": "y"}, id="a")]
        self.assertEqual((self.seen(sessions, *frames), sessions.over), (["a", "a"], False))
        sessions.lines(frame("Closed", id="b"))
        self.assertFalse(sessions.over)
        sessions.lines(frame("Closed", id="a"))
        self.assertTrue(sessions.over)


class EndTests(SynchronousTestCase):
    def test_a_refusal_and_a_lost_server_are_told_apart(self) -> None:
        api = Api("http://127.0.0.1:8000")
        table: list[tuple[str, type[click.ClickException], str]] = [
            ("WebSocket connection upgrade failed [401]: Unauthorized", Refused, "KUMOTWIST_PASSWORD"),
            ("WebSocket connection upgrade failed [404]: Not Found", Refused, "This server has no /x"),
            ("connection was closed uncleanly", NotThere, "Try again"),
        ]
        for reason, kind, words in table:
            fault = closing(api, "/x", reason)
            self.assertEqual((type(fault), words in fault.message), (kind, True), fault.message)

    def test_the_websocket_s_address(self) -> None:
        table = {
            "http://127.0.0.1:8000": "ws://127.0.0.1:8000/x",
            "https://a.example/mta/": "wss://a.example:443/mta/x",
            "http://[::1]": "ws://[::1]:80/x",
        }
        self.assertEqual({endpoint: websocket_url(Api(endpoint, Credentials("a", "b")), "/x") for endpoint in table}, table)

    def test_every_filter_of_the_model_has_its_option(self) -> None:
        known = {parameter.name for parameter in trace_smtp_client.params}
        self.assertEqual(len(FILTERS), 12)
        self.assertLessEqual({name for name, _ in FILTERS.values()}, known)
