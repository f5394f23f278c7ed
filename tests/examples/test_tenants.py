"""Tenants: accepted or refused, and the pool, address and name that their mail leaves with."""

import signal
import sqlite3
from contextlib import closing

from tests.examples.support import EXAMPLES, IP_1, IP_2, IP_3, Example, ExampleTestCase, Sent, send
from tests.peers.support import wait_until

NAME_OF = {IP_1: "mta1.examplecorp.com", IP_2: "mta2.examplecorp.com", IP_3: "mta3.examplecorp.com"}


class TenantTestCase(ExampleTestCase):
    def assert_leaves(self, sent: Sent, pool: str, source: str, address: str) -> None:
        """As the receiver and the mail log tell it."""
        seen = self.arrived(sent)
        self.assertEqual((seen["client"], seen["ehlo"]), (address, NAME_OF[address]), sent.server.shown)
        delivered = self.record(sent, "Delivery")
        self.assertEqual((delivered["egress_pool"], delivered["egress_source"]), (pool, source), sent.server.shown)
        self.assertEqual(delivered["source_address"]["address"].rpartition(":")[0], address)

    def assert_pool_is_left_open(self, sent: Sent) -> None:
        seen = self.arrived(sent)
        self.assertEqual((seen["client"], seen["ehlo"]), ("127.0.0.1", "mta.examplecorp.com"), sent.server.shown)
        delivered = self.record(sent, "Delivery")
        self.assertEqual((delivered["egress_pool"], delivered["egress_source"]), ("unspecified", "unspecified"))


class TenantTests(TenantTestCase):
    def test_a_tenant_from_a_header_is_verified_and_has_its_pool(self) -> None:
        data, *policy = servers = self.start_both("tenant-from-header")
        for server in servers:
            sent = {tenant: send(server, X_Tenant=tenant) for tenant in ("tenant-id-0", "tenant-id-1", "tenant-id-2")}
            self.assert_leaves(sent["tenant-id-0"], "pool-0", "ip-1", IP_1)
            self.assert_leaves(sent["tenant-id-1"], "pool-0", "ip-1", IP_1)
            self.assert_leaves(sent["tenant-id-2"], "pool-1", "ip-2", IP_2)
            for tenant, message in sent.items():
                delivered = self.record(message, "Delivery")
                self.assertEqual((delivered["queue"], delivered["meta"]), (f"{tenant}@example.com", {"tenant": tenant}))
        self.assert_refused(send(data), 500, "5.7.1 missing X-Tenant header")
        self.assert_refused(send(data, X_Tenant="mallory"), 500, "5.7.1 invalid/unknown tenant mallory")
        for server in policy:
            self.assert_refused(send(server), 500, "missing X-Tenant header")
            self.assert_refused(send(server, X_Tenant="mallory"), 500, "invalid/unknown tenant mallory")
        self.end(servers)

    def test_tenants_may_stand_in_a_json_file(self) -> None:
        servers = self.start_both("tenants-from-json")
        for server in servers:
            self.assert_leaves(send(server, X_Tenant="tenant-id-2"), "pool-1", "ip-2", IP_2)
            self.assertEqual([send(server).code, send(server, X_Tenant="mallory").code], [500, 500], server.shown)
            tenants = server.place / "tenants.json"
            tenants.write_text(tenants.read_text("utf-8").replace("tenant-id-0", "mallory"), "utf-8")
            server.signal(signal.SIGHUP)
            wait_until(lambda: send(server, X_Tenant="mallory").code == 250, f"{server.shown} reads the file anew")  # noqa: B023
            self.assertEqual(send(server, X_Tenant="tenant-id-0").code, 500, server.shown)
        self.end(servers)

    def test_tenants_may_stand_in_a_database(self) -> None:
        data, policy = servers = self.start_both("tenants-from-database")
        with closing(sqlite3.connect(policy.place / "tenants.sqlite")) as database:
            database.executescript((policy.place / "tenants.sql").read_text("utf-8"))
        for server in servers:
            self.assert_leaves(send(server, X_Tenant="tenant-id-0"), "pool-0", "ip-1", IP_1)
            self.assert_leaves(send(server, X_Tenant="tenant-id-2"), "pool-1", "ip-2", IP_2)
            self.assertEqual([send(server).code, send(server, X_Tenant="mallory").code], [500, 500], server.shown)
        with closing(sqlite3.connect(policy.place / "tenants.sqlite")) as database:
            database.execute("UPDATE tenant SET name = 'mallory' WHERE name = 'tenant-id-0'")
            database.commit()
        self._write_tenants_of(policy, data)
        for server in servers:
            server.signal(signal.SIGHUP)  # what is remembered ends with the configuration, and else after a minute
            wait_until(lambda: send(server, X_Tenant="mallory").code == 250, f"{server.shown} asks anew")  # noqa: B023
            self.assertEqual(send(server, X_Tenant="tenant-id-0").code, 500, server.shown)
            self.assert_leaves(send(server, X_Tenant="mallory"), "pool-0", "ip-1", IP_1)
        self.end(servers)

    def _write_tenants_of(self, policy: Example, data: Example) -> None:
        """The file of the data, as its comment has a database write it."""
        query = (
            (EXAMPLES / "tenants-from-database.yaml").read_text("utf-8").split('tenants.sqlite "', 1)[1].split('FROM tenant"')[0]
        )
        with closing(sqlite3.connect(policy.place / "tenants.sqlite")) as database:
            rows = database.execute(query.replace('\\"', '"') + "FROM tenant").fetchall()
        (data.place / "tenants.toml").write_text("".join(f"{line}\n" for (line,) in rows), "utf-8")

    def test_a_tenant_sends_only_for_its_own_domains(self) -> None:
        servers = self.start_both("tenant-by-sender-domain")
        for server in servers:
            own = send(server, sender="bob@tenant-0.com", X_Tenant="tenant-id-0")
            news = send(server, sender="bob@news.tenant-0.com", X_Tenant="tenant-id-0")
            other = send(server, sender="eve@tenant-1.com", X_Tenant="tenant-id-1")
            for sent, address in ((own, IP_1), (news, IP_2), (other, IP_2)):
                seen = self.arrived(sent)
                self.assertEqual((seen["client"], seen["ehlo"]), (address, NAME_OF[address]), server.shown)
            for refused in (
                send(server, sender="eve@tenant-1.com", X_Tenant="tenant-id-0"),
                send(server, sender="bob@elsewhere.example", X_Tenant="tenant-id-1"),
                send(server, sender="", X_Tenant="tenant-id-1"),
                send(server, sender="bob@tenant-0.com", X_Tenant="mallory"),
                send(server, sender="bob@tenant-0.com"),
            ):
                self.assertEqual(refused.code, 500, refused.text)
        self.end(servers)

    def test_who_has_no_pool_uses_the_fallback_pool(self) -> None:
        servers = self.start_both("fallback-pool")
        for server in servers:
            sent = {tenant: send(server, X_Tenant=tenant) for tenant in ("tenant-id-0", "tenant-id-2", "tenant-id-3")}
            nobody = send(server)
            self.assert_leaves(sent["tenant-id-0"], "pool-0", "ip-1", IP_1)
            self.assert_leaves(sent["tenant-id-2"], "pool-1", "ip-2", IP_2)
            self.assert_leaves(sent["tenant-id-3"], "my-fallback-pool-name", "ip-3", IP_3)
            self.assert_leaves(nobody, "my-fallback-pool-name", "ip-3", IP_3)
            self.assertEqual(self.record(sent["tenant-id-3"], "Delivery")["queue"], "tenant-id-3@example.com")
        self.end(servers)

    def test_who_has_no_pool_leaves_the_address_to_the_system(self) -> None:
        servers = self.start_both("unspecified-pool")
        for server in servers:
            known, unknown, nobody = send(server, X_Tenant="tenant-id-2"), send(server, X_Tenant="tenant-id-3"), send(server)
            self.assert_leaves(known, "pool-1", "ip-2", IP_2)
            self.assert_pool_is_left_open(unknown)
            self.assert_pool_is_left_open(nobody)
        self.end(servers)


