"""Traces: dialogues byte for byte as they were on the wire, and nothing of what must not be seen."""

import socket
import threading
import time
from typing import Any, ClassVar

import requests
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.api.traces import Filter, Stream, TraceSmtpClientV1Request, TraceSmtpServerV1Request
from kumotwist.smtp.watching import ClientsWords, Dialogues, Seen
from tests.api.operated import OperatedCase, Watching, text_of

POLICY = """
from kumotwist import kumo

@kumo.on("smtp_server_auth_plain")
def auth(authz, authc, password, conn_meta):
    return password == "tiger"
"""


class Peer:
    """A receiving server that keeps what it hears and says."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.4", 0))
        self.port: int = self._listening.getsockname()[1]
        self.heard = self.said = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        client, _ = self._listening.accept()
        with client, client.makefile("rb") as lines:
            self._say(client, b"220 peer.example\r\n")
            while line := lines.readline():
                self.heard += line
                verb = line[:4].upper()
                if verb == b"EHLO":
                    self._say(client, b"250-peer.example\r\n250-8BITMIME\r\n250 PIPELINING\r\n")
                elif verb == b"DATA":
                    self._say(client, b"354 go\r\n")
                    while (line := lines.readline()) != b".\r\n":
                        self.heard += line
                    self.heard += line
                    self._say(client, "250 2.0.0 geschluckt, prüfe später\r\n".encode())
                elif verb == b"QUIT":
                    self._say(client, b"221 bye\r\n")
                    return
                else:
                    self._say(client, b"250 ok\r\n")

    def _say(self, client: socket.socket, octets: bytes) -> None:
        self.said += octets
        client.sendall(octets)


class OnTheWireTests(OperatedCase):
    def converse(self, server: Any, said: list[bytes]) -> bytes:
        """Say each, wait for the answer; all that was heard."""
        heard = b""
        with socket.create_connection((server.host, server.port), timeout=60) as client, client.makefile("rb") as lines:
            heard += lines.readline()
            for octets in said:
                client.sendall(octets)
                while True:
                    line = lines.readline()
                    heard += line
                    if line[3:4] != b"-":
                        break
        return heard

    def test_both_sides_are_shown_byte_for_byte(self) -> None:
        peer = Peer()
        server = self.operated(f'"[127.0.0.4]:{peer.port}"')
        inbound = Watching(server, "server")
        outbound = Watching(server, "client", ready_queue=[f"unspecified->mx_list:[127.0.0.4]:{peer.port}@smtp_client"])
        other = Watching(server, "server", source_addr=["203.0.113.0/24"])
        time.sleep(1)
        said = [
            b"EHLO client.example\r\n", b"MAIL FROM:<a@sender.example>\r\n", b"RCPT TO:<b@rcpt.example>\r\n", b"DATA\r\n",
            "Subject: Grüße\r\n\r\nAUTH is a word here\r\n..dot \u20ac\r\n.\r\n".encode(), b"QUIT\r\n",
        ]  # fmt: skip
        heard = self.converse(server, said)
        seen = inbound.until_closed()
        self.assertEqual(text_of(seen, "Read").encode(), b"".join(said))
        self.assertEqual(text_of(seen, "Write").encode(), heard)
        self.assertEqual(seen[0]["payload"], "Connected")
        self.assertTrue(seen[0]["conn_meta"]["received_from"].startswith("127.0.0.1:"))
        self.assertEqual(set(seen[0]), {"conn_meta", "payload", "when"})
        (told,) = [one["payload"]["MessageDisposition"] for one in seen if "MessageDisposition" in one["payload"]]
        self.assertEqual((told["sender"], told["recipient"], told["queue"], told["will_enqueue"]), (
            "a@sender.example", ["b@rcpt.example"], "rcpt.example", True))  # fmt: skip
        self.assertIn(told["id"].encode(), heard)
        sent = outbound.until_closed()
        self.assertEqual((text_of(sent, "Write").encode(), text_of(sent, "Read").encode()), (peer.heard, peer.said))
        kinds = [one["payload"] for one in sent if isinstance(one["payload"], str)]
        self.assertEqual(kinds, ["BeginSession", "MessageObtained", "Connected", "Closed"])
        self.assertEqual(len({one["conn_meta"]["id"] for one in sent}), 1)
        for one in (inbound, outbound):
            one.close()
        other.say(b"{}")
        other.close()
        server.stop()

    def test_no_secret_of_auth_is_shown(self) -> None:
        (self.place / "server").mkdir()
        (self.place / "server" / "policy.py").write_text(POLICY, "utf-8")
        server = self.operated('"[127.0.0.4]:9"', more="policy: policy.py\nesmtp_listeners: [{listen: {listen}}]\n")
        with socket.create_connection((server.host, server.port), timeout=60) as early, early.makefile("rb") as lines:
            # Somebody comes to watch in the middle of it.
            lines.readline()
            early.sendall(b"EHLO c\r\nAUTH LOGIN\r\n")
            while not lines.readline().startswith((b"334", b"5")):
                pass
            inbound = Watching(server, "server", terse=True)
            time.sleep(1)
            early.sendall(b"c2NvdHQ=\r\nQUIT\r\n")
            lines.read()
        seen = inbound.until_closed()
        self.converse(server, [b"EHLO c\r\n", b"AUTH PLAIN AHNjb3R0AHRpZ2Vy\r\n", b"QUIT\r\n"])
        seen += inbound.until_closed()
        told = str(seen)
        self.assertNotIn("c2NvdHQ", told)
        self.assertNotIn("AHNjb3R0", told)
        self.assertIn("AUTH PLAIN (not shown)", told)

    def test_who_may_not_watch_and_what_is_no_request(self) -> None:
        server = self.operated('"[127.0.0.4]:9"')
        url = f"{server.base}/api/admin/trace-smtp-server/v1"
        self.assertEqual(requests.get(url, timeout=60).status_code, 426)
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Origin": "https://evil.example"}
        self.assertEqual(requests.get(url, timeout=60, headers=upgrade).status_code, 403)
        for wrong in ({"source_addr": ["nonsense"]}, {"source_addr": 5}):
            watching = Watching(server, "server", **wrong)
            self.assertEqual(watching.frame()[0], 8, wrong)
            watching.close()
        strangers = self.operated('"[127.0.0.4]:9"', "strangers", trusted="[203.0.113.1]")
        self.assertEqual(Watching(strangers, "client").status, "401")


class ClientsWordsTests(SynchronousTestCase):
    # what the client says (b) and is answered (str), in turn → what is shown
    DIALOGUES: ClassVar[list[tuple[list[Any], bytes]]] = [
        ([b"AUTH PLAIN c2VjcmV0\r\n", "235 ok", b"NOOP\r\n"], b"AUTH PLAIN (not shown)\r\nNOOP\r\n"),
        ([b"auth login\r\n", "334 x", b"c2VjcmV0\r\n", "334 y", b"c2VjcmV0\r\n", "535 no", b"QUIT\r\n"],
         b"auth login\r\n(not shown)\r\n(not shown)\r\nQUIT\r\n"),
        ([b"NOOP\r\nAUTH LOGIN\r\n", "250 ok", "334 x", b"c2VjcmV0\r\n", "235 ok"], b"NOOP\r\nAUTH LOGIN\r\n(not shown)\r\n"),
        ([b"AUTH LOGIN\r\nc2VjcmV0\r\n", "334 x"], b"AUTH LOGIN\r\n(not shown)\r\n"),
        ([b" AUTH\tPLAIN\tc2VjcmV0\r\n"], b"AUTH PLAIN (not shown)\r\n"),
        ([b"DATA\r\n", "354 go", b"AUTH c2VjcmV0 is text\r\n.\r\n", "250 ok"], b"DATA\r\nAUTH c2VjcmV0 is text\r\n.\r\n"),
        ([b"DATA\r\n", "354 go", b".\r\nAUTH PLAIN c2VjcmV0\r\n"], b"DATA\r\n.\r\nAUTH PLAIN (not shown)\r\n"),
        ([b"BDAT 12 LAST\r\nAUTH PLAIN\r\nNOOP\r\n"], b"BDAT 12 LAST\r\nAUTH PLAIN\r\nNOOP\r\n"),
        ([b"BDAT nonsense\r\nAUTH PLAIN c2VjcmV0\r\n"], b"BDAT nonsense\r\nAUTH PLAIN (not shown)\r\n"),
        ([b"AUTHOR\r\n"], b"AUTHOR\r\n"),
    ]  # fmt: skip

    def shown(self, dialogue: list[Any], size: int) -> bytes:
        words = ClientsWords(from_start=True)
        found = b""
        for part in dialogue:
            if isinstance(part, str):
                words.answered(f"{part}\r\n".encode())
            else:
                for at in range(0, len(part), size):
                    found += words.said(part[at : at + size])
        return found + words.rest()

    def test_secrets_are_left_out_however_they_come(self) -> None:
        for dialogue, wanted in self.DIALOGUES:
            for size in (1, 3, 7, 1000):
                with self.subTest((dialogue, size)):
                    self.assertEqual(self.shown(dialogue, size), wanted)

    def test_until_the_next_answer_nothing_is_shown_to_who_comes_late(self) -> None:
        words = ClientsWords(from_start=False)
        self.assertEqual(words.said(b"c2VjcmV0\r\n"), b"(not shown)\r\n")
        words.answered(b"250 ok\r\n")
        self.assertEqual(words.said(b"NOOP\r\n"), b"NOOP\r\n")


class Line:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendMessage(self, payload: bytes) -> None:
        self.sent.append(payload)


class StreamTests(SynchronousTestCase):
    def stream(self, line: Line, most: int = 10, **asked: Any) -> Stream:
        return Stream(line, Filter(TraceSmtpServerV1Request(**asked), {"source_addr": "received_from"}), "Read", lambda: 1.0, most)

    def test_who_reads_too_slowly_is_told_what_is_missing(self) -> None:
        line, dialogues = Line(), Dialogues(lambda: 1.0)
        stream = self.stream(line, most=3)
        dialogues.watch(stream)
        stream.pauseProducing()
        for n in range(5):
            dialogues.tell({"received_from": "192.0.2.1:5"}, {"Read": str(n)})
        self.assertEqual(line.sent, [])
        stream.resumeProducing()
        self.assertEqual(len(line.sent), 4)
        self.assertIn(b'"level":"ERROR","message":"2 events were missed', line.sent[-1])
        dialogues.forget(stream)
        self.assertFalse(dialogues.on)

    def test_a_terse_trace_shortens_what_is_long(self) -> None:
        line = Line()
        self.stream(line, terse=True)(Seen({}, {"Read": "x" * 1000}, 1.0))
        self.assertIn(b'"AbbreviatedRead":{"snippet":"' + b"x" * 128 + b'","len":1000}', line.sent[0])
        self.assertIn(b'"conn_meta":null', line.sent[0])

    def test_what_filters_let_through(self) -> None:
        addresses = {"source_addr": "source_addr", "mx_addr": "mx_addr"}
        table: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
            ({}, {"domain": "a"}, True),
            ({"domain": ("a",)}, {"domain": "a"}, True),
            ({"domain": ("a",)}, {"domain": "b"}, False),
            ({"domain": ("a",)}, {"tenant": "b"}, True),
            ({"rcpt_to": ("x@a",)}, {"rcpt_to": ["y@a", "x@a"]}, True),
            ({"rcpt_to": ("x@a",)}, {"rcpt_to": ["y@a"]}, False),
            ({"mx_addr": ("192.0.2.0/24",)}, {"mx_addr": "192.0.2.9"}, True),
            ({"mx_addr": ("192.0.2.0/24",)}, {"mx_addr": "2001:db8::1"}, False),
            ({"source_addr": ("2001:db8::/32",)}, {"source_addr": "[2001:db8::1]:25"}, True),
        ]
        for asked, meta, wanted in table:
            with self.subTest((asked, meta)):
                self.assertEqual(Filter(TraceSmtpClientV1Request(**asked), addresses).wants(meta), wanted)
