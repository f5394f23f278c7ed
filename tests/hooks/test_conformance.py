"""Checking a message against the letter of the standards, and repairing it."""

from email import message_from_bytes, policy

from hypothesis import given
from hypothesis import strategies as st

from kumotwist.hooks.conformance import Conformance, Repair, encodings_tried, faults_of, names_of, parse_flags, repaired
from kumotwist.hooks.message import message_of
from tests.hooks.around import PolicyCase

GOOD = (
    b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n"
    b"Subject: hello\r\n\r\nworld\r\n"
)  # fmt: skip
REPAIR = Repair(date="Tue, 14 Nov 2023 22:13:20 +0000", message_id="<2@example.com>")
EVERYTHING = "|".join(flag.name or "" for flag in Conformance)


class FaultTests(PolicyCase):
    """What is wrong with a message."""

    def test_each_fault(self) -> None:
        parts = b"Content-Type: multipart/mixed; boundary=b\r\nSubject: hello\r\n\r\n--b\r\nContent-Type: text/plain"
        table = {
            GOOD: "",
            GOOD.replace(b"Subject: hello", b"Subject hello"): "MISSING_COLON_VALUE",
            GOOD.replace(b"world\r\n", b"world\n"): "NON_CANONICAL_LINE_ENDINGS",
            GOOD.replace(b"world", b"wor\rld"): "NON_CANONICAL_LINE_ENDINGS",
            GOOD.replace(b"Subject:", b"Subject :"): "NAME_ENDS_WITH_SPACE",
            GOOD.replace(b"world", b"x" * 78): "",
            GOOD.replace(b"world", b"x" * 79): "LINE_TOO_LONG",
            GOOD.replace(b"hello", b"x" * 79): "LINE_TOO_LONG",
            GOOD.replace(b"world", b"w\xc3\xb6rld"): "NEEDS_TRANSFER_ENCODING",
            GOOD.replace(b"hello", b"h\xc3\xa4llo"): "NEEDS_TRANSFER_ENCODING",
            GOOD.replace(b"Subject", b"Content-Type: text/plain; charset=x-none\r\nSubject"): "NEEDS_TRANSFER_ENCODING",
            GOOD.replace(b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n", b""): "MISSING_DATE_HEADER",
            GOOD.replace(b"Tue, 14 Nov 2023 22:13:20 +0000", b"yesterday"): "MISSING_DATE_HEADER",
            GOOD.replace(b"Message-ID: <1@example.com>\r\n", b""): "MISSING_MESSAGE_ID_HEADER",
            GOOD.replace(b"<1@example.com>", b"<<1@example.com>>"): "MISSING_MESSAGE_ID_HEADER",
            GOOD.replace(b"MIME-Version: 1.0\r\n", b""): "MISSING_MIME_VERSION",
            GOOD.replace(b"1.0", b"2.0"): "MISSING_MIME_VERSION",
            GOOD.replace(b"Subject", b"Content-Type: nothing\r\nSubject"): "INVALID_MIME_HEADERS",
            GOOD.replace(b"Subject", b"Content-Transfer-Encoding: x-y\r\nSubject"): "INVALID_MIME_HEADERS",
            GOOD.replace(b"Subject: hello\r\n", parts): "",
            GOOD.replace(b"Subject: hello\r\n", parts + b"; charset=x-none\r\n"): "NEEDS_TRANSFER_ENCODING",
        }
        for content, names in table.items():
            self.assertEqual(names_of(faults_of(content)), names, content)

    def test_flags_are_read_as_they_are_written(self) -> None:
        self.assertEqual(parse_flags(""), Conformance(0))
        self.assertEqual(
            parse_flags("LINE_TOO_LONG | MISSING_DATE_HEADER"), Conformance.LINE_TOO_LONG | Conformance.MISSING_DATE_HEADER
        )
        self.assertEqual(names_of(parse_flags(EVERYTHING)), EVERYTHING)
        with self.assertRaisesRegex(ValueError, 'unknown flag "LINE_TO_LONG", did you mean "LINE_TOO_LONG"'):
            parse_flags("MISSING_DATE_HEADER|LINE_TO_LONG")


class RepairTests(PolicyCase):
    """Each repair changes what is wrong, and nothing else."""

    def test_what_can_be_repaired_by_itself(self) -> None:
        table = {
            (b"Subject: hello\r\n", b"Subject : hello\r\nX-Empty\r\nno field at all\r\n"): b"Subject: hello\r\nX-Empty:\r\n",
            (b"world\r\n", b"world\nand\rmore\n"): b"world\r\nand\r\nmore\r\n",
            (b"Subject: hello", b"Subject: gr\xc3\xbc\xc3\x9fe"): b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=",
            (b"Subject: hello", "From: Jö <jö@example.com>".encode()): None,
            (b"Subject: hello", "From: Jö <jo@example.com>".encode()): b"From: =?utf-8?q?J=C3=B6?= <jo@example.com>",
            (b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n", b"Date: never\r\n"): b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n",
            (b"Subject", b"Content-Type: nothing\r\nSubject"): b"Subject",
            (b"Subject", b"Content-Transfer-Encoding: x-y\r\nSubject"): None,
        }
        for (good, bad), result in table.items():
            content = GOOD.replace(good, bad)
            found = faults_of(content)
            self.assertTrue(found)
            fixed = repaired(content, found, REPAIR)
            if result is not None:
                self.assertEqual(fixed, GOOD.replace(good, result), bad)
            self.assertNotEqual(fixed, content)

    def test_long_lines_and_high_octets_are_encoded_in_their_part_only(self) -> None:
        long = "grüße " * 40
        content = (
            b"Content-Type: multipart/mixed; boundary=b\r\n" + GOOD.replace(b"world\r\n", b"")
            + b"--b\r\n\r\nshort\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + long.encode()
            + b"\r\n--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\x89PNG\r\n--b--\r\n"
        )  # fmt: skip
        fixed = repaired(content, faults_of(content), REPAIR)
        self.assertEqual(names_of(faults_of(fixed)), "")
        self.assertIn(b"--b\r\n\r\nshort\r\n--b\r\n", fixed)
        parts = [one for one in message_from_bytes(fixed, policy=policy.SMTP).walk() if not one.is_multipart()]
        self.assertEqual([part.get_content() for part in parts[1:]], [long, b"\x89PNG"])

    def test_octets_of_no_known_encoding_become_replacement_characters_or_are_guessed(self) -> None:
        content = GOOD.replace(b"world", b"gr\xfc\xdfe")
        table = {
            REPAIR: "gr\ufffd\ufffde",
            Repair(date="", message_id="", detect_encoding=True): "grüße",
            Repair(date="", message_id="", detect_encoding=True, encodings=encodings_tried(["koi8-r"])): "grЭъe",
            Repair(date="", message_id="", detect_encoding=True, encodings=encodings_tried(exclude=["windows-1252", "latin-1"])): (
                "gr\ufffd\ufffde"
            ),
        }
        for repair, text in table.items():
            fixed = message_from_bytes(repaired(content, faults_of(content), repair), policy=policy.SMTP)
            self.assertEqual(fixed.get_content().strip(), text)

    def test_a_message_in_a_message_is_left_alone(self) -> None:
        content = b"Content-Type: message/rfc822\r\n" + GOOD.replace(b"world", b"A: b\r\n\r\nw\xc3\xb6rld")
        self.assertEqual(repaired(content, faults_of(content), REPAIR), content)

    @given(
        st.lists(
            st.sampled_from([b"A: b", b"no colon", b"X : y", b"\r\n", b"\n", b"\r", b" folded", "ü".encode(), b"\xff", b"x" * 90]),
            max_size=20,
        ),
        st.integers(0, 511),
    )
    def test_whatever_it_is_the_flaws_that_are_repaired_are_gone(self, pieces: list[bytes], flags: int) -> None:
        content = b"".join([b"X-First: x\r\n", *pieces])  # else the first might be folded into what is put before it
        faults = faults_of(content) & Conformance(flags)
        fixed = repaired(content, faults, REPAIR)
        lasting = Conformance.LINE_TOO_LONG | Conformance.NEEDS_TRANSFER_ENCODING  # where there is no header to say how
        self.assertEqual(faults_of(fixed) & faults & ~lasting, Conformance(0))
        if not faults:
            self.assertEqual(fixed, content)


class CheckFixTests(PolicyCase):
    """What a policy calls."""

    def setUp(self) -> None:
        super().setUp()
        self.use_services()

    def test_a_good_message_passes(self) -> None:
        message = self.message(GOOD)
        self.assertIsNone(message.check_fix_conformance(EVERYTHING, EVERYTHING))
        self.assertEqual(message.get_data(), GOOD)

    def test_what_is_wrong_and_not_to_be_fixed_is_told_and_nothing_changes(self) -> None:
        content = GOOD.replace(b"Subject", b"no colon\r\nSubject").replace(b"world", b"x" * 100)
        message = self.message(content)
        told = message.check_fix_conformance("MISSING_COLON_VALUE|LINE_TOO_LONG", "MISSING_DATE_HEADER")
        self.assertEqual(told, "Message has conformance issues: MISSING_COLON_VALUE|LINE_TOO_LONG")
        self.assertEqual(message.get_data(), content)

    def test_what_may_be_fixed_is_not_complained_of(self) -> None:
        message = self.message(GOOD.replace(b"Subject", b"no colon\r\nSubject"))
        self.assertIsNone(message.check_fix_conformance("MISSING_COLON_VALUE", "MISSING_COLON_VALUE"))
        self.assertEqual(message.get_data(), GOOD)

    def test_missing_headers_are_made(self) -> None:
        message = self.message(b"Subject: hello\r\n\r\nworld\r\n")
        self.assertIsNone(message.check_fix_conformance("", "MISSING_DATE_HEADER|MISSING_MESSAGE_ID_HEADER|MISSING_MIME_VERSION"))
        self.assertEqual(
            message.get_data(),
            f"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <{message.id}@example.com>\r\nMIME-Version: 1.0\r\n"
            "Subject: hello\r\n\r\nworld\r\n".encode(),
        )
        self.assertEqual(message_of(message).size, len(message.get_data()))

    def test_a_bounce_gets_an_id_of_the_host_that_took_it(self) -> None:
        message = self.message(b"Subject: hello\r\n\r\nworld\r\n", hostname="mx.example.com")
        message.set_sender("<>")
        message.check_fix_conformance("", "MISSING_MESSAGE_ID_HEADER")
        self.assertIn(f"<{message.id}@mx.example.com>".encode(), message.get_data())

    def test_settings(self) -> None:
        message = self.message(b"\r\ngr\xfc\xdfe\r\n")
        message.check_fix_conformance(
            "", "NEEDS_TRANSFER_ENCODING|MISSING_MESSAGE_ID_HEADER", {"detect_encoding": True, "message_id": "<x@example.com>"}
        )
        self.assertIn(b"Message-ID: <x@example.com>\r\n", message.get_data())
        parsed = message_from_bytes(message.get_data(), policy=policy.SMTP)
        self.assertEqual(parsed.get_content().strip(), "grüße")
        with self.assertRaisesRegex(ValueError, "unknown setting 'detect'"):
            self.message(b"A: b\r\n\r\n").check_fix_conformance("", "MISSING_DATE_HEADER", {"detect": True})

    def test_unknown_flags_are_refused(self) -> None:
        for checks, fixes in (("NO_SUCH_FLAG", ""), ("", "NO_SUCH_FLAG")):
            with self.assertRaises(ValueError):
                self.message(GOOD).check_fix_conformance(checks, fixes)
