"""From a plan to a connection: which address, from where, and what happens where none will do."""

import errno
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectBindError, ConnectionDone, ConnectionRefusedError

from kumotwist.config.egress import EgressSource, EnableTls
from kumotwist.mail.disposition import Peer, SourceAddress
from tests.delivery.case import BOUNCED, DELIVERED, MX, MX2, POSTPONED, Names, SessionCase, destination, host, message, settled
from tests.delivery.scripted import HANG_UP, MODERN, PLAIN, SILENCE, THEN_HANG_UP

QUEUED = "250 2.0.0 Ok: queued"
FAILED = "400 KumoMTA internal: failed to connect to any candidate hosts: "
V6 = "2001:db8::1"


class HostTests(SessionCase):
    """The hosts of a plan, one after the other."""

    def two(self, **facts: Any) -> Any:
        return self.path(host("mx1.example.com", MX), host("mx2.example.com", MX2), **facts)

    def test_the_next_host_is_tried_where_one_will_not_do(self) -> None:
        for first in (ConnectionRefusedError(), "banner", "EHLO"):
            if isinstance(first, str):
                self.mx(PLAIN, MX, **{first: "554 not you"})
            else:
                self.network.hosts[MX] = first
            self.mx(PLAIN, MX2)
            supply = self.supply(path=self.two())
            self.assertEqual(self.deliver(supply), [("connected",), settled(1, DELIVERED, QUEUED)])
            self.assertEqual([attempt[0] for attempt in self.network.attempts], [MX, MX2])
            self.assertEqual(supply.attempts[0].peer, Peer("mx2.example.com.", MX2))
            self.anew()

    def test_where_no_host_will_do_the_message_alone_is_postponed_and_every_reason_told(self) -> None:
        self.network.hosts[MX] = ConnectionRefusedError()
        self.mx(PLAIN, MX2, banner="421 4.3.2 busy" + THEN_HANG_UP)
        supply = self.supply(message(1), message(2), path=self.two(provider_name="provider"))
        text = (
            f"{FAILED}connect to mx1.example.com./192.0.2.1:25: Connection was refused by other side., "
            "mx2.example.com./192.0.2.2:25: the greeting was answered 421 4.3.2 busy"
        )
        self.assertEqual(self.deliver(supply), [settled(1, POSTPONED, text), ("connection_failed",)])
        self.assertEqual(len(supply.ready), 1)
        self.assertEqual((supply.attempts[0].peer, supply.attempts[0].provider_name), (None, "provider"))

    def test_a_host_that_will_not_do_hears_quit(self) -> None:
        mx = self.mx(PLAIN, banner="554 not you")
        self.deliver(self.supply())
        self.assertEqual(mx.heard, ["QUIT"])

    def test_the_connect_timeout_and_the_port_are_the_path_s(self) -> None:
        self.mx()
        self.deliver(self.supply(connect_timeout=17.0, smtp_port=2525))
        self.assertEqual(self.network.attempts, [(MX, 2525, 17.0, None)])

    def test_after_a_connection_ended_the_next_message_goes_to_the_next_host(self) -> None:
        first = self.mx(PLAIN, MX, MAIL="421 4.7.0 enough" + THEN_HANG_UP)
        second = self.mx(PLAIN, MX2)
        supply = self.supply(message(1), message(2), message(3), path=self.two())
        self.assertEqual(
            self.deliver(supply),
            [
                ("connected",),
                settled(1, POSTPONED, "421 4.7.0 enough"),
                ("connected",),
                settled(2, DELIVERED, QUEUED),
                settled(3, DELIVERED, QUEUED),
            ],
        )
        self.assertEqual((len(first.connections), len(second.connections)), (1, 1))
        self.assertEqual([one.session_id for one in supply.attempts], ["session-1", "session-2", "session-2"])

    def test_where_the_plan_runs_out_after_something_was_sent_the_message_is_not_counted(self) -> None:
        self.mx(PLAIN, MX, MAIL="421 4.7.0 enough" + THEN_HANG_UP)
        self.network.hosts[MX2] = ConnectionRefusedError()
        supply = self.supply(message(1), message(2), path=self.two())
        self.assertEqual(
            self.deliver(supply),
            [("connected",), settled(1, POSTPONED, "421 4.7.0 enough"), ("give_back", 2, "PeerClosedConnection", 0.0)],
        )

    def test_a_fresh_connection_that_dies_while_the_content_is_read_was_no_connection(self) -> None:
        mx = self.mx(PLAIN, MX)
        self.mx(PLAIN, MX2)
        supply = self.supply(path=self.two())
        content: Deferred[bytes] = Deferred()
        supply.contents[supply.ready[0].id] = content
        ended = self.start(supply)
        mx.connections[0].lose(ConnectionRefusedError())
        self.network.run()
        supply.contents.clear()
        content.callback(b"late\r\n")
        self.assertEqual(self.finish(supply, ended), [("connected",), ("connected",), settled(1, DELIVERED, QUEUED)])

    def test_if_it_was_the_last_one_the_reason_is_told(self) -> None:
        mx = self.mx(PLAIN)
        supply = self.supply()
        content: Deferred[bytes] = Deferred()
        supply.contents[supply.ready[0].id] = content
        ended = self.start(supply)
        mx.connections[0].lose(ConnectionDone())
        self.network.run()
        content.callback(b"late\r\n")
        text = f"{FAILED}mx.example.com./192.0.2.1:25: connection closed by the peer"
        self.assertEqual(self.finish(supply, ended), [("connected",), settled(1, POSTPONED, text), ("connection_failed",)])


