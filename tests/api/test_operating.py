"""What operators order over HTTP, seen on real mail: a server, a sink, SMTP in between."""

import time
from typing import Any

import requests

from tests.api.operated import OperatedCase
from tests.peers.evidence import of_type
from tests.peers.support import wait_until

SLOW = 'domains: {slow.example: {delay: "20 s"}}'


class OrdersTests(OperatedCase):
    def test_suspended_mail_waits_and_leaves_when_released_or_when_its_time_is_over(self) -> None:
        server, sink = self.with_sink()
        long = server.post("suspend/v1", reason="too  many\ncomplaints", tenant="acme", duration="1h 30m")["id"]
        server.post("suspend/v1", reason="a moment", domain="moment.example", duration=3)
        until = "2099-01-01T00:00:00Z"
        ready = f"unspecified->mx_list:[{sink.host}]:{sink.port}@smtp_client"
        self.assertEqual(
            {(one["reason"], one.get("tenant"), one.get("domain")) for one in server.get("suspend/v1")},
            {("too many complaints", "acme", None), ("a moment", None, "moment.example")},
        )
        held, moment = server.send("a@held.example", tenant="acme"), server.send("b@moment.example")
        server.send("c@free.example")
        self.assertEqual(sink.wait_for(2)[0]["recipients"], ["c@free.example"])
        self.assertEqual(sink.accepted()[1]["recipients"], ["b@moment.example"])
        self.assertIn(held, server.get("inspect-sched-q/v1", queue_name="acme@held.example")["messages"][0]["id"])
        self.assertEqual(server.get("inspect-sched-q/v1", queue_name="acme@held.example")["blocked"], "ScheduledQueueWasSuspended")
        paused = server.post("suspend-ready-q/v1", name=ready, reason="pause", expires=until)["id"]
        (entry,) = server.get("suspend-ready-q/v1")
        self.assertEqual((entry["id"], entry["name"], entry["expires"]), (paused, ready, "2099-01-01T00:00:00.000000Z"))
        self.assertIn("removed", server.delete("suspend/v1", id=long))
        server.delete("suspend/v1", 404, id=long)
        wait_until(
            lambda: server.get("inspect-sched-q/v1", queue_name="acme@held.example")["blocked"] == "ReadyQueueWasSuspended",
            "it waits for the ready queue",
        )
        self.assertEqual(sink.count(), 2)
        server.delete("suspend-ready-q/v1", id=paused)
        self.assertEqual(sink.wait_for(3)[2]["recipients"], ["a@held.example"])
        server.stop()
        told = [(one["id"], one["response"]["content"]) for one in of_type(server.records(), "Delayed")]
        self.assertTrue([one for one, text in told if one == held and "too many complaints" in text], told)
        self.assertTrue([one for one, text in told if one == moment and "a moment" in text], told)
        self.assertEqual(of_type(server.records(), "TransientFailure"), [])

    def test_bounced_mail_gets_its_adminbounce_and_so_does_what_comes(self) -> None:
        server, sink = self.with_sink()
        server.post("suspend/v1", reason="wait", domain="gone.example")
        first = server.send("a@gone.example")
        order = server.post("bounce/v1", reason="we do not\r\nwant it", domain="gone.example", duration="10m")
        self.assertEqual((order["bounced"], order["total_bounced"]), ({}, 0))
        second = server.send("b@gone.example")
        server.send("c@free.example")
        sink.wait_for(1)
        wait_until(lambda: server.get("bounce/v1")[0]["total_bounced"] == 2, "both are bounced")
        self.assertEqual(server.get("bounce/v1")[0]["bounced"], {"gone.example": 2})
        server.delete("bounce/v1", id=order["id"])
        server.delete("suspend/v1", id=server.get("suspend/v1")[0]["id"])
        server.send("d@gone.example")
        sink.wait_for(2)
        server.stop()
        bounced = of_type(server.records(), "AdminBounce")
        self.assertEqual({one["id"] for one in bounced}, {first, second})
        self.assertEqual(
            {(one["response"]["code"], one["response"]["content"]) for one in bounced},
            {(551, "Administrator bounced with reason: we do not want it")},
        )

    def test_rebind_moves_mail_that_waits_and_flushes_it(self) -> None:
        server, sink = self.with_sink()
        server.post("suspend/v1", reason="wait", tenant="old")
        moved = server.send("a@moved.example", tenant="old")
        wait_until(lambda: server.get("inspect-sched-q/v1", queue_name="old@moved.example")["num_scheduled"] == 1, "it waits")
        self.assertEqual(server.post("rebind/v1", reason="a new home", data={"tenant": "new"}, tenant="old"), {})
        sink.wait_for(1)
        server.stop()
        (record,) = of_type(server.records(), "AdminRebind")
        self.assertEqual((record["id"], record["queue"]), (moved, "new@moved.example"))
        self.assertIn("a new home", record["response"]["content"])
        self.assertEqual(of_type(server.records(), "Delivery")[0]["queue"], "new@moved.example")

    def test_what_is_inspected_is_what_is_there(self) -> None:
        server = self.operated('"[127.0.0.9]:9"', retry="1 h")
        message = server.send("bob@rcpt.example", tenant="acme", text="the body")
        wait_until(lambda: server.get("inspect-sched-q/v1", queue_name="acme@rcpt.example")["delayed_metric"] == 1, "it waits")
        found = server.get("inspect-message/v1", id=message, want_body="true")
        self.assertEqual(found["id"], message)
        told = found["message"]
        self.assertEqual((told["sender"], told["recipient"], told["num_attempts"]), (
            "sender@sender.example", ["bob@rcpt.example"], 1))  # fmt: skip
        self.assertIn("the body", told["data"])
        self.assertEqual(told["meta"]["tenant"], "acme")
        self.assertIsNone(server.get("inspect-message/v1", id=message)["message"]["data"])
        for unknown in ("0" * 32, "nonsense", "../../etc/passwd"):
            server.get("inspect-message/v1", 404, id=unknown)
        server.get("inspect-sched-q/v1", 404, queue_name="nothing")
        server.get("inspect-ready-q/v1", 404, queue_name="nothing")
        queue = server.get("inspect-sched-q/v1", queue_name="acme@rcpt.example", limit=0)
        self.assertEqual((queue["messages"], queue["num_scheduled"], queue["queue_config"]["retry_interval"]), ([], 1, "1h"))
        ready = "unspecified->mx_list:[127.0.0.9]:9@smtp_client"
        shown = server.get("inspect-ready-q/v1", queue_name=ready, include_scheduled_queues="true")
        self.assertEqual((shown["egress_source"], shown["protocol"], shown["scheduled_queue_names"]), (
            "unspecified", "smtp_client", []))  # fmt: skip
        self.assertEqual(shown["constraints"]["max_concurrent_dispatchers"]["value"], 32)
        resolved = server.get("resolve-egress-path/v1", domain="rcpt.example")
        self.assertEqual((resolved["queue_name"], resolved["path_config"]), (ready, shown["path_config"]))
        self.assertEqual(resolved["mx"]["by_preference"], {"0": ["[127.0.0.9]:9"]})
        server.get("resolve-egress-path/v1", 404, domain="rcpt.example", source="nonsense")

    def test_an_aborted_session_gives_its_message_back(self) -> None:
        sink = self.sink(SLOW)
        server = self.operated(sink.mx)
        message = server.send("bob@slow.example")
        ready = f"unspecified->mx_list:[{sink.host}]:{sink.port}@smtp_client"
        nobody = "00000000-0000-0000-0000-000000000000"

        def sessions() -> list[dict[str, Any]]:
            shown = requests.get(f"{server.base}/api/admin/inspect-ready-q/v1", params={"queue_name": ready}, timeout=60)
            return [one for one in shown.json().get("dispatchers", []) if one["phase"] == "DeliveringMessage"]

        (session,) = wait_until(sessions, "a session is sending")
        self.assertNotEqual(session["session_id"], nobody)
        server.post("abort-ready-q-conn/v1", 404, queue_name=ready, session_id=nobody)
        server.post("abort-ready-q-conn/v1", queue_name=ready, session_id=session["session_id"])
        wait_until(lambda: session["session_id"] not in {one["session_id"] for one in sessions()}, "it is gone")
        self.assertEqual(server.get("inspect-message/v1", id=message)["id"], message)
        server.stop()
        # It had all of the message, and may have it: that counts, and nothing is lost.
        self.assertIn(message, server.spooled())
        self.assertEqual(of_type(server.records(), "Delivery"), [])


