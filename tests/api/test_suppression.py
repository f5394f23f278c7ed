"""`/api/admin/suppression/v1` on a running server, and what the list does to mail that comes by SMTP and HTTP."""

import json
import smtplib
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from tests.api.support import HttpServer, HttpTestCase
from tests.peers.evidence import records_in
from tests.peers.support import wait_until

PATH = "/api/admin/suppression/v1"


class Answered(Exception):
    """args: the status, and the text."""


def ask(server: HttpServer, method: str, path: str = PATH, body: Any = None, **query: str) -> Any:
    """The JSON of the answer.  Raises Answered for any status but 200."""
    url = f"{server.base}{path}" + (f"?{urlencode(query)}" if query else "")
    octets = None if body is None else json.dumps(body).encode()
    request = Request(url, octets, {"Content-Type": "application/json"} if octets else {}, method=method)
    try:
        with urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")
    except HTTPError as fault:
        raise Answered(fault.code, fault.read().decode()) from None


class SuppressionTests(HttpTestCase):
    def refused(self, server: HttpServer, method: str, body: Any = None, **query: str) -> int:
        fault = self.assertRaises(Answered, ask, server, method, PATH, body, **query)
        return int(fault.args[0])

    def subjects(self, server: HttpServer, **query: str) -> list[str]:
        return sorted(one.get("recipient") or one["domain"] for one in ask(server, "GET", **query))

    def test_entries_are_added_listed_and_cancelled_and_outlive_the_server(self) -> None:
        server = self.serve()
        [made] = ask(server, "POST", body={"recipient": "Ann@Example.NET", "reason": "asked", "duration": "2 hours"})
        self.assertEqual((made["recipient"], made["reason"], made["duration"]), ("ann@example.net", "asked", "2h"))
        self.assertNotIn("tenant", made)
        ask(server, "POST", body={"domain": "example.net", "tenant": "shop", "reason": "gone"})
        ask(server, "POST", body={"recipients": ["bob@example.net", "cid@example.org"], "tenant": "", "reason": "bulk"})
        self.assertEqual(self.subjects(server), ["ann@example.net", "bob@example.net", "cid@example.org", "example.net"])
        self.assertEqual(self.subjects(server, recipient="ann@example.net"), ["ann@example.net", "example.net"])
        self.assertEqual(self.subjects(server, recipient="ann@example.net", everybody="true"), ["ann@example.net"])
        self.assertEqual(self.subjects(server, domain="example.net"), ["example.net"])
        self.assertEqual(self.subjects(server, tenant=""), ["bob@example.net", "cid@example.org"])
        first, second = ask(server, "GET", limit="1"), ask(server, "GET", limit="2")
        self.assertEqual([one["id"] for one in ask(server, "GET", limit="1", after=first[0]["id"])], [second[1]["id"]])
        server.kill()
        server.start()
        server.listening()
        self.assertEqual(len(self.subjects(server)), 4)
        ask(server, "DELETE", body={"id": made["id"]})
        ask(server, "DELETE", body={"domain": "example.net", "tenant": "shop"})
        self.assertEqual(self.refused(server, "DELETE", {"id": made["id"]}), 404)
        self.assertEqual(self.refused(server, "DELETE", {"recipient": "bob@example.net"}), 404)
        self.assertEqual(self.subjects(server), ["bob@example.net", "cid@example.org"])

    def test_what_makes_no_sense_is_refused(self) -> None:
        server = self.serve()
        add = [
            {"reason": "nobody"},
            {"recipient": "no address", "reason": "x"},
            {"domain": "two words", "reason": "x"},
            {"recipient": "a@b.example"},
            {"recipient": "a@b.example", "reason": ""},
            {"recipient": "a@b.example", "reason": "x", "duration": "soon"},
            {"recipient": "a@b.example", "reason": "x", "expires": "2001-01-01T00:00:00Z"},
            {"recipient": "a@b.example", "reason": "x", "expires": "2099-01-01"},
            {"recipient": "a@b.example", "reason": "x", "tennant": "y"},
        ]
        self.assertEqual([self.refused(server, "POST", body) for body in add], [422] * len(add))
        remove: list[dict[str, str]] = [{}, {"id": "x", "domain": "b.example"}]
        self.assertEqual([self.refused(server, "DELETE", body) for body in remove], [422, 422])
        self.assertEqual(self.refused(server, "DELETE", {"id": "../orders"}), 404)
        queries = [{"limit": "0"}, {"limit": "many"}, {"recipient": "x y"}, {"tenant": "a", "everybody": "true"}]
        self.assertEqual([self.refused(server, "GET", **query) for query in queries], [422] * len(queries))
        self.assertEqual(self.subjects(server), [])

    def test_recipients_are_refused_by_smtp_and_http_one_by_one(self) -> None:
        listener = {"listen": "127.0.0.2:0", "relay_hosts": ["127.0.0.0/8"], "meta": {"tenant": "shop"}}
        server = self.serve(esmtp_listeners=[listener])
        port = int(server.hear("ESMTP listens on").rpartition(":")[2])
        server.base = "http://" + server.hear("HTTP listens on")
        ask(server, "POST", body={"domain": "gone.example", "reason": "x"})
        ask(server, "POST", body={"recipient": "ann@example.net", "tenant": "shop", "reason": "x"})
        ask(server, "POST", body={"recipient": "bob@example.net", "tenant": "other", "reason": "x"})
        with smtplib.SMTP("127.0.0.2", port, timeout=30) as client:
            client.ehlo()
            client.mail("me@sender.example")
            wanted = ["x@gone.example", "ANN@example.net", "bob@example.net"]
            self.assertEqual([client.rcpt(one)[0] for one in wanted], [550, 550, 250])
            self.assertEqual(client.rcpt("ann@example.net")[1], b"5.1.1 ann@example.net is suppressed")
            self.assertEqual(client.data(b"Subject: hello\r\n\r\nworld\r\n")[0], 250)
        recipients = [{"email": one} for one in ("x@gone.example", "ann@example.net", "cid@example.net")]
        injection = {"envelope_sender": "me@sender.example", "recipients": recipients, "content": "Subject: hello\r\n\r\nworld\r\n"}
        answer = ask(server, "POST", "/api/inject/v1", injection)
        self.assertEqual((answer["success_count"], answer["fail_count"]), (2, 1))
        self.assertEqual(answer["failed_recipients"], ["x@gone.example"])
        self.assertEqual(answer["errors"], ["x@gone.example: 550 5.1.1 gone.example is suppressed"])
        log = server.said_in.parent / "log"
        rejected = wait_until(lambda: [one for one in records_in(log) if one["type"] == "Rejection"], "records of the refusals")
        self.assertEqual({one["response"]["code"] for one in rejected}, {550})
