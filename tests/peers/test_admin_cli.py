"""Every command of the admin client at a terminal, against a running server; what it shows is what the API says."""

from urllib.parse import quote

import msgspec

from tests.peers.evidence import of_type
from tests.peers.support import SERVER_HOST, free_port, wait_until
from tests.peers.terminal import CommandLineTestCase


class OrderTests(CommandLineTestCase):
    def test_suspensions_and_bounces_from_beginning_to_end(self) -> None:
        run = self.terminal.run
        suspension = run("kumotwist suspend --domain held.example --reason 'a visit' --duration 1h").strip()
        (listed,) = self.api("/api/admin/suspend/v1")
        self.assertEqual((listed["id"], listed["domain"]), (suspension, "held.example"))
        said = run("kumotwist suspend-list")
        self.assert_fits(said)
        self.assertIn("domain=held.example", said)
        self.assertEqual(self.row(said, suspension)[1:4], ["a", "visit", "59m"])
        self.send("held.example", 3)
        self.wait_for_scheduled("held.example", 3)
        self.assertIn("suspend: a visit", run("kumotwist queue-summary"))
        self.assertIn(f"removed {suspension}", run(f"kumotwist suspend-cancel --id {suspension}"))
        self.assertEqual(self.api("/api/admin/suspend/v1"), [])
        self.receiver.wait_for(3)
        self._bounce()

    def _bounce(self) -> None:
        terminal = self.terminal
        self.send("later.example", 4)
        self.wait_for_scheduled("later.example", 4)
        terminal.begin("kumotwist bounce --domain later.example --reason unwanted")
        terminal.see("Bounce domain=later.example: 4 messages in 1 scheduled queue.  Go on? [y/N]:")
        terminal.press("n", "Enter")
        self.assertEqual(terminal.end()[0], 1)
        self.assertEqual(self.api("/api/admin/bounce/v1"), [])
        terminal.begin("kumotwist bounce --domain later.example --reason unwanted")
        terminal.see("Go on?")
        terminal.press("y", "Enter")
        status, said = terminal.end()
        (order,) = self.api("/api/admin/bounce/v1")
        self.assertEqual((status, order["id"] in said), (0, True), said)
        self.mta.wait_for_records(lambda records: len(of_type(records, "AdminBounce")) == 4, "four AdminBounces")
        said = terminal.run("kumotwist bounce-list")
        self.assertEqual(self.row(said, order["id"])[-2:], ["4", "domain=later.example"])
        terminal.run(f"kumotwist bounce-cancel --id {order['id']}")
        self.assertEqual(self.api("/api/admin/bounce/v1"), [])
        terminal.begin(f"kumotwist bounce-cancel --id {order['id']}")
        self.assertEqual((terminal.end()[0], "not found" in terminal.screen()), (1, True))

    def test_ready_queues_are_suspended_and_their_connections_ended(self) -> None:
        run = self.terminal.run
        self.send("slow.example", 1)
        name = wait_until(self.connected, "a session with the slow site")
        assert name is not None
        told = self.api("/api/admin/inspect-ready-q/v1?queue_name=" + quote(name))
        session = told["dispatchers"][0]["session_id"]
        said = run(f"kumotwist inspect-ready-q '{name}' --connections")
        self.assertEqual(self.row(said, session)[1:4], ["0", "0", "0"])
        self.assertIn(f"connections: {told['constraints']['max_concurrent_dispatchers']['display']} (", said)
        suspension = run(f"kumotwist suspend-ready-q --name '{name}' --reason pause").strip()
        (listed,) = self.api("/api/admin/suspend-ready-q/v1")
        self.assertEqual((listed["id"], listed["name"]), (suspension, name))
        self.assertEqual(self.row(run("kumotwist suspend-ready-q-list"), suspension)[1], "pause")
        self.assertIn("suspended: pause", run(f"kumotwist inspect-ready-q '{name}'"))
        self.assertEqual(run(f"kumotwist abort-ready-q-conn '{name}' {session}").strip(), "OK")
        run(f"kumotwist suspend-ready-q-cancel --id {suspension}")
        self.assertEqual(self.api("/api/admin/suspend-ready-q/v1"), [])

    def connected(self) -> str | None:
        """The ready queue that has a connection."""
        counts = (self.metric("connection_count") or {}).get("service", {})
        return next((name.removeprefix("smtp_client:") for name, count in counts.items() if "->" in name and count), None)

    def test_mail_is_rebound_transferred_and_taken_back(self) -> None:
        run = self.terminal.run
        self.send("later.example", 2)
        self.wait_for_scheduled("later.example", 2)
        run("kumotwist rebind --domain later.example --reason elsewhere --set queue=good.example --yes")
        self.wait_for_scheduled("good.example", 2)  # it was tried again, from there
        self.mta.wait_for_records(lambda records: len(of_type(records, "AdminRebind")) == 2, "two AdminRebinds")
        self.send("later.example", 1)
        self.wait_for_scheduled("later.example", 1)
        target = f"http://{SERVER_HOST}:{free_port(SERVER_HOST)}"
        run(f"kumotwist xfer --domain later.example --reason drain --target {target} --yes")
        queue = wait_until(
            lambda: next((one for one in self.queues() if one.endswith(".xfer.kumomta.internal")), None), "the transfer queue"
        )
        run(f"kumotwist xfer-cancel '{queue}' --reason stay")
        self.wait_for_scheduled("later.example", 1)

    def queues(self) -> list[str]:
        return [name for name, count in (self.metric("scheduled_count") or {}).get("queue", {}).items() if count]


