"""Sessions whose messages' domains demand different things of connections: each is heeded for its own mail only."""

from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail

from kumotwist.config.egress import EgressSource, EnableTls
from kumotwist.delivery.sts_policy import StsMode, StsPolicy
from kumotwist.dns.answers import LookupFailed
from kumotwist.egress.path import EgressPath
from kumotwist.mail.message import Message
from tests.delivery.case import DELIVERED, MX, MX2, POSTPONED, Names, SessionCase, destination, host, message, settled
from tests.delivery.scripted import MODERN, Mx
from tests.delivery.secured import Secured, found

QUEUED = "250 2.0.0 Ok: queued"
FAILED = "400 KumoMTA internal: failed to connect to any candidate hosts: "
WHERE1, WHERE2 = "mx1.example.com./192.0.2.1:25", "mx2.example.com./192.0.2.2:25"
NO_TLS = "tls policy is {} but STARTTLS is not advertised by {}"
NAMES = {"mx1.example.com": (MX,), "mx2.example.com": (MX2,)}
ENFORCE = StsPolicy(mode=StsMode.ENFORCE, hosts=("*.example.com",), max_age=1.0)


class Policies:
    """A domain's policy, a Deferred of it or an exception; the others have none."""

    def __init__(self, **policies: Any) -> None:
        self.policies = {f"{name}.example": policy for name, policy in policies.items()}
        self.asked: list[str] = []

    def policy(self, domain: str) -> Any:
        self.asked.append(domain)
        policy = self.policies.get(domain)
        return fail(policy) if isinstance(policy, Exception) else policy


def to(number: int, queue: str) -> Message:
    made = message(number, f"user@{queue}.example")
    made.queue = f"tenant@{queue}.example"
    return made


class DemandCase(SessionCase):
    """Two hosts without TLS."""

    def setUp(self) -> None:
        super().setUp()
        self.hosts = [self.mx(MODERN, MX), self.mx(MODERN, MX2)]

    def sites(self, *names: str, is_mx: bool = True, **changes: Any) -> EgressPath:
        hosts = [host(name) for name in names or ("mx1.example.com", "mx2.example.com")]
        return EgressPath(
            source=EgressSource(name="source-1"),
            destination=destination(*hosts, is_mx=is_mx),
            settings=self.settings.__class__(**changes),
        )

    def run_session(self, *messages: Message, path: EgressPath | None = None, **means: Any) -> list[Any]:
        supply = self.supply(*messages, path=path or self.sites())
        return self.deliver(supply, names=Names(NAMES), **means)

    def refused(self, mode: str = "Required") -> str:
        return f"{FAILED}{WHERE1}: {NO_TLS.format(mode, WHERE1)}, {WHERE2}: {NO_TLS.format(mode, WHERE2)}"