class HopelessTests(SessionCase):
    """Paths without any host: it is the same for all that waits there."""

    def test_the_message_in_hand_and_all_others_get_the_same(self) -> None:
        for path, verdict, text, reason in (
            (
                self.path().__class__(source=EgressSource(name="s"), destination=destination(null_mx=True), settings=self.settings),
                BOUNCED,
                "556 5.1.10 Recipient address has a null MX",
                "FailedDueToNullMx",
            ),
            (self.path(host("none.example.com")), POSTPONED, "451 4.4.4 MX didn't resolve to any hosts", "MxResolvedToZeroHosts"),
            (
                self.path(host("x.example.com", "127.0.0.1")),
                BOUNCED,
                "550 5.4.4 x.example.com./127.0.0.1 is on the list of prohibited_hosts {127.0.0.0/8, 0.0.0.0, ::1, ::}",
                "MxWasProhibited",
            ),
        ):
            supply = self.supply(message(1), message(2), path=path)
            self.assertEqual(self.deliver(supply), [settled(1, verdict, text), ("dispose_all", verdict, text, reason)])
            self.assertEqual(self.network.attempts, [])
            (attempt,) = supply.attempts
            self.assertEqual((attempt.site, attempt.delivery_protocol), (path.name, None))
            self.anew()

    def test_lookups_that_fail_never_bounce(self) -> None:
        supply = self.supply(path=self.path(host("mx.example.com")))
        calls = self.deliver(supply, names=Names({"mx.example.com": OSError("timed out")}))
        text = "451 4.4.4 MX didn't resolve to any hosts (mx.example.com: timed out)"
        self.assertEqual(calls, [settled(1, POSTPONED, text), ("dispose_all", POSTPONED, text, "MxResolvedToZeroHosts")])

    def test_an_envelope_that_is_only_in_the_spool_is_read_to_name_its_recipients(self) -> None:
        for path in (self.path(host("none.example.com")), self.path()):
            full, shrunk = message(1), message(1)
            shrunk.shrink()
            supply = self.supply(shrunk, path=path)

            def load(message: Any, full: Any = full) -> bytes:
                message.recipients, message.envelope_loaded = full.recipients, True
                return b"content"

            supply.content = load  # type: ignore[method-assign]
            calls = self.deliver(supply)
            self.assertEqual(calls[0][2][0][:2], (POSTPONED, ["user@example.com"]))
            self.anew()

    def test_an_envelope_that_cannot_be_read_goes_back_and_nothing_is_said_of_its_recipients(self) -> None:
        shrunk = message(1)
        shrunk.shrink()
        supply = self.supply(shrunk)
        supply.contents[shrunk.id] = KeyError(shrunk.id)
        calls = self.deliver(supply)
        self.flushLoggedErrors(KeyError)
        self.assertEqual(calls, [("give_back", 1, "DispatcherDrop", 60.0), ("connection_failed",)])


