"""
MTA-STS and DANE through the whole server: Unbound validates what NSD serves, a web server hands out policies, Postfix receives.

Each line of the tables is a domain: what its zone says, what its host does about TLS, and what becomes of a message to it.
"""

import contextlib
import http.server
import os
import signal
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from msgspec import Struct

from tests.delivery.certificates import Authority, self_signed
from tests.peers.evidence import Record, of_type
from tests.peers.nsd import Nsd, Unbound, signed, zone
from tests.peers.postfix import POSTFIX_HOST
from tests.peers.support import PATIENCE, SPOOL, PeerTestCase, Server, lacking
from tests.peers.tls_ports import ENCRYPTED, IN_CLEAR, NO_HOST, TlsPort, TlsPostfix, fault_of

WEB_HOST, STALE_WEB_HOST, NO_WEB_HOST = "127.0.0.8", "127.0.0.81", "127.0.0.82"  # at port 443, which is part of RFC 8461
ZONES = ("plain.example", "signed.example", "bogus.example", "stale.example")

HANDSHAKE = f"{NO_HOST}TLS handshake with .* failed: "
UNKNOWN_CERTIFICATE = f"{HANDSHAKE}.*certificate verify failed.*"
NO_STARTTLS = f"{NO_HOST}.*: tls policy is Required but STARTTLS is not advertised by .*"
OTHER_HOSTS = f"{NO_HOST}.*: the MTA-STS policy of .* names other hosts: mx.elsewhere.example"
NOT_MEANT = f"{HANDSHAKE}no TLSA record of .* means its certificate"
DEMAND_UNKNOWN = "451 4.4.4 KumoMTA internal: what .* demands of connections is not known: .*SERVFAIL.*"
TLSA_UNKNOWN = f"{NO_HOST}.*: whether it has TLSA records is not known: .*SERVFAIL.*"
MX_UNKNOWN = "451 4.4.4 failed to resolve queue .*SERVFAIL.*"


class Case(Struct, frozen=True, kw_only=True):
    """
    One domain.  name: with its zone.  host: how its host does TLS.  outcome: what becomes of a message to it.

    policy: `mode` or `mode host`, by default its own; web: who hands it out.  record: of `_mta-sts`.
    dane: `usage selector matching WHAT`, where WHAT is KEY, AUTHORITY or OTHER; the path heeds it if it stands here at all.
    spoil: the record (`mx`, `tlsa` or `txt`) that is not the one that was signed.  dead: the part of its zone that is broken.
    listed: its host is one of an `mx_list` that is to be taken for secure.
    """

    name: str
    host: str
    outcome: str
    policy: str = ""
    web: str = WEB_HOST
    record: str = ""
    dane: str | None = None
    spoil: str = ""
    dead: str = ""
    listed: bool = False

    @property
    def mx(self) -> str:
        return f"mx.{self.name}"


# RFC 8461, and the reference, delivery.md 3.5.  A path that says nothing is Opportunistic.
STS = [
    Case(name="enforce.plain.example", policy="enforce", host="good", outcome=ENCRYPTED),
    Case(name="enforce-bad.plain.example", policy="enforce", host="unknown", outcome=UNKNOWN_CERTIFICATE),
    Case(name="enforce-expired.plain.example", policy="enforce", host="expired", outcome=UNKNOWN_CERTIFICATE),
    Case(name="enforce-clear.plain.example", policy="enforce", host="plain", outcome=NO_STARTTLS),
    Case(name="mismatch.plain.example", policy="enforce mx.elsewhere.example", host="good", outcome=OTHER_HOSTS),
    Case(name="testing-bad.plain.example", policy="testing", host="unknown", outcome=ENCRYPTED),
    Case(name="testing-clear.plain.example", policy="testing", host="plain", outcome=IN_CLEAR),
    Case(name="testing-mismatch.plain.example", policy="testing mx.elsewhere.example", host="good", outcome=ENCRYPTED),
    Case(name="none-bad.plain.example", policy="none", host="unknown", outcome=UNKNOWN_CERTIFICATE),
    Case(name="none-clear.plain.example", policy="none", host="plain", outcome=IN_CLEAR),
    # Nothing is published, or nothing that can be had; and it was never known before.
    Case(name="nxdomain.plain.example", host="plain", outcome=IN_CLEAR),
    Case(name="nonsense.plain.example", record="v=STSv2; id=1;", policy="enforce", host="plain", outcome=IN_CLEAR),
    Case(name="web-expired.plain.example", policy="enforce", web=STALE_WEB_HOST, host="plain", outcome=IN_CLEAR),
    Case(name="web-dead.plain.example", policy="enforce", web=NO_WEB_HOST, host="plain", outcome=IN_CLEAR),
    # Whether something is published is not known.
    Case(name="servfail.plain.example", policy="enforce", dead="_mta-sts", host="plain", outcome=DEMAND_UNKNOWN),
    Case(name="txt.bogus.example", policy="enforce", spoil="txt", host="plain", outcome=DEMAND_UNKNOWN),
]

