"""
Everything that is wrong with a configuration is said at once, at its place, with what was expected.

`faults/NN-name.yaml` is a faulty file, `faults/NN-name.expected` what is said of it, line by line, once all values that can be
read are used too.
"""

import os
from pathlib import Path

import yaml
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from kumotwist.config import placed_yaml
from kumotwist.config.faults import ConfigFaults, Fault
from kumotwist.config.read import read_config
from tests.config.certificate import certificate_and_key
from tests.config.files import ConfigTestCase, use_all_values

FAULTS = Path(__file__).parent / "faults"


class FaultyFileTests(SynchronousTestCase):
    """Each file of `faults/`."""

    def setUp(self) -> None:
        use_all_values(self)

    def test_each_faulty_file_is_refused_with_exactly_the_lines_beside_it(self) -> None:
        cases = sorted(FAULTS.glob("*.yaml"))
        self.assertGreaterEqual(len(cases), 34)
        for case in cases:
            with self.subTest(case.name):
                faults = self.assertRaises(ConfigFaults, read_config, case)
                said = str(faults).replace(f"{FAULTS}/", "")
                self.assertEqual(said.splitlines(), case.with_suffix(".expected").read_text().splitlines())

    def test_the_same_is_said_where_yaml_is_parsed_without_libyaml(self) -> None:
        self.patch(placed_yaml, "_FAST", yaml.SafeLoader)
        self.test_each_faulty_file_is_refused_with_exactly_the_lines_beside_it()

    def test_each_fault_names_a_place_that_is_in_its_file(self) -> None:
        for case in sorted(FAULTS.glob("*.yaml")):
            faults = self.assertRaises(ConfigFaults, read_config, case)
            assert isinstance(faults, ConfigFaults)
            for fault in faults.faults:
                with self.subTest(str(fault)):
                    lines = [*Path(fault.file).read_bytes().decode("latin-1").split("\n"), ""]
                    self.assertLessEqual(fault.line, len(lines))
                    self.assertLessEqual(fault.column, len(lines[fault.line - 1]) + 1)

    def test_a_fault_is_a_value_with_file_line_column_and_words(self) -> None:
        faults = self.assertRaises(ConfigFaults, read_config, FAULTS / "19-text.yaml")
        assert isinstance(faults, ConfigFaults)
        what = 'configuration: "just some text", expected a mapping'
        self.assertEqual(faults.faults, (Fault(str(FAULTS / "19-text.yaml"), 1, 1, what),))


class UnreadableFileTests(ConfigTestCase):
    """Files that are not there, are no files, or are no texts."""

    def test_a_file_that_is_not_there(self) -> None:
        faults = self.assertRaises(ConfigFaults, read_config, "absent.yaml")
        self.assertEqual(str(faults), "absent.yaml:1:1: cannot be read: No such file or directory")

    def test_a_directory(self) -> None:
        faults = self.assertRaises(ConfigFaults, read_config, self.directory)
        self.assertEqual(str(faults), f"{self.directory}:1:1: cannot be read: Is a directory")

    def test_an_included_directory_is_a_fault_where_it_is_named(self) -> None:
        (self.directory / "sources.toml").mkdir()
        self.assertEqual(
            self.faults("egress: {files: [sources.toml]}"),
            ['main.yaml:1:18: "sources.toml" cannot be read: Is a directory'],
        )

    def test_a_file_that_may_not_be_read(self) -> None:
        if os.geteuid() == 0:
            raise SkipTest("root may read everything")
        path = self.write("main.yaml", "hostname: a.example\n")
        path.chmod(0)
        faults = self.assertRaises(ConfigFaults, read_config, path)
        self.assertEqual(str(faults), f"{path}:1:1: cannot be read: Permission denied")

    def test_octets_that_are_no_text(self) -> None:
        for content, expected in (
            (b"hostname: \xff\n", "main.yaml:1:11: octet 0xff is not UTF-8"),
            (b"hostname: a.example\nnode_id: \xc3\xa4\xc3", "main.yaml:2:11: octet 0xc3 is not UTF-8"),
            (b"\x00\x01\x02", 'main.yaml:1:1: not YAML: unprintable character "\\x00"'),
            (b"hostname: a\x07", 'main.yaml:1:12: not YAML: unprintable character "\\x07"'),
        ):
            with self.subTest(content):
                self.assertEqual(self.faults(content), [expected])

    def test_a_byte_order_mark_is_no_fault(self) -> None:
        self.assertEqual(self.read(b"\xef\xbb\xbfhostname: a.example\n").hostname, "a.example")

    def test_only_comments_are_an_empty_file(self) -> None:
        for content in ("# nothing\n", "---\n", "null\n", "\n\n"):
            with self.subTest(content):
                self.assertEqual(self.faults(content), ["main.yaml:1:1: the file is empty, expected a mapping of sections"])


