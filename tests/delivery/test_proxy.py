"""Connections through proxies: what is said to them, what records say of them, and whose fault a failure is."""

import errno
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectBindError, ConnectionRefusedError

from kumotwist.config.egress import EgressSource
from kumotwist.config.keys import KeyData
from kumotwist.delivery.plan import Address
from kumotwist.delivery.proxy import Proxy, ProxyKind, haproxy_header, proxy_of, sends_from
from kumotwist.mail.disposition import SourceAddress
from tests.delivery.case import DELIVERED, MX, MX2, POSTPONED, Names, SessionCase, host, message, settled
from tests.delivery.scripted import MODERN, SILENCE, Link, Mx

QUEUED = "250 2.0.0 Ok: queued"
FAILED = "400 KumoMTA internal: failed to connect to any candidate hosts: "
PROXY = "203.0.113.9"
SERVER = f"{PROXY}:5000"
OURS = "198.51.100.7"
V6 = "2001:db8::1"
GRANTED = b"\x05\x00\x00\x01" + bytes((198, 51, 100, 7)) + b"\x9c\x40"
REFUSED = b"\x05\x05\x00\x01" + b"\x00" * 6
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


class ProxyHost(Mx):
    """
    A proxy before a host.  answers: what it says, one after the other; then the host speaks.

    told: what it heard itself.  header: octets of it that come before what is for the host, for a proxy that says nothing.
    """

    def __init__(self, behind: Mx, *answers: bytes | str, header: int = 0) -> None:
        super().__init__()
        self.behind = behind
        self.answers = list(answers)
        self.header = header
        self.told = b""

    def connected(self, link: Link) -> None:
        self.connections.append(link)

    def receive(self, link: Link, data: bytes) -> None:
        self.told += data
        if self.header:
            if len(self.told) < self.header:
                return
            self.told, rest = self.told[: self.header], self.told[self.header :]
            self._step_aside(link)
            if rest:
                self.behind.receive(link, rest)
            return
        answer = self.answers.pop(0)
        if answer == SILENCE:
            return
        if isinstance(answer, str):
            link.loseConnection()
            return
        link.send(answer)
        if not self.answers:
            self._step_aside(link)

    def _step_aside(self, link: Link) -> None:
        link._mx = self.behind
        self.behind.connected(link)


def socks(**changes: Any) -> EgressSource:
    return EgressSource(name="source-1", **{"socks5_proxy_server": SERVER, "socks5_proxy_source_address": OURS, **changes})


def haproxy(**changes: Any) -> EgressSource:
    return EgressSource(name="source-1", **{"ha_proxy_server": SERVER, "ha_proxy_source_address": OURS, **changes})


class ChoiceTests(SessionCase):
    """Which proxy a source names."""

    def test_both_server_and_address_are_needed_and_haproxy_comes_first(self) -> None:
        both = EgressSource(
            name="s",
            ha_proxy_server="a:1",
            ha_proxy_source_address="10.0.0.1",
            socks5_proxy_server="b:2",
            socks5_proxy_source_address="10.0.0.2",
        )
        for source, kind in (
            (EgressSource(name="s"), None),
            (EgressSource(name="s", ha_proxy_server="a:1"), None),
            (EgressSource(name="s", ha_proxy_source_address="10.0.0.1"), None),
            (EgressSource(name="s", socks5_proxy_server="a:1"), None),
            (EgressSource(name="s", socks5_proxy_source_address="10.0.0.1"), None),
            (haproxy(), ProxyKind.HAPROXY),
            (socks(), ProxyKind.SOCKS5),
            (both, ProxyKind.HAPROXY),
        ):
            proxy = proxy_of(source)
            self.assertEqual(None if proxy is None else proxy.kind, kind)

    def test_the_address_that_hosts_see(self) -> None:
        for source, expected in (
            (EgressSource(name="s"), None),
            (EgressSource(name="s", source_address="10.0.0.1"), "10.0.0.1"),
            (haproxy(source_address="10.0.0.1"), OURS),
            (socks(), OURS),
            (socks(socks5_proxy_source_address="0.0.0.0"), None),
        ):
            self.assertEqual(sends_from(source), expected)

    def test_a_password_is_not_shown(self) -> None:
        proxy = proxy_of(socks(socks5_proxy_username="user", socks5_proxy_password=KeyData(b"hunter2")))
        self.assertIsInstance(proxy, Proxy)
        self.assertNotIn("hunter2", repr(proxy))


