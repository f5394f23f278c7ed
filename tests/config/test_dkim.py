"""Section `dkim`: the model's file as it stands, merging, and what is wrong with one."""

import os

from kumotwist.config.dkim import AdditionalPolicy, Algorithm, Canonicalization, DkimSettings, KeyFailure
from kumotwist.config.keys import KeyData, KeyEvent
from tests.config.files import ConfigTestCase

MODEL = """\
[base]
additional_signatures = ["MyESPName"]
selector = "dkim1024"
headers = ["From", "To", "Subject", "Date", "MIME-Version", "Content-Type", "Sender"]
expiration = 604800
header_canonicalization = "Relaxed"
body_canonicalization = "Simple"
over_sign = true
policy = "Always"

[domain."example.com"]
selector = 'dkim2048'
headers = ["From", "To"]
policy = "Always"
algo = "sha256"
filename = "/full/path/to/key."

[domain."*.Example.ORG"]
algo = "ed25519"

[signature."MyESPName"]
policy = "OnlyIfMissingDomainBlock"
domain = "myesp.com"
"""


class DkimTests(ConfigTestCase):
    def dkim(self, text: str, **files: str) -> DkimSettings:
        for name, content in files.items():
            self.write(f"{name}.toml", content)
        return self.read(text).dkim

    def test_the_models_file_loads_as_it_is(self) -> None:
        dkim = self.dkim("dkim: {files: [dkim_data.toml]}", dkim_data=MODEL)
        self.assertEqual((dkim.base.selector, dkim.base.expiration, dkim.base.over_sign), ("dkim1024", 604800.0, True))
        self.assertEqual(dkim.base.body_canonicalization, Canonicalization.SIMPLE)
        self.assertEqual(dkim.base.additional_signatures, ("MyESPName",))
        self.assertEqual(list(dkim.domain), ["example.com", "*.example.org"])
        example = dkim.domain["example.com"]
        self.assertEqual((example.selector, example.headers, example.algo), ("dkim2048", ("From", "To"), Algorithm.SHA256))
        self.assertEqual(example.filename, "/full/path/to/key.")
        esp = dkim.signature["MyESPName"]
        self.assertEqual((esp.domain, esp.policy), ("myesp.com", AdditionalPolicy.ONLY_IF_MISSING_DOMAIN_BLOCK))

    def test_later_files_and_what_stands_inline_win_key_by_key(self) -> None:
        dkim = self.dkim(
            "dkim: {files: [one.toml, two.toml], domain: {b.example: {selector: s3}}}",
            one='[base]\nselector = "s"\nover_sign = true\n[domain."b.example"]\nselector = "s1"\nfilename = "k1"\n',
            two='[base]\nselector = "s2"\n[domain."b.example"]\nfilename = "k2"\n',
        )
        self.assertEqual((dkim.base.selector, dkim.base.over_sign), ("s2", True))
        self.assertEqual(dkim.domain["b.example"].selector, "s3")
        self.assertEqual(dkim.domain["b.example"].filename, str(self.directory.absolute() / "k2"))

    def test_keys_beyond_files(self) -> None:
        os.environ["KUMOTWIST_TEST_KEY"] = "a key"
        self.addCleanup(os.environ.pop, "KUMOTWIST_TEST_KEY")
        self.write("policy.py", 'from kumotwist import kumo\nkumo.on("my_key", lambda domain: b"")\n')
        dkim = self.dkim(
            "policy: policy.py\ndkim: {base: {selector: s, on_key_failure: SendUnsigned}, domain: {"
            "a.example: {key: {environment: KUMOTWIST_TEST_KEY}}, b.example: {key: {key_data: inline}}, "
            "c.example: {key: {event_name: my_key, event_args: [c]}}}}"
        )
        keys = [dkim.domain[name].key for name in ("a.example", "b.example", "c.example")]
        self.assertEqual(keys, [KeyData(b"a key"), KeyData(b"inline"), KeyEvent("my_key", ("c",))])
        self.assertEqual(dkim.base.on_key_failure, KeyFailure.SEND_UNSIGNED)

    def test_what_is_wrong(self) -> None:
        table = {
            "base: {additional_signatures: [esp]}, signature: {esq: {domain: a.example, selector: s}}": (
                '1:38: additional_signatures names "esp", which is none, did you mean "esq"?'
            ),
            "domain: {a.example: {}}": '1:17: domain "a.example" has no selector, expected one here or in base',
            "signature: {esp: {selector: s}}": '1:20: signature "esp": domain is missing',
            "base: {headers: [Subject]}": "1:24: headers: From is not among them, and no signature counts without it",
            "domain: {a.example: {selector: s, filename: k, key: {key_data: x}}}": (
                '1:60: domain "a.example": key beside filename, expected one of them'
            ),
            "domain: {a.example: {selector: s, agent_user_identifier: '@b.example'}}": (
                '1:65: agent_user_identifier: "@b.example" is not under a.example, expected that domain or one below it'
            ),
            "domain: {a.example: {selector: s, algo: rsa}}": '1:48: algo: "rsa" is not known, expected sha256 or ed25519',
            "domain: {a.example: {selector: s, policy: OnlyIfMissingDomainBlock}}": (
                '1:50: policy: "OnlyIfMissingDomainBlock" is not known, expected Always'
            ),
            "domain: {a.example: {selector: a b}}": '1:39: selector: "a b" is no selector, expected a selector such as dkim2024',
            "base: {fix_conformance: LINE_TO_LONG}": (
                '1:32: fix_conformance: "LINE_TO_LONG" is not known, expected names of faults with | between them, such as '
                'LINE_TOO_LONG, did you mean "LINE_TOO_LONG"?'
            ),
            "base: {vault_mount: secret}": "1:15: vault_mount is not implemented yet",
            "bas: {}": '1:8: unknown key "bas" in dkim, did you mean "base"?',
            "domain: {a.example: {selector: s, key: {environment: KUMOTWIST_NOT_THERE}}}": (
                '1:61: key: the environment has no "KUMOTWIST_NOT_THERE", expected a variable that is set'
            ),
        }
        for text, expected in table.items():
            faults = [fault.partition("main.yaml:")[2] for fault in self.faults(f"dkim: {{{text}}}")]
            self.assertEqual(faults, [expected], text)

    def test_an_entry_that_could_not_be_read_hides_nothing_and_blames_nobody(self) -> None:
        faults = self.faults("dkim: {files: [absent.toml], base: {additional_signatures: [esp]}, domain: {a.example: {}}}")
        self.assertEqual(len(faults), 1)
