"""Messages are signed with all that is wanted or not at all; a key that cannot be used costs what the operator has chosen."""

import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.dkim import Algorithm, DkimBase, DkimDomain, DkimSettings, DkimSignature, KeyFailure
from kumotwist.config.keys import KeyData, KeyEvent
from kumotwist.hooks.author import NoAuthor, author_domain
from kumotwist.hooks.signing import LARGE, UNSIGNED, Signatures, Signing
from kumotwist.hooks.signing_threads import TURN, SigningThreads
from kumotwist.mail.message import Message
from kumotwist.mail.reply import Refusal
from tests.authentication.keys import Table, ed25519_pem, published, rsa_pem
from tests.hooks.signers import NoThreads, signing, verdicts
from tests.support.memory import Messages

START = 1_700_000_000.0
PLAIN = b"From: Joe <joe@example.com>\r\nSubject: hello\r\n\r\nhello\r\n"
RSA, ED = KeyData(rsa_pem()), KeyData(ed25519_pem())


def settings(*, domain: dict[str, DkimDomain], **base: Any) -> DkimSettings:
    return DkimSettings(base=DkimBase(**{"selector": "rsa", "headers": ("From", "Subject"), **base}), domain=domain)


class AuthorTests(SynchronousTestCase):
    def test_domains(self) -> None:
        table = {
            b"From: joe@example.com\r\n\r\n": "example.com",
            b"From:joe@Example.COM": "example.com",
            b"Subject: x\r\nfrom : Joe Smith <joe@example.com>\r\nTo: a@b.example\r\n\r\n": "example.com",
            b'FROM:\r\n "Smith, Joe" <joe@example.com>\r\n\r\n': "example.com",
            b"From: =?utf-8?Q?J=C3=B6?=\r\n\t<joe@example.com> \r\n\r\n": "example.com",
            b"From: joe@example.com (a comment)\r\n\r\n": "example.com",
            b'From: "a@b.example" <joe@example.com>\r\n\r\n': "example.com",
            b"From: joe@b\xc3\xbccher.example\r\n\r\n": "xn--bcher-kva.example",
            b"From: Joe <joe@example.com>\nSubject: x\n\nFrom: joe@example.org\n": "example.com",
        }
        for content, expected in table.items():
            self.assertEqual(author_domain(content), expected, content)

    def test_no_one_author(self) -> None:
        self.assertRaises(NoAuthor, author_domain, b"Subject: x\r\n\r\nFrom: joe@example.com\r\n")
        for content in (
            b"From: a@example.com\r\nFrom: b@example.com\r\n\r\n",
            b"From: a@example.com, b@example.com\r\n\r\n",
            b"From: friends: a@example.com;\r\n\r\n",
            b"From: nobody\r\n\r\n",
            b"From:\r\n\r\n",
            b"From: a@-\r\n\r\n",
        ):
            with self.assertRaises(ValueError, msg=content):
                author_domain(content)


class SigningCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.messages = Messages(self.clock.seconds)
        self.dns = Table(published())

    def made(self, content: bytes = PLAIN, **more: Any) -> Message:
        return self.messages.make(content=content, **more)

    def signed(self, desk: Signing, message: Message) -> None:
        done = desk.sign([Signatures(message)])
        if done is not None:
            self.successResultOf(done)

    def refused(self, desk: Signing, message: Message) -> Refusal:
        """Why, and nothing of the message has changed."""
        before = message.content
        try:
            done = desk.sign([Signatures(message)])
            assert done is not None
            fault = self.failureResultOf(done).value
        except Refusal as refusal:
            fault = refusal
        self.assertEqual(message.content, before)
        self.assertNotIn(UNSIGNED, message.meta)
        assert isinstance(fault, Refusal), fault
        return fault

    def results(self, message: Message) -> list[str]:
        return [one.result for one in verdicts(message.content or b"", self.dns, self.clock.seconds())]