# RFC 7672, and the reference, delivery.md 3.4.
DANE = [
    Case(name="key.signed.example", dane="3 1 1 KEY", host="unknown", outcome=ENCRYPTED),
    Case(name="key-expired.signed.example", dane="3 1 1 KEY", host="expired", outcome=ENCRYPTED),
    Case(name="authority.signed.example", dane="2 0 0 AUTHORITY", host="good", outcome=ENCRYPTED),
    Case(name="authority-expired.signed.example", dane="2 0 0 AUTHORITY", host="expired", outcome=NOT_MEANT),
    Case(name="mismatch.signed.example", dane="3 1 1 OTHER", host="good", outcome=NOT_MEANT),
    Case(name="clear.signed.example", dane="3 1 1 OTHER", host="plain", outcome=NO_STARTTLS),
    Case(name="unusable.signed.example", dane="1 1 1 OTHER", host="unknown", outcome=ENCRYPTED),
    Case(name="nxdomain.signed.example", dane="", host="plain", outcome=IN_CLEAR),
    Case(name="nxdomain-bad.signed.example", dane="", host="unknown", outcome=UNKNOWN_CERTIFICATE),
    Case(name="servfail.signed.example", dane="3 1 1 KEY", dead="_tcp.mx", host="good", outcome=TLSA_UNKNOWN),
    Case(name="tlsa.bogus.example", dane="3 1 1 KEY", spoil="tlsa", host="good", outcome=TLSA_UNKNOWN),
    Case(name="mx.bogus.example", dane="3 1 1 KEY", spoil="mx", host="good", outcome=MX_UNKNOWN),
    Case(name="old.stale.example", dane="3 1 1 KEY", host="good", outcome=MX_UNKNOWN),
    # Who cannot prove what he says is not heeded.
    Case(name="unsigned.plain.example", dane="3 1 1 OTHER", host="plain", outcome=IN_CLEAR),
    # Where the operator names the hosts himself.
    Case(name="listed.signed.example", dane="3 1 1 KEY", listed=True, host="unknown", outcome=ENCRYPTED),
    Case(name="listed-mismatch.signed.example", dane="3 1 1 OTHER", listed=True, host="good", outcome=NOT_MEANT),
    # Both: what a record vouches for needs no other authority; where there is none, the policy holds.
    Case(name="both.signed.example", dane="3 1 1 KEY", policy="enforce", host="unknown", outcome=ENCRYPTED),
    Case(name="both-no-record.signed.example", dane="", policy="enforce", host="unknown", outcome=UNKNOWN_CERTIFICATE),
]

CONFIG = """
tls: {{ca_file: {ca_file}}}
dns: {{nameservers: ["{nameserver}"], timeout: 10 seconds}}
queues:
  queue:
    default: {{retry_interval: 1 hour}}
{queues}
shaping:
  rules:
    default: {{prohibited_hosts: [], idle_timeout: 500 ms, max_deliveries_per_connection: 1}}
{rules}
"""
RULE = "    {name}: {{smtp_port: {port}, enable_dane: {dane}, mx_rollup: false}}\n"
LISTED = "    {name}: {{protocol: {{smtp: {{mx_list: ['{mx}:{port}'], treat_mx_list_as_secure: true}}}}}}\n"


