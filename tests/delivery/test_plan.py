"""Which addresses a session tries, and in which order."""

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import EgressSource, IpLookupStrategy, PathSettings
from kumotwist.config.fields import Networks
from kumotwist.delivery.plan import NULL_MX, Address, Hopeless, literal_ip, make_plan, shuffled
from kumotwist.egress.path import Destination, EgressPath
from kumotwist.mail.disposition import Peer, Verdict
from kumotwist.mail.reason import Reason
from tests.delivery.case import Names, destination, host


class LookupFailed(Exception):
    """As a resolver fails."""


NAMES = {
    "mx1.example.com": ("192.0.2.1", "192.0.2.2"),
    "mx2.example.com": ("192.0.2.3",),
    "mx3.example.com": ("192.0.2.4", "2001:db8::4"),
    "local.example.com": ("192.0.2.5", "127.0.0.1"),
    "mapped.example.com": ("::ffff:127.0.0.1",),
    "broken.example.com": LookupFailed("SERVFAIL"),
    "slow.example.com": LookupFailed("timed out"),
}


def never_moves() -> float:
    return 0.999999


def path(to: Destination, *, remote_port: int | None = None, **settings: Any) -> EgressPath:
    source = EgressSource(name="source-1", remote_port=remote_port)
    return EgressPath(source=source, destination=to, settings=PathSettings(**settings))


class PlanCase(SynchronousTestCase):
    def plan(self, on: EgressPath, draw: Callable[[], float] = never_moves) -> tuple[Address, ...]:
        found = self.successResultOf(Deferred.fromCoroutine(make_plan(on, Names(NAMES), draw)))
        self.assertIsInstance(found, tuple)
        return found  # type: ignore[return-value]  # just asserted

    def hopeless(self, on: EgressPath) -> tuple[Verdict, str, Reason]:
        found = self.successResultOf(Deferred.fromCoroutine(make_plan(on, Names(NAMES), never_moves)))
        assert isinstance(found, Hopeless), found
        return found.verdict, found.reply.single_line, found.reason


class OrderTests(PlanCase):
    """Preference first, chance within one."""

    def ips(self, on: EgressPath, draw: Callable[[], float] = never_moves) -> list[str]:
        return [address.ip for address in self.plan(on, draw)]

    def test_groups_follow_each_other(self) -> None:
        to = destination([host("mx2.example.com")], [host("mx1.example.com")])
        self.assertEqual(self.ips(path(to)), ["192.0.2.3", "192.0.2.1", "192.0.2.2"])

    def test_all_addresses_of_one_preference_are_shuffled_together(self) -> None:
        to = destination([host("mx1.example.com"), host("mx2.example.com")], [host("mx3.example.com")])
        draws = iter([0.0, 0.0, 0.0])
        self.assertEqual(
            self.ips(path(to), lambda: next(draws)),
            ["192.0.2.2", "192.0.2.3", "192.0.2.1", "2001:db8::4", "192.0.2.4"],
        )

    def test_an_mx_list_keeps_its_order(self) -> None:
        to = destination([host("mx2.example.com"), host("mx1.example.com")], shuffled=False)
        self.assertEqual(self.ips(path(to), lambda: 0.0), ["192.0.2.3", "192.0.2.1", "192.0.2.2"])

    def test_every_order_can_come_up_and_nothing_is_lost(self) -> None:
        addresses = [Address(name="mx.", ip=f"192.0.2.{n}", port=25) for n in range(3)]
        orders = set()
        for first in range(3):
            for second in range(2):
                draws = iter([first / 3 + 0.01, second / 2 + 0.01])
                orders.add(tuple(one.ip[-1] for one in shuffled(addresses, lambda draws=draws: next(draws))))
        self.assertEqual(
            orders, {("0", "1", "2"), ("0", "2", "1"), ("1", "0", "2"), ("1", "2", "0"), ("2", "0", "1"), ("2", "1", "0")}
        )

    def test_a_host_that_cannot_be_looked_up_is_left_out(self) -> None:
        to = destination([host("broken.example.com")], [host("none.example.com")], [host("mx2.example.com")])
        self.assertEqual(self.ips(path(to)), ["192.0.2.3"])

    def test_hosts_are_looked_up_as_the_path_wants_it(self) -> None:
        names = Names(NAMES)
        on = path(destination(host("mx2.example.com")), ip_lookup_strategy=IpLookupStrategy.IPV6_THEN_IPV4)
        self.successResultOf(Deferred.fromCoroutine(make_plan(on, names, never_moves)))
        self.assertEqual(names.asked, [("mx2.example.com", IpLookupStrategy.IPV6_THEN_IPV4)])

    def test_hosts_are_looked_up_at_the_same_time(self) -> None:
        first: Deferred[tuple[str, ...]] = Deferred()
        second: Deferred[tuple[str, ...]] = Deferred()
        names = Names({"one": first, "two": second})
        plan = Deferred.fromCoroutine(make_plan(path(destination(host("one"), host("two"))), names, never_moves))
        self.assertEqual(len(names.asked), 2)
        second.callback(("192.0.2.2",))
        self.assertNoResult(plan)
        first.errback(LookupFailed("timed out"))
        found = self.successResultOf(plan)
        assert isinstance(found, tuple)
        self.assertEqual([address.ip for address in found], ["192.0.2.2"])


