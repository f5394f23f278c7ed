"""What a session does where its source fails: the message chooses another, or that counts as an attempt."""

from typing import Any

from twisted.internet.error import ConnectBindError

from kumotwist.config.egress import EgressSource
from kumotwist.delivery.session import UNPLUMBED_REST
from tests.delivery.case import MX, MX2, POSTPONED, SessionCase, host, message

OURS = "192.0.2.99"
GIVEN_BACK = ("give_back", 1, "SourceIsUnhealthyAndSuspended", 0.0)


class SuspendedSourceTests(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        hosts = host("mx1.example.com", MX), host("mx2.example.com", MX2)
        self.sending = self.path(*hosts, source=EgressSource(name="source-1", source_address=OURS))
        missing = ConnectBindError(string="Cannot assign requested address")
        missing.osError = 99
        missing.__cause__ = OSError(99, "Cannot assign requested address")
        self.missing: Any = missing

    def run_with(self, *answers: object, **means: Any) -> list[Any]:
        for address in (MX, MX2):
            self.network.hosts[address] = self.missing
        return self.deliver(self.supply(message(), path=self.sending), **means)

    def test_where_the_source_is_left_alone_the_message_goes_back_uncounted(self) -> None:
        for answer in (True, None):
            self.assertEqual(self.run_with(source_unplumbed=lambda name, answer=answer: answer), [GIVEN_BACK])
        self.assertEqual(self.run_with(source_unplumbed=None), [(*GIVEN_BACK[:3], UNPLUMBED_REST)])

    def test_where_the_source_goes_on_to_be_used_it_is_a_failed_attempt(self) -> None:
        """As long as a threshold is not reached; else a message could go round and round."""
        told: list[str] = []

        def below_the_threshold(name: str) -> bool:
            told.append(name)
            return False

        calls = self.run_with(source_unplumbed=below_the_threshold)
        ((_, _, [(verdict, _, text)]), failed) = calls
        self.assertEqual((verdict, failed, told), (POSTPONED, ("connection_failed",), ["source-1"]))
        self.assertIn(f"{OURS} is not an address of this machine", text)

    def test_from_a_source_that_is_left_alone_nothing_connects(self) -> None:
        self.mx(ip=MX)
        calls = self.deliver(self.supply(message(), path=self.sending), source_usable=lambda name: name != "source-1")
        self.assertEqual((calls, self.network.attempts), ([GIVEN_BACK], []))

    def test_from_one_that_can_be_used_it_does(self) -> None:
        self.mx(ip=MX)
        calls = self.deliver(self.supply(message(), path=self.sending), source_usable=lambda name: True)
        self.assertEqual(calls[0], ("connected",))
