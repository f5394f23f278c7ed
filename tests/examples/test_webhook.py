"""Delivery by the policy: messages are posted to a web server, whose answers become theirs."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from tests.examples.support import ExampleTestCase, send
from tests.peers.evidence import spooled_in


class Endpoint(BaseHTTPRequestHandler):
    """Answers by the recipient; keeps what it was sent."""

    posted: list[tuple[dict[str, str], bytes]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.posted.append((dict(self.headers), body))
        code = {"refused": 403, "later": 503}.get(self.headers["X-Recipient"].partition("@")[0], 200)
        text = f"answer {code}".encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the test's output is not its log."""


class WebhookTests(ExampleTestCase):
    def test_messages_are_posted_and_the_answers_are_theirs(self) -> None:
        Endpoint.posted.clear()
        web = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
        self.addCleanup(web.server_close)
        self.addCleanup(web.shutdown)
        Thread(target=web.serve_forever, daemon=True).start()
        server = self.start_policy("webhook-delivery", {"127.0.0.1:8080": f"127.0.0.1:{web.server_port}"})
        taken = send(server, "example.com")
        delivered = self.record(taken, "Delivery")
        self.assertEqual(delivered["response"]["code"], 200)
        self.assertEqual(delivered["response"]["content"], "200 answer 200")
        self.assertEqual(delivered["site"], "unspecified->example.com@lua:make.webhook")
        self.assertEqual((delivered["delivery_protocol"], delivered["peer_address"]["name"]), ("Lua", "Lua via make.webhook"))
        ((headers, body),) = Endpoint.posted
        self.assertEqual((headers["X-Recipient"], headers["X-Sender"]), (taken.recipient, "someone@sender.example"))
        self.assertIn(b"Subject: An example\r\n", body)

        refused = self.record(send(server, "example.com", local="refused"), "Bounce")
        self.assertEqual((refused["response"]["code"], refused["response"]["content"]), (550, "403 answer 403"))
        later = send(server, "example.com", local="later")
        self.assertEqual(self.record(later, "TransientFailure")["response"]["code"], 450)
        web.shutdown()
        web.server_close()
        unreached = self.record(send(server, "example.com"), "TransientFailure")
        self.assertIn("Connection was refused", unreached["response"]["content"])
        self.end([server])
        self.assertEqual(len(spooled_in(server.place / "spool")), 2)