class StsTests(DemandCase):
    """MTA-STS."""

    def test_mail_for_a_domain_that_enforces_does_not_go_in_clear(self) -> None:
        policies = Policies(strict=ENFORCE)
        calls = self.run_session(to(1, "strict"), policies=policies)
        self.assertEqual(calls, [settled(1, POSTPONED, self.refused(), "user@strict.example")])
        self.assertEqual(policies.asked, ["strict.example"])
        self.assertNotIn(("connection_failed",), calls, "the site is well; it is one domain that demands more")

    def test_other_domains_on_the_same_hosts_are_not_held_up(self) -> None:
        messages = [to(1, "easy"), to(2, "strict"), to(3, "easy"), to(4, "easy")]
        supply = self.supply(*messages, path=self.sites())
        for _ in range(2):
            calls = self.deliver(supply, names=Names(NAMES), policies=Policies(strict=ENFORCE))
        delivered = [settled(number, DELIVERED, QUEUED, "user@easy.example") for number in (1, 3, 4)]
        self.assertEqual([call for call in calls if call[0] == "settle" and call[1] != 2], delivered)
        ((_, _, ((verdict, _, text),)),) = (call for call in calls if call[0] == "settle" and call[1] == 2)
        self.assertEqual((verdict, text), (POSTPONED, self.refused()))
        self.assertEqual([call[0] for call in calls].count("give_back"), 0, "what is refused a connection counts an attempt")

    def test_each_domain_is_asked_for_once_in_a_session(self) -> None:
        policies = Policies()
        self.run_session(to(1, "a"), to(2, "b"), to(3, "a"), to(4, "b"), policies=policies)
        self.assertEqual(policies.asked, ["a.example", "b.example"])
        self.assertEqual(len(self.network.attempts), 1)

    def test_it_is_the_domain_that_the_mail_is_routed_to(self) -> None:
        for queue, domain in (
            ("example.com", "example.com"),
            ("campaign:tenant@example.com!relay.example.net", "relay.example.net"),
            ("example.com!relay.example.net:2525", "relay.example.net"),
            ("tenant@M\xfcnchen.example", "xn--mnchen-3ya.example"),
        ):
            policies, made = Policies(), message(1)
            made.queue = queue
            self.run_session(made, policies=policies)
            self.assertEqual(policies.asked, [domain])
            self.anew()

    def test_hosts_that_the_policy_does_not_name_are_not_connected_to(self) -> None:
        policy = StsPolicy(mode=StsMode.ENFORCE, hosts=("mx2.example.com", "*.example.net"), max_age=1.0)
        calls = self.run_session(to(1, "strict"), policies=Policies(strict=policy))
        other = f"{WHERE1}: the MTA-STS policy of strict.example names other hosts: mx2.example.com, *.example.net"
        text = f"{FAILED}{other}, {WHERE2}: {NO_TLS.format('Required', WHERE2)}"
        self.assertEqual(calls, [settled(1, POSTPONED, text, "user@strict.example")])
        self.assertEqual([attempt[0] for attempt in self.network.attempts], [MX2])

    def test_testing_and_none_stop_nothing(self) -> None:
        for mode in (StsMode.TESTING, StsMode.NONE):
            policy = StsPolicy(mode=mode, hosts=("elsewhere.example.org",), max_age=1.0)
            calls = self.run_session(to(1, "lax"), policies=Policies(lax=policy))
            self.assertEqual(calls[-1], settled(1, DELIVERED, QUEUED, "user@lax.example"))
            self.anew()

    def test_testing_does_not_lower_what_the_path_requires(self) -> None:
        policy = StsPolicy(mode=StsMode.TESTING, hosts=("mx1.example.com",), max_age=1.0)
        path = self.sites(enable_tls=EnableTls.REQUIRED)
        calls = self.run_session(to(1, "lax"), path=path, policies=Policies(lax=policy))
        self.assertEqual(calls[0], settled(1, POSTPONED, self.refused(), "user@lax.example"))

    def test_a_path_that_does_not_want_policies_asks_for_none(self) -> None:
        paths = (
            self.sites(enable_mta_sts=False),
            self.sites(is_mx=False),
            self.path(host("mx1.example.com", MX)),
        )
        for path in paths:
            policies = Policies(strict=ENFORCE)
            calls = self.run_session(to(1, "strict"), path=path, policies=policies)
            self.assertEqual((calls[-1][0], policies.asked), ("settle", []))
            self.anew()

    def test_what_is_not_known_yet_is_waited_for(self) -> None:
        asked: Deferred[Any] = Deferred()
        supply = self.supply(to(1, "slow"), path=self.sites())
        ended = self.start(supply, names=Names(NAMES), policies=Policies(slow=asked))
        self.assertEqual((supply.calls, self.network.attempts), ([], []))
        asked.callback(None)
        self.network.run()
        self.assertEqual(self.finish(supply, ended)[-1], settled(1, DELIVERED, QUEUED, "user@slow.example"))

    def test_what_cannot_be_known_keeps_its_own_domain_s_mail_only(self) -> None:
        policies = Policies(dark=LookupFailed("TXT lookup for _mta-sts.dark.example failed after 5.000s: timeout"))
        calls = self.run_session(to(1, "dark"), to(2, "easy"), to(3, "dark"), policies=policies)
        text = "451 4.4.4 KumoMTA internal: what dark.example demands of connections is not known: "
        text += "TXT lookup for _mta-sts.dark.example failed after 5.000s: timeout"
        self.assertEqual(
            calls,
            [
                settled(1, POSTPONED, text, "user@dark.example"),
                ("connected",),
                settled(2, DELIVERED, QUEUED, "user@easy.example"),
                settled(3, POSTPONED, text, "user@dark.example"),
            ],
        )

    def test_ending_the_session_while_it_asks_gives_the_message_back(self) -> None:
        for how in ("cancel", "stop"):
            supply = self.supply(to(1, "slow"), path=self.sites())
            ended = self.start(supply, names=Names(NAMES), policies=Policies(slow=Deferred()))
            if how == "cancel":
                ended.cancel()
            else:
                self.stop.give()
            self.network.run()
            self.assertEqual(supply.calls, [("give_back", 1, "DispatcherDrop", 0.0)])
            self.anew()

    def test_an_envelope_that_is_only_in_the_spool(self) -> None:
        full, shrunk = to(1, "dark"), to(1, "dark")
        shrunk.shrink()
        supply = self.supply(shrunk, path=self.sites())

        def load(message: Any) -> bytes:
            message.recipients, message.envelope_loaded = full.recipients, True
            return b"content"

        supply.content = load  # type: ignore[method-assign]
        calls = self.deliver(supply, names=Names(NAMES), policies=Policies(dark=LookupFailed("SERVFAIL")))
        self.assertEqual(calls[0][2][0][:2], (POSTPONED, ["user@dark.example"]))

    def test_a_connection_that_was_there_first_serves_who_demands_nothing(self) -> None:
        path = self.sites(aggressive_connection_opening=True)
        calls = self.run_session(to(1, "easy"), path=path, policies=Policies(strict=ENFORCE))
        self.assertEqual(calls, [("connected",), settled(1, DELIVERED, QUEUED, "user@easy.example")])