class RecordTests(SessionCase):
    """What records say of where a connection left from."""

    def test_a_proxy_is_named_where_there_is_one(self) -> None:
        for source, expected in (
            (SourceAddress("10.0.0.1:1234"), b'{"address":"10.0.0.1:1234"}'),
            (
                SourceAddress("10.0.0.1:0", "haproxy", SERVER),
                b'{"address":"10.0.0.1:0","protocol":"haproxy","server":"203.0.113.9:5000"}',
            ),
        ):
            self.assertEqual(msgspec.json.encode(source), expected)


class HaproxyTests(SessionCase):
    """The PROXY protocol, version 2."""

    def test_the_header_names_both_ends(self) -> None:
        ipv4 = SIGNATURE + b"\x21\x11\x00\x0c" + bytes((198, 51, 100, 7, 192, 0, 2, 1)) + b"\x00\x00\x09\xdd"
        self.assertEqual(haproxy_header(OURS, Address(name="mx.", ip=MX, port=2525)), ipv4)
        address = b"\x20\x01\x0d\xb8" + b"\x00" * 11
        ipv6 = SIGNATURE + b"\x21\x21\x00\x24" + address + b"\x07" + address + b"\x01" + b"\x00\x00\x00\x19"
        self.assertEqual(haproxy_header("2001:db8::7", Address(name="mx.", ip=V6, port=25)), ipv6)

    def test_it_comes_first_and_then_smtp_is_spoken(self) -> None:
        mx = Mx(MODERN)
        self.network.hosts[PROXY] = proxy = ProxyHost(mx, header=28)
        supply = self.supply(message(1), message(2), path=self.path(source=haproxy(source_address="10.0.0.9")))
        calls = self.deliver(supply)
        self.assertEqual(calls, [("connected",), settled(1, DELIVERED, QUEUED), settled(2, DELIVERED, QUEUED)])
        self.assertEqual(proxy.told, haproxy_header(OURS, Address(name="mx.", ip=MX, port=25)))
        self.assertEqual(self.network.attempts, [(PROXY, 5000, 60.0, ("10.0.0.9", 0))])
        self.assertEqual(mx.heard[0], "EHLO here.example.net")
        attempt = supply.attempts[0]
        self.assertEqual(attempt.source_address, SourceAddress(f"{OURS}:0", "haproxy", SERVER))
        self.assertEqual(attempt.peer.addr, MX)  # type: ignore[union-attr]


