"""What a conversation makes of messages: metadata, trace fields, records.  Replies are in tests/dialogues."""

from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.listeners import BatchHandling, ListenerDomain, ListenerDomains, ListenerSettings, TraceHeaders
from kumotwist.config.queues import QueuesSettings
from kumotwist.mail.address import Mailbox
from kumotwist.mail.disposition import Arrival, Peer, TlsFacts
from kumotwist.mail.message import Message
from kumotwist.mail.reply import refuse
from kumotwist.mail.schedule import Schedule
from kumotwist.reception.intake import Rules
from tests.reception.fakes import FakeTransport, Line

START = (b"EHLO c.example", b"MAIL FROM:<a@example.net>", b"RCPT TO:<b@example.org>")
BODY = (b"DATA", b"Subject: x", b"", b"text", b".")


def accepted(line: Line) -> Message:
    """The only message."""
    (message,) = line.desk.taken
    return message


class MessageTests(SynchronousTestCase):
    """A message and how it came in."""

    def test_metadata_are_those_of_the_connection(self) -> None:
        line = Line()
        line.say(*START, *BODY)
        self.assertEqual(
            accepted(line).meta,
            {
                "reception_protocol": "ESMTP",
                "received_from": "127.0.0.1:54321",
                "received_via": "127.0.0.1:25",
                "hostname": "mx.example.com",
                "ehlo_domain": "c.example",
            },
        )

    def test_ipv6_addresses_stand_in_brackets(self) -> None:
        line = Line(connect=False)
        line.transport = FakeTransport("::1", "::1")
        line.connect()
        line.say(*START, *BODY)
        meta = accepted(line).meta
        self.assertEqual((meta["received_from"], meta["received_via"]), ("[::1]:54321", "[::1]:25"))
        self.assertIn(b"(::1)", accepted(line).content or b"")

    def test_an_ipv4_client_on_an_ipv6_socket_has_its_ipv4_address(self) -> None:
        line = Line(connect=False)
        line.transport = FakeTransport("::ffff:127.0.0.1", "::ffff:10.0.0.1")
        line.connect()
        line.say(*START, *BODY)
        meta = accepted(line).meta
        self.assertEqual((meta["received_from"], meta["received_via"]), ("127.0.0.1:54321", "10.0.0.1:25"))

    def test_messages_share_no_metadata(self) -> None:
        line = Line()
        line.say(*START, b"RCPT TO:<c@example.org>", *BODY)
        one, other = line.desk.taken
        one.meta["tenant"] = "t"
        self.assertNotIn("tenant", other.meta)
        self.assertNotEqual(one.id, other.id)

    def test_trace_fields_stand_on_top_and_nothing_else_changes(self) -> None:
        line = Line()
        line.say(*START, *BODY)
        message = accepted(line)
        content = message.content or b""
        top, _, rest = content.partition(b"Subject: x")
        self.assertEqual(rest, b"\r\n\r\ntext\r\n")
        supplemental, received = top.split(b"Received: ")
        self.assertTrue(supplemental.startswith(b"X-KumoRef: "))
        self.assertEqual(
            received,
            b"from c.example (127.0.0.1)\r\n  by mx.example.com (KumoTwist 127.0.0.1)\r\n"
            b"  with ESMTP id " + message.id.encode() + b" for <b@example.org>;\r\n  Tue, 14 Nov 2023 22:13:20 +0000\r\n",
        )
        self.assertEqual(message.size, len(content))

    def test_trace_fields_as_configured(self) -> None:
        for trace, begins in (
            (TraceHeaders(received_header=False), b"X-KumoRef: "),
            (TraceHeaders(supplemental_header=False), b"Received: "),
            (TraceHeaders(received_header=False, header_name="X-Ours"), b"X-Ours: "),
            (TraceHeaders(received_header=False, supplemental_header=False), b"Subject: "),
        ):
            line = Line(ListenerSettings(trace_headers=trace))
            line.say(*START, *BODY)
            self.assertTrue((accepted(line).content or b"").startswith(begins), trace)

    def test_recipients_of_one_domain_share_a_message_where_asked_for(self) -> None:
        line = Line(ListenerSettings(batch_handling=BatchHandling.BATCH_BY_DOMAIN))
        line.say(*START, b"RCPT TO:<c@other.example>", b"RCPT TO:<d@example.org>", *BODY)
        self.assertEqual([message.recipients for message in line.desk.taken], [
            (Mailbox("b", "example.org"), Mailbox("d", "example.org")), (Mailbox("c", "other.example"),),
        ])  # fmt: skip
        self.assertIn(b"for <b@example.org>;", line.desk.taken[0].content or b"")

    def test_the_schedule_and_the_headers_for_the_log_go_along(self) -> None:
        line = Line(rules=Rules(queues=QueuesSettings(scheduling_header="X-S"), log_headers=("Subject",)))
        line.say(*START, b"DATA", b'X-S: {"expires": "2030-01-01T00:00:00Z"}', b"subject: x", b"", b".")
        message = accepted(line)
        self.assertEqual(message.schedule, Schedule(expires=1893456000.0))
        self.assertEqual(message.log_headers, {"subject": "x"})

    def test_the_arrival_tells_peer_and_session(self) -> None:
        line = Line()
        line.say(*START, *BODY, *START[1:], *BODY)
        one, other = line.desk.arrivals
        self.assertEqual(one, Arrival(peer=Peer("c.example", "127.0.0.1"), session_id=one.session_id))
        self.assertEqual(one, other)
        self.assertEqual(UUID(one.session_id).version, 4)

    def test_each_connection_is_a_session_of_its_own(self) -> None:
        line = Line()
        line.say(*START, *BODY)
        line.transport = FakeTransport("127.0.0.1")
        line.connect()
        line.say(*START, *BODY)
        self.assertNotEqual(line.desk.arrivals[0].session_id, line.desk.arrivals[1].session_id)

    def test_tls_is_told_everywhere(self) -> None:
        line = Line()
        line.say(b"EHLO before.example")
        line.say(b"STARTTLS")
        self.assertEqual(len(line.transport.tls_contexts), 1)
        line.wire.handshakeCompleted()
        line.say(*START, *BODY)
        facts = TlsFacts("TLS_AES_256_GCM_SHA384", "TLSv1.3")
        self.assertEqual(line.desk.arrivals[0].tls, facts)
        meta = accepted(line).meta
        self.assertEqual((meta["tls_cipher"], meta["tls_protocol_version"]), (facts.cipher, facts.protocol_version))
        self.assertEqual(meta["ehlo_domain"], "c.example")
        self.assertIn(b"with ESMTPS (TLSv1.3:TLS_AES_256_GCM_SHA384) id", accepted(line).content or b"")

    def test_what_was_said_before_tls_is_forgotten(self) -> None:
        line = Line()
        line.say(b"EHLO before.example")
        line.say(b"STARTTLS")
        line.wire.handshakeCompleted()
        line.say(b"FOO")
        self.assertEqual(line.desk.refusals[-1][1]["peer"], Peer("", "127.0.0.1"))
        self.assertNotIn("ehlo_domain", line.desk.refusals[-1][1]["meta"])