class LookingTests(CommandLineTestCase):
    def test_what_is_shown_is_what_the_api_says(self) -> None:
        run = self.terminal.run
        self.send("later.example", 7)
        self.send("good.example", 5)
        self.wait_for_scheduled("later.example", 7)
        self.receiver.wait_for(5)
        wait_until(lambda: self.metric("total_messages_delivered")["service"]["smtp_client"] == 5, "five deliveries")
        said = run("kumotwist queue-summary --by-volume")
        self.assert_fits(said)
        delivered = next(count for name, count in self.metric("total_messages_delivered")["service"].items() if "->" in name)
        row = self.row(said, "mx_list")  # connections may still be open
        self.assertEqual([*row[1:5], row[6]], ["unspecified", "smtp_client", str(int(delivered)), "7", "0"])
        self.assertEqual(self.row(said, "later.example"), ["later.example", "7"])
        row = self.row(run("kumotwist provider-summary"), "everyone")
        self.assertEqual([*row[:4], row[5]], ["everyone", "5", "7", "0", "7"])
        self.assertEqual(self.row(run("kumotwist provider-summary --by-pool --show-domains"), "everyone")[-1], "later.example")
        self._inspect()
        self._resolve()

    def _inspect(self) -> None:
        run = self.terminal.run
        said = run("kumotwist inspect-sched-q later.example --limit 2")
        self.assert_fits(said)
        self.assertIn("and 5 more", said)
        told = self.api("/api/admin/inspect-sched-q/v1?queue_name=later.example")
        first = told["messages"][0]
        self.assertEqual(self.row(said, first["id"])[2], str(first["message"]["num_attempts"]))
        said = run(f"kumotwist inspect-message {first['id']} --want-body | head -25")
        for words in (first["message"]["recipient"][0], first["message"]["due"], "Subject:"):
            self.assertIn(words, said)
        self.terminal.begin("kumotwist inspect-message nothing")
        self.assertEqual(self.terminal.end()[0], 1)

    def _resolve(self) -> None:
        told = self.api("/api/admin/resolve-egress-path/v1?domain=good.example")
        said = self.terminal.run("kumotwist resolve-egress-path good.example | head -20")
        self.assertIn(told["queue_name"], said)
        said = self.terminal.run("kumotwist resolve-egress-path good.example --constraints")
        self.assertIn(told["constraints"]["max_concurrent_dispatchers"]["display"], said)

    def test_the_server_is_looked_after(self) -> None:
        run = self.terminal.run
        self.send("later.example", 3)
        self.wait_for_scheduled("later.example", 3)
        said = run("kumotwist audit")
        self.assertIn("stranded messages: 0", said)
        self.assertEqual(self.row(said, "spooled")[-1], str(self.api("/api/admin/audit/v1")["spooled"]))
        self.assertIn("OK", run("kumotwist set-log-filter kumod=debug"))
        self.assertIn("OK", run("kumotwist spool-compact --name data"))
        run("kumotwist suppress --recipient ann@gone.example --tenant t --reason asked --duration '90 days'")
        (entry,) = self.api("/api/admin/suppression/v1")
        self.assertEqual((entry["recipient"], entry["tenant"]), ("ann@gone.example", "t"))
        self.assertEqual(self.row(run("kumotwist suppress-list"), entry["id"])[1:3], ["ann@gone.example", "t"])
        run("kumotwist suppress-cancel --recipient ann@gone.example --tenant t")
        self.assertEqual(self.api("/api/admin/suppression/v1"), [])

    def test_json_is_what_the_api_says(self) -> None:
        self.send("later.example", 1)
        self.wait_for_scheduled("later.example", 1)
        self.terminal.run(
            "kumotwist inspect-sched-q later.example --json > answer.json; kumotwist queue-summary --json > summary.json"
        )
        answer = msgspec.json.decode((self.terminal.place / "answer.json").read_bytes())
        told = self.api("/api/admin/inspect-sched-q/v1?queue_name=later.example&limit=5")
        self.assertEqual({**answer, "now": ""}, {**told, "now": ""})
        summary = msgspec.json.decode((self.terminal.place / "summary.json").read_bytes())
        self.assertEqual(summary["/metrics.json"]["scheduled_count"]["value"], {"queue": {"later.example": 1}})
