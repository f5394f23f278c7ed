"""`msg.dkim_verify`, `kumo.spf`, `kumo.dmarc`, `kumo.mail_auth`: what a policy is told of mail that came in."""

from typing import Any

from msgspec.structs import replace

from kumotwist import kumo
from kumotwist.authentication.results import AuthenticationResult
from kumotwist.authentication.signing import Signer, signatures
from kumotwist.hooks.connection import ConnMeta
from kumotwist.hooks.message import PolicyMessage
from tests.authentication.keys import Table, answer, published, rsa_key
from tests.hooks.around import START, PolicyCase

PLAIN = b"From: joe@example.com\r\nSubject: hello\r\n\r\nhello\r\n"
SIGNER = Signer(domain="example.com", selector="rsa", headers=("from", "subject"))
SIGNED = signatures(PLAIN, [(SIGNER, rsa_key())], int(START)) + PLAIN
HERE = {"received_from": "192.0.2.1:4711", "ehlo_domain": "mail.example.com", "hostname": "mx.us.example"}


class CheckCase(PolicyCase):
    def setUp(self) -> None:
        super().setUp()
        texts = {
            **published(),
            "example.com": ("v=spf1 ip4:192.0.2.1 -all",),
            "mail.example.com": ("v=spf1 a -all",),
            "_dmarc.example.com": ("v=DMARC1; p=reject",),
        }
        self.dns = Table(
            texts,
            hosts={"mail.example.com": ("192.0.2.1",), "odd.example": ("192.0.2.3",)},
            pointers={"192.0.2.1": ("mail.example.com",), "192.0.2.3": ("liar.example",), "2001:db8::1": ("x.example",)},
            silent=("192.0.2.4",),
        )
        self.services = replace(self.services, lookups=self.dns)
        self.use_services()

    def came(self, content: bytes = SIGNED, sender: str = "joe@example.com", **meta: Any) -> PolicyMessage:
        message = PolicyMessage(self.messages.make(content=content))
        message.set_sender(sender)
        for key, value in {**HERE, **meta}.items():
            message.set_meta(key, value)
        return message


class SingleChecksTests(CheckCase):
    def test_signatures(self) -> None:
        self.assertEqual([one.result for one in answer(self.came().dkim_verify())], ["pass"])
        self.assertEqual(answer(self.came(PLAIN).dkim_verify()), [])
        self.assertEqual(answer(self.came().arc_verify()), AuthenticationResult(method="arc", result="none"))

    def test_spf_of_a_message(self) -> None:
        found = answer(kumo.spf.check_msg(self.came()))
        self.assertEqual((found.disposition, found.result.method, found.domain), ("pass", "spf", "example.com"))
        self.assertEqual(found.result.props, {"smtp.mailfrom": "joe@example.com", "smtp.helo": "mail.example.com"})
        self.assertEqual(answer(kumo.spf.check_msg(self.came(received_from="192.0.2.2:1"))).disposition, "fail")
        self.assertEqual(answer(kumo.spf.check_msg(self.came(sender=""))).domain, "mail.example.com")
        self.assertEqual(answer(kumo.spf.check_msg(self.came(received_from="[2001:db8::1]:25"))).disposition, "fail")

    def test_spf_of_a_message_that_came_over_no_connection(self) -> None:
        with self.assertRaisesRegex(ValueError, "there is no received_from"):
            answer(kumo.spf.check_msg(self.came(received_from=None)))

    def test_spf_of_a_greeting(self) -> None:
        connection = ConnMeta(dict(HERE))
        found = answer(kumo.spf.check_host("mail.example.com", connection))
        self.assertEqual((found.disposition, found.result.props["smtp.mailfrom"]), ("pass", "postmaster@mail.example.com"))
        self.assertEqual(answer(kumo.spf.check_host("example.com", connection, "joe@example.com")).disposition, "pass")

    def test_dmarc(self) -> None:
        for content, sender, expected in (
            (SIGNED, "joe@example.org", "Pass"),
            (PLAIN, "joe@example.com", "Pass"),
            (PLAIN, "joe@example.org", "Reject"),
            (b"Subject: x\r\n\r\n", "joe@example.com", "None"),
            (b"From: a@example.com, b@example.com\r\n\r\n", "joe@example.com", "None"),
        ):
            message = self.came(content, sender)
            signed, sent = answer(message.dkim_verify()), answer(kumo.spf.check_msg(message))
            self.assertEqual(answer(kumo.dmarc.check_msg(message, signed, sent)).disposition, expected, (content, sender))
        self.assertEqual(answer(kumo.dmarc.check_msg(self.came(PLAIN), [], None)).disposition, "Reject")


class MailAuthTests(CheckCase):
    def test_all_of_it_in_one_call(self) -> None:
        message = self.came(authn_id="joe")
        found = answer(kumo.mail_auth.check(message))
        self.assertEqual(
            [(one.method, one.result) for one in found.auth_results],
            [("dkim", "pass"), ("spf", "pass"), ("iprev", "pass"), ("auth", "pass"), ("dmarc", "pass"), ("arc", "none")],
        )
        assert found.spf is not None
        assert found.dmarc is not None
        self.assertEqual((found.spf.disposition, found.dmarc.disposition), ("pass", "Pass"))
        self.assertTrue(message.get_data().startswith(b"Authentication-Results: mx.us.example;\r\n\tdkim=pass "))
        self.assertEqual(message.get_authentication_results("MX.us.example"), list(found.auth_results))
        self.assertEqual(message.get_authentication_results("other.example"), [])
        self.assertEqual([one.result for one in answer(message.dkim_verify())], ["pass"])

    def test_what_is_switched_off_is_not_asked(self) -> None:
        message = self.came()
        off = {"dkim": False, "spf": False, "iprev": False, "smtp_auth": False, "arc": False}
        found = answer(kumo.mail_auth.check(message, **off, server_id="me.example"))
        self.assertEqual((found.auth_results, found.dmarc, self.dns.asked), ((), None, []))
        self.assertTrue(message.get_data().startswith(b"Authentication-Results: me.example; none\r\n"))
        found = answer(kumo.mail_auth.check(self.came(), spf=False, add_auth_results_header=False))
        self.assertIsNone(found.dmarc)

    def test_unsigned_mail_says_so(self) -> None:
        found = answer(kumo.mail_auth.check(self.came(PLAIN), spf=False, iprev=False, arc=False))
        self.assertEqual([(one.method, one.result) for one in found.auth_results], [("dkim", "none")])

    def test_mail_that_came_over_no_connection(self) -> None:
        found = answer(kumo.mail_auth.check(self.came(received_from=None)))
        self.assertEqual([one.method for one in found.auth_results], ["dkim", "dmarc", "arc"])

    def test_the_address_and_its_name(self) -> None:
        for address, expected in {
            "192.0.2.1:25": "pass", "192.0.2.3:25": "fail", "192.0.2.9:25": "permerror", "192.0.2.4:25": "temperror",
        }.items():  # fmt: skip
            found = answer(kumo.mail_auth.check(self.came(received_from=address)))
            assert found.iprev is not None
            self.assertEqual(found.iprev.result, expected, address)

    def test_fields_that_others_forged_or_broke_are_passed_over(self) -> None:
        content = b"Authentication-Results: me.example; spf=pass (x\r\nAuthentication-Results: me.example; spf=fail\r\n" + PLAIN
        found = self.came(content).get_authentication_results("me.example")
        self.assertEqual(found, [AuthenticationResult(method="spf", result="fail")])
