"""Orders from the command line: what is asked for, what is refused, what is shown."""

from unittest.mock import patch

import msgspec

from kumotwist.cli.criteria import Chosen, described, mail_of
from kumotwist.cli.orders import bounce_lines, ready_suspension_lines, suspension_lines
from tests.cli.fake_api import ClientTestCase

ID = "552016f1-08e7-4e90-9da3-fd5c25acd069"
METRICS = {
    "scheduled_count": {"type": "gauge", "value": {"queue": {"a.example": 1200, "t@b.example": 3, "c:t@a.example!smart": 4}}}
}


class OrderedTests(ClientTestCase):
    """What goes to the server."""

    def asked(self, *arguments: str) -> tuple[str, str, object]:
        self.run_well(*arguments)
        return self.api.asked[-1]

    def setUp(self) -> None:
        super().setUp()
        for name in ("bounce", "suspend", "suspend-ready-q"):
            self.api.say("POST", f"/api/admin/{name}/v1", {"id": ID})
            self.api.say("DELETE", f"/api/admin/{name}/v1", f"removed {ID}".encode())
        for path in ("rebind/v1", "xfer/v1", "xfer/cancel/v1"):
            self.api.say("POST", f"/api/admin/{path}", {})

    def test_every_option_becomes_its_field(self) -> None:
        table = {
            "suspend --reason r --domain a.example --tenant t --campaign c --duration 1h": (
                "suspend/v1", {"reason": "r", "duration": "1h", "domain": "a.example", "tenant": "t", "campaign": "c"}),
            "suspend --reason r --everything": ("suspend/v1", {"reason": "r"}),
            "suspend --reason r --queue a --queue b": ("suspend/v1", {"reason": "r", "queue_names": ["a", "b"]}),
            "suspend-ready-q --reason r --name s->x@smtp_client": (
                "suspend-ready-q/v1", {"reason": "r", "name": "s->x@smtp_client"}),
            "bounce --reason r --routing-domain a --suppress-logging --yes": (
                "bounce/v1", {"reason": "r", "suppress_logging": True, "routing_domain": "a"}),
            "rebind --reason r --tenant t --data {\"a\":\"b\"} --set queue=x=y --always-flush -y": (
                "rebind/v1", {"reason": "r", "data": {"a": "b", "queue": "x=y"}, "tenant": "t", "always_flush": True}),
            "rebind --reason r --everything --trigger-rebind-event --suppress-logging -y": (
                "rebind/v1", {"reason": "r", "data": {}, "trigger_rebind_event": True, "suppress_logging": True}),
            "xfer --reason r --target http://b --queue q -y": (
                "xfer/v1", {"target": "http://b", "reason": "r", "queue_names": ["q"]}),
            "xfer-cancel --reason r q": ("xfer/cancel/v1", {"queue_name": "q", "reason": "r"}),
        }  # fmt: skip
        for typed, (path, fields) in table.items():
            self.assertEqual(self.asked(*typed.split()), ("POST", f"/api/admin/{path}", fields), typed)

    def test_an_order_prints_its_id_or_the_answer_as_it_is(self) -> None:
        self.assertEqual(self.run_well("suspend", "--reason", "r", "--everything"), f"{ID}\n")
        self.assertEqual(msgspec.json.decode(self.run_well("suspend", "--reason", "r", "--everything", "--json")), {"id": ID})

    def test_a_cancellation_names_the_id_and_prints_the_server_s_words(self) -> None:
        for name in ("bounce", "suspend", "suspend-ready-q"):
            self.assertEqual(self.run_well(f"{name}-cancel", "--id", ID), f"removed {ID}\n")
            self.assertEqual(self.api.asked[-1], ("DELETE", f"/api/admin/{name}/v1", {"id": ID}))

    def test_commands_that_leave_doubt_are_usage_errors_and_nothing_is_sent(self) -> None:
        table = {
            "bounce --reason r --yes": "which queues?",
            "suspend --reason r": "which queues?",
            "rebind --reason r --set a=b -y": "which queues?",
            "xfer --reason r --target http://b -y": "which queues?",
            "bounce --reason r --everything --domain a -y": "--everything",
            "bounce --reason r --queue q --domain a -y": "--queue",
            "bounce --domain a -y": "--reason",
            "bounce --reason r --domain a": "add --yes",
            "suspend --reason r --domain a --duration soon": "expected a duration",
            "rebind --reason r --domain a -y": "what is to change?",
            "rebind --reason r --domain a --set a -y": "NAME=VALUE",
            "rebind --reason r --domain a --data [] -y": "--data",
            "suspend-cancel --id 7": "--id",
        }
        for typed, words in table.items():
            result = self.run_with(*typed.split())
            self.assertEqual((result.exit_code, words in result.stderr), (2, True), f"{typed}: {result.stderr}")
        self.assertEqual(self.api.asked, [])


