"""A server that is operated over HTTP while mail goes through it, and one who watches."""

import base64
import json
import os
import smtplib
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from tests.peers.support import SPOOL, PeerTestCase, Server, Sink, free_port

CONFIG = """
http_listeners: [{listen: "127.0.0.2:%(port)d", trusted_hosts: %(trusted)s}]
queues:
  tenant_header: X-Tenant
  queue:
    default: {retry_interval: %(retry)s, protocol: {smtp: {mx_list: [%(mx)s]}}}
%(queues)s
shaping:
  rules:
    default: {prohibited_hosts: [], enable_tls: Disabled, data_dot_timeout: 10 s}
dns: {nameservers: ["127.0.0.1:9"], timeout: 1 s}
"""


class Operated(Server):
    """base: where its API is."""

    def __init__(
        self,
        place: Path,
        mx: str,
        *,
        queues: str = "",
        more: str = "",
        spool: str = SPOOL,
        trusted: str = "[127.0.0.1]",
        retry: str = "2 s",
    ) -> None:
        """mx: where all mail goes.  queues: more of that section.  more: other sections."""
        self.http = free_port("127.0.0.2")
        self.base = f"http://127.0.0.2:{self.http}"
        facts = {"port": self.http, "mx": mx, "queues": queues, "trusted": trusted, "retry": retry}
        super().__init__(place, spool + CONFIG % facts + more)

    def start(self) -> None:
        super().start()
        self.hear("HTTP listens on")

    def ask(self, method: str, path: str, code: int = 200, **given: Any) -> Any:
        """What the API says; fails unless with that status."""
        answer = requests.request(method, f"{self.base}/api/admin/{path}", timeout=60, **given)
        assert answer.status_code == code, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.headers.get("content-type") == "application/json" else answer.text

    def get(self, path: str, code: int = 200, **query: Any) -> Any:
        return self.ask("GET", path, code, params=query)

    def post(self, path: str, code: int = 200, **body: Any) -> Any:
        return self.ask("POST", path, code, json=body)

    def delete(self, path: str, code: int = 200, **body: Any) -> Any:
        return self.ask("DELETE", path, code, json=body)

    def send(self, recipient: str, *, tenant: str = "", text: str = "hello") -> str:
        """One message over SMTP; its id."""
        with smtplib.SMTP(self.host, self.port, timeout=60) as client:
            client.ehlo("client.example")
            client.mail("sender@sender.example")
            client.rcpt(recipient)
            header = f"X-Tenant: {tenant}\r\n" if tenant else ""
            code, said = client.data(f"{header}Subject: x\r\n\r\n{text}\r\n")
        assert code == 250, said
        return said.decode().partition("ids=")[2].strip()


class OperatedCase(PeerTestCase):
    def operated(self, mx: str, name: str = "server", **facts: Any) -> Operated:
        return self.started(Operated(self.place / name, mx, **facts))

    def with_sink(self, **facts: Any) -> tuple[Operated, Sink]:
        sink = self.sink()
        return self.operated(sink.mx, **facts), sink


class Watching:
    """One who watches a trace: the client's side of RFC 6455, as much of it as that takes."""

    def __init__(self, server: Operated, side: str, **wanted: Any) -> None:
        self._socket = socket.create_connection(("127.0.0.2", server.http), timeout=60)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /api/admin/trace-smtp-{side}/v1 HTTP/1.1\r\nHost: 127.0.0.2:{server.http}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._read = self._socket.makefile("rb")
        self.status = self._read.readline().split(None, 2)[1].decode()
        while self._read.readline().strip():
            pass
        if self.status == "101":
            self.say(json.dumps(wanted).encode())

    def say(self, text: bytes) -> None:
        """A text frame, masked with zeros (RFC 6455 section 5.3)."""
        length = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + struct.pack(">H", len(text))
        self._socket.sendall(b"\x81" + length + bytes(4) + text)

    def frame(self) -> tuple[int, bytes]:
        """(opcode, payload)."""
        first, second = self._read.read(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", self._read.read(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self._read.read(8))
        return first & 0x0F, self._read.read(length)

    def events(self) -> Iterator[dict[str, Any]]:
        while True:
            opcode, payload = self.frame()
            if opcode == 8:
                return
            if opcode == 1:
                yield json.loads(payload)

    def until_closed(self) -> list[dict[str, Any]]:
        """What is told of one dialogue."""
        found = []
        for event in self.events():
            found.append(event)
            if event["payload"] == "Closed":
                break
        return found

    def close(self) -> None:
        self._socket.close()


def text_of(events: list[dict[str, Any]], kind: str) -> str:
    return "".join(one["payload"][kind] for one in events if isinstance(one["payload"], dict) and kind in one["payload"])