class RulesTests(SynchronousTestCase):
    """Rules that change while clients are connected."""

    def test_a_message_in_hand_keeps_its_rules_and_the_next_has_the_new(self) -> None:
        line = Line(rules=Rules(queues=QueuesSettings(default_tenant="old")))
        line.say(*START)
        line.reception.rules = Rules(queues=QueuesSettings(default_tenant="new"))
        line.say(*BODY)
        line.say(*START[1:], *BODY)
        self.assertEqual([message.meta["tenant"] for message in line.desk.taken], ["old", "new"])

    def test_who_may_relay_changes_with_the_next_message(self) -> None:
        line = Line(peer="203.0.113.9")
        refused = b"550 5.7.1 relaying not permitted for 203.0.113.9:54321"
        self.assertEqual(line.say(*START).split(b"\r\n")[-2], refused)
        line.reception.rules = Rules(listener_domains=ListenerDomains({"example.org": ListenerDomain(relay_to=True)}))
        self.assertEqual(line.say(START[2]).split(b"\r\n")[-2], refused)
        self.assertEqual(line.say(b"RSET", *START[1:]).split(b"\r\n")[-2], b"250 OK <b@example.org>")

    def test_a_session_keeps_its_listener_settings_and_the_next_has_the_new(self) -> None:
        line = Line()
        line.factory.settings = ListenerSettings(max_recipients_per_message=1)
        self.assertEqual(line.say(*START, b"RCPT TO:<c@example.org>").split(b"\r\n")[-2], b"250 OK <c@example.org>")
        line.transport = FakeTransport("127.0.0.1")
        line.connect()
        self.assertEqual(line.say(*START, b"RCPT TO:<c@example.org>").split(b"\r\n")[-2], b"452 4.5.3 too many recipients")


