"""Section `log_hooks`: each kind as the guide has it, and what can be wrong about one."""

import re
from pathlib import Path

from kumotwist.config.keys import KeyData
from kumotwist.config.log_hooks import AmqpHook, FileHook, KafkaHook, NatsHook, WebhookFormat, WebhookHook
from tests.config.files import ConfigTestCase

GUIDE = Path(__file__).resolve().parent.parent.parent / "docs" / "log-hooks.md"


class LogHooksTests(ConfigTestCase):
    def test_the_guides_examples_are_what_they_say(self) -> None:
        blocks = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.S)
        hooks = [hook for block in blocks for hook in self.read(block).log_hooks]
        self.assertEqual([type(hook) for hook in hooks], [WebhookHook, WebhookHook, AmqpHook, KafkaHook, NatsHook, FileHook])
        crm = hooks[1]
        assert isinstance(crm, WebhookHook)
        self.assertEqual((crm.format, crm.gzip, crm.headers), (WebhookFormat.JSON_LINES, True, {"X-Customer": "7"}))
        self.assertEqual(crm.signing_key, KeyData(b"a long random text"))
        self.assertEqual((crm.batch_size, crm.max_batch_latency, crm.max_retry_interval), (100, 1.0, 60.0))

    def test_a_type_that_is_not_written_as_json_cannot_be_wanted(self) -> None:
        hook = "log_hooks: [{name: a, kind: file, path: x, record_types: [Bounce, Delivery]}]"
        table = {
            "{Bounce: {enable: false}}": ["per_record in section logs switches Bounce off"],
            "{Any: {enable: false}, Bounce: {}}": ["per_record in section logs switches Delivery off"],
            "{Delivery: {template: '{{ id }}'}}": ["per_record in section logs writes Delivery by a template"],
            "{Reception: {enable: false}}": [],
        }
        for per_record, expected in table.items():
            with self.subTest(per_record):
                said = self.faults(f"logs: {{per_record: {per_record}}}\n{hook}") if expected else []
                self.assertEqual([text in fault for fault, text in zip(said, expected, strict=True)], [True] * len(expected))
                if not expected:
                    self.assertEqual(len(self.read(f"logs: {{per_record: {per_record}}}\n{hook}").log_hooks), 1)

    def test_what_is_wrong_is_said(self) -> None:
        url = "url: http://a.example/"
        table = {
            "[{name: a}]": "kind is missing",
            "[{name: a, kind: webhok}]": "did you mean webhook?",
            "[{name: a, kind: [webhook]}]": "expected one of webhook, amqp, kafka, nats, file",
            "[{name: a, kind: webhook}]": "url is missing",
            f"[{{kind: webhook, {url}}}]": "name is missing",
            "[{name: a, kind: webhook, url: ftp://a.example/}]": "no URL of http or https",
            "[{name: a, kind: webhook, url: 'http://joe:secret@a.example/'}]": "a URL with a password in it",
            f"[{{name: a, kind: webhook, {url}, subject: x}}]": 'unknown key "subject"',
            f"[{{name: 'a b', kind: webhook, {url}}}]": "no name for a hook",
            f"[{{name: a, kind: webhook, {url}}}, {{name: a, kind: file, path: x}}]": "is the hook in line 1 already",
            f"[{{name: a, kind: webhook, {url}, username: joe}}]": "expected both username and password",
            f"[{{name: a, kind: webhook, {url}, password: {{key_data: x}}, bearer_token: {{key_data: x}}}}]": "one way",
            f"[{{name: a, kind: webhook, {url}, signing_key: absent.key}}]": "signing_key: the file cannot be read",
            f"[{{name: a, kind: webhook, {url}, retry_interval: 2 minutes}}]": "max_retry_interval is shorter",
            f"[{{name: a, kind: webhook, {url}, record_types: [Deliver]}}]": '"Delivery"',
            f"[{{name: a, kind: webhook, {url}, batch_size: 0}}]": "1 or more",
            "[{name: a, kind: nats, subject: s, servers: ['http://x']}]": "no URL of nats or tls",
            "{name: a}": "expected a list",
        }
        for section, expected in table.items():
            with self.subTest(section):
                [fault] = self.faults(f"log_hooks: {section}")
                self.assertIn(expected, fault)
                self.assertNotIn("secret", fault)
