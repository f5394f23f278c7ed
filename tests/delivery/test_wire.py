"""Deadlines, long bodies and endings of one connection."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from kumotwist.config.egress import EnableTls, PathSettings
from kumotwist.delivery.opening import patience_of
from kumotwist.delivery.wire import LONGEST_WRITE, PIECE, ClientWire, TimedOut
from kumotwist.smtp.client_session import ClientSession
from tests.delivery.case import DELIVERED, POSTPONED, SessionCase, message, settled
from tests.delivery.scripted import MODERN, PLAIN, SILENCE, Network

QUEUED = "250 2.0.0 Ok: queued"
LONG = b"x" * 998 + b"\r\n"
INTERNAL = "KumoMTA internal: "


class DeadlineTests(SynchronousTestCase):
    """One timer for a connection, whatever the number of replies."""

    def setUp(self) -> None:
        self.network = Network()
        settings = PathSettings(rset_timeout=5.0, mail_from_timeout=300.0, idle_timeout=60.0, starttls_timeout=5.0)
        self.wire = ClientWire(self.network, ClientSession(), patience_of(settings))
        self.wire.makeConnection(Silent())  # type: ignore[arg-type]
        self.wire.replies()
        self.say(b"220 hello\r\n")

    def say(self, came: bytes) -> None:
        self.wire.dataReceived(came)

    def test_it_offers_what_twisted_looks_for(self) -> None:
        verifyObject(IHandshakeListener, self.wire)
        verifyObject(IPushProducer, self.wire)

    def test_a_thousand_exchanges_set_no_timer_each(self) -> None:
        calls = []
        real = self.network.callLater

        def counted(*args: Any) -> Any:
            calls.append(args)
            return real(*args)

        self.network.callLater = counted  # type: ignore[method-assign,assignment]
        for _ in range(1000):
            self.wire.exchange(self.wire.session.rset())
            self.say(b"250 Ok\r\n")
            self.wire.exchange(self.wire.session.mail("a@example.org"))
            self.network.advance(0.01)
            self.say(b"250 Ok\r\n")
        self.assertLessEqual(len(calls), 4, "one look every five seconds")

    def test_a_short_deadline_after_a_long_one_is_kept_to_the_moment(self) -> None:
        self.wire.exchange(self.wire.session.mail("a@example.org"))
        self.network.pump([1.0] * 7)
        self.say(b"250 Ok\r\n")
        waiting = self.wire.exchange(self.wire.session.rset())
        self.network.pump([0.5] * 9)
        self.assertNoResult(waiting)
        self.network.advance(0.5)
        self.assertEqual(str(self.failureResultOf(waiting, TimedOut).value), "Timed Out waiting 5s for response to RSET")

    def test_an_idle_connection_has_no_timer_for_long(self) -> None:
        self.network.pump([1.0] * 10)
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_a_broken_wire_refuses_all_that_comes_after(self) -> None:
        self.wire.abort()
        for again in (self.wire.exchange(self.wire.session.rset()), self.wire.replies()):
            self.failureResultOf(again)
        self.failureResultOf(Deferred.fromCoroutine(self.wire.pour(self.wire.session.body(LONG * 1000))))
        self.say(b"250 late\r\n")
        self.assertEqual(self.wire.session.heard, 0)


class Silent:
    """A transport that takes everything."""

    def write(self, data: bytes) -> None:
        """Taken."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Fine."""

    def abortConnection(self) -> None:
        """Gone."""