class SocksProxyTests(SessionCase):
    """SOCKS5."""

    def through(self, *answers: bytes | str, source: EgressSource | None = None, **changes: Any) -> tuple[ProxyHost, Any]:
        self.network.hosts[PROXY] = proxy = ProxyHost(Mx(MODERN), *answers)
        return proxy, self.supply(path=self.path(source=source or socks(), **changes))

    def test_mail_goes_through_and_records_say_how(self) -> None:
        proxy, supply = self.through(b"\x05\x00", GRANTED, GRANTED)
        self.assertEqual(self.deliver(supply), [("connected",), settled(1, DELIVERED, QUEUED)])
        self.assertEqual(supply.attempts[0].source_address, SourceAddress("198.51.100.7:40000", "socks5", SERVER))
        self.assertEqual(self.network.attempts, [(PROXY, 5000, 60.0, None)])
        self.assertTrue(proxy.connections[0].no_delay)

    def test_a_greeting_in_one_piece_with_the_last_answer_is_heard(self) -> None:
        proxy, supply = self.through(b"\x05\x00", GRANTED, GRANTED + b"220 early bird\r\n")
        proxy.behind.connected = proxy.behind.connections.append  # type: ignore[method-assign]
        self.assertEqual(self.deliver(supply)[-1], settled(1, DELIVERED, QUEUED))
        self.assertEqual(proxy.behind.heard[0], "EHLO here.example.net")

    def test_a_login(self) -> None:
        source = socks(socks5_proxy_username="user", socks5_proxy_password=KeyData(b"secret"))
        proxy, supply = self.through(b"\x05\x02", b"\x01\x00", GRANTED, GRANTED, source=source)
        self.assertEqual(self.deliver(supply)[-1], settled(1, DELIVERED, QUEUED))
        self.assertIn(b"\x01\x04user\x06secret", proxy.told)

    def failed(self, supply: Any, text: str, *, unhealthy: bool, **means: Any) -> None:
        told: list[str] = []
        calls = self.deliver(supply, proxy_unhealthy=told.append, **means)
        self.assertEqual(calls, [settled(1, POSTPONED, f"{FAILED}{text}"), ("connection_failed",)])
        self.assertEqual(told, ["source-1"] if unhealthy else [])
        self.assertEqual(supply.attempts[0].source_address, None)

    where = "connect to mx.example.com./192.0.2.1:25: "

    def test_what_the_destination_does_is_no_fault_of_the_proxy(self) -> None:
        _, supply = self.through(b"\x05\x00", GRANTED, REFUSED)
        self.failed(supply, f"{self.where}proxy {SERVER}: CONNECT was answered: connection refused", unhealthy=False)

    def test_an_address_that_it_cannot_send_from_is(self) -> None:
        _, supply = self.through(b"\x05\x00", b"\x05\x01\x00\x01" + b"\x00" * 6)
        text = "the proxy cannot send from the address that the source names: "
        self.failed(supply, f"{text}{self.where}proxy {SERVER}: BIND was answered: general failure", unhealthy=True)

    def test_a_proxy_that_cannot_be_reached(self) -> None:
        for fault in (ConnectionRefusedError(), ConnectBindError(errno.EMFILE, "too many")):
            self.network.hosts[PROXY] = fault
            supply = self.supply(path=self.path(source=socks()))
            text = f"no connection to the proxy came about: {self.where}proxy {SERVER} cannot be reached: {SERVER}: {fault}"
            self.failed(supply, text, unhealthy=True)
            self.assertEqual(self.unplumbed, [])
            self.anew()

    def test_an_address_that_is_not_ours_is_no_fault_of_the_proxy(self) -> None:
        self.network.hosts[PROXY] = ConnectBindError(errno.EADDRNOTAVAIL, "not ours")
        told: list[str] = []
        path = self.path(source=socks(source_address="10.0.0.9"))
        calls = self.deliver(self.supply(path=path), proxy_unhealthy=told.append)
        self.assertEqual(calls, [("give_back", 1, "SourceIsUnhealthyAndSuspended", 0.0)])
        self.assertEqual((told, self.unplumbed), ([], ["source-1"]))

    def test_the_other_hosts_are_behind_the_same_proxy(self) -> None:
        self.network.hosts[PROXY] = ConnectionRefusedError()
        path = self.path(host("mx1.example.com", MX), host("mx2.example.com", MX2), source=socks())
        self.deliver(self.supply(path=path))
        self.assertEqual(len(self.network.attempts), 1)

    def test_a_host_that_the_proxy_cannot_reach_is_followed_by_the_next(self) -> None:
        self.network.hosts[PROXY] = ProxyHost(Mx(MODERN), b"\x05\x00", GRANTED, REFUSED, b"\x05\x00", GRANTED, GRANTED)
        proxy = self.network.hosts[PROXY]
        step_aside = proxy._step_aside
        proxy._step_aside = lambda link: None if not link.open else step_aside(link)  # type: ignore[method-assign]
        path = self.path(host("mx1.example.com", MX), host("mx2.example.com", MX2), source=socks())
        supply = self.supply(path=path)
        self.assertEqual(self.deliver(supply)[-1], settled(1, DELIVERED, QUEUED))
        self.assertEqual(len(proxy.connections), 2)

    def test_a_proxy_that_goes_silent_has_the_time_of_a_connection(self) -> None:
        for answers in ((SILENCE,), (b"\x05\x00", SILENCE), (b"\x05\x00", GRANTED, SILENCE)):
            proxy, supply = self.through(*answers, connect_timeout=20.0)
            text = f"{self.where}proxy {SERVER}: Timed Out waiting 20s for its connection"
            self.failed(supply, text, unhealthy=False)
            self.assertTrue(proxy.connections[0].aborted)
            self.anew()

    def test_a_proxy_that_hangs_up_or_is_none(self) -> None:
        _, supply = self.through(b"\x05\x00", "hang up")
        self.failed(supply, f"{self.where}proxy {SERVER}: it closed the connection", unhealthy=False)
        self.anew()
        _, supply = self.through(b"220 mx.example.com ESMTP\r\n")
        self.failed(supply, f"{self.where}proxy {SERVER}: it does not speak SOCKS5, but said b'22'", unhealthy=False)

    def test_the_time_is_shared_by_all_that_happens(self) -> None:
        _, supply = self.through(
            b"\x05\x00", GRANTED, SILENCE, connect_timeout=20.0, source=socks(socks5_proxy_server="proxy.example.net:5000")
        )
        found: Deferred[tuple[str, ...]] = Deferred()
        ended = self.start(supply, names=Names({"proxy.example.net": found}))
        self.network.wait(15.0)
        found.callback((PROXY,))
        self.network.run()
        self.assertEqual(self.network.attempts, [(PROXY, 5000, 5.0, None)])
        self.network.wait(5.1)
        self.finish(supply, ended)

    def test_its_name_is_looked_up_and_each_address_tried_that_is_of_our_family(self) -> None:
        self.network.hosts["203.0.113.8"] = ConnectionRefusedError()
        source = socks(socks5_proxy_server="proxy.example.net:5000", source_address="10.0.0.9")
        _, supply = self.through(b"\x05\x00", GRANTED, GRANTED, source=source)
        names = Names({"proxy.example.net": ("2001:db8::9", "203.0.113.8", PROXY)})
        self.assertEqual(self.deliver(supply, names=names)[-1], settled(1, DELIVERED, QUEUED))
        self.assertEqual(
            [(ip, bind) for ip, _, _, bind in self.network.attempts], [("203.0.113.8", ("10.0.0.9", 0)), (PROXY, ("10.0.0.9", 0))]
        )

    def test_a_name_that_leads_nowhere(self) -> None:
        source = socks(socks5_proxy_server="proxy.example.net:5000")
        summed_up = "no connection to the proxy came about: "
        for answer, text in (
            ((), "proxy proxy.example.net:5000 cannot be reached: it has no address that can be used"),
            (OSError("SERVFAIL"), "the address of proxy proxy.example.net is not known: SERVFAIL"),
        ):
            supply = self.supply(path=self.path(source=source))
            self.failed(supply, f"{summed_up}{self.where}{text}", unhealthy=True, names=Names({"proxy.example.net": answer}))
            self.anew()

    def test_a_destination_of_the_other_family_is_skipped(self) -> None:
        supply = self.supply(path=self.path(host("mx.example.com", V6), source=socks()))
        text = f"mx.example.com./[{V6}]:25: not of the family of source address {OURS}"
        self.failed(supply, text, unhealthy=False)
        self.assertEqual(self.network.attempts, [])

    def test_ending_the_session_at_each_step_leaves_nothing_open(self) -> None:
        for answers in ((SILENCE,), (b"\x05\x00", SILENCE), (b"\x05\x00", GRANTED, SILENCE)):
            for how in ("cancel", "stop"):
                proxy, supply = self.through(*answers)
                ended = self.start(supply)
                if how == "cancel":
                    ended.cancel()
                else:
                    self.stop.give()
                self.network.run()
                self.assertTrue(ended.called)
                self.assertFalse(proxy.connections[0].open)
                self.assertEqual(supply.calls, [("give_back", 1, "DispatcherDrop", 0.0)])
                self.anew()

    def test_a_password_that_cannot_be_had(self) -> None:
        source = socks(socks5_proxy_username="user", socks5_proxy_password=self.mktemp())
        supply = self.supply(path=self.path(source=source))
        text = f"{self.where}proxy {SERVER}: there is no password for it: its file cannot be read: No such file or directory"
        self.failed(supply, text, unhealthy=False)
