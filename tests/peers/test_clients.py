"""
Mail as real clients send it (swaks, msmtp, smtplib), with all that makes mail awkward, through us to receivers.

Each message goes to a real Postfix and to our sink.  What arrives is what was sent, octet for octet, below the trace fields.
"""

import smtplib
import ssl
from email.utils import formatdate

from tests.peers.certificate import self_signed
from tests.peers.evidence import below_trace, of_type, said_to, trace_of
from tests.peers.postfix import Postfix, as_received
from tests.peers.support import PATIENCE, PeerTestCase, program

CONFIG = """
esmtp_listeners:
  - listen: {listen}
    tls_certificate: %(certificate)s
    tls_private_key: %(key)s
queues:
  queue:
    sink.example: {protocol: {smtp: {mx_list: [%(sink)s]}}}
    postfix.example: {protocol: {smtp: {mx_list: [%(postfix)s]}}}
    grüße.example: {protocol: {smtp: {mx_list: [%(sink)s]}}}
shaping:
  rules:
    default: {prohibited_hosts: [], enable_tls: OpportunisticInsecure}
"""

SENDER = "sender@clients.example"

BODIES = {
    "plain": b"Hello,\r\n\r\nthis is all.\r\n",
    "empty": b"",
    "only-newlines": b"\r\n\r\n\r\n",
    "no-final-newline": b"the last line goes on to the end",
    "dots": b".\r\n..\r\n. at the start\r\n.\r\n.hidden\r\n...\r\nno.\r\n.",
    "8bit": "Grüße, 你好, \N{SNOWMAN}\r\n".encode() + bytes(range(128, 256)) + b"\r\n",
    "long-lines": b"x" * 998 + b"\r\n" + b"y" * 997 + b"\r\n",
    "white-space": b"trailing blanks   \r\n\t\r\n \r\nFrom here on\r\n>From there\r\n",
    "large": b"The same line again and again, until it is more than one chunk.\r\n" * 20_000,
}


def message(subject: str, body: bytes, *fields: bytes) -> bytes:
    """A whole message with CRLF; fields: more of its header."""
    head = [
        b"From: <sender@clients.example>",
        b"To: everybody: ;",
        b"Date: " + formatdate(0).encode(),
        b"Message-ID: <%b@clients.example>" % subject.encode(),
        b"Subject: " + subject.encode(),
        b"MIME-Version: 1.0",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Transfer-Encoding: 8bit",
        *fields,
    ]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


LONG_FIELDS = (
    b"X-Long: " + b"w" * 900,
    b"References: " + b"\r\n\t".join(b"<%d@clients.example>" % number for number in range(200)),
    b"X-Folded: first\r\n second\r\n\tthird",
    b"X-Empty:",
    b"X-8bit: Gr\xc3\xbc\xc3\x9fe \xff",
)


def on_the_wire(content: bytes) -> bytes:
    """With the final newline that SMTP cannot do without."""
    return content if content.endswith(b"\r\n") else content + b"\r\n"


def stuffed(content: bytes) -> bytes:
    """RFC 5321 section 4.5.2."""
    return (b"." + content if content.startswith(b".") else content).replace(b"\r\n.", b"\r\n..")


