"""Mail is signed between the policy's last word and custody: 250 waits for it, and what is kept is what was signed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.dkim import NO_DKIM, DkimBase, DkimDomain, DkimSettings
from kumotwist.config.keys import KeyData
from kumotwist.config.listeners import ListenerSettings
from kumotwist.hooks.context import Services, entered
from kumotwist.hooks.dkim import rsa_sha256_signer
from kumotwist.hooks.signing import Signing
from kumotwist.reception.service import Reception
from kumotwist.reception.wire import WireFactory
from tests.authentication.keys import Table, published, rsa_pem
from tests.hooks.signers import NoThreads, verdicts
from tests.reception.fakes import Line, policy_of
from tests.reception.test_converse import START, accepted

BODY = (b"DATA", b"From: joe@example.com", b"Subject: hello", b"X-Tenant: t", b"", b"hello", b".")
SETTINGS = DkimSettings(base=DkimBase(selector="rsa"), domain={"example.com": DkimDomain(key=KeyData(rsa_pem()))})


class SigningLine(Line):
    """A listener that signs."""

    def __init__(
        self, settings: DkimSettings = NO_DKIM, policy: Mapping[str, Sequence[Callable[..., Any]]] | None = None, **more: Any
    ) -> None:
        super().__init__(connect=False)
        self.threads = NoThreads()
        self.signing = Signing(self.clock, self.threads, lambda event: None, settings)
        nobody: Any = None  # is asked here
        services = Services(clock=self.clock, resolver=nobody, inject=nobody, message_id=lambda: "", signing=self.signing)
        loaded = policy_of(policy or {}, self.clock)
        loaded.services = services
        old = self.reception
        self.reception = Reception(
            hostname="mx.example.com", clock=self.clock, ids=old.ids, randbits=old.randbits, desk=old.desk, policy=loaded,
            signing=self.signing,
        )  # fmt: skip
        self.factory = WireFactory(self.reception, ListenerSettings(**more))
        self.connect()
        with entered(services):
            self.signer = rsa_sha256_signer(
                domain="example.com", selector="rsa", headers=["From", "Subject"], key={"key_data": rsa_pem().decode()}
            )

    def results(self, message: Any) -> list[str]:
        return [one.result for one in verdicts(message.content, Table(published()), self.clock.seconds())]


class ConfiguredTests(SynchronousTestCase):
    def test_what_is_kept_is_signed(self) -> None:
        line = SigningLine(SETTINGS)
        self.assertIn(b"250 OK ids=", line.say(*START, *BODY))
        message = accepted(line)
        self.assertEqual(line.results(message), ["pass"])
        self.assertEqual(message.size, len(message.content or b""))
        names = [
            field.partition(b":")[0] for field in (message.content or b"").split(b"\r\n") if field[:1] not in (b"", b"\t", b" ")
        ]
        self.assertEqual(names[:3], [b"X-KumoRef", b"DKIM-Signature", b"Received"])

    def test_250_waits_for_the_signature(self) -> None:
        line = SigningLine(SETTINGS)
        line.threads.holds = True
        line.say(*START)
        self.assertEqual(line.say(*BODY), b"354 Send body; end with CRLF.CRLF\r\n")
        line.threads.work()  # the key
        line.threads.work()
        self.assertIn(b"250 OK ids=", line.heard())
        self.assertEqual(line.results(accepted(line)), ["pass"])

    def test_each_recipients_message_has_its_own(self) -> None:
        line = SigningLine(SETTINGS)
        line.say(*START, b"RCPT TO:<second@example.org>", *BODY)
        self.assertEqual([line.results(message) for message in line.desk.taken], [["pass"], ["pass"]])

    def test_a_signature_that_takes_too_long_refuses_for_now_and_keeps_nothing(self) -> None:
        line = SigningLine(SETTINGS, data_processing_timeout=10.0)
        line.threads.holds = True
        line.say(*START, *BODY)
        line.clock.advance(11)
        self.assertIn(b"451 4.4.5 data_processing_timeout exceeded", line.heard())
        line.threads.work()
        self.assertEqual((line.desk.taken, line.say(b"NOOP")), ([], b"250 the goggles do nothing\r\n"))

    def test_a_key_that_cannot_be_used_refuses_for_now(self) -> None:
        broken = DkimSettings(base=DkimBase(selector="rsa"), domain={"example.com": DkimDomain(filename="/nowhere/key")})
        line = SigningLine(broken)
        self.assertIn(b"451 4.7.5 the message cannot be signed just now\r\n", line.say(*START, *BODY))
        self.assertEqual(line.desk.taken, [])

    def test_mail_of_others_is_taken_as_it_is(self) -> None:
        line = SigningLine(SETTINGS)
        line.say(*START, *(part.replace(b"joe@example.com", b"joe@example.net") for part in BODY))
        self.assertNotIn(b"DKIM-Signature", accepted(line).content or b"")


class PolicyTests(SynchronousTestCase):
    def test_a_policy_signs_last_whatever_it_does_after_asking(self) -> None:
        def received(message: Any) -> None:
            message.dkim_sign(line.signer)
            message.set_meta("tenant", "t")
            message.remove_all_named_headers("Subject")

        line = SigningLine(policy={"smtp_server_message_received": [received]})
        line.say(*START, *BODY)
        self.assertEqual(line.results(accepted(line)), ["pass"])
        self.assertNotIn(b"Subject", (accepted(line).content or b"").partition(b"Received")[2])

    def test_both_sign(self) -> None:
        line = SigningLine(SETTINGS, policy={"smtp_server_message_received": [lambda message: message.dkim_sign(line.signer)]})
        line.say(*START, *BODY)
        self.assertEqual(line.results(accepted(line)), ["pass", "pass"])

    def test_before_it_is_split(self) -> None:
        line = SigningLine(policy={"smtp_server_data": [lambda message: message.dkim_sign(line.signer)]})
        line.say(*START, b"RCPT TO:<second@example.org>", *BODY)
        self.assertEqual([line.results(message) for message in line.desk.taken], [["pass"], ["pass"]])
        first, second = (message.content.partition(b"DKIM-Signature")[2] for message in line.desk.taken if message.content)
        self.assertEqual(first, second)
