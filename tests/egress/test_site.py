"""The site's name, which groups domains by the hosts that take their mail."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.queues import MxHost
from kumotwist.egress.site import NEVER, destination_of_mx_list, site_name

GMAIL = ["gmail-smtp-in.l.google.com"] + [f"alt{n}.gmail-smtp-in.l.google.com" for n in (1, 2, 3, 4)]
YAHOO = [f"mta{n}.am0.yahoodns.net" for n in (5, 6, 7)]
OUTLOOK = "example-com.mail.protection.outlook.com"
BIZ = "mx-biz.mail.am0.yahoodns.net"

NAMES = [
    (GMAIL, "(alt1|alt2|alt3|alt4)?.gmail-smtp-in.l.google.com"),
    (YAHOO, "(mta5|mta6|mta7).am0.yahoodns.net"),
    (["MTA5.AM0.yahoodns.NET", "mta6.am0.YahooDNS.net", "mta7.am0.yahoodns.net"], "(mta5|mta6|mta7).am0.yahoodns.net"),
    (["do.havedane.net"], "do.havedane.net"),
    (["www.example.com"], "www.example.com"),
    ([f"{host}:123" for host in YAHOO], "(mta5|mta6|mta7).am0.yahoodns.net:123"),
    ([f"{YAHOO[0]}:123", f"{YAHOO[1]}:456", f"{YAHOO[2]}:123"], "(mta5|mta6|mta7).am0.yahoodns.(net:123|net:456)"),
    ([OUTLOOK, BIZ, BIZ], "(example-com|mx-biz).mail.(protection|am0).(outlook|yahoodns).(com|net)"),
    ([BIZ, BIZ, OUTLOOK], "(mx-biz|example-com).mail.(am0|protection).(yahoodns|outlook).(net|com)"),
    ([], ""),
    (["."], ""),
    # What the vectors do not say, but the rules do.
    (["example.com", "mx.example.com"], "mx?.example.com"),
    (["example.com.", "mx.example.com.:25"], "mx?.example.(com|com:25)"),
    (["mx", "a.b.mx"], "a?.b?.mx"),
]

NO_HOSTS = ["", ".", "..", "a..b", ".a", ":25", "a:", "a:b", "a:1:2", "::1", "a:²", "x" * 64, ".".join(["x" * 60] * 5)]

HOST = st.from_regex(r"([a-z0-9-]{1,9}\.){0,4}[a-z0-9-]{1,9}(:[0-9]{1,5})?", fullmatch=True)


class SiteNameTests(SynchronousTestCase):
    def test_the_name_follows_from_the_hosts_in_their_order(self) -> None:
        for hosts, name in NAMES:
            self.assertEqual(site_name(hosts), name, hosts)

    def test_what_is_no_host_name_is_left_out(self) -> None:
        for text in NO_HOSTS:
            self.assertEqual(site_name([text]), "", text)
            self.assertEqual(site_name([text, "mx.example.com"]), "mx.example.com", text)

    @settings(deadline=None)
    @given(st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=80) | HOST, max_size=8))
    def test_any_text_has_one_name(self, hosts: list[str]) -> None:
        name = site_name(hosts)
        self.assertEqual(name, site_name(tuple(hosts)))
        self.assertEqual(name, site_name([host.lower() for host in hosts]))
        self.assertEqual(name, site_name([*hosts, *hosts]))
        self.assertFalse(name.endswith("."))

    @settings(deadline=None)
    @given(HOST)
    def test_a_single_host_is_its_own_site(self, host: str) -> None:
        self.assertEqual(site_name([host]), host)


class MxListTests(SynchronousTestCase):
    def test_the_hosts_are_tried_strictly_in_the_order_of_the_list(self) -> None:
        hosts = (
            MxHost(name="smart.host.local", label="smart.host.local"),
            MxHost(name="mx.example.com", label="10.0.0.1", addr="10.0.0.1"),
            MxHost(name="localhost", label="localhost:2025", port=2025),
        )
        where = destination_of_mx_list("example.com", hosts)
        self.assertEqual(where.domain, "example.com")
        self.assertEqual(where.site, "mx_list:smart.host.local,10.0.0.1,localhost:2025")
        self.assertEqual(where.groups, tuple((host,) for host in hosts))
        self.assertEqual((where.shuffled, where.null_mx, where.is_mx, where.expires), (False, False, False, NEVER))

    def test_a_list_that_is_taken_for_secure_is_another_site(self) -> None:
        host = MxHost(name="mx.example.com", label="mx.example.com", secure=True)
        self.assertEqual(destination_of_mx_list("example.com", (host,)).site, "mx_list:mx.example.com!secure")
