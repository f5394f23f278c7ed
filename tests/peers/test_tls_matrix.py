"""
The table of the reference: what becomes of a message by `enable_tls` and by what the receiver does about TLS, or about anything.

Postfix and Exim are the receivers where they can be made to be so; where no real program would do it, one of ours is.  There is
one server with a source for each mode, and one message for each mode and receiver, all at once.
"""

import smtplib
from collections.abc import Mapping
from pathlib import Path

from tests.delivery.certificates import Authority
from tests.peers.evidence import Record, of_type
from tests.peers.exim import EXIM_HOST, Exim
from tests.peers.postfix import POSTFIX_HOST
from tests.peers.rogue import STAGES, Rogue
from tests.peers.support import PATIENCE, PeerTestCase, Server, program
from tests.peers.tls_ports import ENCRYPTED, IN_CLEAR, NAME, NO_HOST, TlsPostfix, encrypted, fault_of, real_ports

MODES = ("Disabled", "Opportunistic", "OpportunisticInsecure", "Required", "RequiredInsecure")

# Outcomes beside deliveries: what the reply of the TransientFailure fits.
BROKE = "400 KumoMTA internal: failed to send message: "
HANDSHAKE = f"{NO_HOST}TLS handshake with {NAME}./.* failed: "
LOST = "connection (closed by the peer|lost: .*)"
PERHAPS = "; the end of the message had been sent: it may have been delivered, and will be sent again"
LATE = "421 4.4.2 KumoMTA internal: failed to send message to .*: Timed Out waiting 6s for response to RCPT TO:.*"

ABSENT = f"{NO_HOST}{NAME}./.*: tls policy is Required(Insecure)? but STARTTLS is not advertised by {NAME}./.*"
EXPIRED = f"{HANDSHAKE}.*certificate verify failed.*"
UNKNOWN = f"{HANDSHAKE}.*certificate verify failed.*"
OTHER = f"{HANDSHAKE}the certificate is not for {NAME}"
NO_VERSION = f"{HANDSHAKE}.*"
REFUSED = f"{NO_HOST}{NAME}./.*: STARTTLS was answered 454 .*"

# Receiver → outcome by mode, in the order of MODES (reference, delivery.md 3.3).
REAL: Mapping[str, tuple[str, ...]] = {
    "plain": (IN_CLEAR, IN_CLEAR, IN_CLEAR, ABSENT, ABSENT),
    "good": (IN_CLEAR, ENCRYPTED, ENCRYPTED, ENCRYPTED, ENCRYPTED),
    "expired": (IN_CLEAR, EXPIRED, ENCRYPTED, EXPIRED, ENCRYPTED),
    "self-signed": (IN_CLEAR, UNKNOWN, ENCRYPTED, UNKNOWN, ENCRYPTED),
    "wrong-name": (IN_CLEAR, OTHER, ENCRYPTED, OTHER, ENCRYPTED),
    "old": (IN_CLEAR, NO_VERSION, IN_CLEAR, NO_VERSION, NO_VERSION),
    "refused": (IN_CLEAR, REFUSED, REFUSED, REFUSED, REFUSED),
}


def always(outcome: str) -> tuple[str, ...]:
    return (outcome,) * len(MODES)


def unless_disabled(outcome: str) -> tuple[str, ...]:
    """What only happens to who uses STARTTLS."""
    return (IN_CLEAR, *always(outcome)[1:])


def delivered() -> tuple[str, ...]:
    return unless_disabled(ENCRYPTED)


BROKEN = (IN_CLEAR, f"{HANDSHAKE}.*", IN_CLEAR, f"{HANDSHAKE}.*", f"{HANDSHAKE}.*")
AGAIN = f"{NO_HOST}after the TLS handshake with {NAME}./.*: "
TWO_CODES = "a reply with two codes, 250 and 550"
EAGER = f"{BROKE}said without being asked: 250 Taken.*"
NOT_THIS = "421 4.3.2 Not now"