class BombTests(ConfigTestCase):
    """Files that would take for ever, or all memory, or the stack."""

    def test_a_billion_laughs(self) -> None:
        lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
        self.assertIn("aliases repeat more than 1000000 values", self.faults("\n".join(lines))[-1])

    def test_an_alias_inside_what_it_stands_for(self) -> None:
        self.assertEqual(
            self.faults("egress: &all\n  source: {ip-1: *all}\n"),
            ['main.yaml:2:18: alias of "all" inside what it stands for'],
        )

    def test_an_alias_of_nothing(self) -> None:
        self.assertEqual(self.faults("hostname: *name\n"), ['main.yaml:1:11: alias of "name", which is not defined before it'])

    def test_depth(self) -> None:
        deep = "main.yaml:1:{}: nested more than 50 levels deep"
        for content, column in (("[" * 100_000, 51), ("a: " + "{a: " * 60, 4 + 4 * 49), ("? " * 60, 101)):
            with self.subTest(content[:20]):
                self.assertEqual(self.faults(content), [deep.format(column)])

    def test_depth_by_aliases(self) -> None:
        lines = ["a: &a0 " + "[" * 20 + "]" * 20]
        lines += [f"b{n}: &a{n} " + "[" * 20 + f"*a{n - 1}" + "]" * 20 for n in range(1, 4)]
        self.assertEqual(self.faults("\n".join(lines)), ["main.yaml:3:29: nested more than 50 levels deep"])

    def test_depth_in_other_formats(self) -> None:
        for name, content in (
            ("deep.toml", "a = " + "[" * 60 + "]" * 60),
            ("deep.toml", ".".join("a" * 60) + " = 1"),
            ("deep.json", '{"a":' * 60 + "1" + "}" * 60),
        ):
            with self.subTest(content[:20]):
                self.write(name, content)
                (fault,) = self.faults(f"shaping: {{files: [{name}]}}")
                self.assertRegex(fault, rf"^{name}:1:[0-9]+: nested more than 50 levels deep$")

    def test_endless_depth_in_other_formats(self) -> None:
        for name, content in (("deep.toml", "a = " + "[" * 100_000), ("deep.json", "[" * 100_000)):
            with self.subTest(name):
                self.write(name, content)
                (fault,) = self.faults(f"shaping: {{files: [{name}]}}")
                self.assertRegex(fault, rf"^{name}:1:[0-9]+: (not (TOML|JSON): |nested more than 50 levels deep)")

    def test_numbers_of_thousands_of_digits(self) -> None:
        digits = "9" * 5000
        self.write("many.toml", f"[default]\nmax_ready = {digits}\n")
        self.write("many.json", f'{{"default": {{"max_ready": {digits}}}}}')
        self.assertEqual(self.faults("shaping: {files: [many.toml]}"), ["many.toml:1:1: not TOML: a number of thousands of digits"])
        (fault,) = self.faults("shaping: {files: [many.json]}")
        self.assertRegex(fault, r'^many.json:1:27: max_ready: "9{57}\.\.\." is not a number, expected a whole number, 1 or more$')


