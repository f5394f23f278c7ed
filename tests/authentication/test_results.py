"""Authentication-Results, written and read."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.authentication.results import AuthenticationResult, BadResults, format_results, parse_results


def result(method: str, word: str, reason: str | None = None, **props: str) -> AuthenticationResult:
    return AuthenticationResult(
        method=method, result=word, reason=reason, props={name.replace("_", "."): value for name, value in props.items()}
    )


class WritingTests(SynchronousTestCase):
    def test_each_result_has_a_line(self) -> None:
        told = format_results(
            "mx.example.com", [result("dkim", "pass", header_d="example.com", header_b="AbC/+d=="), result("spf", "none")]
        )
        self.assertEqual(told, "mx.example.com;\r\n\tdkim=pass header.b=AbC/+d== header.d=example.com;\r\n\tspf=none")

    def test_nothing_found_is_said(self) -> None:
        self.assertEqual(format_results("mx.example.com", []), "mx.example.com; none")

    def test_what_strangers_wrote_ends_no_line_and_no_quotes(self) -> None:
        told = format_results("mx", [result("spf", "fail", 'go "away"\r\nX-Injected: yes\\')])
        self.assertEqual(told, 'mx;\r\n\tspf=fail reason="go \\"away\\"??X-Injected: yes\\\\"')

    def test_long_results_are_folded(self) -> None:
        told = format_results("mx", [result("spf", "pass", "x" * 60, smtp_mailfrom="a@example.com", smtp_helo="mail.example.com")])
        self.assertLessEqual(max(map(len, told.split("\r\n"))), 80)


class ReadingTests(SynchronousTestCase):
    def test_what_is_written_is_read_again(self) -> None:
        for results in (
            (),
            (result("dkim", "pass", header_d="example.com", header_b="AbC/+d=="),),
            (
                result("spf", "fail", 'a "b" \\ c; d=e', smtp_mailfrom="a@b.example"),
                result("iprev", "pass", policy_iprev="2001:db8::1"),
            ),
        ):
            self.assertEqual(parse_results(format_results("mx.example.com", results)), ("mx.example.com", results))

    def test_forms_of_others(self) -> None:
        table = {
            "example.com 1; none": ("example.com", ()),
            "example.com;\r\n  (a (nested) comment)\r\n SPF=Pass smtp.mailfrom=a@b": (
                "example.com",
                (result("spf", "pass", smtp_mailfrom="a@b"),),
            ),
            "x; dkim/1 = pass (good) header.b=ab=cd==": (
                "x",
                (AuthenticationResult(method="dkim", method_version=1, result="pass", props={"header.b": "ab=cd=="}),),
            ),
            "x; spf=fail reason=bad smtp.helo=h;": ("x", (result("spf", "fail", "bad", smtp_helo="h"),)),
        }
        for text, (server, results) in table.items():
            self.assertEqual(parse_results(text), (server, results), text)

    def test_what_is_none(self) -> None:
        for text in ("", "; none", "x; spf", "x; (comment", 'x; spf="pass', "x; =pass", "x; spf=;"):
            self.assertRaises(BadResults, parse_results, text)
