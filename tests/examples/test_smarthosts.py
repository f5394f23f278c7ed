"""Routing: through another server by each of three ways, to an address, and to nowhere; what the queues are called."""

from tests.examples.support import IP_1, LITERAL, MX, SMARTHOST, ExampleTestCase, send, surroundings
from tests.peers.evidence import spooled_in


class SmarthostTests(ExampleTestCase):
    def test_by_routing_domain_each_recipient_domain_keeps_its_queue(self) -> None:
        servers = self.start_both("smarthost-by-routing-domain")
        for sent in [send(server, domain) for server in servers for domain in ("example.com", "example.net")]:
            seen = self.arrived(sent)
            self.assertEqual(seen["local"], SMARTHOST)
            domain = sent.recipient.partition("@")[2]
            self.assertEqual(self.record(sent, "Delivery")["queue"], f"{domain}!my.smarthost.com", sent.server.shown)
        self.end(servers)

    def test_by_mx_list_hosts_are_tried_in_order_and_the_queue_keeps_its_name(self) -> None:
        servers = self.start_both("smarthost-by-mx-list")
        for sent in [send(server, "domain.to.be.smart.hosted") for server in servers]:
            seen = self.arrived(sent)
            self.assertEqual(seen["local"], IP_1)
            delivered = self.record(sent, "Delivery")
            self.assertEqual(delivered["queue"], "domain.to.be.smart.hosted")
            self.assertEqual(delivered["peer_address"]["name"].rstrip("."), "mx.example.com")
        asked = surroundings().nameserver.asked
        self.assertGreaterEqual(asked.count("smart.host.local A"), 2)  # the first host: nobody listens there
        self.assertFalse({"smart.host.local MX", "mx.example.com MX", "mx.example.com A"} & set(asked))
        for sent in [send(server, "example.com") for server in servers]:
            self.assertEqual(self.arrived(sent)["local"], MX)
        self.end(servers)

    def test_by_queue_all_mail_waits_in_the_smarthosts(self) -> None:
        servers = self.start_both("smarthost-by-queue")
        for sent in [send(server, domain) for server in servers for domain in ("example.com", "example.net")]:
            self.assertEqual(self.arrived(sent)["local"], SMARTHOST)
            self.assertEqual(self.record(sent, "Delivery")["queue"], "my.smarthost.com", sent.server.shown)
        self.end(servers)

    def test_literals_are_gone_to_as_they_stand(self) -> None:
        ways = {
            "one.example": (LITERAL, f"[{LITERAL}]"),
            "two.example": (IP_1, f"two.example![{IP_1}]"),
            "three.example": ("::1", "three.example![IPv6:::1]"),
            "four.example": ("::1", "[::1]"),
        }
        servers = self.start_both("literal-routing")
        for sent in [send(server, domain) for server in servers for domain in ways]:
            address, queue = ways[sent.recipient.partition("@")[2]]
            seen = self.arrived(sent)
            self.assertEqual(seen["local"], address)
            self.assertEqual(self.record(sent, "Delivery")["queue"], queue, sent.server.shown)
        self.end(servers)


class QueueTests(ExampleTestCase):
    def test_what_goes_to_the_null_queue_is_accepted_and_gone(self) -> None:
        servers = self.start_both("null-queue")
        for sent in [send(server) for server in servers]:
            self.assertEqual(sent.code, 250, sent.text)
            self.assertEqual(self.record(sent, "Reception")["queue"], "null", sent.server.shown)
        self.end(servers)
        for server in servers:
            self.assertEqual([one["type"] for one in server.records()], ["Reception"], server.shown)
            self.assertEqual(spooled_in(server.place / "spool"), {}, server.shown)

    def test_queues_are_called_by_tenant_campaign_domain_and_routing_domain(self) -> None:
        tenant, campaign, route = {"X_Tenant": "acme"}, {"X_Campaign": "welcome"}, {"X_Route": "smarthost"}
        table = [
            ({**tenant, **campaign}, "welcome:acme@example.com"),
            ({**tenant, **campaign, **route}, "welcome:acme@example.com!my.smarthost.com"),
            (tenant, "acme@example.com"),
            ({**tenant, **route}, "acme@example.com!my.smarthost.com"),
            (campaign, "welcome:@example.com"),
            ({**campaign, **route}, "welcome:@example.com!my.smarthost.com"),
            ({}, "example.com"),
            (route, "example.com!my.smarthost.com"),
        ]
        servers = self.start_both("queue-names")
        sent = [(send(server, **headers), queue) for server in servers for headers, queue in table]
        for message, queue in sent:
            self.assertEqual(self.record(message, "Reception")["queue"], queue, message.server.shown)
            host = SMARTHOST if "!" in queue else MX
            self.assertEqual(self.arrived(message)["local"], host, queue)
            self.assertEqual(self.record(message, "Delivery")["queue"], queue, message.server.shown)
        self.end(servers)
