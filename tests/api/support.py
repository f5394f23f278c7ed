"""A whole server that listens for HTTP, and what it is asked."""

from pathlib import Path
from typing import Any

import yaml

from tests.peers.support import TWISTD, PeerTestCase, Running

POLICY = """
from kumotwist import kumo

@kumo.on("http_server_validate_auth_basic")
def check(user, password):
    return user == "daniel" and password == "tiger"

@kumo.on("http_message_generated")
def generated(message, auth_info):
    if message.recipient.user == "refused":
        kumo.reject(550, "5.7.1 not you")
"""


class HttpServer(Running):
    """base: where its API is."""

    def __init__(self, place: Path, **sections: Any) -> None:
        (place / "policy.py").write_text(POLICY, "utf-8")
        config = {
            "hostname": "mta.example",
            "policy": "policy.py",
            "spool": {"path": "spool", "min_free_space": 0, "min_free_inodes": 0},
            "logs": {"log_dir": "log", "min_free_space": 0, "min_free_inodes": 0},
            "dns": {"nameservers": ["127.0.0.1:9"], "timeout": "1 s"},
            "http_listeners": [{"listen": "127.0.0.1:0"}],
            "routing": [{"match": {"recipient_domain": "*"}, "set": {"queue": "waiting.example"}}],
            **sections,
        }
        (place / "http.yaml").write_text(yaml.safe_dump(config), "utf-8")
        super().__init__(place, "server", [*TWISTD, "-n", "--pidfile=", "kumotwist", "--config", str(place / "http.yaml")])
        self.base = ""

    def listening(self) -> "HttpServer":
        address = self.hear(" listens on ").strip()
        self.base = f"{'https' if 'HTTPS listens' in self.said() else 'http'}://{address}"
        return self


class HttpTestCase(PeerTestCase):
    def serve(self, **sections: Any) -> HttpServer:
        server: HttpServer = self.started(HttpServer(self.place, **sections))
        return server.listening()