class CertificateFaultTests(ConfigTestCase):
    """Certificates and keys that would fail a session at its STARTTLS."""

    def setUp(self) -> None:
        super().setUp()
        certificate, key = certificate_and_key("mx.example.com")
        self.write("cert.pem", certificate)
        self.write("key.pem", key)

    def listener(self, *lines: str) -> str:
        return "esmtp_listeners:\n  - listen: 127.0.0.1:0\n" + "".join(f"    {line}\n" for line in lines)

    def test_a_pair_that_fits_is_no_fault(self) -> None:
        config = self.read(self.listener("tls_certificate: cert.pem", "tls_private_key: key.pem"))
        self.assertEqual(config.esmtp_listeners[0].tls_certificate, str(self.directory.absolute() / "cert.pem"))
        self.assertEqual(config.esmtp_listeners[0].tls_private_key, str(self.directory.absolute() / "key.pem"))

    def test_one_without_the_other(self) -> None:
        for line, other in (("tls_certificate: cert.pem", "tls_private_key"), ("tls_private_key: key.pem", "tls_certificate")):
            name = line.partition(":")[0]
            with self.subTest(name):
                self.assertEqual(
                    self.faults(self.listener(line)), [f"main.yaml:3:5: {name} without {other}, expected both or neither"]
                )

    def test_a_key_that_is_not_the_certificates(self) -> None:
        _, other = certificate_and_key("mx.example.com")
        self.write("other.pem", other)
        self.assertEqual(
            self.faults(self.listener("tls_certificate: cert.pem", "tls_private_key: other.pem")),
            ["main.yaml:4:22: tls_private_key: not the key of the certificate in tls_certificate"],
        )

    def test_files_that_hold_something_else(self) -> None:
        _, encrypted = certificate_and_key("mx.example.com", passphrase=b"secret")
        self.write("encrypted.pem", encrypted)
        self.write("broken.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        for certificate, key, expected in (
            ("key.pem", "key.pem", ['main.yaml:3:22: tls_certificate: "key.pem" holds no certificate in PEM form']),
            ("broken.pem", "key.pem", ['main.yaml:3:22: tls_certificate: "broken.pem" holds no certificate in PEM form']),
            ("cert.pem", "cert.pem", ['main.yaml:4:22: tls_private_key: "cert.pem" holds no private key in PEM form']),
            ("cert.pem", "encrypted.pem", ['main.yaml:4:22: tls_private_key: the key in "encrypted.pem" is encrypted']),
            (
                "a.pem",
                "b.pem",
                [
                    'main.yaml:3:22: tls_certificate: "a.pem" cannot be read: No such file or directory',
                    'main.yaml:4:22: tls_private_key: "b.pem" cannot be read: No such file or directory',
                ],
            ),
        ):
            with self.subTest(certificate=certificate, key=key):
                lines = (f"tls_certificate: {certificate}", f"tls_private_key: {key}")
                self.assertEqual(self.faults(self.listener(*lines)), expected)

    def test_authorities(self) -> None:
        self.assertEqual(self.read("tls: {ca_file: cert.pem}").tls.ca_file, str(self.directory.absolute() / "cert.pem"))
        self.assertEqual(
            self.faults("tls: {ca_file: key.pem}"), ['main.yaml:1:16: ca_file: "key.pem" holds no certificate in PEM form']
        )
        self.assertEqual(
            self.faults("tls: {ca_file: no.pem}"),
            ['main.yaml:1:16: ca_file: "no.pem" cannot be read: No such file or directory'],
        )


class OneFaultHidesNoOtherTests(ConfigTestCase):
    """What depends on something faulty is not blamed for it."""

    def test_a_faulty_file_of_sources_does_not_make_its_pools_absent(self) -> None:
        (fault,) = self.faults(
            "egress: {files: [a.toml], pool: {mine: {ip-1: {}}}}\nqueues: {tenant: {house: {egress_pool: theirs}}}\n",
            a_toml="[source",
        )
        self.assertRegex(fault, "^a.toml:1:8: not TOML: ")

    def test_a_faulty_interval_is_not_compared(self) -> None:
        self.assertEqual(
            self.faults("queues: {queue: {a.example: {retry_interval: x, max_retry_interval: 60}}}"),
            [
                'main.yaml:1:46: retry_interval: "x" is not a duration, expected at least 1s: a number of seconds, '
                'or a text such as "5 minutes" or "1d 2h"'
            ],
        )

    def test_what_an_alias_repeats_is_said_once(self) -> None:
        self.assertEqual(
            self.faults("queues:\n  queue:\n    a.example: &a {max_age: x}\n    b.example: *a\n    c.example: *a\n"),
            [
                'main.yaml:3:29: max_age: "x" is not a duration, expected a number of seconds, '
                'or a text such as "5 minutes" or "1d 2h"'
            ],
        )

    def test_faults_of_all_files_come_together_the_files_in_the_order_of_reading(self) -> None:
        said = self.faults(
            "egress: {files: [b.toml, a.yaml]}\nhostname: a b\n",
            a_yaml="source: {ip-1: {source_address: here}}\n",
            b_toml='[source.ip-1]\nsource_address = "there"\n',
        )
        self.assertEqual([line.split(" ")[0] for line in said], ["main.yaml:2:11:", "b.toml:2:18:", "a.yaml:1:33:"])

    def test_a_message_stays_on_its_line(self) -> None:
        (fault,) = self.faults('hostname: "a\\nb\\u2028c\\x9b"\n')
        self.assertEqual(
            fault,
            'main.yaml:1:11: hostname: "a\\nb\\u2028c\\x9b" is not a domain name, expected a name such as mx.example.com',
        )