# What it is to be → how it differs from a good receiver, and the outcomes.
ROGUES: Mapping[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "good": ({}, delivered()),
    "421-banner": ({}, always(f"{NO_HOST}.*: the greeting was answered {NOT_THIS}")),
    "421-ehlo": ({}, always(f"{NO_HOST}.*: EHLO .* was answered {NOT_THIS}")),
    "421-starttls": ({}, unless_disabled(f"{NO_HOST}.*: STARTTLS was answered {NOT_THIS}")),
    "421-handshake": ({}, BROKEN),  # in clear, where the handshake should begin
    "421-ehlo-again": ({}, unless_disabled(f"{AGAIN}EHLO .* was answered {NOT_THIS}")),
    "421-mail": ({}, always(NOT_THIS)),
    "421-rcpt": ({}, always(NOT_THIS)),
    "421-data": ({}, always(NOT_THIS)),
    "421-dot": ({}, always(NOT_THIS)),
    "closed-banner": ({}, always(f"{NO_HOST}.*: {LOST}")),
    "closed-ehlo": ({}, always(f"{NO_HOST}.*: {LOST}")),
    "closed-starttls": ({}, unless_disabled(f"{NO_HOST}.*: {LOST}")),
    "closed-handshake": ({}, BROKEN),
    "closed-ehlo-again": ({}, unless_disabled(f"{AGAIN}{LOST}")),
    "closed-mail": ({}, always(f"{BROKE}{LOST}")),
    "closed-rcpt": ({}, always(f"{BROKE}{LOST}")),
    "closed-data": ({}, always(f"{BROKE}{LOST}")),
    "closed-dot": ({}, always(f"{BROKE}{LOST}{PERHAPS}")),
    "garbled-handshake": ({"at": "handshake", "says": b"\x16\x03\x03\x00\x05never"}, BROKEN),
    # RFC 3207 section 6: what comes in clear behind the 220 is not taken for encrypted.
    "injected": (
        {"at": "starttls", "says": b"220 Go\r\n250 Ok\r\n"},
        unless_disabled(f"{NO_HOST}.*: said without being asked: .*"),
    ),
    "slow-banner": ({"at": "banner", "says": b"220 x\r\n", "pause": 1.0}, delivered()),
    "slow-ehlo-again": ({"at": "ehlo-again", "says": b"250 x\r\n", "pause": 1.0}, delivered()),
    "too-slow-rcpt": ({"at": "rcpt", "pause": 1.0}, always(LATE)),
    "two-codes-ehlo": ({"at": "ehlo", "says": b"250-rogue\r\n550 or not\r\n"}, always(f"{NO_HOST}.*{TWO_CODES}.*")),
    "two-codes-mail": ({"at": "mail", "says": b"250-yes\r\n550 no\r\n"}, always(f"{BROKE}{TWO_CODES}")),
    "two-codes-rcpt": ({"at": "rcpt", "says": b"250-yes\r\n550 no\r\n"}, always(f"{BROKE}{TWO_CODES}")),
    "two-codes-dot": ({"at": "dot", "says": b"250-yes\r\n550 no\r\n"}, always(f"{BROKE}{TWO_CODES}{PERHAPS}")),
    # It offers PIPELINING and hears but the first of what comes together.
    "lies-deaf": ({"deaf": True}, always(LATE)),
    # It answers what it was not asked yet: nothing that is said before the end of the message is about the message.
    "lies-eager": ({"at": "mail", "says": b"250 Ok\r\n250 Ok\r\n354 Go\r\n250 Taken\r\n"}, always(EAGER)),
    # Each command is answered twice: what is said to DATA was meant for another.
    "lies-twice": ({"at": "mail", "says": b"250 Ok\r\n250 Ok\r\n"}, always("250 2.1.5 Ok")),
    "lies-order": ({"at": "rcpt", "says": b"354 Go\r\n"}, always("354 Go")),
}

CONFIG = """
tls: {{ca_file: {ca_file}}}
egress:
  source: {{{sources}}}
  pool: {{{pools}}}
queues:
  queue:
    default: {{retry_interval: 1 hour}}
{queues}
shaping:
  rules:
    default:
      prohibited_hosts: []
      idle_timeout: 500 ms
      rcpt_to_timeout: 6 seconds
      starttls_timeout: 20 seconds
      max_deliveries_per_connection: 1
      connection_limit: 100
{rules}"""
QUEUE = "    {domain}: {{egress_pool: {mode}, protocol: {{smtp: {{mx_list: [{mx}]}}}}}}\n"


def rogue_of(name: str, differs: Mapping[str, object], chain: Path) -> Rogue:
    kind, _, stage = name.partition("-")
    if stage in STAGES and kind in ("421", "closed"):
        return Rogue(chain, at=stage, says=b"421 4.3.2 Not now\r\n" if kind == "421" else b"", closes=True)
    return Rogue(chain, **differs)  # type: ignore[arg-type]  # what stands in the table


