"""`kumotwist check-domain`: each thing that can be wrong is said in plain words, with the DNS line that mends it."""

from collections.abc import Mapping, Sequence
from typing import Any

from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate

from kumotwist.authentication.lookups import Unanswered
from kumotwist.authentication.sender_check import Finding, Grade
from kumotwist.cli import check_domain
from kumotwist.cli.main import main
from tests.authentication.keys import Table, ed25519_key, published, rsa_key, rsa_pem
from tests.config.certificate import certificate_and_key
from tests.config.files import ConfigTestCase
from tests.dns.server import nothing, records
from tests.examples.nameserver import Nameserver

NOW = 1_700_000_000.0
TEXTS: Mapping[str, Sequence[str]] = {
    **published(),
    "example.com": ("v=spf1 ip4:8.8.4.4 ~all",),
    "_dmarc.example.com": ("v=DMARC1; p=reject",),
}
HOSTS = {"mta1.example.com": ("8.8.4.4",)}
POINTERS = {"8.8.4.4": ("mta1.example.com",)}
CONFIG = """
hostname: mx.example.com
egress: {source: {ip-1: {source_address: 8.8.4.4, ehlo_domain: mta1.example.com}}}
dkim: {base: {selector: rsa}, domain: {example.com: {filename: rsa.key}}}
"""


class Names(Table, check_domain.HostLookups):
    """A table with TLSA records, too."""

    def __init__(self, texts: Mapping[str, Sequence[str]], tlsa: Mapping[str, Sequence[Any]] | None = None, **more: Any) -> None:
        super().__init__(texts, **more)
        self._tlsa = tlsa or {}

    async def tlsa(self, name: str) -> Sequence[tuple[int, int, int, bytes]]:
        if name in self._silent:
            raise Unanswered("timeout")
        return self._tlsa.get(name, ())


