"""AUTH PLAIN: only where the connection is fit for a password, and never told to anybody else."""

from base64 import b64encode
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from kumotwist.config.egress import EnableTls
from kumotwist.config.keys import KeyData, KeyEvent
from tests.delivery.case import DELIVERED, POSTPONED, SessionCase, message, settled
from tests.delivery.scripted import HANG_UP, PLAIN, SILENCE, THEN_HANG_UP

QUEUED = "250 2.0.0 Ok: queued"
WHERE = "mx.example.com./192.0.2.1:25"
FAILED = "400 KumoMTA internal: failed to connect to any candidate hosts: "
PASSWORD = "hunter2-secret"
LOGIN = b64encode(f"\0user\0{PASSWORD}".encode()).decode()
OFFER = {**PLAIN, "EHLO": "250-mx.example.com\r\n250 AUTH LOGIN PLAIN"}


class AuthTests(SessionCase):
    """Without TLS, as far as that is allowed; with TLS it is in test_loopback."""

    settings = SessionCase.settings.__class__(
        enable_tls=EnableTls.DISABLED,
        smtp_auth_plain_username="user",
        smtp_auth_plain_password=KeyData(PASSWORD.encode()),
        allow_smtp_auth_plain_without_tls=True,
    )

    def setUp(self) -> None:
        super().setUp()
        self.logged: list[str] = []
        observe = lambda event: self.logged.append(repr(event))  # noqa: E731
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def failed(self, text: str, answers: Any = OFFER, **changes: Any) -> list[str]:
        mx = self.mx(answers)
        means = {"ask_policy": changes.pop("ask_policy")} if "ask_policy" in changes else {}
        supply = self.supply(**changes)
        calls = self.deliver(supply, **means)
        self.assertEqual(calls, [settled(1, POSTPONED, f"{FAILED}{WHERE}: {text}"), ("connection_failed",)])
        self.silent(supply)
        return mx.heard

    def silent(self, supply: Any) -> None:
        """Nothing of the login is anywhere but on the wire."""
        for text in (*self.logged, repr(supply.calls), repr(supply.attempts), repr(supply.outcomes), repr(supply.path)):
            self.assertNotIn(PASSWORD, text)
            self.assertNotIn(LOGIN, text)

    def test_it_logs_in_once_for_a_connection_before_the_first_message(self) -> None:
        mx = self.mx(OFFER)
        supply = self.supply(message(1), message(2))
        self.assertEqual(len(self.deliver(supply)), 3)
        self.assertEqual(mx.heard[:3], ["EHLO here.example.net", f"AUTH PLAIN {LOGIN}", "MAIL FROM:<sender@example.org>"])
        self.assertEqual([line.split()[0] for line in mx.heard].count("AUTH"), 1)
        self.silent(supply)

    def test_nobody_logs_in_who_was_not_told_to(self) -> None:
        mx = self.mx(OFFER)
        self.deliver(self.supply(smtp_auth_plain_username=None))
        self.assertNotIn("AUTH", [line.split()[0] for line in mx.heard])

    def test_no_password_goes_in_clear_unless_allowed(self) -> None:
        text = "AUTH PLAIN is required, but the connection is not encrypted"
        heard = self.failed(text, allow_smtp_auth_plain_without_tls=False)
        self.assertEqual(heard, ["EHLO here.example.net", "QUIT"])

    def test_no_password_goes_to_a_host_that_does_not_ask_for_it(self) -> None:
        for offer in ("250 mx", "250-mx\r\n250 AUTH", "250-mx\r\n250 AUTH LOGIN CRAM-MD5"):
            heard = self.failed("AUTH PLAIN is required, but not advertised", {**PLAIN, "EHLO": offer})
            self.assertEqual(heard, ["EHLO here.example.net", "QUIT"])
            self.anew()

    def test_the_old_way_to_offer_it_counts(self) -> None:
        self.mx({**PLAIN, "EHLO": "250-mx\r\n250 AUTH=LOGIN PLAIN"})
        self.assertEqual(self.deliver(self.supply())[1], settled(1, DELIVERED, QUEUED))

    def test_a_refused_login_is_a_failed_host(self) -> None:
        for answer in ("535 5.7.8 wrong", "454 4.7.0 not now", "250 fine", "334 ", f"421 4.3.2 closing{THEN_HANG_UP}"):
            text = f"AUTH PLAIN was answered {answer.removesuffix(THEN_HANG_UP)}"
            self.failed(text, {**OFFER, "AUTH": answer})
            self.anew()

    def test_silence_and_the_end_of_the_connection(self) -> None:
        text = "Timed Out waiting 9s for response to AUTH PLAIN"
        self.failed(text, {**OFFER, "AUTH": SILENCE}, auth_timeout=9.0)
        self.anew()
        self.failed("connection closed by the peer", {**OFFER, "AUTH": HANG_UP})

    def test_a_password_from_a_file_is_read_when_it_is_needed(self) -> None:
        file = Path(self.mktemp())
        file.write_text(f"{PASSWORD}\n")
        mx = self.mx(OFFER)
        self.deliver(self.supply(smtp_auth_plain_password=str(file)))
        self.assertEqual(mx.heard[1], f"AUTH PLAIN {LOGIN}")
        self.anew()
        file.write_text("another\n")
        mx = self.mx(OFFER)
        self.deliver(self.supply(smtp_auth_plain_password=str(file)))
        self.assertNotEqual(mx.heard[1], f"AUTH PLAIN {LOGIN}")
        self.anew()
        file.unlink()
        text = "AUTH PLAIN is required, but there is no password: its file cannot be read: No such file or directory"
        self.failed(text, smtp_auth_plain_password=str(file))
        self.anew()
        file.write_bytes(b"\xff\xfe")
        self.failed("AUTH PLAIN is required, but there is no password: it is not UTF-8", smtp_auth_plain_password=str(file))

    def test_a_password_from_the_policy_may_come_late(self) -> None:
        mx = self.mx(OFFER)
        asked: Deferred[bytes] = Deferred()
        supply = self.supply(smtp_auth_plain_password=KeyEvent("get_password"))
        ended = self.start(supply, ask_policy=lambda event: asked)
        self.assertEqual(mx.heard, ["EHLO here.example.net"])
        asked.callback(PASSWORD.encode())
        self.assertEqual(self.finish(supply, ended)[1], settled(1, DELIVERED, QUEUED))
        self.assertEqual(mx.heard[1], f"AUTH PLAIN {LOGIN}")

    def test_a_policy_that_fails_tells_nothing(self) -> None:
        def fail(event: KeyEvent) -> bytes:
            raise ValueError(f"cannot decrypt {PASSWORD}")

        text = "AUTH PLAIN is required, but there is no password: get_password failed: ValueError"
        self.failed(text, smtp_auth_plain_password=KeyEvent("get_password"), ask_policy=fail)

    def test_names_and_passwords_may_be_of_any_language(self) -> None:
        mx = self.mx(OFFER)
        password = KeyData("pässwörd".encode())
        self.deliver(self.supply(smtp_auth_plain_username="müller", smtp_auth_plain_password=password))
        self.assertEqual(mx.heard[1], "AUTH PLAIN " + b64encode("\0müller\0pässwörd".encode()).decode())
