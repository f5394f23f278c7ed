"""Mail that comes by HTTP is signed as mail that comes by SMTP: last of all, by configuration and by policy."""

from typing import Any

from kumotwist.config.dkim import NO_DKIM, DkimBase, DkimDomain, DkimSettings
from kumotwist.config.keys import KeyData
from kumotwist.hooks.context import Services
from kumotwist.hooks.dkim import rsa_sha256_signer
from kumotwist.reception.standing import Standing
from tests.authentication.keys import Table, published, rsa_pem
from tests.hooks.signers import signing, verdicts
from tests.injection.support import InjectionTestCase, Office, request

SETTINGS = DkimSettings(base=DkimBase(selector="rsa"), domain={"example.com": DkimDomain(key=KeyData(rsa_pem()))})
BROKEN = DkimSettings(base=DkimBase(selector="rsa"), domain={"example.com": DkimDomain(filename="/nowhere/key")})


class SigningTests(InjectionTestCase):
    def office(self, settings: DkimSettings, handlers: dict[str, Any] | None = None) -> Office:
        office = Office(handlers=handlers)
        clock, standing = office.house.clock, office.standing
        made = signing(clock, settings)
        nobody: Any = None  # is asked here
        standing.policy.services = Services(clock=clock, resolver=nobody, inject=nobody, message_id=lambda: "", signing=made)
        office.standing = Standing(standing.intake.rules, standing.policy, standing.directions, made)
        return office

    def results(self, office: Office) -> list[list[str]]:
        dns, now = Table(published()), office.house.clock.seconds()
        return [[one.result for one in verdicts(content, dns, now)] for _, content in office.kept]

    def test_each_recipients_message_is_signed(self) -> None:
        office = self.office(SETTINGS)
        answer = self.answer(office, request("a@example.org", "b@example.org"))
        self.assertEqual((answer.success_count, self.results(office)), (2, [["pass"], ["pass"]]))

    def test_a_policy_signs(self) -> None:
        def generated(message: Any) -> None:
            key: Any = {"key_data": rsa_pem().decode()}
            message.dkim_sign(rsa_sha256_signer(domain="example.com", selector="rsa", headers=["From", "Subject"], key=key))

        office = self.office(NO_DKIM, {"http_message_generated": generated})
        self.answer(office, request())
        self.assertEqual(self.results(office), [["pass"]])

    def test_without_a_key_the_recipient_failed_and_nothing_is_kept(self) -> None:
        office = self.office(BROKEN)
        answer = self.answer(office, request())
        self.assertEqual((answer.success_count, answer.fail_count, office.kept), (0, 1, []))
        self.assertIn("451 4.7.5 the message cannot be signed just now", str(answer.errors))