class ConfirmationTests(ClientTestCase):
    """Before something that cannot be taken back, the user sees how much it is."""

    def asked(self, answer: str, *arguments: str) -> tuple[int, str]:
        self.api.say("POST", "/api/admin/bounce/v1", {"id": ID})
        with patch("kumotwist.cli.criteria.sys") as system:
            system.stdin.isatty.return_value = True
            result = self.run_with("bounce", "--reason", "r", *arguments, typed=answer)
        return result.exit_code, result.stderr

    def test_the_count_is_of_what_the_criteria_fit(self) -> None:
        self.api.say("GET", "/metrics.json", METRICS)
        code, said = self.asked("y\n", "--domain", "a.example")
        self.assertEqual((code, "domain=a.example: 1,204 messages in 2 scheduled queues.  Go on?" in said), (0, True), said)
        self.assertEqual([path for _, path, _ in self.api.asked], ["/metrics.json", "/api/admin/bounce/v1"])

    def test_no_means_that_nothing_is_done(self) -> None:
        self.api.say("GET", "/metrics.json", METRICS)
        code, said = self.asked("n\n", "--everything")
        self.assertEqual((code, "nothing was done" in said), (1, True))
        self.assertEqual([path for _, path, _ in self.api.asked], ["/metrics.json"])

    def test_without_metrics_the_question_is_asked_all_the_same(self) -> None:
        code, said = self.asked("y\n", "--everything")
        self.assertEqual((code, "the server does not say" in said), (0, True))

    def test_what_fits(self) -> None:
        scheduled = {"a.example": 2.0, "t@a.example": 3.0, "c:t@b.example!a.example": 5.0, "empty.example": 0.0}
        table: list[tuple[Chosen, tuple[int, int]]] = [
            (Chosen({}), (10, 3)),
            (Chosen({"domain": "a.example"}), (5, 2)),
            (Chosen({"domain": "a.example", "tenant": "t"}), (3, 1)),
            (Chosen({"campaign": "c"}), (5, 1)),
            (Chosen({"routing_domain": "a.example"}), (5, 1)),
            (Chosen({}, ("a.example", "nowhere")), (2, 1)),
        ]
        for chosen, amount in table:
            self.assertEqual(mail_of(chosen, scheduled), amount, str(chosen))


class ListTests(ClientTestCase):
    ORDER = {"id": ID, "reason": "a block", "duration": "4m 3s", "domain": "a.example", "tenant": "t"}
    BOUNCE = {**ORDER, "bounced": {"a.example": 1200}, "total_bounced": 1200}

    def test_tables_fit_the_terminal(self) -> None:
        bounces = [self.BOUNCE, {**self.BOUNCE, "reason": "because " * 30}]
        for lines in (
            bounce_lines(bounces, 80),
            suspension_lines(bounces, 80),
            ready_suspension_lines([{**self.ORDER, "name": "x" * 99}], 80),
        ):
            self.assertLessEqual(max(map(len, lines)), 80)
            self.assertEqual(lines[0].split()[0], "ID")
        self.assertEqual(
            bounce_lines(bounces[:1], None),
            [
                "ID                                   REASON  REMAIN BOUNCED CRITERIA",
                f"{ID} a block 4m 3s    1,200 domain=a.example, tenant=t",
            ],
        )

    def test_criteria_in_words(self) -> None:
        self.assertEqual(described({}), "everything")
        self.assertEqual(described({"queue_names": ["a", "b"]}), "a, b")

    def test_json_is_the_api_s_answer_octet_by_octet(self) -> None:
        for name in ("bounce", "suspend", "suspend-ready-q"):
            self.api.say("GET", f"/api/admin/{name}/v1", b'[ {"id":"x"} ]')
            self.assertEqual(self.run_well(f"{name}-list", "--json"), '[ {"id":"x"} ]\n')

    def test_what_comes_from_outside_does_not_steer_the_terminal(self) -> None:
        line = suspension_lines([{**self.ORDER, "reason": "\x1b[2Jgone"}], None)[1]
        self.assertIn("\\x1b[2Jgone", line)