class Policies(http.server.ThreadingHTTPServer):
    """Hands out policies by host name.  Those behind the other doors must not be seen."""

    daemon_threads = True

    def __init__(self, host: str, chain: Path, texts: dict[str, str]) -> None:
        try:
            super().__init__((host, 443), _Page)
        except PermissionError:
            lacking("a web server at port 443 needs more rights than we have")
        self.texts = texts
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def start(self) -> None:
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def kill(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that will not have our certificate is no news."""


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # http.server looks for it
        texts: dict[str, str] = self.server.texts  # type: ignore[attr-defined]  # ours, see above
        text = texts.get(self.headers.get("Host", "")) if self.path == "/.well-known/mta-sts.txt" else None
        self.send_response(404 if text is None else 200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write((text or "").encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing of it is for the log."""


class StsDaneCase(PeerTestCase):
    """The DNS, the web and the receivers for some lines of the tables."""

    cases: Sequence[Case] = ()

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid() != 0:
            lacking("port 443 and Postfix are for root only")
        self.authority = Authority()
        (self.place / "ca.pem").write_bytes(self.authority.pem)
        self.ports = {case.name: self.port(case) for case in self.cases}
        self.postfix = self.started(TlsPostfix(self.place / "postfix", self.ports))
        self.unbound = self.start_dns()
        self.start_web()

    def port(self, case: Case) -> TlsPort:
        if case.host == "plain":
            return TlsPort()
        if case.host == "unknown":
            return TlsPort(chain=self_signed(case.mx))
        return TlsPort(chain=self.authority.sign(case.mx, days=-7 if case.host == "expired" else 0))

    def start_dns(self) -> Unbound:
        lines: dict[str, str] = dict.fromkeys(ZONES, "")
        spoilt: dict[str, str] = {}
        dead: list[str] = []
        for case in self.cases:
            label, _, name = case.name.partition(".")
            lines[name] += self.lines_of(case, label)
            if case.dead:
                dead.append(f"{case.dead}.{case.name}")
            tlsa = f"_{self.postfix.ports[case.name]}._tcp.mx.{label} TLSA"
            odd = {"mx": (f"{label} MX", "10 evil"), "tlsa": (tlsa, f"3 1 1 {'bb' * 32}"), "txt": (f"_mta-sts.{label} TXT", '"x"')}
            if case.spoil:
                where, text = odd[case.spoil]
                spoilt[where] = text
        zones, keys = {"plain.example": zone("plain.example", lines["plain.example"])}, []
        for name in ZONES[1:]:
            until = -1.0 if name == "stale.example" else 2.0
            zones[name], key = signed(name, zone(name, lines[name]), spoilt if name == "bogus.example" else None, until=until)
            keys.append(key)
        self.nsd = self.started(Nsd(self.place / "nsd", {**zones, **dict.fromkeys(dead)}))
        return self.started(Unbound(self.place / "unbound", dict.fromkeys([*zones, *dead], self.nsd.address), keys))

    def lines_of(self, case: Case, label: str) -> str:
        """What its zone says of it."""
        found = f"mx.{label} IN A {POSTFIX_HOST}\n"
        if not case.listed:
            found += f"{label} IN MX 10 mx.{label}\n"
        if case.policy:
            found += f'_mta-sts.{label} IN TXT "{case.record or "v=STSv1; id=1;"}"\nmta-sts.{label} IN A {case.web}\n'
        if case.dane:
            found += f"_{self.postfix.ports[case.name]}._tcp.mx.{label} IN TLSA {self.tlsa(case)}\n"
        return found

    def tlsa(self, case: Case) -> str:
        kinds, _, what = case.dane.rpartition(" ") if case.dane else ("", "", "")
        if what == "OTHER":
            return f"{kinds} {'aa' * 32}"
        pem = self.authority.pem if what == "AUTHORITY" else self.ports[case.name].chain
        certificate = load_pem_x509_certificate(pem or b"")
        if what == "AUTHORITY":
            return f"{kinds} {certificate.public_bytes(Encoding.DER).hex()}"
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"{kinds} {sha256(key).hexdigest()}"

    def start_web(self) -> None:
        texts, names = {}, []
        for case in self.cases:
            mode, _, host = case.policy.partition(" ")
            if mode:
                names.append(f"mta-sts.{case.name}")
                texts[names[-1]] = f"version: STSv1\r\nmode: {mode}\r\nmx: {host or case.mx}\r\nmax_age: 86400\r\n"
        for host, days in ((WEB_HOST, 0), (STALE_WEB_HOST, -7)):
            chain = self.place / f"{host}.pem"
            chain.write_bytes(self.authority.sign("web.example", *names, days=days))
            self.started(Policies(host, chain, texts))

    def config(self, nameserver: str) -> str:
        ports = self.postfix.ports
        queues = "".join(LISTED.format(name=case.name, mx=case.mx, port=ports[case.name]) for case in self.cases if case.listed)
        rules = "".join(
            RULE.format(name=case.name, port=ports[case.name], dane=str(case.dane is not None).lower()) for case in self.cases
        )
        return CONFIG.format(ca_file=self.place / "ca.pem", nameserver=nameserver, queues=queues, rules=rules)

    def send_to_all(self, server: Server) -> list[Record]:
        """One message to each domain; returns the records of what became of them, once that is known."""
        before = len(of_outcomes(server.records()))
        with smtplib.SMTP(server.host, server.port, timeout=PATIENCE) as client:
            for case in self.cases:
                client.sendmail("sender@peers.example", [f"someone@{case.name}"], "Subject: hello\r\n\r\nhello\r\n")
        enough = before + len(self.cases)
        found = server.wait_for_records(lambda records: len(of_outcomes(records)) >= enough, "an outcome for each", every=0.2)
        return of_outcomes(found)[before:]

    def assert_outcomes(self, told: list[Record], outcomes: Mapping[str, str]) -> None:
        by_domain = {one["recipient"].partition("@")[2]: one for one in told}
        wrong = [text for domain, outcome in outcomes.items() if (text := fault_of(by_domain[domain], outcome))]
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))