class DaneTests(DemandCase):
    """DANE, up to the handshake; the handshakes are in test_loopback_sts."""

    TLSA = found("3 1 1 " + "aa" * 32, kind="TLSA")

    def secured(self) -> Secured:
        answers = {
            "signed.example MX": found("10 mx1.example.com.", "20 mx2.example.com.", kind="MX"),
            "mx1.example.com A": found(MX, kind="A"),
            "mx2.example.com A": found(MX2, kind="A"),
            "_25._tcp.mx1.example.com TLSA": self.TLSA,
            "_25._tcp.mx2.example.com TLSA": self.TLSA,
        }
        return Secured(answers)

    def of(self, calls: list[Any]) -> tuple[str, str]:
        ((verdict, _, text),) = next(call[2] for call in calls if call[0] == "settle")
        return verdict, text

    def run_dane(self, secured: Secured, *messages: Message, **changes: Any) -> list[Any]:
        return self.run_session(*(messages or (to(1, "signed"),)), path=self.sites(enable_dane=True, **changes), secured=secured)

    def test_a_host_with_records_must_be_encrypted(self) -> None:
        self.assertEqual(self.of(self.run_dane(self.secured())), (POSTPONED, self.refused()))

    def test_a_host_with_none_that_can_be_used_must_be_encrypted_somehow(self) -> None:
        secured = self.secured()
        for number in (1, 2):
            secured.answers[f"_25._tcp.mx{number}.example.com TLSA"] = found("0 1 1 " + "aa" * 32, kind="TLSA")
        self.assertEqual(self.of(self.run_dane(secured)), (POSTPONED, self.refused("RequiredInsecure")))

    def test_hosts_without_records_are_as_configured(self) -> None:
        secured = self.secured()
        secured.answers["_25._tcp.mx1.example.com TLSA"] = found(kind="TLSA")
        self.assertEqual(self.of(self.run_dane(secured)), (DELIVERED, QUEUED))

    def test_a_domain_that_is_not_signed_is_as_configured(self) -> None:
        secured = self.secured()
        secured.answers["signed.example MX"] = found("10 mx1.example.com.", kind="MX", secure=False)
        self.assertEqual(self.of(self.run_dane(secured)), (DELIVERED, QUEUED))
        self.assertEqual(secured.asked, ["signed.example MX"])

    def test_a_lookup_that_fails_is_a_failed_host_and_the_next_is_tried(self) -> None:
        secured = self.secured()
        secured.answers["_25._tcp.mx1.example.com TLSA"] = LookupFailed("SERVFAIL")
        secured.answers["_25._tcp.mx2.example.com TLSA"] = found(kind="TLSA")
        self.assertEqual(self.of(self.run_dane(secured)), (DELIVERED, QUEUED))
        self.assertEqual([attempt[0] for attempt in self.network.attempts], [MX2])

    def test_it_never_falls_open(self) -> None:
        secured = self.secured()
        for key in ("_25._tcp.mx1.example.com TLSA", "mx2.example.com A"):
            secured.answers[key] = LookupFailed("SERVFAIL")
        verdict, text = self.of(self.run_dane(secured))
        self.assertEqual(verdict, POSTPONED)
        unknown = "whether it has TLSA records is not known: SERVFAIL"
        self.assertEqual(text, f"{FAILED}{WHERE1}: {unknown}, {WHERE2}: {unknown}")
        self.assertEqual(self.network.attempts, [])
        self.anew()
        secured = self.secured()
        secured.answers["signed.example MX"] = LookupFailed("SERVFAIL")
        verdict, text = self.of(self.run_dane(secured))
        self.assertEqual(verdict, POSTPONED)
        self.assertEqual(text, "451 4.4.4 KumoMTA internal: what signed.example demands of connections is not known: SERVFAIL")

    def test_a_host_that_the_secure_answer_does_not_name_is_none(self) -> None:
        secured = self.secured()
        secured.answers["signed.example MX"] = found("10 mx2.example.com.", kind="MX")
        verdict, text = self.of(self.run_dane(secured))
        self.assertEqual(verdict, POSTPONED)
        self.assertIn(f"{WHERE1}: the secure MX of signed.example does not name it", text)

    def test_another_domain_on_the_same_hosts_is_as_configured(self) -> None:
        calls = self.run_dane(self.secured(), to(1, "unsigned"), to(2, "signed"))
        self.assertEqual(self.of(calls), (DELIVERED, QUEUED))
        self.assertEqual(calls[-1], settled(2, POSTPONED, self.refused(), "user@signed.example"))

    def test_a_path_that_does_not_want_it_asks_nothing(self) -> None:
        for path in (self.sites(), self.path(host("mx1.example.com", MX), enable_dane=True)):
            secured = self.secured()
            self.run_session(to(1, "signed"), path=path, secured=secured)
            self.assertEqual(secured.asked, [])
            self.anew()

    def test_an_mx_list_counts_as_signed_where_the_operator_says_so(self) -> None:
        for secure in (True, False):
            for ip in (None, MX):
                named = replace(host("mx1.example.com", ip), secure=secure)
                path = self.path(named, enable_dane=True)
                secured = self.secured()
                calls = self.run_session(to(1, "unsigned"), path=path, secured=secured)
                expected = f"{FAILED}{WHERE1}: {NO_TLS.format('Required', WHERE1)}"
                self.assertEqual(self.of(calls), (POSTPONED, expected) if secure else (DELIVERED, QUEUED), (secure, ip))
                looked_up = [] if ip else ["mx1.example.com A"]
                self.assertEqual(secured.asked, [*looked_up, "_25._tcp.mx1.example.com TLSA"] if secure else [])
                self.anew()

    def test_an_mx_list_is_not_signed_all_the_way_where_its_hosts_addresses_are_not(self) -> None:
        secured = self.secured()
        secured.answers["mx1.example.com A"] = found(MX, kind="A", secure=False)
        path = self.path(replace(host("mx1.example.com"), secure=True), enable_dane=True)
        self.assertEqual(self.of(self.run_session(to(1, "unsigned"), path=path, secured=secured)), (DELIVERED, QUEUED))

    def test_a_policy_of_the_same_domain_matters_where_no_record_does(self) -> None:
        secured = self.secured()
        for number in (1, 2):
            secured.answers[f"_25._tcp.mx{number}.example.com TLSA"] = found(kind="TLSA")
        path = self.sites(enable_dane=True)
        calls = self.run_session(to(1, "signed"), path=path, secured=secured, policies=Policies(signed=ENFORCE))
        self.assertEqual(self.of(calls), (POSTPONED, self.refused()))


class StillTests(DemandCase):
    """Nothing of this is noticed where nobody wants it."""

    def test_without_means_the_settings_ask_in_vain(self) -> None:
        path = self.sites(enable_dane=True, enable_mta_sts=True)
        calls = self.run_session(to(1, "any"), path=path)
        self.assertEqual(calls[-1], settled(1, DELIVERED, QUEUED, "user@any.example"))
        self.assertIsInstance(self.hosts[0], Mx)