class SourceTests(TenantTestCase):
    def test_a_pool_deals_out_by_weight_and_each_source_has_its_address_and_name(self) -> None:
        servers = self.start_both("sources-and-pools")
        for server in servers:
            for tenant in ("tenant-1", "tenant-3"):
                self.assert_leaves(send(server, X_Tenant=tenant), "pool-1", "ip-1", IP_1)
            shared = [send(server, X_Tenant="tenant-2") for _ in range(6)]
            clients = [self.arrived(sent)["client"] for sent in shared]
            self.assertEqual((clients.count(IP_2), clients.count(IP_3)), (4, 2), server.shown)
            for sent, client in zip(shared, clients, strict=True):
                self.assert_leaves(sent, "pool-2", "ip-2" if client == IP_2 else "ip-3", client)
        self.end(servers)

    def test_an_ipv6_source_sends_to_the_ipv6_addresses_of_receivers(self) -> None:
        servers = self.start_both("ipv6-source")
        for sent in [send(server, "v6.example") for server in servers]:
            seen = self.arrived(sent)
            self.assertEqual((seen["client"], seen["local"], seen["ehlo"]), ("::1", "::1", "mta2.examplecorp.com"))
            delivered = self.record(sent, "Delivery")
            self.assertEqual((delivered["egress_pool"], delivered["egress_source"]), ("pool-1", "ip-1"), sent.server.shown)
        self.end(servers)

    def test_a_source_may_be_only_a_name(self) -> None:
        servers = self.start_both("plain-source")
        for sent in [send(server) for server in servers]:
            seen = self.arrived(sent)
            self.assertEqual((seen["client"], seen["ehlo"]), ("127.0.0.1", "mta.examplecorp.com"), sent.server.shown)
            delivered = self.record(sent, "Delivery")
            self.assertEqual((delivered["egress_pool"], delivered["egress_source"]), ("pool-1", "ip-1"), sent.server.shown)
        self.end(servers)