class CheckDomainCase(ConfigTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.write("rsa.key", rsa_pem())

    def found(
        self, texts: Mapping[str, Sequence[str] | None] | None = None, config: str = CONFIG, **more: Any
    ) -> list[tuple[str, str, str]]:
        """What is not fine: (grade and subject, what is said, the line that mends it)."""
        known = {name: text for name, text in {**TEXTS, **(texts or {})}.items() if text is not None}
        lookups = Names(known, **{"hosts": HOSTS, "pointers": POINTERS, **more})
        findings: list[Finding] = check_domain.examined("example.com", self.read(config), lookups, NOW)
        return [(f"{one.grade.value} {one.about}", one.said, one.mend) for one in findings if one.grade is not Grade.FINE]


class SenderTests(CheckDomainCase):
    def test_nothing_is_wrong(self) -> None:
        self.assertEqual(self.found(), [])

    def test_spf(self) -> None:
        table: list[tuple[Sequence[str] | None, str, str]] = [
            (None, "example.com has no SPF record", 'example.com. IN TXT "v=spf1 ip4:8.8.4.4 ~all"'),
            (("v=spf1 a", "v=spf1 b"), "example.com has 2 SPF records, and receivers then heed none: leave one", ""),
            (
                ("v=spf1 mx -all",),
                "example.com does not let ip-1 (8.8.4.4) send: fail, by all of example.com",
                'example.com. IN TXT "v=spf1 ip4:8.8.4.4 mx -all"',
            ),
            (
                ("v=spf1 oops -all",),
                "the record of example.com is broken, so receivers heed none of it: the record of example.com: "
                "an unknown mechanism: 'oops'",
                "",
            ),
        ]
        for record, said, mend in table:
            self.assertEqual(self.found({"example.com": record}), [("WRONG SPF", said, mend)])

    def test_dkim(self) -> None:
        name = "rsa._domainkey.example.com"
        record = rsa_key().record()
        mend = f'{name}. IN TXT "{record[:255]}" "{record[255:]}"'
        table: list[tuple[Sequence[str] | None, str]] = [
            (None, f"no key is published at {name}, so no signature of ours will hold"),
            ((record, record), f"there are 2 TXT records at {name}, and receivers pick any"),
            (("v=DKIM1",), f"what is published at {name} is no key: p= is missing"),
            (("v=DKIM1; p=",), f"the key at {name} has been revoked (its p= is empty)"),
            ((ed25519_key().record(),), f"the key at {name} is not that of our private key"),
        ]
        for records_, said in table:
            self.assertEqual(self.found({name: records_}), [("WRONG DKIM", said, mend)])
        ((grade, said, _),) = self.found({name: (f"{record}; t=y",)})
        self.assertEqual((grade, "being tested" in said), ("note DKIM", True))

    def test_private_keys(self) -> None:
        self.write("rsa.key", "nothing")
        name = "rsa._domainkey.example.com"
        said = f"the private key for {name} cannot be used: it is no private key in PEM or DER form"
        self.assertEqual(self.found(), [("WRONG DKIM", said, "")])
        (self.directory / "rsa.key").unlink()
        self.assertIn("No such file", self.found()[0][1])
        self.write("rsa.key", rsa_pem())
        wrong = CONFIG.replace("filename: rsa.key", "filename: rsa.key, algo: ed25519")
        self.assertIn("it makes signatures of rsa-sha256", self.found(config=wrong)[0][1])

    def test_unsigned_mail_and_alignment(self) -> None:
        unsigned = self.found(config=CONFIG.replace("example.com: {filename", "example.org: {filename"))
        self.assertEqual([grade for grade, _, _ in unsigned], ["WRONG DKIM", "WRONG DMARC"])
        self.assertIn("has a domain that is of the same organization: only SPF can align", unsigned[1][1])

    def test_dmarc(self) -> None:
        mend = '_dmarc.example.com. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@example.com"'
        said = "example.com has no DMARC record, which large receivers ask of bulk senders"
        self.assertEqual(self.found({"_dmarc.example.com": None}), [("WRONG DMARC", said, mend)])
        broken = self.found({"_dmarc.example.com": ("v=DMARC1; p=odd",)})
        self.assertEqual(broken[0][::2], ("WRONG DMARC", mend))
        self.assertEqual([grade for grade, _, _ in self.found({"_dmarc.example.com": ("v=DMARC1; p=none",)})], ["note DMARC"])

    def test_names_and_addresses(self) -> None:
        pointer = "4.4.8.8.in-addr.arpa. IN PTR mta1.example.com."
        forward = "mta1.example.com. IN A 8.8.4.4"
        self.assertEqual(
            self.found(pointers={}), [("WRONG PTR", "ip-1 (8.8.4.4) has no name: many receivers refuse such clients", pointer)]
        )
        self.assertEqual(
            self.found(pointers={"8.8.4.4": ("dyn.isp.example",)}),
            [("WRONG PTR", "ip-1 (8.8.4.4) is named dyn.isp.example, and greets as mta1.example.com", pointer)],
        )
        self.assertEqual(
            self.found(hosts={}),
            [("WRONG EHLO", "ip-1 (8.8.4.4) greets as mta1.example.com, which does not lead back to 8.8.4.4", forward)],
        )
        private = CONFIG.replace("8.8.4.4", "10.0.0.1")
        self.assertEqual(
            [grade for grade, _, _ in self.found({"example.com": ("v=spf1 ip4:10.0.0.1 ~all",)}, private)], ["note PTR"]
        )
        unplaced = "hostname: mx.example.com\n" + CONFIG[CONFIG.index("dkim") :]
        self.assertEqual([grade for grade, _, _ in self.found(config=unplaced)], ["note PTR"])

    def test_a_dns_that_does_not_answer_is_not_taken_for_one_that_has_nothing(self) -> None:
        silent = ["example.com", "rsa._domainkey.example.com", "_dmarc.example.com", "8.8.4.4"]
        found = self.found(silent=silent)
        self.assertEqual([grade for grade, _, _ in found], ["? SPF", "? DKIM", "? DMARC", "? PTR", "? MX"])


class OwnHostTests(CheckDomainCase):
    """Where the MX of the domain is one of our listeners."""

    def setUp(self) -> None:
        super().setUp()
        certificate, key = certificate_and_key("mx.example.com")
        self.write("cert.pem", certificate)
        self.write("key.pem", key)
        public = load_pem_x509_certificate(certificate).public_key()
        from hashlib import sha256

        self.digest = sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        self.config = CONFIG + "esmtp_listeners: [{listen: '0.0.0.0:25', tls_certificate: cert.pem, tls_private_key: key.pem}]\n"
        self.policy = b"version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n"
        self.patch(check_domain, "fetched", self.fetch)

    def fetch(self, url: str, ca_file: str | None) -> bytes:
        self.assertEqual(url, "https://mta-sts.example.com/.well-known/mta-sts.txt")
        if not self.policy:
            raise OSError("connection refused")
        return self.policy

    def told(self, sts: str | None = "v=STSv1; id=1", tlsa: Sequence[Any] | None = None) -> list[tuple[str, str, str]]:
        if tlsa is None:
            tlsa = [(3, 1, 1, self.digest.digest())]
        texts = {"_mta-sts.example.com": None if sts is None else (sts,)}
        return self.found(texts, self.config, mx={"example.com": ("mx.example.com",)}, tlsa={"_25._tcp.mx.example.com": tlsa})

    def test_nothing_is_wrong(self) -> None:
        self.assertEqual(self.told(), [])

    def test_mta_sts(self) -> None:
        mend = '_mta-sts.example.com. IN TXT "v=STSv1; id=1700000000"'
        self.assertEqual(self.told(None), [("note MTA-STS", "example.com does not insist on TLS for mail to it", mend)])
        self.assertEqual(self.told("odd")[0][::2], ("WRONG MTA-STS", mend))
        self.policy = self.policy.replace(b"mx.example.com", b"other.example.com")
        self.assertEqual(self.told()[0][1], "the policy of example.com does not name mx.example.com: senders will not use it")
        self.policy = b"nonsense"
        self.assertEqual(self.told()[0][1], "the policy of example.com is none: its version is not STSv1")
        self.policy = b""
        self.assertEqual(self.told()[0][1], "the policy of example.com cannot be fetched: connection refused")

    def test_tlsa(self) -> None:
        mend = f"_25._tcp.mx.example.com. IN TLSA 3 1 1 {self.digest.hexdigest()}"
        self.assertEqual([one[::2] for one in self.told(tlsa=[])], [("note TLSA", mend)])
        self.assertEqual([one[::2] for one in self.told(tlsa=[(3, 1, 1, b"x" * 32)])], [("WRONG TLSA", mend)])


class CommandTests(CheckDomainCase):
    def test_it_asks_the_name_servers_of_the_configuration(self) -> None:
        zone = {
            f"{name} TXT": records(f'{name}. 300 IN TXT "{texts[0][:200]}" "{texts[0][200:]}"') for name, texts in TEXTS.items()
        }
        zone["mta1.example.com A"] = records("mta1.example.com. 300 IN A 8.8.4.4")
        zone["4.4.8.8.in-addr.arpa PTR"] = records("4.4.8.8.in-addr.arpa. 300 IN PTR mta1.example.com.")
        zone["example.com MX"] = nothing()
        nameserver = Nameserver(zone)
        config = self.write("kumotwist.yaml", CONFIG + f'dns: {{nameservers: ["{nameserver.address}"]}}\n')
        result = CliRunner().invoke(main, ["check-domain", "Example.com", "--config", str(config)])
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("ok     SPF      example.com lets ip-1 (8.8.4.4) send: ip4:8.8.4.4/32 of example.com\n", result.output)
        self.assertIn(
            "ok     DKIM     the key at rsa._domainkey.example.com is that of our private key (rsa-sha256)\n", result.output
        )
        quiet = CliRunner().invoke(main, ["check-domain", "example.com", "--quiet", "--config", str(config)])
        self.assertEqual((quiet.exit_code, quiet.output), (0, ""))
        other = CliRunner().invoke(main, ["check-domain", "example.org", "--quiet", "--config", str(config)])
        self.assertEqual(other.exit_code, 1)

    def test_what_is_no_domain_and_no_configuration(self) -> None:
        config = self.write("kumotwist.yaml", "hostnam: x")
        self.assertEqual(CliRunner().invoke(main, ["check-domain", "a b", "--config", str(config)]).exit_code, 2)
        result = CliRunner().invoke(main, ["check-domain", "example.com", "--config", str(config)])
        self.assertEqual((result.exit_code, "did you mean" in result.output), (2, True))


class KeygenTests(ConfigTestCase):
    def keygen(self, *options: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["dkim-keygen", "--domain", "Example.com", "--out", str(self.directory), *options])
        return result.exit_code, result.output

    def test_the_key_signs_and_the_record_publishes_it(self) -> None:
        from kumotwist.authentication.keys import load_key, parse_key_record

        for algorithm, selector in (("rsa", "r1"), ("ed25519", "e1")):
            status, said = self.keygen("--selector", selector, "--algorithm", algorithm)
            self.assertEqual(status, 0, said)
            path = self.directory / "example.com" / f"{selector}.key"
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
            name, _, strings = said.splitlines()[1].partition(". IN TXT ")
            self.assertEqual(name, f"{selector}._domainkey.example.com")
            self.assertLessEqual(max(map(len, strings.split('"'))), 255)
            record = strings.replace('" "', "").strip('"')
            key = load_key(path.read_bytes())
            self.assertEqual(key.algorithm, f"{algorithm}-sha256")
            self.assertTrue(parse_key_record(record).verifies(key.sign(b"x"), b"x"))

    def test_a_key_that_is_there_is_not_touched(self) -> None:
        self.keygen("--selector", "s1", "--algorithm", "ed25519")
        before = (self.directory / "example.com" / "s1.key").read_bytes()
        status, said = self.keygen("--selector", "s1")
        self.assertEqual((status, "File exists" in said), (2, True))
        self.assertEqual((self.directory / "example.com" / "s1.key").read_bytes(), before)

    def test_names_that_are_none(self) -> None:
        for options in (("--selector", "../x"), ("--selector", ""), ("--selector", "a b")):
            self.assertEqual(self.keygen(*options)[0], 2)
        self.assertEqual(
            CliRunner().invoke(main, ["dkim-keygen", "--domain", "../x", "--selector", "s", "--out", "."]).exit_code, 2
        )
