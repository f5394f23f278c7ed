"""`kumo.dkim`, `msg.dkim_sign`, `msg.arc_seal`: what a policy asks for is in the message when it is done."""

from pathlib import Path
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred

from kumotwist import kumo
from kumotwist.authentication.results import AuthenticationResult
from kumotwist.authentication.selection import WantedSignature
from kumotwist.config.dkim import Canonicalization
from kumotwist.config.given import BadParameters
from kumotwist.config.keys import KeyData
from kumotwist.hooks.message import PolicyMessage, message_of
from kumotwist.hooks.signing import Signatures
from kumotwist.mail.reply import Refusal
from tests.authentication.keys import Table, answer, ed25519_pem, published, rsa_pem
from tests.authentication.test_arc import chain_of
from tests.hooks.around import PolicyCase
from tests.hooks.signers import NoThreads, signing, verdicts

PLAIN = b"From: joe@example.com\r\nSubject: hello\r\n\r\nhello\r\n"


class DkimCase(PolicyCase):
    def setUp(self) -> None:
        super().setUp()
        self.signing = signing(self.clock)
        self.dns = Table(published())
        self.services = replace(self.services, signing=self.signing, lookups=self.dns)

    def signer(self, **more: Any) -> WantedSignature:
        given = {"domain": "example.com", "selector": "rsa", "headers": ["From", "Subject"]}
        return kumo.dkim.rsa_sha256_signer({**given, "key": {"key_data": rsa_pem().decode()}, **more})

    def results(self, message: PolicyMessage) -> list[str]:
        return [one.result for one in verdicts(message.get_data(), self.dns, self.clock.seconds())]

    def view(self, content: bytes = PLAIN) -> tuple[PolicyMessage, Signatures]:
        asked = Signatures(self.messages.make(content=content))
        return PolicyMessage(asked.message, asked), asked


class SignerTests(DkimCase):
    def setUp(self) -> None:
        super().setUp()
        self.use_services()

    def test_what_is_given_is_what_is_signed_by(self) -> None:
        made = self.signer(
            header_canonicalization="Simple", body_canonicalization="Simple", expiration="1 week", over_sign=True, ttl=7,
            atps="author.example", atpsh="sha256", agent_user_identifier="@news.example.com", body_length=True, reporting=True,
            on_key_failure="SendUnsigned",
        )  # fmt: skip
        signer = made.signer
        self.assertEqual((signer.domain, signer.selector, signer.headers), ("example.com", "rsa", ("from", "subject")))
        self.assertEqual({signer.header_canonicalization, signer.body_canonicalization}, {Canonicalization.SIMPLE})
        self.assertEqual(
            (signer.expiration, signer.over_sign, signer.atps, signer.atpsh), (604800, True, "author.example", "sha256")
        )
        self.assertEqual((signer.agent_user_identifier, signer.body_length, signer.reporting), ("@news.example.com", True, True))
        self.assertEqual((made.key, made.algorithm, made.ttl, made.unsigned), (KeyData(rsa_pem()), "rsa-sha256", 7.0, True))
        ed25519 = kumo.dkim.ed25519_signer(domain="example.com", selector="ed", headers=["From"], key="k.pem")
        self.assertEqual((ed25519.algorithm, ed25519.unsigned, ed25519.ttl), ("ed25519-sha256", False, 300.0))
        assert isinstance(ed25519.key, str)
        self.assertTrue(Path(ed25519.key).is_absolute())

    def test_the_same_words_make_the_same_signer(self) -> None:
        self.assertIs(self.signer(), self.signer())
        self.assertIsNot(self.signer(), self.signer(selector="other"))

    def test_what_is_wrong_is_said_by_name(self) -> None:
        table: list[tuple[dict[str, Any], str]] = [
            ({"headers": ["Subject"]}, "headers: From is not among them, and no signature counts without it"),
            ({"domain": "-"}, 'domain: "-" is not a domain name, expected a name such as mx.example.com'),
            ({"selector": "a b"}, 'selector: "a b" is no selector, expected a selector such as dkim2024'),
            ({"agent_user_identifier": "@example.org"}, "agent_user_identifier: @example.org is not under example.com"),
            ({"atpsh": "md5"}, 'atpsh: "md5" is not known, expected none, sha1 or sha256'),
            ({"oversign": True}, 'unknown key "oversign" in the signer, did you mean "over_sign"?'),
            ({"key": None}, "None for domain, selector, headers or key, expected all four"),
        ]
        for more, wrong in table:
            fault = self.assertRaises(BadParameters, self.signer, **more)
            self.assertIn(wrong, str(fault))

    def test_threads_are_counted(self) -> None:
        kumo.dkim.set_signing_threads(3)
        assert isinstance(self.signing.threads, NoThreads)
        self.assertEqual(self.signing.threads.count, 3)
        for count in (0, -1, True, "2"):
            self.assertRaises(ValueError, kumo.dkim.set_signing_threads, count)


