"""How commands find their server, and what they say when it is not there or refuses."""

import socket
import ssl
from http.client import BadStatusLine
from pathlib import Path

import click
from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.api import Credentials, absence, refusal, split_endpoint
from kumotwist.cli.asking import find_credentials
from kumotwist.cli.main import main
from tests.cli.fake_api import ClientTestCase

LIST = "/api/admin/suspend/v1"


def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


class EndpointTests(ClientTestCase):
    def test_the_option_wins_over_the_environment_wherever_it_stands(self) -> None:
        self.api.say("GET", LIST, [])
        for arguments in (
            ("suspend-list", "--endpoint", self.api.endpoint),
            ("--endpoint", self.api.endpoint + "/", "suspend-list"),
        ):
            result = self.run_with(*arguments, env={"KUMOTWIST_ENDPOINT": nobody()})
            self.assertEqual(result.exit_code, 0, result.output)

    def test_an_endpoint_may_have_a_path(self) -> None:
        self.api.say("GET", f"/mta{LIST}", [])
        self.run_well("suspend-list", "--endpoint", f"{self.api.endpoint}/mta/")

    def test_addresses_that_are_none_are_usage_errors(self) -> None:
        for endpoint in ("127.0.0.1:8000", "ftp://a.example", "http://", "http://a:b", "http://a?b", "http://ann:secret@a.example"):
            fault = self.assertRaises(click.UsageError, split_endpoint, endpoint)
            self.assertNotIn("secret", fault.message)
        result = self.run_with("suspend-list", "--endpoint", "localhost")
        self.assertEqual((result.exit_code, "expected an address such as" in result.stderr), (2, True))


class NotThereTests(ClientTestCase):
    def test_no_server_ends_with_3_and_says_what_to_do(self) -> None:
        endpoint = nobody()
        result = self.run_with("suspend-list", "--endpoint", endpoint)
        self.assertEqual((result.exit_code, result.stdout), (3, ""))
        for words in (
            f"nobody answers at {endpoint}: Connection refused",
            "http_listeners",
            "--endpoint URL",
            "$KUMOTWIST_ENDPOINT",
        ):
            self.assertIn(words, result.stderr)

    def test_each_way_of_not_being_there_has_its_advice(self) -> None:
        table: list[tuple[Exception, str]] = [
            (TimeoutError("timed out"), "does not answer in time"),
            (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong"), "Is it http://"),
            (BadStatusLine("\x15\x03"), "Is it https://"),
            (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
            (ssl.SSLCertVerificationError("x"), "--ca-file"),
        ]
        for fault, advice in table:
            if isinstance(fault, ssl.SSLCertVerificationError):
                fault.verify_message = "self-signed certificate"
            self.assertIn(advice, absence("http://a.example", fault))

    def test_tls_to_a_port_without_it_is_told(self) -> None:
        result = self.run_with("suspend-list", "--endpoint", self.api.endpoint.replace("http:", "https:"))
        self.assertEqual((result.exit_code, "Is it http:// rather than https://?" in result.stderr), (3, True), result.stderr)

    def test_a_certificate_file_that_is_none_is_a_usage_error(self) -> None:
        result = self.run_with("suspend-list", "--endpoint", "https://127.0.0.1:1", "--ca-file", "nowhere.pem")
        self.assertEqual((result.exit_code, "--ca-file nowhere.pem" in result.stderr), (2, True))


class RefusalTests(ClientTestCase):
    def test_a_refusal_ends_with_1_and_the_server_s_words(self) -> None:
        self.api.say("GET", LIST, {"error": "internal error; the log says more"}, 500)
        result = self.run_with("suspend-list")
        self.assertEqual((result.exit_code, result.stderr), (1, "Error: refused (500): internal error; the log says more\n"))

    def test_plain_text_is_taken_too(self) -> None:
        self.assertEqual(refusal(422, b"Error: duration: no\n", "/x", None), "refused (422): duration: no")
        self.assertEqual(refusal(502, b"", "/x", None), "refused (502): HTTP status 502")

    def test_a_server_without_the_path_is_told(self) -> None:
        result = self.run_with("suspend-list")
        self.assertEqual((result.exit_code, f"This server has no {LIST}" in result.stderr), (1, True))

    def test_what_is_not_allowed_says_how_to_say_who_one_is(self) -> None:
        self.api.say("GET", LIST, {"error": "denied"}, 401)
        self.assertIn("KUMOTWIST_PASSWORD", self.run_with("suspend-list").stderr)
        result = self.run_with("suspend-list", env={"KUMOTWIST_USER": "ann", "KUMOTWIST_PASSWORD": "pass:word"})
        self.assertIn("'ann'", result.stderr)
        self.assertNotIn("pass:word", result.output)
        self.assertEqual(self.api.fields["authorization"], "Basic YW5uOnBhc3M6d29yZA==")


class CredentialTests(SynchronousTestCase):
    def test_a_file_holds_a_user_and_a_password(self) -> None:
        file = Path(self.mktemp())
        file.write_text("ann:pass:word\nmore\n")
        found = find_credentials(str(file))
        self.assertEqual(found, Credentials("ann", "pass:word"))
        self.assertNotIn("pass:word", repr(found))

    def test_a_file_without_them_is_a_usage_error_that_shows_nothing(self) -> None:
        file = Path(self.mktemp())
        file.write_text("topsecret\n")
        self.assertNotIn("topsecret", self.assertRaises(click.UsageError, find_credentials, str(file)).message)
        self.assertRaises(click.UsageError, find_credentials, "nowhere")


class HelpTests(SynchronousTestCase):
    def test_the_man_page_has_every_command_and_the_exit_statuses(self) -> None:
        result = CliRunner().invoke(main, ["man"])
        self.assertEqual(result.exit_code, 0)
        for words in (
            ".SS suspend [OPTIONS]",
            ".SS abort\\-ready\\-q\\-conn",
            "KUMOTWIST_ENDPOINT",
            ".SH EXIT STATUS",
            "\\-\\-ca\\-file FILE",
        ):
            self.assertIn(words, result.output)

    def test_every_shell_gets_a_script(self) -> None:
        for shell in ("zsh", "fish", "bash"):
            result = CliRunner().invoke(main, ["completion", shell])
            self.assertEqual((result.exit_code, "_KUMOTWIST_COMPLETE" in result.stdout), (0, True), shell)

    def test_a_shell_is_told_commands_and_options(self) -> None:
        for typed, words in (("kumotwist susp", "suspend-ready-q-list"), ("kumotwist suspend --te", "--tenant")):
            env = {"_KUMOTWIST_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
            self.assertIn(words, CliRunner().invoke(main, [], env=env, prog_name="kumotwist").output)
