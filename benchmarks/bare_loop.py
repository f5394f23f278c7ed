"""
The yardstick: the least that a durable relay on Twisted can do, with none of the features.

Receive over SMTP (one parse a chunk, no policy, no limits), write batches with one sync to RocksDB before the 250, queue in a
deque, deliver over kept connections with pipelining, write a line of JSON for each event, delete.  No DNS, no retry, no
limits, no trace header; an error ends the process.  What KumoTwist costs beyond it is what its features cost.

    python benchmarks/bare_loop.py LISTEN_PORT SINK_HOST SINK_PORT DIRECTORY
"""

import json
import os
import sys
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import Any

from rocksdict import Options, Rdict, WriteBatch, WriteOptions
from twisted.internet import epollreactor

epollreactor.install()
from twisted.internet import reactor as _reactor  # noqa: E402  after the choice of reactor
from twisted.internet.protocol import ClientFactory, Factory, Protocol  # noqa: E402

reactor: Any = _reactor
CONNECTIONS = 16


class Store:
    """Group commit in a thread; deletes ride along."""

    def __init__(self, path: str) -> None:
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(128 << 20)
        self.db = Rdict(path, options=options)
        self.synced = WriteOptions()
        self.synced.sync = True
        self.changes: SimpleQueue[Any] = SimpleQueue()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        while True:
            batch = [self.changes.get()]
            try:
                while len(batch) < 512:
                    batch.append(self.changes.get_nowait())
            except Empty:
                pass
            write = WriteBatch(raw_mode=True)
            for key, envelope, body, _ in batch:
                if body is None:
                    write.delete(key)
                    write.delete(key + b"b")
                else:
                    write.put(key, envelope)
                    write.put(key + b"b", body)
            self.db.write(write, self.synced)
            reactor.callFromThread(self.done, [then for _, _, _, then in batch if then is not None])

    def done(self, waiting: list[Any]) -> None:
        for then in waiting:
            then()


class Relay:
    """The queue between both sides, and the log."""

    def __init__(self, host: str, port: int, directory: str) -> None:
        self.store = Store(os.path.join(directory, "db"))
        self.log = open(os.path.join(directory, "log"), "w", buffering=1 << 16)  # noqa: SIM115  open for life
        self.ready: deque[tuple[bytes, bytes, bytes, bytes]] = deque()
        self.idle: list[Deliverer] = []
        self.count = 0
        factory = ClientFactory()
        factory.noisy = False
        factory.buildProtocol = lambda _: Deliverer(self)  # type: ignore[method-assign]
        for _ in range(CONNECTIONS):
            reactor.connectTCP(host, port, factory)

    def take(self, sender: bytes, recipient: bytes, body: bytes, then: Any) -> None:
        self.count += 1
        key = self.count.to_bytes(8, "big")
        envelope = sender + b"\0" + recipient

        def stored() -> None:
            self.event("Reception", key, sender, recipient)
            then()
            self.ready.append((key, sender, recipient, body))
            if self.idle:
                self.idle.pop().next()

        self.store.changes.put((key, envelope, body, stored))

    def delivered(self, message: tuple[bytes, bytes, bytes, bytes]) -> None:
        key, sender, recipient, _ = message
        self.event("Delivery", key, sender, recipient)
        self.store.changes.put((key, None, None, None))

    def event(self, kind: str, key: bytes, sender: bytes, recipient: bytes) -> None:
        record = {"type": kind, "id": key.hex(), "sender": sender.decode(), "recipient": recipient.decode(), "at": time.time()}
        self.log.write(json.dumps(record) + "\n")


class Receiver(Protocol):
    """The least of an SMTP server."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.buffer = b""
        self.body: list[bytes] | None = None
        self.sender = self.recipient = b""

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.write(b"220 bare\r\n")

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        out = []
        while self.buffer:
            if self.body is not None:
                end = self.buffer.find(b"\r\n.\r\n")
                if end < 0:
                    break
                body, self.buffer = self.buffer[: end + 2].replace(b"\r\n..", b"\r\n."), self.buffer[end + 5 :]
                self.body = None
                self.relay.take(self.sender, self.recipient, body, self.accepted)
                continue
            line, newline, rest = self.buffer.partition(b"\r\n")
            if not newline:
                break
            self.buffer = rest
            out.append(self.command(line))
        if out:
            self.transport.write(b"".join(out))

    def accepted(self) -> None:
        self.transport.write(b"250 ok\r\n")

    def command(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"MAIL":
            self.sender = line[line.index(b"<") + 1 : line.index(b">")]
        elif verb == b"RCPT":
            self.recipient = line[line.index(b"<") + 1 : line.index(b">")]
        elif verb == b"DATA":
            self.body = []
            return b"354 go\r\n"
        elif verb == b"EHLO":
            return b"250-bare\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
        elif verb == b"QUIT":
            self.transport.loseConnection()
            return b"221 bye\r\n"
        return b"250 ok\r\n"


class Deliverer(Protocol):
    """The least of an SMTP client: one kept connection."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.buffer = b""
        self.wanted = 1  # replies until the next step
        self.step = self.greet
        self.message: Any = None

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def connectionLost(self, reason: Any = None) -> None:
        if reactor.running and self.relay.count:
            print("a connection to the sink was lost", reason, file=sys.stderr)

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        while True:
            line, newline, rest = self.buffer.partition(b"\r\n")
            if not newline:
                return
            self.buffer = rest
            if line[3:4] == b"-":
                continue
            assert line[:1] in b"23", line
            self.wanted -= 1
            if not self.wanted:
                self.step()

    def greet(self) -> None:
        self.transport.write(b"EHLO bare\r\n")
        self.wanted, self.step = 1, self.next

    def next(self) -> None:
        if not self.relay.ready:
            self.relay.idle.append(self)
            return
        self.message = self.relay.ready.popleft()
        _, sender, recipient, _ = self.message
        self.transport.write(b"MAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nDATA\r\n" % (sender, recipient))
        self.wanted, self.step = 3, self.send

    def send(self) -> None:
        body = self.message[3].replace(b"\n.", b"\n..")
        self.transport.write((b"." if body[:1] == b"." else b"") + body + b".\r\n")
        self.wanted, self.step = 1, self.sent

    def sent(self) -> None:
        self.relay.delivered(self.message)
        self.next()


def main() -> None:
    port, host, sink_port, directory = sys.argv[1:5]
    relay = Relay(host, int(sink_port), directory)
    factory = Factory()
    factory.noisy = False
    factory.buildProtocol = lambda _: Receiver(relay)  # type: ignore[method-assign]
    reactor.listenTCP(int(port), factory, backlog=1024, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main()