class ClientsCase(PeerTestCase):
    """A server with a certificate, a sink and a Postfix behind it."""

    def setUp(self) -> None:
        super().setUp()
        self.certificate = self_signed(self, "127.0.0.2")
        self.postfix = self.started(Postfix(self.place / "postfix", self.certificate.chain))
        self.receiver = self.sink(keep=True, options=["--tls"])
        self.mta = self.server(
            CONFIG
            % {
                "certificate": self.certificate.certificate,
                "key": self.certificate.key,
                "sink": self.receiver.mx,
                "postfix": self.postfix.mx,
            }
        )
        self.expected: dict[str, bytes] = {}  # local part of the recipients → what they are to get

    def to(self, name: str, content: bytes) -> list[str]:
        """Note that this is to arrive at both receivers; returns the recipients."""
        self.expected[name] = on_the_wire(content)
        return [f"{name}@sink.example", f"{name}@postfix.example"]

    def assert_all_arrived(self) -> None:
        """Each once, as it was sent."""
        self.receiver.wait_for(len(self.expected))
        self.postfix.wait_for(len(self.expected))
        self.mta.stop()
        records = self.mta.records()
        self.assert_books_balance(records, self.mta.spooled())
        said = [f"{one['type']} {one['recipient']}: {said_to(one)}" for one in records if one["type"] != "Reception"]
        self.assertEqual(len(of_type(records, "Delivery")), 2 * len(self.expected), said)
        self.receiver.end()
        at_sink = zip(self.receiver.accepted(), self.receiver.contents(), strict=True)
        self.assert_as_sent([(line["recipients"], line["sender"], content) for line, content in at_sink], "sink.example")
        received = [as_received(content) for content in self.postfix.delivered()]
        triples = [([fields["Delivered-To"]], fields["Return-Path"].strip("<>"), content) for fields, content in received]
        self.assert_as_sent(triples, "postfix.example")

    def assert_as_sent(self, arrived: list[tuple[list[str], str, bytes]], domain: str) -> None:
        self.assertEqual(sorted(to for to, _, _ in arrived), sorted([f"{name}@{domain}"] for name in self.expected))
        for (recipient,), sender, content in arrived:
            name = recipient.rpartition("@")[0]
            self.assertEqual(sender, SENDER, name)
            self.assertEqual(below_trace(content), self.expected[name], f"{name} at {domain}")
            self.assertIn(f" for <{recipient}>;".encode(), trace_of(content))


class SmtplibTests(ClientsCase):
    """Python's own client."""

    def connected(self) -> smtplib.SMTP:
        client = smtplib.SMTP(self.mta.host, self.mta.port, local_hostname="client.example", timeout=PATIENCE)
        self.addCleanup(client.close)
        return client

    def test_awkward_bodies_and_headers_in_one_session(self) -> None:
        client = self.connected()
        for name, body in BODIES.items():
            content = message(name, body)
            client.sendmail(SENDER, self.to(name, content), content, ["BODY=8BITMIME"])
        content = message("long-fields", b"see above\r\n", *LONG_FIELDS)
        client.sendmail(SENDER, self.to("long-fields", content), content, ["BODY=8BITMIME"])
        content = b"\r\nno header at all\r\n"
        client.sendmail(SENDER, self.to("no-header", content), content)
        content = b"Subject: header and nothing else\r\n"
        client.sendmail(SENDER, self.to("no-body", content), content)
        client.quit()
        self.assert_all_arrived()

    def test_starttls_with_a_certificate_that_is_verified(self) -> None:
        client = self.connected()
        context = ssl.create_default_context(cafile=str(self.certificate.certificate))
        client.starttls(context=context)
        for name in ("first", "second"):
            content = message(name, BODIES["8bit"])
            client.sendmail(SENDER, self.to(name, content), content, ["BODY=8BITMIME"])
        client.quit()
        self.assert_all_arrived()
        records = self.mta.records()
        # Encrypted on the way in, and, since both receivers offer it, on the way out.
        self.assertEqual({one.get("tls_protocol_version") for one in records}, {"TLSv1.3"})
        self.assertEqual({line["tls"] for line in self.receiver.accepted()}, {True})
        self.assertIn("with ESMTPS (TLSv1.3:", trace_of(self.receiver.contents()[0]).decode())

    def test_addresses_in_utf8(self) -> None:
        client = self.connected()
        sender, recipient = "зинаида@отправитель.example", "jürgen@grüße.example"
        # The same domains as A-labels (RFC 5890): so they go on, and so they are logged.
        sent_as, known_as = "зинаида@xn--80aejlqnhiqf6i.example", "jürgen@xn--gre-6ka8l.example"
        content = message("utf8", "Grüße\r\n".encode(), "X-Name: Jürgen".encode())
        client.ehlo()
        client.command_encoding = "utf-8"
        refused = client.sendmail(sender, [recipient, "δοκιμή@postfix.example"], content, ["SMTPUTF8", "BODY=8BITMIME"])
        self.assertEqual(refused, {})
        client.quit()
        self.receiver.wait_for(1)
        self.postfix.wait_for(1)
        self.mta.stop()
        self.receiver.end()
        (line,) = self.receiver.accepted()
        self.assertEqual((line["sender"], line["recipients"]), (sent_as, [known_as]))
        self.assertEqual(below_trace(self.receiver.contents()[0]), content)
        fields, arrived = as_received(self.postfix.delivered()[0])
        self.assertEqual((fields["Return-Path"], fields["Delivered-To"]), (f"<{sent_as}>", "δοκιμή@postfix.example"))
        self.assertEqual(below_trace(arrived), content)
        records = self.mta.records()
        self.assert_books_balance(records, self.mta.spooled())
        told = {(one["type"], one["sender"], one["recipient"]) for one in records}
        both = (known_as, "δοκιμή@postfix.example")
        self.assertEqual(told, {(kind, sent_as, one) for kind in ("Reception", "Delivery") for one in both})


