"""The whole server where mail does not simply go to a host: into maildirs, and past a proxy that does not do its part."""

from tests.peers.evidence import of_type
from tests.peers.support import PeerTestCase, free_port

MAILDIRS = """
queues:
  queue:
    default:
      retry_interval: 1 second
      protocol: {maildir: {maildir_path: "mail/{{ domain_part }}/{{ tenant }}", file_mode: 0o640}}
  tenant_header: X-Tenant
  default_tenant: nobody
"""

PROXIES = """
egress:
  source:
    behind:
      socks5_proxy_server: 127.0.0.1:%(port)s
      socks5_proxy_source_address: 127.0.0.21
      suspend_when_proxy_unhealthy: {trigger: {Threshold: 3/min}, duration: 1 hour}
    direct: {source_address: 127.0.0.22}
  pool:
    pair: {behind: {}, direct: {}}
queues:
  queue:
    default: {egress_pool: pair, retry_interval: 1 second, protocol: {smtp: {mx_list: [%(sink)s]}}}
shaping:
  rules:
    default: {prohibited_hosts: [], enable_tls: Disabled, connection_limit: 3}
"""


class MaildirTests(PeerTestCase):
    def test_every_message_is_a_file_and_a_kill_loses_none(self) -> None:
        server = self.server(MAILDIRS)
        for name in ("before", "after"):
            self.load(server, "--messages", "150", "--domain", "a.example", "--domain", "b.example", name=name)
            if name == "before":
                server.kill()
                server.wait()
                server.start()
        records = server.wait_for_records(lambda found: len(of_type(found, "Delivery")) >= 300, "all are delivered")
        server.stop()
        self.assert_books_balance(records, server.spooled())
        self.assertEqual({one["delivery_protocol"] for one in of_type(records, "Delivery")}, {"Maildir"})
        files = list((server.place / "mail").rglob("new/*"))
        self.assertGreaterEqual(len(files), 300)  # what the kill came between file and record of is there twice
        self.assertEqual({file.parts[-4:-1] for file in files}, {("a.example", "nobody", "new"), ("b.example", "nobody", "new")})
        named = {one["response"]["content"].rpartition("id=")[2] for one in of_type(records, "Delivery")}
        self.assertEqual(named - {file.name for file in files}, set())


class UnhealthyProxyTests(PeerTestCase):
    def test_after_so_many_failures_the_others_of_the_pool_send(self) -> None:
        sink = self.sink()
        server = self.server(PROXIES % {"sink": sink.mx, "port": free_port("127.0.0.1")})
        self.load(server, "--messages", "60", "--domain", "a.example")
        sink.wait_for(60)
        records = server.wait_for_records(lambda found: len(of_type(found, "Delivery")) == 60, "all are delivered")
        said = server.said()
        server.stop()
        sink.end()
        self.assert_books_balance(records, server.spooled())
        self.assertEqual({one["egress_source"] for one in of_type(records, "Delivery")}, {"direct"})
        failed = of_type(records, "TransientFailure")
        self.assertGreaterEqual(len(failed), 3)
        self.assertLess(len(failed), 30)  # the others chose the other source, and did not fail
        self.assertIn("no connection to the proxy came about", failed[0]["response"]["content"])
        self.assertEqual(said.count("source behind cannot be used"), 1)