class ConfiguredTests(SigningCase):
    def test_mail_of_a_domain_is_signed_and_its_size_is_known(self) -> None:
        message = self.made()
        self.signed(signing(self.clock, settings(domain={"example.com": DkimDomain(key=RSA)})), message)
        self.assertEqual(self.results(message), ["pass"])
        self.assertEqual(message.size, len(message.content or b""))
        self.assertTrue((message.content or b"").endswith(PLAIN))

    def test_several_signatures(self) -> None:
        chosen = DkimSettings(
            base=DkimBase(selector="rsa", additional_signatures=("both",)),
            domain={"example.com": DkimDomain(key=RSA)},
            signature={"both": DkimSignature(domain="example.com", selector="ed", key=ED)},
        )
        message = self.made()
        self.signed(signing(self.clock, chosen), message)
        self.assertEqual(self.results(message), ["pass", "pass"])

    def test_mail_of_others_goes_as_it_is(self) -> None:
        desk = signing(self.clock, settings(domain={"example.org": DkimDomain(key=RSA)}))
        message = self.made()
        self.assertIsNone(desk.sign([Signatures(message)]))
        self.assertEqual(message.content, PLAIN)

    def test_discarded_mail_is_not_worth_a_signature(self) -> None:
        desk = signing(self.clock, settings(domain={"example.com": DkimDomain(key=RSA)}))
        self.assertIsNone(desk.sign([Signatures(self.made(queue="null"))]))

    def test_mail_without_one_author_is_refused(self) -> None:
        desk = signing(self.clock, settings(domain={"example.com": DkimDomain(key=RSA)}))
        missing = self.refused(desk, self.made(b"Subject: x\r\n\r\n"))
        self.assertEqual(
            missing.reply.single_line, "552 5.6.0 DKIM signing requires a From header, but it is missing from this message"
        )
        two = self.refused(desk, self.made(b"From: a@example.com, b@example.com\r\n\r\n"))
        self.assertEqual(two.reply.single_line, "552 5.6.0 DKIM signing requires a From header with exactly one address")

    def test_what_no_signature_survives_is_refused_or_repaired_first(self) -> None:
        bare = b"From: joe@example.com\r\nSubject : x\r\n\r\na\nb " + b"word " * 300 + b"\r\n"
        domain = {"example.com": DkimDomain(key=RSA)}
        refusal = self.refused(signing(self.clock, settings(domain=domain)), self.made(bare))
        self.assertEqual(
            refusal.reply.single_line,
            "554 5.6.0 message cannot be signed: a line ends in CR or LF alone, which no signature survives",
        )
        message = self.made(bare)
        flags = "NON_CANONICAL_LINE_ENDINGS|LINE_TOO_LONG|NAME_ENDS_WITH_SPACE|MISSING_DATE_HEADER"
        self.signed(signing(self.clock, settings(domain=domain, fix_conformance=flags)), message)
        self.assertEqual(self.results(message), ["pass"])
        content = message.content or b""
        self.assertLessEqual(max(map(len, content.split(b"\r\n"))), 78)
        self.assertIn(b"\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n", content)
        self.assertEqual(content.count(b"\n"), content.count(b"\r\n"))

    def test_one_refusal_is_the_answer_for_all(self) -> None:
        desk = signing(self.clock, settings(domain={"example.com": DkimDomain(key=RSA)}))
        done = desk.sign([Signatures(self.made()), Signatures(self.made(b"From: joe@example.com\r\n\r\na\nb"))])
        assert done is not None
        self.assertIsInstance(self.failureResultOf(done).value, Refusal)
        with self.assertRaises(Refusal):
            desk.sign([Signatures(self.made()), Signatures(self.made(b"Subject: x\r\n\r\n"))])