class StsDaneTests(StsDaneCase):
    """Every line of both tables, at once."""

    cases = (*STS, *DANE)

    def test_what_domains_publish_decides_how_their_mail_goes(self) -> None:
        server = self.server(self.config(self.unbound.address))
        told = self.send_to_all(server)
        server.stop()
        self.assert_outcomes(told, {case.name: case.outcome for case in self.cases})
        records = server.records()
        self.assert_books_balance(records, server.spooled())
        self.postfix.wait_for(len(of_type(records, "Delivery")))
        self.assertEqual(self.postfix.count(), len(of_type(records, "Delivery")))


class OtherResolverTests(StsDaneCase):
    """Whom we ask may change while the server runs."""

    cases = (next(case for case in DANE if case.name == "clear.signed.example"),)

    def test_only_a_resolver_that_validates_is_believed_and_a_new_one_is_asked_at_once(self) -> None:
        server = self.server(self.config(self.nsd.address))
        self.assert_outcomes(self.send_to_all(server), {"clear.signed.example": IN_CLEAR})
        server.configure(SPOOL + self.config(self.unbound.address))
        server.signal(signal.SIGHUP)
        server.hear("configuration: in force")
        self.assert_outcomes(self.send_to_all(server), {"clear.signed.example": NO_STARTTLS})
        server.stop()
        self.assert_books_balance(server.records(), server.spooled())


def of_outcomes(records: list[Record]) -> list[Record]:
    return [one for one in records if one["type"] != "Reception"]
