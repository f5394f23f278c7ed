"""Mail that programs send by HTTP: from this machine freely, elsewhere with a user name and password, and then as a tenant's."""

from typing import Any

import requests

from tests.examples.support import Example, ExampleTestCase, Sent

HERE = {"127.0.0.1:8000": "127.0.0.1:0"}


def ask(server: Example, recipient: str, **given: Any) -> tuple[int, Any]:
    asked = {
        "envelope_sender": "someone@sender.example",
        "recipients": [{"email": recipient}],
        "content": {"text_body": "Hello {{ email }}\n", "subject": "An example", "from": {"email": "a@sender.example"}},
    }
    url = f"http://{server.hear(' HTTP listens on ').strip()}/api/inject/v1"
    answer = requests.post(url, json=asked, timeout=30, **given)
    return answer.status_code, answer.json()


class HttpInjectionTests(ExampleTestCase):
    def test_programs_of_this_machine_send_without_a_login(self) -> None:
        servers = self.start_both("http-injection", HERE)
        for server in servers:
            recipient = f"{server.shown}@example.com"
            code, told = ask(server, recipient)
            self.assertEqual((code, told["success_count"], told["errors"]), (200, 1, []), server.shown)
            self.arrived(Sent(server, recipient, 250, ""))
        self.end(servers)

    def test_who_logs_in_is_the_tenant_and_who_does_not_is_a_stranger(self) -> None:
        strangers = {"start_http_listener(": "start_http_listener(trusted_hosts=[], "}
        server = self.start_policy("http-injection", HERE | strangers)
        table: list[tuple[int, dict[str, Any]]] = [
            (401, {}),
            (401, {"auth": ("daniel", "lion")}),
            (401, {"auth": ("nobody", "tiger")}),
            (200, {"auth": ("scott", "lion")}),
        ]
        self.assertEqual([ask(server, "tenant@example.com", **given)[0] for _, given in table], [code for code, _ in table])
        reception = self.record(Sent(server, "tenant@example.com", 250, ""), "Reception")
        self.assertEqual((reception["queue"], reception["reception_protocol"]), ("scott@example.com", "HTTP"))
        self.end([server])
        self.assertNotIn("lion", server.said())