class DiagnosticsTests(OperatedCase):
    def test_the_process_can_be_looked_into(self) -> None:
        server, sink = self.with_sink()
        server.send("a@b.example")
        sink.wait_for(1)
        self.assertIn("VmRSS", server.get("memory/stats"))
        self.assertIn("thread spool-commit", server.get("task-dump"))
        for name in ("data", "meta"):
            server.post("spool-compact/v1", name=name)
        server.post("spool-compact/v1", 404, name="nonsense")
        self.assertEqual(server.get("ready-q-states/v1")["states_by_ready_queue"], {})
        server.post("set_diagnostic_log_filter/v1", 422, filter="kumod=loud")
        server.post("set_diagnostic_log_filter/v1", filter="kumod=error,off")
        before = server.said()
        server.post("rebind/v1", reason="silent", data={})
        time.sleep(0.2)
        self.assertEqual(server.said(), before)
        server.post("set_diagnostic_log_filter/v1", filter="kumod::api=info,error")
        server.post("rebind/v1", reason="loud", data={})
        server.hear("bound anew: loud")


class AccessTests(OperatedCase):
    def test_strangers_get_401_on_every_path_but_liveness(self) -> None:
        stranger = self.operated('"[127.0.0.9]:9"', trusted="[203.0.113.1]")
        near = self.operated('"[127.0.0.9]:9"', "near")
        paths = requests.get(f"{near.base}/openapi.json", timeout=60).json()["paths"]
        asked = [(method.upper(), path) for path, methods in paths.items() for method in methods]
        self.assertGreater(len(asked), 25)
        codes = {
            (method, path): requests.request(method, stranger.base + path, json={}, timeout=60).status_code
            for method, path in asked
        }
        open_to_all = {path for (_, path), code in codes.items() if code not in (401, 403)}
        self.assertEqual(open_to_all, {"/api/check-liveness/v1"})

    def test_a_wrong_password_is_logged_without_it(self) -> None:
        server = self.operated('"[127.0.0.9]:9"')
        began = time.monotonic()
        answer = requests.get(f"{server.base}/api/admin/bounce/v1", auth=("daniel", "geheim-5"), timeout=60)
        self.assertEqual(answer.status_code, 401)
        self.assertGreaterEqual(time.monotonic() - began, 0.9)  # a wait of a second, by the server's clock
        self.assertIn("wrong credential for", server.said())
        self.assertNotIn("geheim", server.said())