class SourceTests(SessionCase):
    """Connections come from where the source says."""

    def test_the_source_address_is_bound(self) -> None:
        self.mx()
        supply = self.supply(path=self.path(source=EgressSource(name="ip-1", source_address="192.0.2.77")))
        self.deliver(supply)
        self.assertEqual(self.network.attempts, [(MX, 25, 60.0, ("192.0.2.77", 0))])
        self.assertEqual(supply.attempts[0].source_address, SourceAddress("192.0.2.77:40001"))
        self.assertEqual(supply.attempts[0].egress_source, "ip-1")

    def test_ipv6_is_bound_and_written_in_brackets(self) -> None:
        self.mx(PLAIN, V6)
        source = EgressSource(name="ip-6", source_address="2001:db8::77")
        supply = self.supply(path=self.path(host("mx.example.com", V6), source=source, smtp_port=2525))
        self.assertEqual(self.deliver(supply)[1], settled(1, DELIVERED, QUEUED))
        self.assertEqual(self.network.attempts, [(V6, 2525, 60.0, ("2001:db8::77", 0))])
        self.assertEqual(supply.attempts[0].source_address, SourceAddress("[2001:db8::77]:40001"))
        self.assertEqual(supply.attempts[0].peer, Peer("mx.example.com.", "[2001:db8::1]:2525"))

    def test_a_host_of_the_other_family_costs_nothing(self) -> None:
        self.mx(PLAIN, MX)
        source = EgressSource(name="ip-1", source_address="192.0.2.77")
        supply = self.supply(path=self.path(host("mx6.example.com", V6), host("mx4.example.com", MX), source=source))
        supply.connect_waits = [0.0]
        self.assertEqual(self.deliver(supply), [("connected",), settled(1, DELIVERED, QUEUED)])
        self.assertEqual([attempt[0] for attempt in self.network.attempts], [MX])

    def test_only_hosts_of_the_other_family_postpone(self) -> None:
        source = EgressSource(name="ip-1", source_address="192.0.2.77")
        supply = self.supply(path=self.path(host("mx6.example.com", V6), source=source))
        text = f"{FAILED}mx6.example.com./[{V6}]:25: not of the family of source address 192.0.2.77"
        self.assertEqual(self.deliver(supply), [settled(1, POSTPONED, text), ("connection_failed",)])

    def test_an_address_that_is_not_ours_is_the_source_s_fault_and_not_the_message_s(self) -> None:
        self.network.hosts[MX] = ConnectBindError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        path = self.path(
            host("mx1.example.com", MX), host("mx2.example.com", MX2), source=EgressSource(name="ip-1", source_address="192.0.2.77")
        )
        supply = self.supply(message(1), message(2), path=path)
        told: list[Any] = []
        calls = self.deliver(supply, source_unplumbed=lambda name: told.append((name, list(supply.calls))))
        self.assertEqual(calls, [("give_back", 1, "SourceIsUnhealthyAndSuspended", 0.0)])
        self.assertEqual(told, [("ip-1", [])], "told before the message looks for another source")
        self.assertEqual(len(self.network.attempts), 1, "no other host would be reached from there either")

    def test_where_nobody_asked_to_be_told_the_message_rests(self) -> None:
        self.network.hosts[MX] = ConnectBindError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        calls = self.deliver(self.supply(), source_unplumbed=None)
        self.assertEqual(calls, [("give_back", 1, "SourceIsUnhealthyAndSuspended", 30.0)])

    def test_another_failure_to_bind_is_only_a_failed_host(self) -> None:
        self.network.hosts[MX] = ConnectBindError(errno.EMFILE, "Too many open files")
        calls = self.deliver(self.supply())
        self.assertEqual(calls[0][2][0][0], POSTPONED)
        self.assertEqual(self.unplumbed, [])


