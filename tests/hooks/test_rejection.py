"""How a policy refuses."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist import kumo
from kumotwist.hooks.rejection import Disconnect, Rejection
from kumotwist.mail.reply import Refusal


class RejectionTests(SynchronousTestCase):
    """The reply that the client gets, and what becomes of the session."""

    def refused(self, *arguments: object, by: object = kumo.reject) -> Rejection:
        with self.assertRaises(Refusal) as caught:
            by(*arguments)  # type: ignore[operator]
        assert isinstance(caught.exception, Rejection)
        return caught.exception

    def test_the_reply_is_what_was_said(self) -> None:
        table = {
            (500, "invalid/unknown tenant x"): b"500 invalid/unknown tenant x\r\n",
            (550, "5.7.1 no"): b"550 5.7.1 no\r\n",
            (421, "4.7.0 come\nback\nlater"): b"421-4.7.0 come\r\n421-4.7.0 back\r\n421 4.7.0 later\r\n",
            (450, "one\r\ntwo\n"): b"450-one\r\n450 two\r\n",
            (550, "Grüße"): "550 Grüße\r\n".encode(),
        }
        for (code, text), octets in table.items():
            self.assertEqual(self.refused(code, text).reply.encode(), octets)

    def test_what_a_client_put_into_the_text_ends_no_line(self) -> None:
        table = {
            "a\rb": b"550 a?b\r\n",
            "a\0b\x7f\x1b[31m": b"550 a?b??[31m\r\n",
            "a\u2028b\ud800": b"550 a?b?\r\n",
            "x" * 1000: b"550 " + b"x" * 400 + b"\r\n",
        }
        for text, octets in table.items():
            self.assertEqual(self.refused(550, text).reply.encode(), octets)

    def test_there_is_always_a_reply(self) -> None:
        for text in ("", "\n\n", " "):
            self.assertEqual(self.refused(550, text).reply.encode(), b"550 rejected\r\n")

    def test_a_code_that_refuses_nothing_is_a_mistake(self) -> None:
        for code in (250, 354, 600, 0, -1, True, "550", 550.0, None):
            with self.assertRaises(ValueError, msg=repr(code)):
                kumo.reject(code, "x")  # type: ignore[arg-type]

    def test_reject_leaves_the_session_as_the_code_has_it(self) -> None:
        self.assertIsNone(self.refused(550, "no").disconnects)

    def test_disconnect_says_how(self) -> None:
        table = {
            (): Disconnect.FORCE,
            ("ForceDisconnect",): Disconnect.FORCE,
            ("FollowWith421",): Disconnect.FOLLOW_WITH_421,
            ("If421",): Disconnect.IF_421,
            (Disconnect.IF_421,): Disconnect.IF_421,
        }
        for mode, disconnects in table.items():
            self.assertIs(self.refused(550, "no", *mode, by=kumo.disconnect).disconnects, disconnects)
        with self.assertRaises(ValueError):
            kumo.disconnect(550, "no", "Sometimes")
