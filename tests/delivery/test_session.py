"""A session's life: message after message on a kept connection, and every way in which it ends."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from tests.delivery.case import DELIVERED, MX, MX2, POSTPONED, Names, SessionCase, Supply, host, message, settled
from tests.delivery.scripted import HANG_UP, MODERN, PLAIN, SILENCE, THEN_HANG_UP

QUEUED = "250 2.0.0 Ok: queued"
PERHAPS = "; the end of the message had been sent: it may have been delivered, and will be sent again"


def delivered(*numbers: int) -> list[tuple[Any, ...]]:
    return [settled(number, DELIVERED, QUEUED) for number in numbers]


class ReuseTests(SessionCase):
    """One connection for many messages."""

    def test_without_a_message_nothing_is_connected(self) -> None:
        self.mx()
        supply = Supply(self.network, self.path())
        self.assertEqual(self.deliver(supply), [])
        self.assertEqual(self.network.attempts, [])

    def test_messages_follow_each_other_on_one_connection_that_ends_with_quit(self) -> None:
        for answers in (PLAIN, MODERN):
            mx = self.mx(answers)
            supply = self.supply(*(message(number, content=b"%d\r\n" % number) for number in range(1, 6)))
            self.assertEqual(self.deliver(supply), [("connected",), *delivered(1, 2, 3, 4, 5)])
            self.assertEqual(mx.bodies, [b"%d\r\n" % number for number in range(1, 6)])
            self.assertEqual((len(mx.connections), mx.heard[-1]), (1, "QUIT"))
            self.assertTrue(mx.connections[0].no_delay)
            self.anew()

    def test_every_message_on_a_connection_carries_its_facts(self) -> None:
        self.mx()
        supply = self.supply(message(1), message(2), provider_name="provider")
        self.deliver(supply)
        first, second = supply.attempts
        self.assertIs(first, second, "they are made once for a connection")
        self.assertEqual(
            (first.site, first.delivery_protocol, first.provider_name, first.session_id, first.tls),
            ("source-1->mx.example.com@smtp_client", "ESMTP", "provider", "session-1", None),
        )

    def test_an_idle_connection_is_kept_for_as_long_as_the_path_says(self) -> None:
        mx = self.mx(MODERN)
        supply = self.supply(idle_timeout=8.0)
        ended = self.start(supply)
        self.network.wait(7.9)
        self.assertTrue(supply.idle)
        supply.offer(message(2))
        self.network.run()
        self.assertEqual(supply.calls, [("connected",), *delivered(1, 2)])
        self.network.wait(7.9)
        self.assertNoResult(ended)
        self.assertNotIn("QUIT", mx.heard)
        self.network.wait(0.2)
        self.successResultOf(ended)
        self.assertEqual((mx.heard[-1], len(mx.connections)), ("QUIT", 1))

    def test_a_connection_serves_so_many_messages_and_no_more(self) -> None:
        mx = self.mx(MODERN, RCPT=["550 5.1.1 no such user", "250 Ok"])
        supply = self.supply(*(message(number) for number in range(1, 6)), max_deliveries_per_connection=3)
        self.assertEqual(len(self.deliver(supply)), 4)
        self.assertEqual((len(supply.ready), mx.heard[-1]), (2, "QUIT"), "the third was the last, refused ones included")

    def test_a_peer_that_does_not_answer_quit_is_not_waited_for_long(self) -> None:
        mx = self.mx(MODERN, QUIT=SILENCE)
        supply = self.supply(idle_timeout=5.0)
        ended = self.start(supply)
        self.network.wait(5.0)
        self.assertNoResult(ended)
        self.network.wait(5.0)
        self.successResultOf(ended)
        self.assertFalse(mx.connections[0].open)

    def test_content_that_comes_late_is_waited_for(self) -> None:
        mx = self.mx(MODERN)
        supply = self.supply()
        content: Deferred[bytes] = Deferred()
        supply.contents[supply.ready[0].id] = content
        ended = self.start(supply)
        self.network.wait(100)
        self.assertEqual(supply.calls, [("connected",)])
        content.callback(b"from the spool\r\n")
        supply.contents.clear()
        self.assertEqual(self.finish(supply, ended), [("connected",), *delivered(1)])
        self.assertEqual(mx.bodies, [b"from the spool\r\n"])

    def test_content_that_cannot_be_read_costs_its_message_an_attempt_and_nothing_else(self) -> None:
        self.mx(MODERN)
        supply = self.supply(message(1), message(2))
        supply.contents[supply.ready[0].id] = KeyError("gone")
        calls = self.deliver(supply)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        text = "400 KumoMTA internal: error in deliver_message: KeyError: 'gone'"
        self.assertEqual(calls, [("connected",), settled(1, POSTPONED, text), *delivered(2)])


class PeerLeavesTests(SessionCase):
    """A kept connection on which the peer speaks up or goes away never costs a message anything."""

    def test_it_is_noticed_at_once_while_idle(self) -> None:
        for said in (b"421 4.4.2 idle too long\r\n", b"250 Ok\r\n", b"4", b"garbage\r\n", None):
            mx = self.mx(MODERN)
            supply = self.supply(idle_timeout=60.0)
            ended = self.start(supply)
            (link,) = mx.connections
            if said is None:
                link.lose(ConnectionError("reset"))
            else:
                link.send(said)
            self.network.run()
            self.successResultOf(ended)
            self.assertEqual(supply.calls, [("connected",), *delivered(1)], said)
            self.assertFalse(supply.idle, "no message is taken by a session that has ended")
            self.anew()

    def test_the_next_message_goes_to_the_next_host_if_there_is_one(self) -> None:
        self.mx(MODERN, MX, RSET=HANG_UP)
        second = self.mx(MODERN, MX2)
        path = self.path(host("mx1.example.com", MX), host("mx2.example.com", MX2))
        supply = self.supply(message(1), message(2), message(3), path=path)
        self.assertEqual(self.deliver(supply), [("connected",), *delivered(1), ("connected",), *delivered(2, 3)])
        self.assertEqual(len(second.bodies), 2)

    def test_a_peer_that_closes_as_we_begin_did_not_try_the_message(self) -> None:
        for answers in (PLAIN, MODERN):
            self.mx(answers, RSET=HANG_UP)
            supply = self.supply(message(1), message(2))
            self.assertEqual(
                self.deliver(supply),
                [("connected",), *delivered(1), ("give_back", 2, "PeerClosedConnection", 0.0)],
            )
            self.anew()

    def test_without_rset_too(self) -> None:
        self.mx(MODERN, MAIL=["250 Ok", HANG_UP])
        supply = self.supply(message(1), message(2), enable_rset=False)
        self.assertEqual(self.deliver(supply)[-1], ("give_back", 2, "PeerClosedConnection", 0.0))

    def test_the_limit_on_messages_is_not_spent_twice_for_one_that_was_not_tried(self) -> None:
        self.mx(MODERN, MX, RSET=HANG_UP)
        self.mx(MODERN, MX2)
        supply = self.supply(message(1), message(2), path=self.path(host("mx1", MX), host("mx2", MX2)))
        supply.send_waits = [0.0, 0.0, 3600.0]
        self.assertEqual(self.deliver(supply), [("connected",), *delivered(1), ("connected",), *delivered(2)])

    def test_on_a_fresh_connection_it_is_an_attempt(self) -> None:
        self.mx(MODERN, MAIL=HANG_UP)
        text = "400 KumoMTA internal: failed to send message: connection closed by the peer"
        self.assertEqual(self.deliver(self.supply()), [("connected",), settled(1, POSTPONED, text)])

    def test_a_closing_word_together_with_the_last_answer_is_heard(self) -> None:
        self.mx(MODERN, **{".": f"{QUEUED}\r\n421 4.3.2 restart{THEN_HANG_UP}"})
        supply = self.supply(message(1))
        ended = self.start(supply)
        self.successResultOf(ended)
        self.assertEqual(supply.calls, [("connected",), *delivered(1)])


class MessageRateTests(SessionCase):
    """`max_message_rate` is spent before each message."""

    def test_a_short_wait_is_waited_out(self) -> None:
        mx = self.mx(MODERN)
        supply = self.supply(message(1), message(2), idle_timeout=5.0)
        supply.send_waits = [0.0, 2.0, 0.0]
        ended = self.start(supply)
        self.network.wait(1.9)
        self.assertEqual(supply.calls, [("connected",), *delivered(1)])
        self.network.wait(0.2)
        self.assertEqual(supply.calls, [("connected",), *delivered(1, 2)])
        self.assertEqual(len(mx.connections), 1)
        self.finish(supply, ended)

    def test_a_long_wait_is_left_to_the_queue_and_the_connection_ends_with_quit(self) -> None:
        mx = self.mx(MODERN)
        supply = self.supply(message(1), message(2), message(3), idle_timeout=5.0)
        supply.send_waits = [0.0, 30.0]
        self.assertEqual(
            self.deliver(supply),
            [
                ("connected",),
                *delivered(1),
                ("give_back", 2, "MessageRateThrottle", 30.0),
                ("throttled", "MessageRateThrottle", 30.0),
            ],
        )
        self.assertEqual(mx.heard[-1], "QUIT")

    def test_a_peer_that_leaves_while_we_wait_costs_nothing(self) -> None:
        mx = self.mx(MODERN)
        supply = self.supply(message(1), message(2), idle_timeout=5.0)
        supply.send_waits = [0.0, 2.0, 0.0]
        ended = self.start(supply)
        mx.connections[0].send(b"421 4.4.2 too slow\r\n")
        self.network.wait(2.0)
        calls = self.finish(supply, ended)
        self.assertEqual(calls, [("connected",), *delivered(1), ("give_back", 2, "PeerClosedConnection", 0.0)])


class CancelTests(SessionCase):
    """The owner of a session ends it at any moment."""

    def cancel_at(self, supply: Supply, **means: Any) -> list[tuple[Any, ...]]:
        ended = self.start(supply, **means)
        self.assertNoResult(ended)
        ended.cancel()
        self.failureResultOf(ended, CancelledError)
        self.network.run()
        return supply.calls

    def test_before_the_end_of_the_message_it_goes_back_untouched(self) -> None:
        back = ("give_back", 1, "DispatcherDrop", 0.0)
        for answers in (PLAIN, MODERN):
            for stage in ("banner", "EHLO"):
                mx = self.mx(answers, **{stage: SILENCE})
                self.assertEqual(self.cancel_at(self.supply()), [back])
                self.assertTrue(mx.connections[0].aborted)
                self.anew()
            for stage in ("MAIL", "RCPT", "DATA"):
                mx = self.mx(answers, **{stage: SILENCE})
                self.assertEqual(self.cancel_at(self.supply()), [("connected",), back])
                self.assertTrue(mx.connections[0].aborted)
                self.anew()

    def test_after_it_the_record_says_what_may_have_happened(self) -> None:
        for answers in (PLAIN, MODERN):
            self.mx(answers, **{".": SILENCE})
            text = f"400 KumoMTA internal: failed to send message: the session was ended{PERHAPS}"
            self.assertEqual(self.cancel_at(self.supply()), [("connected",), settled(1, POSTPONED, text)])
            self.anew()

    def test_while_a_name_is_looked_up(self) -> None:
        asked: Deferred[tuple[str, ...]] = Deferred()
        supply = self.supply(path=self.path(host("mx.example.com")))
        calls = self.cancel_at(supply, names=Names({"mx.example.com": asked}))
        self.assertEqual(calls, [("give_back", 1, "DispatcherDrop", 0.0)])

    def test_while_it_connects(self) -> None:
        self.network.hosts[MX] = SILENCE
        self.assertEqual(self.cancel_at(self.supply()), [("give_back", 1, "DispatcherDrop", 0.0)])
        self.assertTrue(self.network.connectors[0].given_up)

    def test_while_it_waits_for_a_limit(self) -> None:
        self.mx()
        supply = self.supply()
        supply.connect_waits = [1.0]
        self.assertEqual(self.cancel_at(supply), [("give_back", 1, "DispatcherDrop", 0.0)])

    def test_while_it_is_idle(self) -> None:
        self.mx()
        supply = self.supply()
        self.assertEqual(self.cancel_at(supply), [("connected",), *delivered(1)])
        self.assertFalse(supply.idle)

    def test_while_it_takes_leave(self) -> None:
        self.mx(QUIT=SILENCE)
        supply = self.supply(max_deliveries_per_connection=1)
        self.assertEqual(self.cancel_at(supply), [("connected",), *delivered(1)])


class StopTests(SessionCase):
    """The system shuts down."""

    def stopped(self, supply: Supply, **means: Any) -> list[tuple[Any, ...]]:
        ended = self.start(supply, **means)
        self.assertNoResult(ended)
        self.stop.give()
        self.network.run()
        self.successResultOf(ended)
        return supply.calls

    def test_no_session_begins_any_more(self) -> None:
        self.stop.give()
        supply = self.supply()
        self.assertEqual(self.deliver(supply), [])
        self.assertEqual(supply.taken, [])

    def test_an_idle_connection_ends_with_quit_at_once(self) -> None:
        mx = self.mx(MODERN)
        self.assertEqual(self.stopped(self.supply()), [("connected",), *delivered(1)])
        self.assertEqual(mx.heard[-1], "QUIT")

    def test_a_message_that_waits_for_something_goes_back(self) -> None:
        back = ("give_back", 1, "DispatcherDrop", 0.0)
        self.network.hosts[MX] = SILENCE
        self.assertEqual(self.stopped(self.supply()), [back])
        self.anew()
        self.mx(banner=SILENCE)
        self.assertEqual(self.stopped(self.supply()), [back])
        self.anew()
        supply = self.supply()
        supply.connect_waits = [1.0]
        self.assertEqual(self.stopped(supply), [back])
        self.anew()
        mx = self.mx()
        supply = self.supply()
        supply.send_waits = [1.0]
        self.assertEqual(self.stopped(supply), [("connected",), back])
        self.assertEqual(mx.heard[-1], "QUIT")
        self.anew()
        mx = self.mx()
        supply = self.supply()
        supply.contents[supply.ready[0].id] = Deferred()
        self.assertEqual(self.stopped(supply), [("connected",), back])
        self.assertEqual(mx.heard[-1], "QUIT")

    def test_a_transaction_in_flight_is_finished_and_no_other_begun(self) -> None:
        mx = self.mx(MODERN, **{".": SILENCE})
        supply = self.supply(message(1), message(2), system_shutdown_timeout=20.0)
        ended = self.start(supply)
        self.stop.give()
        self.network.wait(19.0)
        self.assertNoResult(ended)
        mx.connections[0].stuck = False
        mx.connections[0].send(b"250 2.0.0 Ok: queued\r\n")
        self.network.run()
        self.successResultOf(ended)
        self.assertEqual(supply.calls, [("connected",), *delivered(1)])
        self.assertEqual((mx.heard[-1], len(supply.ready)), ("QUIT", 1))

    def test_one_that_takes_too_long_goes_back_if_nobody_can_have_got_it(self) -> None:
        for stage in ("MAIL", "RCPT", "DATA"):
            self.mx(MODERN, **{stage: SILENCE})
            supply = self.supply(system_shutdown_timeout=20.0)
            ended = self.start(supply)
            self.stop.give()
            self.network.wait(20.0)
            self.successResultOf(ended)
            self.assertEqual(supply.calls, [("connected",), ("give_back", 1, "DispatcherDrop", 0.0)])
            self.anew()

    def test_and_is_told_of_if_somebody_can(self) -> None:
        self.mx(MODERN, **{".": SILENCE})
        supply = self.supply(system_shutdown_timeout=20.0)
        ended = self.start(supply)
        self.stop.give()
        self.network.wait(20.0)
        self.successResultOf(ended)
        text = f"400 KumoMTA internal: failed to send message: the system is shutting down{PERHAPS}"
        self.assertEqual(supply.calls, [("connected",), settled(1, POSTPONED, text)])

    def test_the_grace_is_by_default_what_a_transaction_may_take(self) -> None:
        self.mx(MODERN, RCPT=SILENCE)
        supply = self.supply(mail_from_timeout=1.0, rcpt_to_timeout=1000.0, data_timeout=2.0, data_dot_timeout=3.0)
        ended = self.start(supply)
        self.network.wait(10)
        self.stop.give()
        self.network.wait(989.0)
        self.assertNoResult(ended)
        self.network.wait(2.0)
        self.successResultOf(ended)


class OwnFaultTests(SessionCase):
    """What breaks in us is seen by the session's owner; the message is answered for all the same."""

    def test_a_supply_that_breaks_before_anything_was_sent(self) -> None:
        self.mx()
        supply = self.supply()

        def broken() -> float:
            raise ZeroDivisionError("a bug")

        supply.may_send = broken  # type: ignore[method-assign]
        ended = self.start(supply)
        self.failureResultOf(ended, ZeroDivisionError)
        text = "400 KumoMTA internal: error in deliver_message: ZeroDivisionError: a bug"
        self.assertEqual(supply.calls, [("connected",), settled(1, POSTPONED, text)])

    def test_an_envelope_that_cannot_be_said_counts_an_attempt(self) -> None:
        self.mx(MODERN)
        evil = message(1)
        evil.sender = type(evil.sender)("a>\r\nRCPT TO:<b", "example.org")
        supply = self.supply(evil)
        ended = self.start(supply)
        self.failureResultOf(ended, ValueError)
        self.assertEqual(supply.calls[1][2][0][0], POSTPONED)

    def test_a_settlement_that_breaks_is_not_repeated(self) -> None:
        self.mx(MODERN)
        supply = self.supply()
        settle = supply.settle

        def settle_and_break(*args: Any) -> None:
            settle(*args)
            raise ZeroDivisionError("a bug")

        supply.settle = settle_and_break  # type: ignore[method-assign]
        ended = self.start(supply)
        self.failureResultOf(ended, ZeroDivisionError)
        self.assertEqual(supply.calls, [("connected",), *delivered(1)])