class AddressTests(PlanCase):
    """What an address says of itself."""

    def test_the_source_s_port_wins_over_the_host_s_and_that_over_the_path_s(self) -> None:
        for remote, own, general, expected in (
            (None, None, 25, 25),
            (None, None, 2525, 2525),
            (None, 26, 2525, 26),
            (27, 26, 2525, 27),
            (27, None, 2525, 27),
        ):
            on = path(destination(host("mx2.example.com", port=own)), remote_port=remote, smtp_port=general)
            self.assertEqual([address.port for address in self.plan(on)], [expected])

    def test_names_are_absolute_and_literals_bare(self) -> None:
        for given, ip, name, found in (
            ("mx2.example.com", None, "mx2.example.com.", "192.0.2.3"),
            ("smart.example.net", "192.0.2.9", "smart.example.net.", "192.0.2.9"),
            ("smart.example.net.", "192.0.2.9", "smart.example.net.", "192.0.2.9"),
            ("192.0.2.9", "192.0.2.9", "192.0.2.9", "192.0.2.9"),
            ("[192.0.2.9]", None, "192.0.2.9", "192.0.2.9"),
            ("[IPv6:2001:db8:0::9]", None, "2001:db8::9", "2001:db8::9"),
            ("2001:db8::9", None, "2001:db8::9", "2001:db8::9"),
        ):
            (address,) = self.plan(path(destination(host(given, ip))))
            self.assertEqual((address.name, address.ip), (name, found))

    def test_what_needs_no_lookup_gets_none(self) -> None:
        names = Names({})
        on = path(destination(host("smart.example.net", "192.0.2.9"), host("[192.0.2.10]")))
        self.successResultOf(Deferred.fromCoroutine(make_plan(on, names, never_moves)))
        self.assertEqual(names.asked, [])

    def test_records_name_the_port_only_where_it_is_another_than_25(self) -> None:
        for ip, port, expected in (
            ("192.0.2.1", 25, "192.0.2.1"),
            ("192.0.2.1", 2525, "192.0.2.1:2525"),
            ("2001:db8::1", 25, "2001:db8::1"),
            ("2001:db8::1", 2525, "[2001:db8::1]:2525"),
        ):
            address = Address(name="mx.example.com.", ip=ip, port=port)
            self.assertEqual(address.peer, Peer("mx.example.com.", expected))
        self.assertEqual(str(address), "mx.example.com./[2001:db8::1]:2525")

    def test_literals_are_told_from_names(self) -> None:
        for text, expected in (
            ("192.0.2.1", "192.0.2.1"),
            ("[192.0.2.1]", "192.0.2.1"),
            ("[::1]", "::1"),
            ("[IPv6:::1]", "::1"),
            ("mx.example.com", None),
            ("10", None),
            ("", None),
            ("[mx.example.com]", None),
        ):
            self.assertEqual(literal_ip(text), expected, text)


class HopelessTests(PlanCase):
    """Where there is nowhere to go, and what that means for the mail."""

    def test_a_null_mx_bounces(self) -> None:
        self.assertEqual(
            self.hopeless(path(destination(null_mx=True))),
            (Verdict.BOUNCED, "556 5.1.10 Recipient address has a null MX", Reason.FAILED_DUE_TO_NULL_MX),
        )
        self.assertIsNone(NULL_MX.reply.command)

    def test_no_hosts_postpone(self) -> None:
        text = "451 4.4.4 MX didn't resolve to any hosts"
        for to in (destination(), destination(host("none.example.com")), destination([host("none.example.com"), host("a.none")])):
            self.assertEqual(self.hopeless(path(to)), (Verdict.POSTPONED, text, Reason.MX_RESOLVED_TO_ZERO_HOSTS))

    def test_lookups_that_all_fail_postpone_and_say_why(self) -> None:
        to = destination([host("broken.example.com")], [host("slow.example.com")], [host("none.example.com")])
        text = "451 4.4.4 MX didn't resolve to any hosts (broken.example.com: SERVFAIL; slow.example.com: timed out)"
        self.assertEqual(self.hopeless(path(to)), (Verdict.POSTPONED, text, Reason.MX_RESOLVED_TO_ZERO_HOSTS))

    def test_one_prohibited_address_bounces(self) -> None:
        text = "550 5.4.4 local.example.com./127.0.0.1 is on the list of prohibited_hosts {127.0.0.0/8, 0.0.0.0, ::1, ::}"
        to = destination([host("mx1.example.com")], [host("local.example.com")])
        self.assertEqual(self.hopeless(path(to)), (Verdict.BOUNCED, text, Reason.MX_WAS_PROHIBITED))

    def test_a_mapped_address_is_no_way_around(self) -> None:
        for to in (
            destination(host("mapped.example.com")),
            destination(host("[::ffff:127.0.0.1]")),
            destination(host("x", "::ffff:7f00:1")),
        ):
            self.assertEqual(self.hopeless(path(to))[2], Reason.MX_WAS_PROHIBITED)

    def test_skipped_hosts_are_left_out_and_nothing_else_postpones(self) -> None:
        skip = Networks((ip_network("192.0.2.1"), ip_network("192.0.2.4"), ip_network("2001:db8::/32")))
        to = destination([host("mx1.example.com")], [host("mx3.example.com")])
        self.assertEqual([one.ip for one in self.plan(path(to, skip_hosts=skip))], ["192.0.2.2"])
        text = "451 4.4.4 KumoMTA internal: MX consisted solely of hosts on the skip_hosts list"
        on = path(destination(host("mx3.example.com")), skip_hosts=skip)
        self.assertEqual(self.hopeless(on), (Verdict.POSTPONED, text, Reason.MX_WAS_SKIPPED))

    def test_prohibited_is_asked_before_skipped(self) -> None:
        on = path(destination(host("local.example.com")), skip_hosts=Networks((ip_network("127.0.0.0/8"),)))
        self.assertEqual(self.hopeless(on)[2], Reason.MX_WAS_PROHIBITED)
