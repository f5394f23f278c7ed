"""The guide docs/policy.md and the example conf/policy.py: what they show works, and the events are all told."""

import re
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from kumotwist import kumo
from kumotwist.hooks.connection import ConnMeta
from kumotwist.hooks.initial import run_init
from kumotwist.hooks.loading import load_policy
from kumotwist.hooks.message import message_of
from kumotwist.hooks.points import POINTS, Answer
from kumotwist.hooks.policy import Policy
from kumotwist.mail.address import parse_mailbox
from kumotwist.mail.reply import Refusal
from tests.hooks.around import Answers, PolicyCase

PROJECT = Path(__file__).resolve().parent.parent.parent
GUIDE = (PROJECT / "docs" / "policy.md").read_text(encoding="utf-8")
SNIPPETS = {title: text for _, title, text in re.findall(r"^```(python|toml) (\S+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)}


class GuideCase(PolicyCase):
    """Policies from the guide."""

    def setUp(self) -> None:
        super().setUp()
        for title, text in SNIPPETS.items():
            (self.place / title).write_text(text, encoding="utf-8")

    def shown(self, title: str) -> Policy:
        return load_policy([self.place / title], self.clock, self.services)

    def refusal(self, policy: Policy, event: str, *arguments: Any) -> str:
        with self.assertRaises(Refusal) as caught:
            policy.each(event, *arguments)
        return caught.exception.reply.single_line


class SnippetTests(GuideCase):
    """Each snippet loads, and does what the text around it says."""

    def test_every_snippet_loads_and_has_a_test_here(self) -> None:
        tested = set(re.findall(r'self\.shown\("(\S+)"\)', Path(__file__).read_text(encoding="utf-8")))
        for title in SNIPPETS:
            if title.endswith(".py"):
                self.assertTrue(self.shown(title).services)
                self.assertIn(title, tested)
        self.assertGreater(len(SNIPPETS), 15)
        self.assertEqual(GUIDE.count("\n```python"), sum(title.endswith(".py") for title in SNIPPETS))

    def test_first(self) -> None:
        message = self.message()
        self.shown("first.py").each("smtp_server_message_received", message, ConnMeta({}))
        self.assertEqual(message.queue_name, "example@example.org")

    def test_the_mistake_that_is_shown(self) -> None:
        fault = re.search(r"^policy\.py:4: (.*)$", GUIDE, re.MULTILINE)
        assert fault is not None
        (said,) = self.faults('@kumo.on("smtp_server_message_recieved")\ndef received(msg): ...')
        self.assertEqual(said, f"policy.py:2: {fault[1]}")

    def test_refuse(self) -> None:
        policy = self.shown("refuse.py")
        spammer = parse_mailbox("a@spam.example")
        self.assertEqual(self.refusal(policy, "smtp_server_mail_from", spammer, None), "550 5.7.1 not from here")
        self.assertEqual(self.refusal(policy, "smtp_server_rcpt_to", parse_mailbox("trap-1@b.example"), None), "421 4.7.0 good bye")
        self.assertIsNone(policy.each("smtp_server_rcpt_to", spammer, None))

    def test_tenant(self) -> None:
        policy = self.shown("tenant.py")
        good = self.message(b"X-Tenant: tenant-1\r\nSubject: a\r\n\r\nbody\r\n", sender="a@tenant-1.net")
        policy.each("smtp_server_message_received", good, None)
        self.assertEqual((good.get_meta("tenant"), good.get_data()), ("tenant-1", b"Subject: a\r\n\r\nbody\r\n"))
        foreign = self.message(b"X-Tenant: tenant-0\r\n\r\n", sender="a@tenant-1.net")
        said = self.refusal(policy, "smtp_server_message_received", foreign, None)
        self.assertEqual(said, "500 5.7.1 tenant-0 does not send for tenant-1.net")
        self.assertIn("missing X-Tenant", self.refusal(policy, "smtp_server_message_received", self.message(), None))

    def test_queues(self) -> None:
        policy = self.shown("queues.py")
        found = policy.first("get_queue_config", "example.org", "tenant-1", "password-reset", None)
        self.assertEqual((found.egress_pool, found.max_age, found.retry_interval), ("pool-1", 86400.0, 600.0))
        found = policy.first("get_queue_config", "example.org", None, None, None)
        self.assertEqual((found.egress_pool, found.max_age), ("my-fallback-pool-name", 5 * 86400.0))
        with self.assertRaisesRegex(ValueError, 'make_queue_config: max_age: unknown unit "dayz" '):
            kumo.make_queue_config(max_age="3 dayz")

    def test_tables(self) -> None:
        policy = self.shown("tables.py")
        self.assertEqual(policy.first("get_queue_config", "example.org", "tenant-1", None, None).egress_pool, "pool-1")
        self.assertIsNone(policy.first("get_queue_config", "example.org", "other", None, None))
        self.assertIn(str(self.place / "tenants.toml"), self.services.files)

    def test_database(self) -> None:
        import sqlite3

        policy = self.shown("database.py")
        module = policy.handlers("get_queue_config")[0].call.__globals__
        with sqlite3.connect(self.place / "tenants.sqlite") as database:
            database.execute("CREATE TABLE tenant (name TEXT, pool TEXT)")
            database.execute("INSERT INTO tenant VALUES ('tenant-0', 'pool-0')")
        connect = sqlite3.connect
        self.patch(sqlite3, "connect", lambda _: connect(self.place / "tenants.sqlite"))
        asked: list[str] = []

        def at_once(function: Any, *arguments: Any) -> "Deferred[Any]":
            asked.append(*arguments)
            done: Deferred[Any] = Deferred()
            done.callback(function(*arguments))
            return done

        module["deferToThread"] = at_once
        for _ in range(2):
            self.assertEqual(policy.first("get_queue_config", "example.org", "tenant-0", None, None).egress_pool, "pool-0")
        self.assertIsNone(policy.first("get_queue_config", "example.org", "other", None, None).egress_pool)
        self.assertEqual(asked, ["tenant-0", "other"])

    def test_routing(self) -> None:
        policy = self.shown("routing.py")
        queues = []
        for recipient in ("a@example.com", "a@test.invalid", "a@other.example"):
            message = self.message()
            message.set_recipient(recipient)
            policy.each("smtp_server_message_received", message, None)
            queues.append(message.queue_name)
        self.assertEqual(queues, ["example.com!my.smarthost.com", "null", "other.example"])
        hosts = policy.first("get_queue_config", "internal.example.com", None, None, None).mx_list
        self.assertEqual(
            [(host.name, host.addr, host.port) for host in hosts][1:],
            [("mx.example.com", "10.0.0.1", None), ("10.0.0.2", "10.0.0.2", 2025)],
        )

    def test_sources(self) -> None:
        policy = self.shown("sources.py")
        self.assertEqual(policy.first("get_egress_source", "ip-3").source_address, "2001:db8::3")
        self.assertEqual(
            [(one.name, one.weight) for one in policy.first("get_egress_pool", "warm").entries], [("ip-1", 2), ("ip-2", 1)]
        )
        self.assertEqual((policy.first("get_egress_source", "x"), policy.first("get_egress_pool", "x")), (None, None))

    def test_sites(self) -> None:
        self.resolver = Answers({"gmail.com": (("gmail-smtp-in.l.google.com",),)})
        self.services = self.new_services(1)
        policy = self.shown("sites.py")
        site = "gmail-smtp-in.l.google.com"
        limits = [
            policy.first("get_egress_path_config", "x.example", source, site).connection_limit.limit for source in ("ip-1", "ip-2")
        ]
        self.assertEqual(limits, [20, 5])
        self.assertIsNone(policy.first("get_egress_path_config", "x.example", "ip-1", "mx.x.example"))

    def test_virtual_hosts(self) -> None:
        answer = self.shown("virtual_hosts.py").first("smtp_server_get_dynamic_parameters", "0.0.0.0:25", ConnMeta({}))
        self.assertEqual(answer["via"]["10.0.0.1"], {"hostname": "mx.example-customer.com"})

    def test_login(self) -> None:
        policy = self.shown("login.py")
        answers = [
            policy.first("smtp_server_auth_plain", *of, None)
            for of in (("joe", "joe", "secret"), ("joe", "joe", "x"), ("x", "x", "x"), ("root", "joe", "secret"))
        ]
        self.assertEqual(answers, [True, False, False, False])
        meta = ConnMeta({"authz_id": "joe"})
        self.assertTrue(policy.first("get_listener_domain", "example.org", "127.0.0.1:25", meta).relay_to)
        self.assertIsNone(policy.first("get_listener_domain", "example.org", "127.0.0.1:25", ConnMeta({})))

    def test_message(self) -> None:
        policy = self.shown("message.py")
        message = self.message(b"Subject: a\r\nX-Campaign: summer\r\nX-Other: b\r\n\r\nbody\r\n")
        policy.each("smtp_server_message_received", message, ConnMeta({"received_from": "192.0.2.1:1234"}))
        self.assertEqual(message.get_meta("campaign"), "summer")
        self.assertEqual(message.get_first_named_header_value("X-Note"), "Grüße aus Wien")
        self.assertEqual([name for name, _ in message.get_all_headers()], ["X-Origin", "Date", "Message-ID", "Subject", "X-Note"])
        self.assertTrue(message.get_data().endswith(b"\r\n\r\nbody\r\n-- \r\nsent by example.com\r\n"))
        bad = self.message(b"Subject\r\n\r\nbody\r\n")
        said = self.refusal(policy, "smtp_server_message_received", bad, ConnMeta({}))
        self.assertEqual(said, "552 5.6.0 Message has conformance issues: MISSING_COLON_VALUE")

    def test_schedule(self) -> None:
        policy = self.shown("schedule.py")
        message = self.message()
        policy.each("smtp_server_message_received", message, None)
        schedule = message_of(message).schedule
        assert schedule is not None
        assert schedule.window is not None
        self.assertEqual(schedule.window.days, (0, 1, 2, 3, 4))
        bad = self.message(b"X-Schedule: soon\r\n\r\n")
        self.assertTrue(self.refusal(policy, "smtp_server_message_received", bad, None).startswith("554 5.6.0 "))
        for _ in range(3):
            message.increment_num_attempts()
        policy.each("requeue_message", message, "451 later", [], True, None)
        self.assertEqual(message.queue_name, "example.org!fallback.example.com")

    def test_throttle(self) -> None:
        policy = self.shown("throttle.py")
        message = self.message(tenant="t")
        for _ in range(10_000):
            policy.each("throttle_insert_ready_queue", message)
        self.assertEqual(message_of(message).due, 0.0)
        policy.each("throttle_insert_ready_queue", message)
        self.assertGreater(message_of(message).due, self.clock.seconds())

    def test_notify(self) -> None:
        policy = self.shown("notify.py")
        message = self.message()
        message.set_recipient("abuse@example.com")
        self.assertIsNone(policy.each("smtp_server_message_received", message, None))
        self.assertEqual([one.queue for one in self.injected], ["internal@example.com"])

    def test_listeners(self) -> None:
        found = self.successResultOf(run_init(self.shown("listeners.py")))
        self.assertEqual([one.listen for one in found.esmtp_listeners], ["127.0.0.1:2525", "127.0.0.2:2525", "127.0.0.3:2525"])
        self.assertEqual(found.logs, {"headers": ("Subject",), "max_segment_duration": 60.0})


class TableTests(GuideCase):
    """What the guide lists is all there is."""

    def test_every_event_is_told_with_its_arguments(self) -> None:
        _, _, table = GUIDE.partition("## All events")
        told = {}
        for event, arguments, answer in re.findall(
            r"^\| `(\w+)` \| ([^|]*) \| ([^|]*) \|$", table.replace("| |", "|  |").replace("| |", "|  |"), re.MULTILINE
        ):
            told[event] = (tuple(re.findall(r"`(\w+)`", arguments)), bool(answer.strip()))
        self.assertEqual(told, {name: (point.arguments, point.answer is Answer.FIRST) for name, point in POINTS.items()})

    def test_every_method_of_a_message_is_told(self) -> None:
        methods = {name for name in vars(kumo.Message) if not name.startswith("_")}
        told = set(re.findall(r"`(\w+)`", GUIDE))
        self.assertEqual(methods - told, set())

    def test_every_function_is_told(self) -> None:
        functions = {name for name in kumo.__all__ if name[0].islower()}
        self.assertEqual({name for name in functions if f"kumo.{name}" not in GUIDE and f"`{name}`" not in GUIDE}, set())


class ExampleTests(PolicyCase):
    """conf/policy.py."""

    def setUp(self) -> None:
        super().setUp()
        self.policy = load_policy([PROJECT / "conf" / "policy.py"], self.clock, self.services)

    def test_it_leaves_all_else_as_it_is(self) -> None:
        message = self.message()
        self.assertIsNone(self.policy.each("smtp_server_message_received", message, ConnMeta({})))
        self.assertEqual(message.queue_name, "example.org")
        for event, arguments in (
            ("get_queue_config", ("example.org", None, None, None)),
            ("get_egress_source", ("ip-1",)),
            ("get_listener_domain", ("example.org", "127.0.0.1:25", ConnMeta({}))),
        ):
            self.assertIsNone(self.policy.first(event, *arguments), event)

    def test_it_knows_its_tenants(self) -> None:
        message = self.message(b"X-Tenant: tenant-id-2\r\n\r\n")
        self.policy.each("smtp_server_message_received", message, ConnMeta({}))
        self.assertEqual(message.queue_name, "tenant-id-2@example.org")
        self.assertEqual(self.policy.first("get_queue_config", "example.org", "tenant-id-2", None, None).egress_pool, "pool-1")
        with self.assertRaises(Refusal):
            self.policy.each("smtp_server_message_received", self.message(b"X-Tenant: x\r\n\r\n"), ConnMeta({}))