class KeyTests(SigningCase):
    def setUp(self) -> None:
        super().setUp()
        self.file = Path(self.mktemp())

    def of_file(self, **more: Any) -> Signing:
        entry = DkimDomain(filename=str(self.file), **more)
        return signing(self.clock, settings(domain={"example.com": entry}, key_ttl=300.0))

    def test_a_key_in_a_file_is_read_once_and_again_after_its_time(self) -> None:
        self.file.write_bytes(rsa_pem())
        desk = self.of_file()
        for _ in range(3):
            self.signed(desk, self.made())
        assert isinstance(desk.threads, NoThreads)
        self.assertEqual(desk.threads.done, 4)  # three signatures, one reading
        self.file.write_bytes(rsa_pem(1024))
        other = self.made()
        self.signed(desk, other)
        self.assertEqual(self.results(other), ["pass"])
        self.clock.advance(300)
        self.signed(desk, other := self.made())
        self.assertEqual(self.results(other), ["fail"])  # the other key, which the DNS does not have

    def test_another_configuration_reads_it_again(self) -> None:
        self.file.write_bytes(rsa_pem(1024))
        desk = self.of_file()
        self.signed(desk, self.made())
        self.file.write_bytes(rsa_pem())
        desk.configure(settings(domain={"example.com": DkimDomain(filename=str(self.file))}))
        self.signed(desk, message := self.made())
        self.assertEqual(self.results(message), ["pass"])

    def test_keys_that_cannot_be_used_refuse_for_now_and_say_nothing_of_themselves(self) -> None:
        table: list[tuple[bytes | None, dict[str, Any], str]] = [
            (None, {}, "its file cannot be read: No such file or directory"),
            (b"SECRET", {}, "it is no private key in PEM or DER form"),
            (rsa_pem()[:500], {}, "it is no private key in PEM or DER form"),
            (ed25519_pem(), {"algo": Algorithm.SHA256}, "it makes signatures of ed25519-sha256, and rsa-sha256 is wanted"),
            (rsa_pem(), {"algo": Algorithm.ED25519}, "it makes signatures of rsa-sha256, and ed25519-sha256 is wanted"),
        ]
        for octets, more, why in table:
            if octets is not None:
                self.file.write_bytes(octets)
            refusal = self.refused(self.of_file(**more), self.made())
            self.assertEqual(refusal.reply.single_line, "451 4.7.5 the message cannot be signed just now")
            self.assertEqual(refusal.reason, f"DKIM key of rsa._domainkey.example.com: {why}")

    def test_or_let_the_message_go_unsigned_and_say_so(self) -> None:
        desk = self.of_file(on_key_failure=KeyFailure.SEND_UNSIGNED)
        self.signed(desk, message := self.made())
        self.assertEqual(message.content, PLAIN)
        why = "rsa._domainkey.example.com: its file cannot be read: No such file or directory"
        self.assertEqual(message.meta[UNSIGNED], why)

    def test_with_one_good_key_and_one_bad_the_message_has_the_good_ones_signature_or_none(self) -> None:
        for failure, expected in ((KeyFailure.SEND_UNSIGNED, ["pass"]), (KeyFailure.REFUSE, None)):
            chosen = DkimSettings(
                base=DkimBase(selector="rsa", additional_signatures=("other",)),
                domain={"example.com": DkimDomain(key=RSA)},
                signature={"other": DkimSignature(domain="esp.example", filename="/nowhere/esp.key", on_key_failure=failure)},
            )
            desk = signing(self.clock, chosen)
            if expected is None:
                self.refused(desk, self.made())
            else:
                self.signed(desk, message := self.made())
                self.assertEqual(self.results(message), expected)

    def test_a_key_that_is_put_right_is_found_soon(self) -> None:
        desk = self.of_file()
        self.refused(desk, self.made())
        self.file.write_bytes(rsa_pem())
        self.refused(desk, self.made())
        self.clock.advance(10)
        self.signed(desk, message := self.made())
        self.assertEqual(self.results(message), ["pass"])

    def test_a_key_that_nobody_may_read(self) -> None:
        self.file.mkdir()
        self.assertIn("Is a directory", self.refused(self.of_file(), self.made()).reason)
        os.rmdir(self.file)

    def test_a_policy_may_keep_keys(self) -> None:
        asked: list[KeyEvent] = []
        answers: list[Any] = [rsa_pem(), rsa_pem().decode(), None, 7]

        def ask(event: KeyEvent) -> Any:
            asked.append(event)
            return answers.pop(0)

        event = KeyEvent("dkim_key", ("example.com",))
        chosen = settings(domain={"example.com": DkimDomain(key=event)})
        for _ in range(2):
            self.signed(signing(self.clock, chosen, ask), message := self.made())
            self.assertEqual(self.results(message), ["pass"])
        for _ in range(2):
            self.assertIn("dkim_key has no answer", self.refused(signing(self.clock, chosen, ask), self.made()).reason)
        self.assertEqual(asked, [event] * 4)

        def fails(event: KeyEvent) -> Any:
            raise RuntimeError("SECRET")

        refusal = self.refused(signing(self.clock, chosen, fails), self.made())
        self.assertEqual(refusal.reason, "DKIM key of rsa._domainkey.example.com: dkim_key failed: RuntimeError")

    def test_a_key_that_comes_late_is_asked_for_once(self) -> None:
        late: Deferred[bytes] = Deferred()
        asked: list[KeyEvent] = []

        def ask(event: KeyEvent) -> "Deferred[bytes]":
            asked.append(event)
            return late

        desk = signing(self.clock, settings(domain={"example.com": DkimDomain(key=KeyEvent("dkim_key"))}), ask)
        messages = [self.made(), self.made()]
        done = [desk.sign([Signatures(message)]) for message in messages]
        late.callback(rsa_pem())
        for one in done:
            assert one is not None
            self.successResultOf(one)
        self.assertEqual((len(asked), [self.results(message) for message in messages]), (1, [["pass"], ["pass"]]))


