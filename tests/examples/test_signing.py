"""Signatures: those of the author's domain and our own, as the receiver finds them."""

from kumotwist.authentication.keys import load_key
from tests.authentication.keys import Table
from tests.examples.support import EXAMPLES, Example, ExampleTestCase, send
from tests.hooks.signers import verdicts
from tests.peers.support import Sink

NAMES = ("example.com", "esp.example")


class SigningTests(ExampleTestCase):
    def setUp(self) -> None:
        super().setUp()
        keys = {name: load_key((EXAMPLES / f"dkim-{name}.key").read_bytes()) for name in NAMES}
        self.dns = Table({f"s1._domainkey.{name}": (key.record(),) for name, key in keys.items()})
        self.keeping: Sink = self.sink(name="keeping", keep=True)
        queues = f"queues: {{queue: {{default: {{protocol: {{smtp: {{mx_list: [{self.keeping.mx}]}}}}}}}}}}\n"
        self.here = {"esmtp_listeners:": f"{queues}esmtp_listeners:"}

    def signed_by(self, server: Example, author: str) -> list[tuple[str, str]]:
        before = self.keeping.count()
        sent = send(server, From=author, Date="Tue, 14 Nov 2023 22:13:20 +0000")
        self.assertEqual(sent.code, 250, sent.text)
        self.keeping.wait_for(before + 1)
        content = self.keeping.contents()[-1]
        return [(one.props["header.d"], one.result) for one in verdicts(content, self.dns, 0.0)]

    def test_the_domains_own_mail_has_two_signatures_and_others_one(self) -> None:
        servers = self.start_both("dkim-signing", self.here)
        for server in servers:
            both = [("esp.example", "pass"), ("example.com", "pass")]
            self.assertEqual(self.signed_by(server, "News <news@Example.com>"), both, server.shown)
            self.assertEqual(self.signed_by(server, "joe@example.org"), [("esp.example", "pass")], server.shown)
            without = send(server)
            missing = "5.6.0 DKIM signing requires a From header, but it is missing from this message"
            self.assertEqual((without.code, without.text), (552, missing), server.shown)
        self.end(servers)
