"""Policy and virtual hosts in a conversation, as far as dialogues cannot tell."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.fields import Networks
from kumotwist.config.keys import KeyEvent
from kumotwist.config.listeners import ListenerDomain, ListenerOverrides, ListenerSettings, TraceHeaders
from kumotwist.config.networks import ByNetwork
from kumotwist.config.queues import QueuesSettings, TenantSettings
from kumotwist.hooks.policy import Handler, Policy
from kumotwist.reception.intake import Rules
from tests.config.certificate import certificate_and_key
from tests.reception.fakes import FakeTransport, Line, policy_of
from tests.reception.test_converse import BODY, START, accepted

PLAIN = TraceHeaders(received_header=False, supplemental_header=False)


def networks(entries: dict[str, ListenerOverrides]) -> "ByNetwork[ListenerOverrides]":
    return ByNetwork({ip_network(network): overrides for network, overrides in entries.items()})


class VirtualHostTests(SynchronousTestCase):
    """What holds for a connection by its two addresses."""

    SETTINGS = ListenerSettings(
        hostname="base.example",
        meta={"x_base": 1},
        peer=networks({"192.0.2.0/24": ListenerOverrides(options={"relay_hosts": Networks((ip_network("192.0.2.7"),))})}),
        via=networks({"10.0.0.1": ListenerOverrides(options={"hostname": "one.example", "banner": "hi"}, meta={"x_via": "one"})}),
    )

    def test_by_local_and_by_client_address(self) -> None:
        for local, peer, greeting, meta, relays in (
            ("10.0.0.1", "192.0.2.7", b"220 one.example hi", {"x_base": 1, "x_via": "one", "hostname": "one.example"}, True),
            ("10.0.0.2", "192.0.2.7", b"220 base.example KumoTwist", {"x_base": 1, "hostname": "base.example"}, True),
            ("10.0.0.1", "192.0.2.8", b"220 one.example hi", None, False),
        ):
            line = Line(self.SETTINGS, connect=False)
            line.transport = FakeTransport(peer, local)
            line.connect()
            self.assertEqual(line.heard(), greeting + b"\r\n")
            line.say(*START, *BODY)
            self.assertEqual(bool(line.desk.taken), relays)
            if meta is not None:
                found = accepted(line).meta
                self.assertEqual({key: found.get(key) for key in (*meta, "x_via")}, {"x_via": None, **meta})

    def test_a_proxy_header_decides_anew(self) -> None:
        settings = ListenerSettings(
            peer=networks({"127.0.0.1": ListenerOverrides(options={"require_proxy_protocol": True})}), via=self.SETTINGS.via
        )
        line = Line(settings)
        self.assertEqual(line.heard(), b"")
        self.assertEqual(line.say(b"PROXY TCP4 192.0.2.7 10.0.0.1 5 25"), b"220 one.example hi\r\n")

    def test_dynamic_parameters_are_asked_once_and_with_the_listener_as_configured(self) -> None:
        asked: list[tuple[str, str]] = []

        def parameters(listener: str, conn_meta: Any) -> None:
            asked.append((listener, conn_meta.get_meta("received_via")))

        line = Line(
            ListenerSettings(listen="0.0.0.0:25", require_proxy_protocol=True),
            policy={"smtp_server_get_dynamic_parameters": [parameters]},
        )
        line.say(b"PROXY TCP4 192.0.2.7 10.0.0.1 5 25")
        self.assertEqual(asked, [("0.0.0.0:25", "10.0.0.1:25")])

    def test_a_certificate_that_the_policy_knows(self) -> None:
        certificate, key = certificate_and_key("policy.example")
        asked: list[object] = []

        def chain(name: str) -> bytes:
            asked.append(name)
            return certificate

        async def private() -> str:
            return key.decode()

        settings = ListenerSettings(tls_certificate=KeyEvent("my_chain", ("policy",)), tls_private_key=KeyEvent("my_key", ()))
        line = Line(settings, policy={"my_chain": [chain], "my_key": [private]})
        self.assertTrue(line.say(b"EHLO c.example", b"STARTTLS").endswith(b"220 Ready to Start TLS\r\n"))
        self.assertEqual((asked, len(line.transport.tls_contexts)), (["policy"], 1))

    def test_a_certificate_that_the_policy_does_not_know(self) -> None:
        line = Line(ListenerSettings(tls_certificate=KeyEvent("my_chain"), tls_private_key=KeyEvent("my_key")))
        line.say(b"EHLO c.example")
        self.assertEqual(line.say(b"STARTTLS"), b"454 4.7.0 TLS not available due to temporary reason\r\n")
        self.assertEqual(line.say(b"NOOP"), b"250 the goggles do nothing\r\n")
        self.assertEqual(len(self.flushLoggedErrors()), 1)


class SlowPolicyTests(SynchronousTestCase):
    """A handler that takes its time."""

    def slow(self, event: str) -> tuple[Line, "Deferred[Any]", list[object]]:
        waiting: Deferred[Any] = Deferred()
        ended: list[object] = []

        async def handler() -> None:
            try:
                await waiting
            except CancelledError:
                ended.append("cancelled")
                raise
            ended.append("done")

        return Line(ListenerSettings(trace_headers=PLAIN), policy={event: [handler]}), waiting, ended

    def test_nobody_waits_for_it_when_the_client_is_gone(self) -> None:
        for event in ("smtp_server_mail_from", "smtp_server_message_received"):
            line, _, ended = self.slow(event)
            line.say(*START, *BODY)
            line.lose()
            self.assertEqual(ended, ["cancelled"])
            self.assertEqual(line.desk.taken, [])
            self.assertEqual(line.factory.connections, 0)

    def test_nor_when_the_server_can_wait_no_longer(self) -> None:
        line, _, ended = self.slow("smtp_server_message_received")
        line.say(*START, *BODY)
        line.factory.leave()
        self.assertEqual((line.heard(), ended), (b"", []))
        line.factory.leave_now()
        self.assertEqual(line.heard(), b"421 4.3.2 mx.example.com shutting down\r\n")
        self.assertEqual((ended, line.desk.taken, line.closed), (["cancelled"], [], True))

    def test_a_slow_handler_slows_only_its_own_session(self) -> None:
        line, waiting, _ = self.slow("smtp_server_mail_from")
        line.say(b"HELO c.example")
        self.assertEqual(line.say(b"MAIL FROM:<a@example.net>"), b"")
        other = line.factory.buildProtocol(None)
        transport = FakeTransport("127.0.0.1")
        other.makeConnection(transport)
        other.dataReceived(b"NOOP\r\n")
        self.assertTrue(transport.value().endswith(b"250 the goggles do nothing\r\n"))
        waiting.callback(None)
        self.assertEqual(line.heard(), b"250 OK <a@example.net>\r\n")

    def test_what_begins_under_one_policy_ends_under_it(self) -> None:
        seen: list[str] = []
        line = Line(policy={"smtp_server_message_received": [lambda: seen.append("old")]})
        line.say(*START)
        line.reception.policy = policy_of({"smtp_server_message_received": [lambda: seen.append("new")]}, line.clock)
        line.say(*BODY)
        line.say(*START[1:], *BODY)
        self.assertEqual(seen, ["old", "new"])
        self.assertEqual(len(line.desk.taken), 2)


class ChangedMessageTests(SynchronousTestCase):
    """What handlers make of messages."""

    def test_the_supplemental_field_tells_what_metadata_are_in_the_end_and_sizes_are_right(self) -> None:
        def received(msg: Any) -> None:
            msg.set_meta("tenant", "t")
            msg.append_header("X-Last", "1")

        settings = ListenerSettings(trace_headers=TraceHeaders(include_meta_names=("tenant",)))
        line = Line(settings, policy={"smtp_server_message_received": [received]})
        line.say(*START, *BODY)
        message = accepted(line)
        content = message.content or b""
        self.assertTrue(content.startswith(b"X-KumoRef: "))
        self.assertIn(b"\r\nX-Last: 1\r\n\r\ntext\r\n", content)
        self.assertEqual((message.size, message.meta["tenant"]), (len(content), "t"))

    def test_what_a_handler_of_data_notes_for_the_connection_is_for_the_next_message(self) -> None:
        line = Line(policy={"smtp_server_data": [lambda msg, conn_meta: conn_meta.set_meta("x_seen", 1)]})
        line.say(*START, *BODY)
        line.say(*START[1:], *BODY)
        self.assertEqual([message.meta.get("x_seen") for message in line.desk.taken], [None, 1])

    def test_a_message_that_is_sent_to_nobody_we_may_send_to_is_refused(self) -> None:
        line = Line(
            ListenerSettings(relay_hosts=Networks()),
            policy={
                "get_listener_domain": [relay_to_example],
                "smtp_server_message_received": [lambda msg: msg.set_recipient("x@elsewhere.example")],
            },
        )
        self.assertTrue(line.say(*START, *BODY).endswith(b"550 5.7.1 relaying not permitted\r\n"))
        self.assertEqual(line.desk.taken, [])


def relay_to_example(domain: str) -> object:
    return ListenerDomain(relay_to=True) if domain == "example.org" else None


class LastWordTests(SynchronousTestCase):
    """What the configuration demands of a tenant, and what the policy decides after it."""

    RULES = Rules(
        queues=QueuesSettings(
            tenant_header="X-Tenant",
            tenant={"listed": TenantSettings(), "guarded": TenantSettings(require_authz=("joe",))},
        )
    )

    def say(self, event: str, tenant: str) -> Line:
        line = Line(rules=self.RULES, policy={event: [lambda message, conn_meta: message.set_meta("tenant", tenant)]})
        self.said = line.say(*START, *BODY)
        return line

    def test_a_tenant_that_the_policy_names_before_the_configuration_looks_is_checked_by_it(self) -> None:
        for tenant, refusal in (
            ("mallory", b"500 5.7.1 invalid/unknown tenant mallory\r\n"),
            ("guarded", b"500 5.7.1 tenant 'guarded' requires SMTP AUTH\r\n"),
        ):
            line = self.say("smtp_server_data", tenant)
            self.assertEqual(line.desk.taken, [])
            self.assertTrue(self.said.endswith(refusal), self.said)
        self.assertEqual(accepted(self.say("smtp_server_data", "listed")).meta["tenant"], "listed")

    def test_one_that_it_names_when_the_message_was_received_is_its_last_word(self) -> None:
        for tenant in ("mallory", "guarded", "listed"):
            self.assertEqual(accepted(self.say("smtp_server_message_received", tenant)).meta["tenant"], tenant)


class DynamicFilesTests(SynchronousTestCase):
    def test_names_of_files_start_from_the_file_of_the_handler_that_answers(self) -> None:
        place = Path(self.mktemp()).resolve()
        certificate, key = certificate_and_key("second.example")
        (place / "second").mkdir(parents=True)
        (place / "second" / "cert.pem").write_bytes(certificate)
        (place / "second" / "key.pem").write_bytes(key)
        line = Line(connect=False)
        named = {"hostname": "second.example", "tls_certificate": "cert.pem", "tls_private_key": "key.pem"}
        handlers = (
            Handler(lambda: None, 0, f"{place}/first/policy.py:1"),
            Handler(lambda: named, 0, f"{place}/second/policy.py:1"),
        )
        line.reception.policy = Policy({"smtp_server_get_dynamic_parameters": handlers}, line.clock)
        line.connect()
        self.assertTrue(line.heard().startswith(b"220 second.example "))
        self.assertTrue(line.say(b"EHLO c.example", b"STARTTLS").endswith(b"220 Ready to Start TLS\r\n"))
