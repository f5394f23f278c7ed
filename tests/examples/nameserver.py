"""A DNS server in a thread, for programs that run beside the tests; it answers from a table, by tests.dns.server."""

import socket
from threading import Thread

from tests.dns.server import Answer, TableServer


class Nameserver:
    """asked: `name type` of each question so far."""

    def __init__(self, table: dict[str, Answer]) -> None:
        self._answers = TableServer(table)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        Thread(target=self._serve, daemon=True).start()

    @property
    def asked(self) -> list[str]:
        return list(self._answers.asked)

    def _serve(self) -> None:
        while True:
            question, asker = self._socket.recvfrom(4096)
            for answer in self._answers.answers(question, tcp=False):
                self._socket.sendto(answer, asker)
