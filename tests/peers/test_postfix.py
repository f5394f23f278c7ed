"""Thousands of messages from Postfix's load generator through us to a real Postfix, and to our sink: each once, byte for byte."""

import re

from tests.peers.evidence import Record, below_trace, message_ids_in, of_type
from tests.peers.postfix import POSTFIX_HOST, Postfix, as_received, smtp_source
from tests.peers.support import PeerTestCase, Server

TO_SINK = 10_000
TO_POSTFIX = 2_000
SESSIONS = 50

CONFIG = """
queues:
  queue:
    default: {protocol: {smtp: {mx_list: [%s]}}}
shaping:
  rules:
    default: {prohibited_hosts: [], enable_tls: Disabled}
"""

_OF_THE_MOMENT = re.compile(rb"^(Date|Message-Id): [^\r]*\r\n", re.MULTILINE)


def lasting(content: bytes) -> bytes:
    """What is the same in each message that smtp-source makes."""
    return _OF_THE_MOMENT.sub(rb"\1\r\n", content)


class SmtpSourceTests(PeerTestCase):
    """smtp-source: 50 sessions, a connection for each message, a recipient of its own for each."""

    def setUp(self) -> None:
        super().setUp()
        self.smtp_source = smtp_source()

    def pour(self, messages: int, domain: str, target: str) -> None:
        options = ["-s", str(SESSIONS), "-m", str(messages), "-N", "-l", "2048"]
        self.run_to_end(self.smtp_source, *options, "-f", "from@source.example", "-t", f"user@{domain}", target)

    def what_it_sends(self, domain: str) -> bytes:
        """One of its messages, straight to a sink."""
        sink = self.sink(name="straight", keep=True)
        self.pour(1, domain, f"{sink.host}:{sink.port}")
        sink.wait_for(1)
        (content,) = sink.contents()
        return lasting(content)

    def finished(self, server: Server, messages: int) -> list[Record]:
        """The log of a server that has delivered all of them."""
        server.stop()
        records = server.records()
        self.assert_books_balance(records, server.spooled())
        told = [sum(one["type"] == kind for one in records) for kind in ("Reception", "Delivery")]
        self.assertEqual(told, [messages, messages])
        # Where Postfix is slower than its load generator some wait for room.  Nothing else happens to any.
        self.assertLessEqual({one["type"] for one in records}, {"Reception", "Delivery", "Delayed"})
        return records

    def test_none_of_10000_is_lost_doubled_or_changed_on_the_way_to_the_sink(self) -> None:
        sent = self.what_it_sends("many.example")
        sink = self.sink(keep=True)
        server = self.server(CONFIG % sink.mx)
        self.pour(TO_SINK, "many.example", server.address)
        sink.wait_for(TO_SINK)
        records = self.finished(server, TO_SINK)
        sink.end()
        arrived = sink.accepted()
        expected = [f"{number}user@many.example" for number in range(1, TO_SINK + 1)]
        self.assertEqual(sorted(one["recipients"][0] for one in arrived), sorted(expected))
        self.assertEqual({(one["sender"], len(one["recipients"])) for one in arrived}, {("from@source.example", 1)})
        contents = sink.contents()
        self.assertEqual({lasting(below_trace(content)) for content in contents}, {sent})
        delivered = {one["id"]: one["recipient"] for one in of_type(records, "Delivery")}
        seen = dict(zip(message_ids_in(contents), (one["recipients"][0] for one in arrived), strict=True))
        self.assertEqual(seen, delivered)

    def test_none_of_2000_is_lost_doubled_or_changed_on_the_way_to_a_real_postfix(self) -> None:
        postfix = self.started(Postfix(self.place / "postfix"))
        sent = self.what_it_sends("real.example")
        server = self.server(CONFIG % postfix.mx)
        self.pour(TO_POSTFIX, "real.example", server.address)
        postfix.wait_for(TO_POSTFIX)
        records = self.finished(server, TO_POSTFIX)
        received = [as_received(content) for content in postfix.delivered()]
        expected = {f"{number}user@real.example" for number in range(1, TO_POSTFIX + 1)}
        self.assertEqual(len(received), TO_POSTFIX)
        self.assertEqual({fields["Delivered-To"] for fields, _ in received}, expected)
        self.assertEqual({fields["Return-Path"] for fields, _ in received}, {"<from@source.example>"})
        self.assertEqual({lasting(below_trace(content)) for _, content in received}, {sent})
        delivered = of_type(records, "Delivery")
        self.assertEqual({one["peer_address"]["addr"] for one in delivered}, {f"{POSTFIX_HOST}:{postfix.port}"})
        self.assertEqual({one["response"]["code"] for one in delivered}, {250})
        queued_as = {one["response"]["content"] for one in delivered}
        self.assertEqual(len(queued_as), TO_POSTFIX)  # Postfix names its own queue id for each