class ThreadTests(SigningCase):
    def threads_used(self, key: KeyData, content: bytes) -> int:
        desk = signing(self.clock, settings(domain={"example.com": DkimDomain(key=key)}))
        self.signed(desk, self.made())  # the key is known now
        assert isinstance(desk.threads, NoThreads)
        before = desk.threads.done
        self.signed(desk, self.made(content))
        return desk.threads.done - before

    def test_rsa_and_large_messages_are_signed_in_threads(self) -> None:
        self.assertEqual(self.threads_used(RSA, PLAIN), 1)
        self.assertEqual(self.threads_used(ED, PLAIN), 0)
        self.assertEqual(self.threads_used(ED, PLAIN + b"x\r\n" * LARGE), 1)

    def test_nothing_happens_to_a_message_until_its_signature_is_there(self) -> None:
        desk = signing(self.clock, settings(domain={"example.com": DkimDomain(key=RSA)}))
        self.signed(desk, self.made())
        assert isinstance(desk.threads, NoThreads)
        desk.threads.holds = True
        done = desk.sign([Signatures(message := self.made())])
        assert done is not None
        self.assertNoResult(done)
        self.assertEqual(message.content, PLAIN)
        desk.threads.work()
        self.successResultOf(done)
        self.assertEqual(self.results(message), ["pass"])


class Played:
    """A thread that runs when the test says so."""

    started: list["Played"]

    def __init__(self, *, target: Any, **_: Any) -> None:
        self.run = target

    def start(self) -> None:
        Played.started.append(self)


class PoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        Played.started = []
        self.calls: list[Any] = []
        self.pool = SigningThreads(self.calls.append, 2, Played)

    def test_the_interpreter_changes_threads_soon_enough(self) -> None:
        before = sys.getswitchinterval()
        self.addCleanup(sys.setswitchinterval, before)
        self.pool.run(lambda: None)
        self.assertLessEqual(sys.getswitchinterval(), TURN)

    def test_threads_are_started_as_work_comes_and_no_more_than_allowed(self) -> None:
        self.assertEqual(len(Played.started), 0)
        for number in range(5):
            self.pool.run(lambda number=number: number)  # type: ignore[misc]  # mypy infers nothing for it
        self.assertEqual(len(Played.started), 2)

    def test_what_is_done_is_handed_back_in_one_call(self) -> None:
        waiting = [self.pool.run(lambda number=number: number * 2) for number in range(5)]  # type: ignore[misc]
        self.pool.stop()
        for thread in Played.started:
            thread.run()
        self.assertEqual(len(self.calls), 1)
        for one in waiting:
            self.assertNoResult(one)
        self.calls.pop()()
        self.assertEqual([self.successResultOf(one) for one in waiting], [0, 2, 4, 6, 8])

    def test_a_failure_is_for_whoever_waits_and_no_other(self) -> None:
        broken, fine = self.pool.run(lambda: 1 // 0), self.pool.run(lambda: 1)
        self.pool.stop()
        Played.started[0].run()
        self.calls.pop()()
        self.failureResultOf(broken, ZeroDivisionError)
        self.assertEqual(self.successResultOf(fine), 1)

    def test_fewer_threads_from_now_on(self) -> None:
        for _ in range(2):
            self.pool.run(lambda: None)
        self.pool.resize(1)
        Played.started[0].run()  # does all the work there is, then ends since one is to go
        self.pool.run(lambda: None)
        self.assertEqual(len(Played.started), 2)
