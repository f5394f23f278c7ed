"""
Signed mail as a real Postfix receives it: OpenDKIM beside it and dkimpy verify every message, of every kind that we sign.

KUMOTWIST_DKIM_MESSAGES says how many messages there are of each algorithm and canonicalisation: 10000 take half an hour.
"""

import os
import smtplib
from itertools import product
from random import Random

import dkim  # type: ignore[import-untyped]  # it ships no types

from kumotwist.authentication.verification import verify
from tests.authentication.keys import Table, answer, ed25519_key, ed25519_pem, rsa_key, rsa_pem
from tests.authentication.odd_mail import big_message, message
from tests.peers.opendkim import OpenDkim, verdicts
from tests.peers.postfix import Postfix
from tests.peers.support import PATIENCE, PeerTestCase, Server

MESSAGES = int(os.environ.get("KUMOTWIST_DKIM_MESSAGES", "30"))
FORMS = ("Relaxed", "Simple")
KINDS = [(algo, header, body) for algo, header, body in product(("sha256", "ed25519"), FORMS, FORMS)]

CONFIG = """
esmtp_listeners: [{listen: {listen}, max_messages_per_connection: 100000}]
queues:
  queue:
    default: {protocol: {smtp: {mx_list: [%(mx)s]}}}
shaping:
  rules:
    default: {prohibited_hosts: [], enable_tls: Disabled}
dkim:
  base:
    headers: [From, To, Subject, Date, Message-ID, X-Odd, List-Unsubscribe, Content-Type, Reply-To]
    expiration: 1 week
  domain:
%(domains)s
"""


def domain_of(algo: str, header: str, body: str) -> str:
    return f"{algo}-{header}-{body}.example".lower()


class SignedMailTests(PeerTestCase):
    def setUp(self) -> None:
        super().setUp()
        records = {}
        lines = []
        for number, (algo, header, body) in enumerate(KINDS):
            domain = domain_of(algo, header, body)
            key, pem = (rsa_key(), rsa_pem()) if algo == "sha256" else (ed25519_key(), ed25519_pem())
            records[f"s1._domainkey.{domain}"] = key.record()
            (self.place / f"{domain}.key").write_bytes(pem)
            lines.append(
                f"    {domain}: {{selector: s1, algo: {algo}, filename: {self.place}/{domain}.key, "
                f"over_sign: {str(number % 2 == 0).lower()}, "
                f"header_canonicalization: {header}, body_canonicalization: {body}}}"
            )
        self.dns = Table({name: (record,) for name, record in records.items()})
        self.opendkim = self.started(OpenDkim(self.place, records))
        self.postfix = self.started(Postfix(self.place / "postfix", extra=self.opendkim.milter + "message_size_limit = 0\n"))
        self.relay: Server = self.server(CONFIG % {"mx": self.postfix.mx, "domains": "\n".join(lines)})

    def send(self) -> int:
        random = Random(8)
        for kind in KINDS:
            author = f"joe@{domain_of(*kind)}"
            contents = [message(random, author) for _ in range(MESSAGES)]
            if kind[1] == kind[2]:
                contents.append(big_message(random, author))
            with smtplib.SMTP(self.relay.host, self.relay.port, timeout=PATIENCE) as client:
                for content in contents:
                    client.sendmail(author, ["someone@sink.example"], content, ["BODY=8BITMIME"])
        return len(KINDS) * MESSAGES + len(KINDS) // 2

    def test_everyone_verifies_every_message(self) -> None:
        count = self.send()
        self.postfix.wait_for(count)
        wrong = []
        for content in self.postfix.delivered():
            told = verdicts(content)
            ours = [one.result for one in answer(verify(content, self.dns, 0.0))]
            theirs = dkim.verify(content, dnsfunc=self.dns.for_dkimpy)
            if (told, ours, theirs) != (["pass"], ["pass"], True):
                wrong.append((told, ours, theirs, content[:3000]))
        self.assertEqual(wrong[:2], [])
