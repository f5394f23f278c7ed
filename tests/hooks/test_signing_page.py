"""The policies in docs/signing.md load, and do what the page says."""

import re
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred

from kumotwist.config.keys import KeyEvent
from kumotwist.config.read import read_config
from kumotwist.hooks.connection import ConnMeta
from kumotwist.hooks.loading import load_policy
from kumotwist.hooks.message import PolicyMessage
from kumotwist.hooks.policy import Policy
from kumotwist.hooks.signing import Signatures
from kumotwist.mail.reply import Refusal
from tests.authentication.keys import Table, published, rsa_pem
from tests.hooks.around import PolicyCase
from tests.hooks.signers import signing

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "signing.md").read_text(encoding="utf-8")
SNIPPETS = dict(re.findall(r"^```python (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
PLAIN = b"From: joe@example.com\r\nSubject: hello\r\n\r\nhello\r\n"


class PageTests(PolicyCase):
    def setUp(self) -> None:
        super().setUp()
        self.signing = signing(self.clock)
        texts = {**published(), "_dmarc.example.com": ("v=DMARC1; p=reject",)}
        self.services = replace(self.services, signing=self.signing, lookups=Table(texts))
        key = self.place / "keys" / "example.com" / "s1.key"
        key.parent.mkdir(parents=True)
        key.write_bytes(rsa_pem())

    def shown(self, title: str, **more: Any) -> Policy:
        file = self.place / title
        file.write_text(SNIPPETS[title], encoding="utf-8")
        return load_policy([file], self.clock, self.services, **more)

    def received(self, title: str) -> Signatures:
        """A message that its handlers have seen.  Raises what they raise."""
        asked = Signatures(self.messages.make(content=PLAIN))
        done = self.shown(title).each("smtp_server_message_received", PolicyMessage(asked.message, asked), ConnMeta({}))
        if isinstance(done, Deferred):
            self.successResultOf(done)
        return asked

    def test_each_policy_is_tried_here(self) -> None:
        self.assertEqual(set(SNIPPETS), {"keys.py", "sign.py", "check.py", "arc.py"})

    def test_a_configuration_that_asks_for_keys(self) -> None:
        (text,) = re.findall(r"^```yaml with keys\.py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        (self.place / "keys.py").write_text(SNIPPETS["keys.py"], encoding="utf-8")
        (self.place / "kumotwist.yaml").write_text(text, encoding="utf-8")
        config = read_config(self.place / "kumotwist.yaml")
        self.assertEqual(config.dkim.domain["example.org"].key, KeyEvent("dkim_key", ("example.org",)))
        self.assertEqual(config.own_events, ("dkim_key",))

    def test_keys(self) -> None:
        policy = self.shown("keys.py", own_events=["dkim_key"])
        event = KeyEvent("dkim_key", ("example.org",))
        self.assertIn(b"PRIVATE KEY", policy.first(event.event_name, *event.event_args))

    def test_sign(self) -> None:
        asked = self.received("sign.py")
        done = self.signing.sign([asked])
        assert done is not None
        self.successResultOf(done)
        self.assertTrue((asked.message.content or b"").startswith(b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=s1;"))

    def test_check(self) -> None:
        asked = Signatures(self.messages.make(content=PLAIN))
        done = self.shown("check.py").each("smtp_server_message_received", PolicyMessage(asked.message, asked), ConnMeta({}))
        assert isinstance(done, Deferred)
        refusal = self.failureResultOf(done, Refusal).value
        self.assertEqual(refusal.reply.single_line, "550 5.7.1 the domain of From wants this refused")

    def test_arc(self) -> None:
        content = self.received("arc.py").message.content or b""
        self.assertTrue(content.startswith(b"ARC-Seal: i=1;"))
