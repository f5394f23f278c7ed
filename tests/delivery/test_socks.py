"""The client's half of a SOCKS5 dialogue."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.delivery.socks import SocksDialogue, SocksFailed

TARGET = ("192.0.2.1", 25)
SOURCE = "198.51.100.7"
GRANTED = b"\x05\x00\x00\x01" + bytes((198, 51, 100, 7)) + b"\x9c\x40"
BIND = b"\x05\x02\x00\x01" + bytes((198, 51, 100, 7)) + b"\x00\x00"
CONNECT = b"\x05\x01\x00\x01" + bytes((192, 0, 2, 1)) + b"\x00\x19"


class SocksTests(SynchronousTestCase):
    """RFC 1928, RFC 1929."""

    def converse(self, dialogue: SocksDialogue, came: bytes, size: int = 1000) -> bytes:
        said = dialogue.begin()
        for start in range(0, len(came), size):
            said += dialogue.receive(came[start : start + size])
        return said

    def test_it_binds_and_then_connects_however_the_answers_are_cut(self) -> None:
        for size in (1, 3, 1000):
            dialogue = SocksDialogue(TARGET, SOURCE)
            said = self.converse(dialogue, b"\x05\x00" + GRANTED + GRANTED + b"220 mx", size)
            self.assertEqual(said, b"\x05\x01\x00" + BIND + CONNECT)
            if size == 1000:
                self.assertEqual((dialogue.done, dialogue.bound, dialogue.rest), (True, "198.51.100.7:40000", b"220 mx"))
            else:
                self.assertEqual((dialogue.done, dialogue.bound), (True, "198.51.100.7:40000"))

    def test_ipv6(self) -> None:
        dialogue = SocksDialogue(("2001:db8::1", 2525), "2001:db8::7")
        bound = b"\x05\x00\x00\x04\x20\x01\x0d\xb8" + b"\x00" * 11 + b"\x07" + b"\x9c\x40"
        said = self.converse(dialogue, b"\x05\x00" + bound + bound)
        self.assertEqual(dialogue.bound, "[2001:db8::7]:40000")
        self.assertIn(b"\x05\x01\x00\x04\x20\x01\x0d\xb8" + b"\x00" * 11 + b"\x01\x09\xdd", said)

    def test_a_login_is_offered_where_there_is_one_and_given_where_it_is_wanted(self) -> None:
        dialogue = SocksDialogue(TARGET, SOURCE, ("user", "secret"))
        said = self.converse(dialogue, b"\x05\x02" + b"\x01\x00" + GRANTED + GRANTED)
        self.assertEqual(said, b"\x05\x02\x00\x02" + b"\x01\x04user\x06secret" + BIND + CONNECT)
        dialogue = SocksDialogue(TARGET, SOURCE, ("user", "secret"))
        self.assertEqual(self.converse(dialogue, b"\x05\x00"), b"\x05\x02\x00\x02" + BIND, "it was not wanted")

    def test_where_the_server_may_choose_the_address_it_is_only_asked_to_connect(self) -> None:
        for unspecified in ("0.0.0.0", "::"):
            dialogue = SocksDialogue(TARGET, unspecified)
            self.assertEqual(self.converse(dialogue, b"\x05\x00" + GRANTED), b"\x05\x01\x00" + CONNECT)
            self.assertEqual((dialogue.done, dialogue.bound), (True, "198.51.100.7:40000"))

    def test_an_answer_may_name_a_host(self) -> None:
        dialogue = SocksDialogue(TARGET, "0.0.0.0")
        self.converse(dialogue, b"\x05\x00" + b"\x05\x00\x00\x03\x05proxy\x00\x50" + b"2")
        self.assertEqual((dialogue.bound, dialogue.rest), ("proxy:80", b"2"))

    def test_each_refusal_says_what_was_refused_and_whose_fault_it_is(self) -> None:
        for came, text, cannot_bind in (
            (b"\x05\xff", "it wants a login", False),
            (b"\x05\x02", "it wants to log in by method 2", False),
            (b"\x05\x01", "it wants to log in by method 1", False),
            (b"HT", "it does not speak SOCKS5, but said b'HT'", False),
            (b"\x05\x00\x05\x01\x00\x01" + b"\x00" * 6, "BIND was answered: general failure", True),
            (b"\x05\x00\x05\x07\x00\x01" + b"\x00" * 6, "BIND was answered: command not supported", True),
            (b"\x05\x00" + GRANTED + b"\x05\x05\x00\x01" + b"\x00" * 6, "CONNECT was answered: connection refused", False),
            (b"\x05\x00" + GRANTED + b"\x05\x63\x00\x01" + b"\x00" * 6, "CONNECT was answered: failure 99", False),
        ):
            dialogue = SocksDialogue(TARGET, SOURCE)
            with self.assertRaises(SocksFailed) as raised:
                self.converse(dialogue, came)
            self.assertEqual((str(raised.exception), raised.exception.cannot_bind), (text, cannot_bind))
            self.assertFalse(dialogue.done)

    def test_a_refused_login(self) -> None:
        dialogue = SocksDialogue(TARGET, SOURCE, ("user", "secret"))
        with self.assertRaisesRegex(SocksFailed, "it does not accept the login"):
            self.converse(dialogue, b"\x05\x02\x01\x01")

    def test_a_login_that_cannot_be_said(self) -> None:
        for login in (("", "secret"), ("user", ""), ("u" * 256, "secret"), ("user", "s" * 256)):
            with self.assertRaises(SocksFailed) as raised:
                SocksDialogue(TARGET, SOURCE, login)
            self.assertNotIn("secret", str(raised.exception))
