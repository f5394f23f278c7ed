"""Messages, queues, paths and the server's books in words."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.inspection_text import (
    ceiling_lines,
    config_lines,
    message_lines,
    phase_words,
    progress_mark,
    ready_lines,
    resolved_lines,
    scheduled_lines,
)
from kumotwist.cli.upkeep import audit_lines
from tests.cli.fake_api import ClientTestCase

MESSAGE: dict[str, Any] = {
    "id": "0a" * 16,
    "message": {
        "sender": "ann@a.example",
        "recipient": ["bob@b.example", "eve@b.example"],
        "meta": {"tenant": "t", "n": 1},
        "due": "2026-08-04T12:00:00.25Z",
        "num_attempts": 2,
        "scheduling": {},
    },
}
PATH: dict[str, Any] = {
    "queue_name": "ip-1->site@smtp_client",
    "egress_pool": "pool",
    "egress_source": "ip-1",
    "protocol": "smtp_client",
    "mx": {"site_name": "site", "by_preference": {"10": ["mx2"], "9": ["mx1"]}},
    "state": {
        "ready_count": 1234,
        "connection_count": 1,
        "watchdog_threshold": "1m",
        "connection_limited": {"context": "limit is 1", "since": "noon"},
        "connection_rate_throttled": None,
        "suspended": {"id": "i", "reason": "a visit", "duration": "5m"},
    },
    "path_config": {"connection_limit": 10, "skip_hosts": ["10.0.0.0/8"], "x": {"a": True, "b": None}, "none": None},
    "constraints": {
        "max_concurrent_dispatchers": {"value": 10.0, "source": {"kind": "primary"}, "display": "10"},
        "max_message_rate": {"value": 2.0, "source": {"kind": "reconnect_cycling"}, "display": "2/s"},
        "max_message_rate_declared": "100/s",
        "max_connection_rate": {"value": 1, "source": {"kind": "additional", "name": "shared"}, "display": "1/s"},
    },
    "dispatchers": [
        {
            "session_id": "s1",
            "messages_delivered": 1000,
            "messages_transfailed": 1,
            "messages_failed": 0,
            "age": "2m",
            "overall_rate_per_sec": 8.333,
            "time_in_current_phase": "50s",
            "phase": {"AccumulatingBatch": {"have": 1, "want": 5}},
            "detail": "waiting for \x1b[1mmore",
        }
    ],
    "scheduled_queue_names": ["a.example"],
    "now": "noon",
}


class MessageTests(SynchronousTestCase):
    def test_a_message_with_its_content(self) -> None:
        told = {**MESSAGE, "message": {**MESSAGE["message"], "data": "Subject: hi\r\n\r\n\x1b[2J\tx\r\n"}}
        self.assertEqual(
            message_lines(told, None),
            [
                "id:        " + "0a" * 16,
                "sender:    <ann@a.example>",
                "recipient: bob@b.example, eve@b.example",
                "due:       2026-08-04T12:00:00.25Z",
                "attempts:  2",
                "",
                "meta:",
                "  tenant: t",
                "  n:      1",
                "",
                "content:",
                "  Subject: hi",
                "  ",
                "  \\x1b[2J\tx",
            ],
        )

    def test_the_model_s_single_recipient_is_taken_too(self) -> None:
        told = {"id": "x", "message": {"sender": "", "recipient": "bob@b.example", "meta": {}}}
        self.assertEqual(message_lines(told, None)[1:], ["sender:    <>", "recipient: bob@b.example", "due:       now"])

    def test_a_scheduled_queue_with_some_of_its_messages(self) -> None:
        told = {
            "queue_name": "b.example",
            "messages": [MESSAGE],
            "num_scheduled": 1200,
            "delayed_metric": 1000,
            "queue_config": {},
            "last_changed": "noon",
            "blocked": "ReadyQueueWasFull",
            "ready": {"x": 5},
        }
        lines = scheduled_lines(told, 80, config=False)
        self.assertEqual(lines[1], "messages:     1,200")
        self.assertIn("held up by:   ReadyQueueWasFull", lines)
        self.assertIn("ready:  5 in x", lines)
        self.assertEqual(lines[-1], "and 1,199 more (--limit N, --no-limit)")
        self.assertIn("bob@b.example and 1 more", "\n".join(scheduled_lines(told, None, config=False)))
        self.assertLessEqual(max(map(len, lines)), 80)


class PathTests(SynchronousTestCase):
    def test_a_ready_queue_block_by_block(self) -> None:
        self.assertEqual(
            ready_lines(PATH, None, connections=True, config=True),
            [
                "ip-1->site@smtp_client",
                "egress pool:   pool",
                "egress source: ip-1",
                "protocol:      smtp_client",
                "watchdog:      1m",
                "site: site",
                "    9 mx1",
                "   10 mx2",
                "ready: 1,234",
                "limited: limit is 1 since noon",
                "suspended: a visit for 5m (id i)",
                "limits:",
                "  connections: 10 (primary)",
                "  messages: 2/s (reconnect cycling)",
                "  new connections: 1/s (additional: shared)",
                "  the configured 100/s cannot be reached: connections do not allow so many messages",
                "fed by 1 scheduled queue",
                "  a.example",
                "connections: 1",
                "SESSION DELIV TRANS FAIL AGE  RATE",
                "s1      1,000     1    0  2m 8.3/s STALL?",
                "  AccumulatingBatch (have 1, want 5) for 50s",
                "  waiting for \\x1b[1mmore",
                "parameters:",
                "  connection_limit = 10",
                '  skip_hosts = ["10.0.0.0/8"]',
                "  x = { a = true }",
            ],
        )

    def test_a_connection_without_progress_is_marked(self) -> None:
        table = {("10s", "1m"): "", ("45s", "1m"): "STALL?", ("1m", "1m"): "STUCK", ("?", "1m"): "", ("1s", "0s"): ""}
        self.assertEqual({pair: progress_mark(*pair) for pair in table}, table)
        self.assertEqual(phase_words("Idle"), "Idle")

    def test_a_resolved_path_whole_or_in_part(self) -> None:
        told = {**PATH, "domain": "b.example", "source": "ip-1", "queue_config": {"max_age": "1d"}, "mx": None}
        whole = resolved_lines(told, None, config=True, ceilings=True, whole=True)
        self.assertEqual(whole[:3], ["domain: b.example", "source: ip-1", "queue:  ip-1->site@smtp_client"])
        self.assertIn('  max_age = "1d"', whole)
        self.assertEqual(resolved_lines(told, None, config=False, ceilings=True, whole=False), ceiling_lines(PATH["constraints"]))
        self.assertEqual(config_lines({"a": 1}, 80), ["  a = 1"])

    def test_the_books(self) -> None:
        told = {"complete": True, "spooled": 1200, "holdings": {"ready": 2}, "stranded": [{"id": "x", "why": "nobody has it"}]}
        self.assertEqual(
            audit_lines(told, None),
            ["complete: yes", "spooled:  1,200", "", "holdings:", "  ready: 2", "", "stranded:", "ID WHY", "x  nobody has it"],
        )


class CommandTests(ClientTestCase):
    def test_what_is_asked(self) -> None:
        self.api.say("GET", "/api/admin/inspect-sched-q/v1", {})
        self.api.say("GET", "/api/admin/inspect-message/v1", MESSAGE)
        self.api.say("GET", "/api/admin/resolve-egress-path/v1", {})
        self.api.say("GET", "/api/admin/inspect-ready-q/v1", PATH)
        table = {
            "inspect-sched-q q --json": "inspect-sched-q/v1?queue_name=q&limit=5",
            "inspect-sched-q a:b@c --no-limit --want-body --json": "inspect-sched-q/v1?queue_name=a%3Ab%40c&want_body=true",
            "inspect-message x": "inspect-message/v1?id=x",
            "resolve-egress-path d s --json": "resolve-egress-path/v1?domain=d&source=s",
            "inspect-ready-q q --sched-q": "inspect-ready-q/v1?queue_name=q&include_scheduled_queues=true",
        }
        for typed, path in table.items():
            self.run_well(*typed.split())
            self.assertEqual(self.api.asked[-1][:2], ("GET", f"/api/admin/{path}"), typed)

    def test_stranded_mail_ends_an_audit_with_1(self) -> None:
        self.api.say("GET", "/api/admin/audit/v1", {"stranded_messages": 1})
        self.assertEqual(self.run_with("audit").exit_code, 1)
        self.api.say("GET", "/api/admin/audit/v1", {"stranded_messages": 0})
        self.assertEqual(self.run_with("audit").exit_code, 0)

    def test_upkeep(self) -> None:
        session = "552016f1-08e7-4e90-9da3-fd5c25acd069"
        table: dict[str, tuple[str, dict[str, str]]] = {
            "set-log-filter kumod=debug": ("set_diagnostic_log_filter/v1", {"filter": "kumod=debug"}),
            "spool-compact --name data": ("spool-compact/v1", {"name": "data"}),
            f"abort-ready-q-conn q {session}": ("abort-ready-q-conn/v1", {"queue_name": "q", "session_id": session}),
        }
        for typed, (path, fields) in table.items():
            self.api.say("POST", f"/api/admin/{path}", b"")
            self.assertEqual(self.run_well(*typed.split()), "OK\n")
            self.assertEqual(self.api.asked[-1], ("POST", f"/api/admin/{path}", fields))

    def test_suppressions(self) -> None:
        entry = {"id": "i", "recipient": "a@b.example", "reason": "asked", "tenant": "", "duration": "89d 23h 59m"}
        for method in ("GET", "POST", "DELETE"):
            self.api.say(method, "/api/admin/suppression/v1", [entry] if method != "DELETE" else entry)
        shown = "ID RECIPIENT OR DOMAIN TENANT REMAIN  REASON\ni  a@b.example         (none) 89d 23h asked\n"
        table: dict[str, tuple[str, Any]] = {
            "suppress --recipient a --domain b --reason r --duration 1h": (
                "", {"recipients": ["a"], "domains": ["b"], "reason": "r", "duration": "1h"}),
            "suppress-list --tenant t --limit 7 --after x": ("?tenant=t&after=x&limit=7", None),
            "suppress-cancel --recipient a --tenant t": ("", {"recipient": "a", "tenant": "t"}),
        }  # fmt: skip
        for typed, (query, fields) in table.items():
            self.assertEqual(self.run_well(*typed.split()), shown)
            self.assertEqual(self.api.asked[-1][1:], (f"/api/admin/suppression/v1{query}", fields), typed)
        for typed in ("suppress --reason r", "suppress-cancel", "suppress-cancel --id x --domain y"):
            self.assertEqual(self.run_with(*typed.split()).exit_code, 2, typed)