class RefusalTests(SynchronousTestCase):
    """What is recorded of refusals."""

    def test_sender_last_recipient_and_command(self) -> None:
        line = Line()
        line.say(b"FOO", *START, b"RCPT TO:<c@example.org>", b"RCPT TO:<bad", b"DATA", b"a\nb", b".", b"BAR")
        facts = [(reply.command, one["sender"], one["recipient"], one["peer"].name) for reply, one in line.desk.refusals]
        self.assertEqual(facts, [
            ("FOO", "", "", ""),
            ("RCPT TO:<bad", "a@example.net", "c@example.org", "c.example"),
            ("DATA", "a@example.net", "c@example.org", "c.example"),
            ("BAR", "", "", "c.example"),
        ])  # fmt: skip

    def test_after_a_message_there_is_no_sender(self) -> None:
        line = Line()
        line.say(*START, *BODY, b"FOO")
        line.desk.fault = refuse("451 4.3.2 not now")
        line.say(*START, *BODY, b"FOO")
        facts = [(reply.command, one["sender"], one["recipient"]) for reply, one in line.desk.refusals]
        self.assertEqual(facts, [("FOO", "", ""), ("DATA", "a@example.net", "b@example.org"), ("FOO", "", "")])

    def test_a_record_that_cannot_be_written_does_not_cost_the_answer(self) -> None:
        line = Line()
        line.desk.record_fault = RuntimeError("the log is full")
        line.heard()
        self.assertEqual(line.say(b"FOO", b"NOOP"), b"502 5.5.1 Command unimplemented\r\n250 the goggles do nothing\r\n")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_our_own_state_is_not_recorded(self) -> None:
        line = Line()
        line.say(*START)
        line.desk.closed = "disk is too full. Try later"
        line.say(b"RSET")
        self.assertIn(b"421 4.3.2 mx.example.com disk is too full. Try later\r\n", line.say(b"MAIL FROM:<>"))
        self.assertEqual(line.desk.refusals, [])


class FaultTests(SynchronousTestCase):
    """Faults of our own."""

    def test_a_fault_costs_one_message(self) -> None:
        line = Line()
        line.say(*START)
        line.desk.fault = RuntimeError("out of order")
        self.assertEqual(line.say(*BODY).split(b"\r\n")[-2], b"451 4.3.0 internal error")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        reply, facts = line.desk.refusals[-1]
        self.assertEqual((reply.command, facts["sender"], facts["recipient"]), ("DATA", "a@example.net", "b@example.org"))
        line.desk.fault = None
        self.assertTrue(line.say(*START[1:], *BODY).split(b"\r\n")[-2].startswith(b"250 OK ids="))

    def test_a_fault_while_a_message_is_kept_costs_one_message(self) -> None:
        line = Line()
        line.desk.holds = True
        line.say(*START, *BODY)
        line.desk.fail(ZeroDivisionError())
        self.assertEqual(line.heard(), b"451 4.3.0 internal error\r\n")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(line.say(b"NOOP"), b"250 the goggles do nothing\r\n")

    def test_a_fault_costs_one_command(self) -> None:
        line = Line()
        line.say(b"EHLO c.example")

        def broken() -> str | None:
            raise ZeroDivisionError

        line.desk.closed_for = broken  # type: ignore[method-assign]
        self.assertEqual(
            line.say(b"MAIL FROM:<a@example.net>", b"NOOP"), b"451 4.3.0 internal error\r\n250 the goggles do nothing\r\n"
        )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_fault_before_the_greeting_ends_the_connection(self) -> None:
        line = Line(connect=False)

        def broken() -> str | None:
            raise ZeroDivisionError

        line.desk.closed_for = broken  # type: ignore[method-assign]
        line.connect()
        self.assertEqual(line.heard(), b"421 4.3.0 mx.example.com technical difficulties\r\n")
        self.assertTrue(line.closed)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
