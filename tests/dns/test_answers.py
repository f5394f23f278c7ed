"""What the MX records of a domain mean for its mail."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.dns.answers import MOST_HOSTS, LookupFailed, MailExchangers, NoSuchDomain, NotAsked, destination, kept_until

NOW = 1_792_000_000.0


def names(found: MailExchangers, port: int | None = None) -> list[list[str]]:
    """The host names of a destination, group by group."""
    where = destination("example.com", "example.com", port, found, NOW)
    return [[host.name for host in group] for group in where.groups]


class DestinationTests(SynchronousTestCase):
    def test_hosts_are_grouped_by_preference_and_sorted_within(self) -> None:
        for hosts, expected in [
            (((10, "mx.example.com"),), [["mx.example.com"]]),
            (((20, "c"), (5, "z"), (20, "a"), (20, "b")), [["z"], ["a", "b", "c"]]),
            (((0, "b"), (65535, "a")), [["b"], ["a"]]),
            (((10, "a"), (10, "a")), [["a"]]),
            (((10, "a"), (20, "a")), [["a"], ["a"]]),
            ((), [["example.com"]]),
        ]:
            self.assertEqual(names(MailExchangers(hosts, 60.0)), expected, hosts)

    def test_the_order_of_the_answer_makes_no_difference(self) -> None:
        hosts = ((10, "b"), (10, "a"), (5, "c"))
        self.assertEqual(
            destination("d", "d", None, MailExchangers(hosts, 1.0), NOW),
            destination("d", "d", None, MailExchangers(hosts[::-1], 1.0), NOW),
        )

    def test_the_site_is_named_by_the_hosts_in_order_of_preference(self) -> None:
        gmail = ((40, "alt4"), (5, ""), (30, "alt3"), (10, "alt1"), (20, "alt2"))
        hosts = tuple((preference, f"{name}.gmail-smtp-in.l.google.com".lstrip(".")) for preference, name in gmail)
        where = destination("gmail.com", "gmail.com", None, MailExchangers(hosts, 60.0), NOW)
        self.assertEqual(where.site, "(alt1|alt2|alt3|alt4)?.gmail-smtp-in.l.google.com")
        self.assertEqual((where.domain, where.is_mx, where.null_mx, where.shuffled), ("gmail.com", True, False, True))

    def test_without_mx_the_domain_is_its_own_host(self) -> None:
        where = destination("www.example.com", "www.example.com", None, MailExchangers((), 60.0), NOW)
        self.assertEqual((where.site, where.is_mx, where.null_mx), ("www.example.com", False, False))

    def test_a_port_holds_for_every_host_and_stands_in_the_site(self) -> None:
        found = MailExchangers(((1, "a.example.com"), (2, "b.example.com")), 60.0)
        where = destination("example.com:123", "example.com", 123, found, NOW)
        self.assertEqual(where.site, "(a|b).example.com:123")
        self.assertEqual([host.port for group in where.groups for host in group], [123, 123])
        self.assertEqual([host.label for group in where.groups for host in group], ["a.example.com:123", "b.example.com:123"])
        implicit = destination("example.com:25", "example.com", 25, MailExchangers((), 60.0), NOW)
        self.assertEqual((implicit.site, implicit.groups[0][0].name), ("example.com:25", "example.com"))

    def test_a_null_mx_has_neither_hosts_nor_a_name(self) -> None:
        for hosts in (((0, ""),), ((0, ""), (10, "mx.example.com")), ((10, "mx.example.com"), (20, ""))):
            where = destination("example.com", "example.com", 25, MailExchangers(hosts, 60.0), NOW)
            self.assertEqual((where.null_mx, where.is_mx, where.site, where.groups), (True, True, "", ()), hosts)

    def test_of_very_many_hosts_the_best_are_taken(self) -> None:
        hosts = tuple((1000 - n, f"mx{n}.example.com") for n in range(1000))
        found = names(MailExchangers(hosts, 60.0))
        self.assertEqual(len(found), MOST_HOSTS)
        self.assertEqual((found[0], found[-1]), (["mx999.example.com"], [f"mx{1000 - MOST_HOSTS}.example.com"]))

    def test_it_expires_with_its_ttl_within_reason(self) -> None:
        for ttl, kept in [(0.0, 1.0), (0.5, 1.0), (1.0, 1.0), (300.0, 300.0), (86400.0, 86400.0), (2.0**31, 86400.0)]:
            self.assertEqual(kept_until(ttl, NOW), NOW + kept, ttl)
            self.assertEqual(destination("d", "d", None, MailExchangers((), ttl), NOW).expires, NOW + kept)


class LookupFailedTests(SynchronousTestCase):
    def test_another_asker_gets_the_same_failure_as_another_exception(self) -> None:
        for fault in (LookupFailed("why"), NoSuchDomain("why"), NotAsked("why")):
            other = fault.again()
            self.assertIsNot(other, fault)
            self.assertEqual((type(other), str(other)), (type(fault), "why"))
