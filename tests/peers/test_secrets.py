"""Secrets in every place that takes one, with everything around them broken: nothing that is written or answered tells one."""

import base64
import http.client
import smtplib
import ssl
import subprocess
import sys
import time

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kumotwist.cli.sink_tls import self_signed
from tests.peers.evidence import of_type
from tests.peers.support import SERVER_HOST, SPOOL, PeerTestCase, Server, free_port, wait_until

WORDS = (
    "s3cret-hook-password", "s3cret-hook-token", "s3cret-signing-key", "s3cret-hook-header", "s3cret-socks", "s3cret-peer-auth",
    "s3cret-client", "s3cret-wrong", "s3cret-broken", "s3cret-http", "s3cret-bearer", "s3cret-in-the-wrong-place",
)  # fmt: skip

POLICY = """
from kumotwist import kumo

@kumo.on("smtp_server_auth_plain")
def auth_plain(authz, authc, password, conn_meta):
    if authc == "breaks":
        given = {"password": password}
        raise RuntimeError("the directory cannot be reached")
    return password == "s3cret-client"

@kumo.on("http_server_validate_auth_basic")
def basic(user, password):
    if user == "breaks":
        return {}["nobody"]
    return False

@kumo.on("http_server_validate_auth_bearer")
def bearer(token):
    raise RuntimeError("no")
"""

CONFIG = """
policy: policy.py
http_listeners: [{listen: "%(http)s", trusted_hosts: []}]
esmtp_listeners:
  - listen: {listen}
    relay_hosts: [127.0.0.0/8]
    tls_certificate: {key_data: %(certificate)s}
    tls_private_key: {key_data: %(key)s}
log_hooks:
  - {name: basic, kind: webhook, url: "http://127.0.0.9:9/", username: u, password: {key_data: s3cret-hook-password}, headers: {X-Key: s3cret-hook-header}}
  - {name: bearer, kind: webhook, url: "http://127.0.0.9:9/", bearer_token: {key_data: s3cret-hook-token}, signing_key: {key_data: s3cret-signing-key}}
egress:
  source:
    plain: {}
    proxied: {socks5_proxy_server: "127.0.0.9:9", socks5_proxy_source_address: 127.0.0.1, socks5_proxy_username: u, socks5_proxy_password: {key_data: s3cret-socks}}
  pool:
    both: {plain: {weight: 1}, proxied: {weight: 1}}
queues:
  queue:
    default: {egress_pool: both, retry_interval: 1 second, max_retry_interval: 1 second, protocol: {smtp: {mx_list: [%(sink)s]}}}
shaping:
  rules:
    default:
      prohibited_hosts: []
      smtp_auth_plain_username: u
      smtp_auth_plain_password: {key_data: s3cret-peer-auth}
      allow_smtp_auth_plain_without_tls: true
"""  # noqa: E501  a configuration


class SecretTests(PeerTestCase):
    def begin(self) -> Server:
        made, certificate = self_signed("mta.peers.example", time.time())
        self.key = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        place = self.place / "server"
        place.mkdir()
        (place / "policy.py").write_text(POLICY)
        self.http = (SERVER_HOST, free_port(SERVER_HOST))
        sink = self.sink()
        text = CONFIG % {
            "http": f"{self.http[0]}:{self.http[1]}",
            "sink": sink.mx,
            "certificate": in_yaml(certificate.public_bytes(Encoding.PEM).decode()),
            "key": in_yaml(self.key),
        }
        return self.started(Server(place, SPOOL + text))

    def smtp(self, server: Server, user: str, password: str) -> int:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP(server.host, server.port, timeout=60) as client:
            client.starttls(context=context)
            client.ehlo("c.example")
            try:
                code, _ = client.auth("PLAIN", lambda challenge=None: f"\0{user}\0{password}")
            except smtplib.SMTPResponseException as refused:
                code = refused.smtp_code
            client.docmd("s3cret-in-the-wrong-place" if user == "wrong" else "NOOP")
            client.sendmail("a@example.net", "b@example.org", b"Subject: x\r\n\r\nx\r\n")
            return code

    def ask(self, path: str, authorization: str) -> str:
        connection = http.client.HTTPConnection(*self.http, timeout=60)
        connection.request("GET", path, headers={"Authorization": authorization})
        said = connection.getresponse()
        text = f"{said.status} {said.headers} {said.read().decode()}"
        connection.close()
        return text

    def test_nothing_that_is_written_or_answered_tells_one(self) -> None:
        server = self.begin()
        codes = [self.smtp(server, user, word) for user, word in
                 (("good", "s3cret-client"), ("bad", "s3cret-wrong"), ("breaks", "s3cret-broken"))]  # fmt: skip
        self.assertEqual([code // 100 for code in codes], [2, 5, 4])
        basic = [base64.b64encode(f"{user}:s3cret-http".encode()).decode() for user in ("joe", "breaks")]
        answers = [self.ask("/api/machine-info", f"Basic {one}") for one in basic]
        answers += [self.ask("/api/machine-info", "Bearer s3cret-bearer")]
        answers += [self.ask(path, "") for path in ("/metrics", "/metrics.json", "/openapi.json", "/api/check-liveness/v1")]
        server.wait_for_records(lambda records: of_type(records, "TransientFailure"), "an attempt")
        wait_until(lambda: "127.0.0.9" in server.said(), "what is broken is told")
        config = server.place / "kumotwist.yaml"
        whole = config.read_text()
        config.write_text(whole.replace("prohibited_hosts: []", "prohibited_hosts: [nonsense!]"))
        wait_until(lambda: "the old one stays in force" in server.said(), "a faulty configuration is told")
        checked = subprocess.run(
            [sys.executable, "-m", "kumotwist", "check", str(config)], capture_output=True, text=True, timeout=60, check=False
        )
        self.assertNotEqual(checked.returncode, 0)
        server.kill()
        told = "\n".join([*answers, checked.stdout, checked.stderr, server.said_at_all(), *map(str, server.records())])
        self.assertIn("the directory cannot be reached", told)
        self.assert_tells_none(told)

    def assert_tells_none(self, told: str) -> None:
        found = [word for word in WORDS if word in told or base64.b64encode(word.encode()).decode().rstrip("=")[:-1] in told]
        self.assertEqual(found, [])
        self.assertNotIn("PRIVATE KEY", told)
        lines = [line for line in self.key.splitlines() if len(line) > 60]
        self.assertEqual([line for line in lines if line in told], [])


def in_yaml(text: str) -> str:
    return '"' + text.replace("\n", "\\n") + '"'