class MatrixTests(PeerTestCase):
    """One server, every receiver, every mode."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority()
        (self.place / "ca.pem").write_bytes(self.authority.pem)
        self.expected: dict[str, str] = {}  # recipient → outcome
        self.queues = self.rules = ""

    def expect(self, receiver: str, mx: str, outcomes: tuple[str, ...]) -> None:
        for mode, outcome in zip(MODES, outcomes, strict=True):
            domain = f"{mode}.{receiver}.example".lower()
            self.expected[f"someone@{domain}"] = outcome
            self.queues += QUEUE.format(domain=domain, mode=mode, mx=mx)
            self.rules += f"    {domain}: {{enable_tls: {mode}, mx_rollup: false}}\n"

    def send_all(self) -> Server:
        """Start the server, send one message to each, wait until something became of every one; and stop it."""
        facts = {
            "ca_file": self.place / "ca.pem",
            "sources": ", ".join(f"{mode}: {{}}" for mode in MODES),
            "pools": ", ".join(f"{mode}: {{{mode}: {{}}}}" for mode in MODES),
        }
        server = self.server(CONFIG.format(**facts, queues=self.queues, rules=self.rules))
        with smtplib.SMTP(server.host, server.port, timeout=PATIENCE) as client:
            for recipient in self.expected:
                client.sendmail("sender@peers.example", [recipient], "Subject: hello\r\n\r\nhello\r\n")

        def all_told(records: list[Record]) -> bool:
            return len({one["recipient"] for one in records if one["type"] != "Reception"}) == len(self.expected)

        server.wait_for_records(all_told, "an outcome for each", every=0.2)
        server.stop()
        return server

    def assert_told(self, server: Server) -> list[Record]:
        records = server.records()
        told = {one["recipient"]: one for one in records if one["type"] != "Reception"}
        wrong = [text for recipient, outcome in self.expected.items() if (text := fault_of(told[recipient], outcome))]
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))
        self.assert_books_balance(records, server.spooled())
        return of_type(records, "Delivery")

    def test_postfix_and_exim(self) -> None:
        postfix = self.started(TlsPostfix(self.place / "postfix", real_ports(self.authority)))
        exim = self.started(Exim(self.place / "exim", real_ports(self.authority)))
        for host, port in ((POSTFIX_HOST, postfix.ports["old"]), (EXIM_HOST, exim.ports["old"])):
            self.assert_speaks_tls_1_0(f"{host}:{port}")
        for receiver, outcomes in REAL.items():
            self.expect(f"{receiver}.postfix", postfix.mx_of(receiver), outcomes)
            self.expect(f"{receiver}.exim", exim.mx_of(receiver), outcomes)
        deliveries = self.assert_told(self.send_all())
        at_postfix = [one for one in deliveries if one["recipient"].endswith(".postfix.example")]
        postfix.wait_for(len(at_postfix))
        self.assertEqual(postfix.count(), len(at_postfix))
        taken = [line for line in exim.log().splitlines() if " <= " in line]
        self.assertEqual(len(taken), len(deliveries) - len(at_postfix), exim.log())
        self.assertEqual(sum("P=esmtps " in line for line in taken), sum(encrypted(one) for one in deliveries) // 2)

    def assert_speaks_tls_1_0(self, address: str) -> None:
        """So that a failure there is not for another reason."""
        client = [program("openssl", "openssl"), "s_client", "-connect", address, "-starttls", "smtp", "-tls1"]
        said = self.run_to_end(*client, "-cipher", "ALL:@SECLEVEL=0", input=b"QUIT\r\n")
        self.assertRegex(said, r"Protocol *: TLSv1\b(?!\.)")

    def test_receivers_that_no_real_program_would_be(self) -> None:
        chain = self.place / "chain.pem"
        chain.write_bytes(self.authority.sign(NAME))
        rogues = {}
        for name, (differs, outcomes) in ROGUES.items():
            rogues[name] = self.started(rogue_of(name, differs, chain))
            self.expect(name, rogues[name].mx_of(NAME), outcomes)
        deliveries = self.assert_told(self.send_all())
        self.assertEqual(sum(rogue.accepted for rogue in rogues.values()), len(deliveries))