class SignTests(DkimCase):
    def setUp(self) -> None:
        super().setUp()
        self.use_services()

    def test_it_is_signed_when_the_handlers_are_done_with_what_they_made_of_it(self) -> None:
        message, asked = self.view()
        message.dkim_sign(self.signer())
        self.assertEqual(message.get_data(), PLAIN)
        message.set_data(PLAIN.replace(b"Subject: hello", b"Subject: changed"))
        done = self.signing.sign([asked])
        assert done is not None
        self.successResultOf(done)
        self.assertEqual(self.results(message), ["pass"])

    def test_or_at_once_where_it_is_awaited_and_not_twice(self) -> None:
        message, asked = self.view()

        async def handler() -> None:
            await message.dkim_sign(self.signer())
            self.assertEqual(self.results(message), ["pass"])

        self.successResultOf(Deferred.fromCoroutine(handler()))
        self.assertIsNone(self.signing.sign([asked]))
        self.assertEqual(self.results(message), ["pass"])

    def test_several(self) -> None:
        message, asked = self.view()
        message.dkim_sign(self.signer())
        text = ed25519_pem().decode()
        message.dkim_sign(kumo.dkim.ed25519_signer(domain="example.com", selector="ed", headers=["From"], key={"key_data": text}))
        done = self.signing.sign([asked])
        assert done is not None
        self.successResultOf(done)
        self.assertEqual(self.results(message), ["pass", "pass"])

    def test_a_key_of_the_other_kind_cannot_be_used(self) -> None:
        message, asked = self.view()
        message.dkim_sign(self.signer(key={"key_data": ed25519_pem().decode()}))
        done = self.signing.sign([asked])
        assert done is not None
        self.failureResultOf(done, Refusal)

    def test_what_is_no_signer_and_where_nothing_is_signed(self) -> None:
        message, _ = self.view()
        self.assertRaises(TypeError, message.dkim_sign, "signer")
        self.assertRaises(RuntimeError, self.message().dkim_sign, self.signer())

    def test_a_message_of_the_policys_own_is_signed_before_it_is_injected(self) -> None:
        message = kumo.make_message("a@example.com", "b@example.org", PLAIN)
        message.dkim_sign(self.signer())
        self.assertEqual(self.injected, [])
        self.successResultOf(kumo.inject_message(message))
        (injected,) = self.injected
        self.assertEqual([one.result for one in verdicts(injected.content or b"", self.dns, self.clock.seconds())], ["pass"])

    def test_one_that_cannot_be_signed_is_not_injected_and_stays_the_policys(self) -> None:
        message = kumo.make_message("a@example.com", "b@example.org", PLAIN)
        message.dkim_sign(self.signer(key="/nowhere/key.pem"))
        self.failureResultOf(kumo.inject_message(message), Refusal)
        self.assertEqual((self.injected, message.injected), ([], False))


class SealTests(DkimCase):
    def setUp(self) -> None:
        super().setUp()
        self.use_services()

    def seal(self, message: PolicyMessage, **more: Any) -> "Deferred[None]":
        told = [AuthenticationResult(method="spf", result="pass")]
        return Deferred.fromCoroutine(message.arc_seal(self.signer(**more), "mx.example.com", told))

    def test_we_add_ourselves_to_the_chain(self) -> None:
        message, _ = self.view()
        for number in (1, 2):
            self.successResultOf(self.seal(message))
            self.assertEqual((chain_of(message.get_data()).result, len(chain_of(message.get_data()).sets)), ("pass", number))
        self.assertEqual(answer(message.arc_verify()).result, "pass")

    def test_a_broken_chain_is_left_alone(self) -> None:
        message, _ = self.view()
        self.successResultOf(self.seal(message))
        message.set_data(broken := message.get_data().replace(b"hello\r\n", b"hallo\r\n"))
        self.successResultOf(self.seal(message))
        self.assertEqual(message.get_data(), broken)

    def test_a_key_that_cannot_be_used(self) -> None:
        message, _ = self.view()
        self.failureResultOf(self.seal(message, key="/nowhere/key.pem"), Refusal)
        self.assertEqual(message_of(message).content, PLAIN)