class ConnectionRateTests(SessionCase):
    """`max_connection_rate` is spent for each address."""

    def test_a_short_wait_is_waited_out_with_the_message_in_hand(self) -> None:
        self.mx()
        supply = self.supply(idle_timeout=5.0)
        supply.connect_waits = [2.0, 1.0, 0.0]
        ended = self.start(supply)
        for _ in range(29):
            self.network.wait(0.1)
        self.assertEqual(self.network.attempts, [])
        self.network.wait(0.2)
        self.assertEqual(len(self.network.attempts), 1)
        self.assertEqual(self.finish(supply, ended), [("connected",), settled(1, DELIVERED, QUEUED)])

    def test_a_long_wait_is_left_to_the_queue(self) -> None:
        self.mx()
        supply = self.supply(message(1), message(2), idle_timeout=5.0)
        supply.connect_waits = [5.0]
        self.assertEqual(
            self.deliver(supply),
            [("give_back", 1, "ConnectionRateThrottle", 5.0), ("throttled", "ConnectionRateThrottle", 5.0)],
        )
        self.assertEqual(self.network.attempts, [])

    def test_the_second_host_is_a_connection_too(self) -> None:
        self.network.hosts[MX] = ConnectionRefusedError()
        supply = self.supply(path=self.path(host("mx1.example.com", MX), host("mx2.example.com", MX2)))
        supply.connect_waits = [0.0, 60.0]
        self.assertEqual(self.deliver(supply)[0], ("give_back", 1, "ConnectionRateThrottle", 60.0))


class StartTlsTests(SessionCase):
    """STARTTLS as far as it goes without TLS; the handshakes themselves are in test_tls."""

    OFFER = "250-mx.example.com\r\n250 STARTTLS"

    def failed(self, text: str, mode: EnableTls, **answers: Any) -> list[str]:
        mx = self.mx(PLAIN, **answers)
        calls = self.deliver(self.supply(enable_tls=mode, starttls_timeout=3.0))
        self.assertEqual(calls, [settled(1, POSTPONED, f"{FAILED}{text}"), ("connection_failed",)])
        return mx.heard

    def test_without_an_offer_the_modes_that_insist_refuse_the_host(self) -> None:
        for mode in EnableTls:
            if mode in (EnableTls.REQUIRED, EnableTls.REQUIRED_INSECURE):
                where = "mx.example.com./192.0.2.1:25"
                text = f"{where}: tls policy is {mode.value} but STARTTLS is not advertised by {where}"
                self.assertEqual(self.failed(text, mode), ["EHLO here.example.net", "QUIT"])
            else:
                self.mx(MODERN)
                supply = self.supply(enable_tls=mode)
                self.assertEqual(self.deliver(supply)[1], settled(1, DELIVERED, QUEUED))
                self.assertIsNone(supply.attempts[0].tls)
            self.anew()

    def test_disabled_does_not_take_an_offer(self) -> None:
        mx = self.mx(PLAIN, EHLO=self.OFFER)
        self.deliver(self.supply(enable_tls=EnableTls.DISABLED))
        self.assertNotIn("STARTTLS", mx.heard)

    def test_a_refused_starttls_refuses_the_host_in_every_mode(self) -> None:
        for mode in set(EnableTls) - {EnableTls.DISABLED}:
            for answer in ("454 4.7.0 not now", "501 no", "250 fine"):
                text = f"mx.example.com./192.0.2.1:25: STARTTLS was answered {answer}"
                self.failed(text, mode, EHLO=self.OFFER, STARTTLS=answer)
                self.anew()

    def test_silence_after_starttls(self) -> None:
        for mode in set(EnableTls) - {EnableTls.DISABLED}:
            text = "mx.example.com./192.0.2.1:25: Timed Out waiting 3s for response to STARTTLS"
            self.failed(text, mode, EHLO=self.OFFER, STARTTLS=SILENCE)
            self.anew()

    def test_a_connection_that_ends_at_starttls(self) -> None:
        text = "mx.example.com./192.0.2.1:25: connection closed by the peer"
        self.failed(text, EnableTls.OPPORTUNISTIC_INSECURE, EHLO=self.OFFER, STARTTLS=HANG_UP)

    def test_words_in_clear_after_the_go_ahead_are_never_taken_for_encrypted_ones(self) -> None:
        for mode in set(EnableTls) - {EnableTls.DISABLED}:
            text = "mx.example.com./192.0.2.1:25: said without being asked: 250 mx.example.com"
            self.failed(text, mode, EHLO=self.OFFER, STARTTLS="220 go\r\n250 mx.example.com")
            self.anew()