class LongBodyTests(SessionCase):
    """A body longer than a peer takes at once is written as fast as it takes it."""

    size = 10 * PIECE

    def big(self) -> Any:
        return message(1, content=LONG * (self.size // len(LONG)))

    def test_a_fast_peer_gets_it_whole(self) -> None:
        mx = self.mx(MODERN, EHLO="250 mx")
        supply = self.supply(self.big())
        self.assertEqual(self.deliver(supply)[1], settled(1, DELIVERED, QUEUED))
        self.assertEqual(mx.bodies, [LONG * (self.size // len(LONG))])
        self.assertLessEqual(max(len(write) for write in mx.writes), PIECE)

    def test_a_slow_peer_gets_it_piece_by_piece_and_has_time_for_each(self) -> None:
        mx = self.mx(PLAIN)
        supply = self.supply(self.big(), data_dot_timeout=30.0, data_timeout=300.0)
        ended = self.start_choked(supply, mx)
        (link,) = mx.connections
        for _ in range(12):
            self.network.wait(LONGEST_WRITE - 1)
            self.assertLessEqual(sum(map(len, link.buffered)), PIECE)
            link.take_all()
            mx.reading = True
            self.network.run()
            mx.reading = False
        mx.reading = True
        self.assertEqual(self.finish(supply, ended), [("connected",), settled(1, DELIVERED, QUEUED)])
        self.assertEqual(len(mx.bodies[0]), len(self.big().content))

    def start_choked(self, supply: Any, mx: Any) -> Any:
        """Begin; from the 354 on the peer takes nothing by itself."""
        say = mx.say

        def choke(link: Any, verb: str) -> str:
            if verb == "DATA":
                mx.reading = False
            said: str = say(link, verb)
            return said

        mx.say = choke
        return self.start(supply)

    def test_a_peer_that_takes_nothing_more_is_given_up_and_cannot_have_got_it(self) -> None:
        mx = self.mx(PLAIN)
        supply = self.supply(self.big())
        ended = self.start_choked(supply, mx)
        self.network.wait(LONGEST_WRITE - 1)
        self.assertEqual(supply.calls, [("connected",)])
        self.network.wait(2)
        where = "source-1->mx.example.com@smtp_client mx.example.com./192.0.2.1:25"
        text = f"421 4.4.2 {INTERNAL}failed to send message to {where}: Timed Out waiting 60s to write the message"
        self.assertEqual(supply.calls, [("connected",), settled(1, POSTPONED, text)])
        self.finish(supply, ended)

    def test_a_refusal_before_the_end_is_believed_and_ends_the_connection(self) -> None:
        mx = self.mx(PLAIN)
        supply = self.supply(self.big(), message(2))
        ended = self.start_choked(supply, mx)
        mx.connections[0].send(b"552 5.3.4 too big\r\n")
        self.network.run()
        self.assertEqual(self.finish(supply, ended), [("connected",), settled(1, "bounced", "552 5.3.4 too big")])
        self.assertTrue(mx.connections[0].aborted)

    def test_success_before_the_end_is_none(self) -> None:
        mx = self.mx(PLAIN)
        supply = self.supply(self.big())
        ended = self.start_choked(supply, mx)
        mx.connections[0].send(b"250 2.0.0 queued\r\n")
        self.network.run()
        text = f"400 {INTERNAL}failed to send message: answered the message before its end: 250 2.0.0 queued"
        self.assertEqual(self.finish(supply, ended), [("connected",), settled(1, POSTPONED, text)])

    def test_a_connection_that_ends_in_the_middle_cannot_have_delivered_it(self) -> None:
        mx = self.mx(PLAIN)
        supply = self.supply(self.big())
        ended = self.start_choked(supply, mx)
        mx.connections[0].loseConnection()
        self.network.run()
        text = f"400 {INTERNAL}failed to send message: connection closed by the peer"
        self.assertEqual(self.finish(supply, ended), [("connected",), settled(1, POSTPONED, text)])

    def test_ended_by_us_in_the_middle_it_goes_back_untouched(self) -> None:
        for how in ("cancel", "stop"):
            mx = self.mx(PLAIN)
            supply = self.supply(self.big(), system_shutdown_timeout=5.0)
            ended = self.start_choked(supply, mx)
            if how == "cancel":
                ended.cancel()
            else:
                self.stop.give()
            self.network.wait(6)
            self.assertEqual(supply.calls, [("connected",), ("give_back", 1, "DispatcherDrop", 0.0)])
            self.anew()


class HandshakeTests(SessionCase):
    """A TLS handshake that does not come about, as far as the wire sees it."""

    def start_tls(self, mode: EnableTls, **answers: Any) -> tuple[Any, Any, Any]:
        mx = self.mx(PLAIN, EHLO="250-mx.example.com\r\n250 STARTTLS", **answers)
        supply = self.supply(enable_tls=mode, starttls_timeout=4.0)
        ended = self.start(supply)
        self.assertEqual(mx.heard[-1], "STARTTLS")
        self.assertIsNotNone(mx.connections[0].handshake)
        return mx, supply, ended

    def test_silence_is_a_failed_host_in_every_mode(self) -> None:
        for mode in set(EnableTls) - {EnableTls.DISABLED}:
            mx, supply, ended = self.start_tls(mode)
            self.network.wait(3.9)
            self.assertEqual(supply.calls, [])
            self.network.wait(0.2)
            text = "mx.example.com./192.0.2.1:25: Timed Out waiting 4s for the TLS handshake"
            text = f"400 {INTERNAL}failed to connect to any candidate hosts: {text}"
            self.assertEqual(self.finish(supply, ended), [settled(1, POSTPONED, text), ("connection_failed",)])
            self.assertEqual(len(mx.connections), 1)
            self.anew()

    def test_a_peer_that_goes_away_gets_the_mail_in_clear_only_where_the_path_says_so(self) -> None:
        for mode in set(EnableTls) - {EnableTls.DISABLED}:
            mx, supply, ended = self.start_tls(mode)
            mx.connections[0].lose(ConnectionResetError("reset"))
            self.network.run()
            calls = self.finish(supply, ended)
            if mode is EnableTls.OPPORTUNISTIC_INSECURE:
                self.assertEqual(calls, [("connected",), settled(1, DELIVERED, QUEUED)])
                self.assertEqual(len(mx.connections), 2, "on a connection of its own")
                self.assertEqual(mx.heard.count("STARTTLS"), 1)
                self.assertIsNone(supply.attempts[0].tls)
            else:
                text = "TLS handshake with mx.example.com./192.0.2.1:25 failed: reset"
                text = f"400 {INTERNAL}failed to connect to any candidate hosts: {text}"
                self.assertEqual(calls, [settled(1, POSTPONED, text), ("connection_failed",)])
                self.assertEqual(len(mx.connections), 1)
            self.anew()

    def test_the_connection_in_clear_is_a_connection_for_the_limit(self) -> None:
        mx, supply, ended = self.start_tls(EnableTls.OPPORTUNISTIC_INSECURE)
        supply.connect_waits = [100.0]
        mx.connections[0].lose(ConnectionResetError("reset"))
        self.network.run()
        self.assertEqual(self.finish(supply, ended)[0], ("give_back", 1, "ConnectionRateThrottle", 100.0))

    def test_if_it_will_not_do_in_clear_either_both_reasons_are_told(self) -> None:
        mx, supply, ended = self.start_tls(EnableTls.OPPORTUNISTIC_INSECURE, MAIL=SILENCE, banner=["220 mx", "554 no more"])
        mx.connections[0].lose(ConnectionResetError("reset"))
        self.network.run()
        where = "mx.example.com./192.0.2.1:25"
        text = f"TLS handshake with {where} failed: reset, {where}: the greeting was answered 554 no more"
        text = f"400 {INTERNAL}failed to connect to any candidate hosts: {text}"
        self.assertEqual(self.finish(supply, ended), [settled(1, POSTPONED, text), ("connection_failed",)])