class CommandLineTests(ClientsCase):
    """Clients that people call from a shell."""

    def test_swaks(self) -> None:
        swaks = program("swaks", "swaks")
        for name in ("plain", "8bit", "dots", "empty", "no-final-newline", "long-lines"):
            content = message(name, BODIES[name], *LONG_FIELDS[:4])
            file = self.place / f"{name}.eml"
            # By itself swaks takes a last line of "." for the end: it gets all ready for the wire but the last CRLF.
            file.write_bytes(stuffed(on_the_wire(content)) + b".")
            encrypted = ["--tls"] if name in ("8bit", "dots") else []
            self.run_to_end(
                *(swaks, "--server", self.mta.host, "--port", str(self.mta.port), "--ehlo", "swaks.example", *encrypted),
                *("--from", SENDER, "--to", ",".join(self.to(name, content))),
                *("--no-data-fixup", "--data", f"@{file}", "--hide-all", "--timeout", str(int(PATIENCE))),
            )
        self.assert_all_arrived()

    def test_msmtp_which_sends_nothing_where_it_does_not_trust_the_certificate(self) -> None:
        msmtp = program("msmtp", "msmtp")
        options = ["-C", "/dev/null", f"--host={self.mta.host}", f"--port={self.mta.port}", "--domain=msmtp.example"]
        encrypted = ["--tls=on", "--tls-starttls=on", f"--tls-trust-file={self.certificate.certificate}"]
        suspicious = ["--tls=on", "--tls-starttls=on", "--tls-trust-file=/etc/ssl/certs/ca-certificates.crt"]
        with self.assertRaisesRegex(AssertionError, "TLS certificate verification failed"):
            self.run_to_end(msmtp, *options, *suspicious, f"--from={SENDER}", "--", "a@sink.example", input=b"Subject: x\n\n")
        for number, name in enumerate(("plain", "8bit", "dots", "empty", "no-final-newline", "white-space", "large")):
            content = message(name, BODIES[name], *LONG_FIELDS[1:4])
            recipients = self.to(name, content)
            more = encrypted if number % 2 else ["--tls=off"]
            self.run_to_end(msmtp, *options, *more, f"--from={SENDER}", "--", *recipients, input=content.replace(b"\r\n", b"\n"))
        self.assert_all_arrived()
        secure = [one["recipient"] for one in of_type(self.mta.records(), "Reception") if "tls_cipher" in one]
        self.assertEqual({one.partition("@")[0] for one in secure}, {"8bit", "empty", "white-space"})
