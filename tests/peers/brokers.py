"""Where log hooks send to, real ones: a web server, RabbitMQ, NATS with JetStream; and librdkafka's mock of a Kafka cluster."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import nats
import pika

from tests.peers.support import Running, free_port, program, wait_until

HOST = "127.0.0.4"

_WEB_SERVER = """
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(sys.argv[2], "ab") as file:
            file.write(body)
            file.flush()
            os.fdatasync(file.fileno())
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer((sys.argv[1].rpartition(":")[0], int(sys.argv[1].rpartition(":")[2])), Receiver)
print("listens", flush=True)
server.serve_forever()
"""

_KAFKA = """
import sys, time
from confluent_kafka import Producer

broker = Producer({"test.mock.num.brokers": 3})
while not broker.list_topics(timeout=10).brokers:
    time.sleep(0.1)
print("brokers", ",".join(str(one).rpartition(":")[0].partition(":")[0] and f"{one.host}:{one.port}"
                          for one in broker.list_topics(timeout=10).brokers.values()), flush=True)
while True:
    time.sleep(1)
"""


class WebServer(Running):
    """Appends each body to a file, synced, before it answers."""

    def __init__(self, place: Path) -> None:
        self.port = free_port(HOST)
        self._received = place / "received.jsonl"
        super().__init__(place, "web", [sys.executable, "-c", _WEB_SERVER, f"{HOST}:{self.port}", str(self._received)])

    def start(self) -> None:
        super().start()
        self.hear("listens")

    @property
    def hook(self) -> str:
        return f"{{name: web, kind: webhook, url: 'http://{HOST}:{self.port}/', format: json_lines, {QUICKLY}}}"

    def records(self) -> list[dict[str, Any]]:
        if not self._received.exists():
            return []
        lines = self._received.read_bytes().splitlines()
        return [json.loads(line) for line in lines if line.endswith(b"}")]  # a kill may have cut one short


class RabbitMq(Running):
    """A broker of its own, with its own epmd, in a directory of the test's."""

    QUEUE = "records"

    def __init__(self, place: Path) -> None:
        program("rabbitmq-server", "rabbitmq-server")
        self.port = free_port(HOST)
        home = place / "rabbit"
        home.mkdir(parents=True)
        (home / "enabled_plugins").write_text("[].\n")
        self._epmd = str(free_port("127.0.0.1"))
        settings = {
            "HOME": str(home),
            "ERL_EPMD_PORT": self._epmd,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_RELAXED_COMMAND_CHECK": "1",  # it may be ended although it believes in a node that was killed
            "RABBITMQ_NODENAME": f"kumo{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_DIST_PORT": str(free_port("127.0.0.1")),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(home / "none"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }
        script = "/usr/lib/rabbitmq/bin/rabbitmq-server"
        # A session of its own: the script starts the machine as a child and waits for it, so both have to be killed.
        argv = ["setsid", "env", *(f"{name}={value}" for name, value in settings.items()), script]
        self._parameters = pika.ConnectionParameters(HOST, self.port, socket_timeout=5, blocked_connection_timeout=10)
        super().__init__(place, "rabbitmq", argv)

    def start(self) -> None:
        super().start()
        wait_until(self._answers, "RabbitMQ accepts connections", every=0.5)
        connection = pika.BlockingConnection(self._parameters)
        connection.channel().queue_declare(self.QUEUE, durable=True)
        connection.close()

    def kill(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.wait()
            subprocess.run(["epmd", "-kill"], env={**os.environ, "ERL_EPMD_PORT": self._epmd}, capture_output=True, check=False)

    def _answers(self) -> bool:
        assert self.runs, self.said()
        try:
            pika.BlockingConnection(self._parameters).close()
        except (pika.exceptions.AMQPError, OSError):
            return False
        return True

    @property
    def hook(self) -> str:
        return f"{{name: rabbit, kind: amqp, url: 'amqp://guest@{HOST}:{self.port}/%2F', routing_key: {self.QUEUE}, {QUICKLY}}}"

    def records(self) -> list[dict[str, Any]]:
        """Without taking them away."""
        connection = pika.BlockingConnection(self._parameters)
        channel = connection.channel()
        found = []
        for method, properties, body in channel.consume(self.QUEUE, inactivity_timeout=2):
            if method is None:
                break
            found.append(json.loads(body))
            assert properties.message_id == found[-1]["record_id"]
        connection.close()  # what was not acknowledged is in the queue again
        return found


class NatsServer(Running):
    """A server with a JetStream on disk."""

    SUBJECT = "mail.events"

    def __init__(self, place: Path) -> None:
        self.port = free_port(HOST)
        argv = [program("nats-server", "nats-server"), "-js", "-sd", str(place / "jetstream"), "-a", HOST, "-p", str(self.port)]
        super().__init__(place, "nats", argv)
        self._made = False

    def start(self) -> None:
        super().start()
        self.hear("Server is ready")
        if not self._made:
            asyncio.run(self._make_stream())
            self._made = True

    async def _make_stream(self) -> None:
        client = await nats.connect(f"nats://{HOST}:{self.port}")
        await client.jetstream().add_stream(name="records", subjects=[self.SUBJECT])
        await client.close()

    @property
    def hook(self) -> str:
        return f"{{name: nats, kind: nats, servers: ['nats://{HOST}:{self.port}'], subject: {self.SUBJECT}, {QUICKLY}}}"

    def records(self) -> list[dict[str, Any]]:
        return asyncio.run(self._read())

    async def _read(self) -> list[dict[str, Any]]:
        client = await nats.connect(f"nats://{HOST}:{self.port}")
        stream = client.jetstream()
        subscription = await stream.subscribe(self.SUBJECT, ordered_consumer=True)
        wanted = (await stream.stream_info("records")).state.messages
        found = [json.loads((await subscription.next_msg(timeout=10)).data) for _ in range(wanted)]
        await client.close()
        return found


class KafkaMock(Running):
    """librdkafka's mock cluster, in a process of its own; it keeps everything in memory, so it cannot be restarted."""

    TOPIC = "mail-events"

    def __init__(self, place: Path) -> None:
        super().__init__(place, "kafka", [sys.executable, "-c", _KAFKA])
        self.brokers = ""

    def start(self) -> None:
        super().start()
        self.brokers = self.hear("brokers ")

    @property
    def hook(self) -> str:
        return f"{{name: kafka, kind: kafka, brokers: ['{self.brokers}'], topic: {self.TOPIC}, {QUICKLY}}}"

    def records(self) -> list[dict[str, Any]]:
        return list(self._read())

    def _read(self) -> Iterator[dict[str, Any]]:
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.brokers, "group.id": f"test-{os.getpid()}", "auto.offset.reset": "earliest"})
        topic = consumer.list_topics(self.TOPIC, timeout=10).topics[self.TOPIC]
        ends = {number: consumer.get_watermark_offsets(TopicPartition(self.TOPIC, number))[1] for number in topic.partitions}
        consumer.assign([TopicPartition(self.TOPIC, number, 0) for number in ends])
        left = sum(ends.values())
        while left:
            message = consumer.poll(10)
            assert message is not None, f"{left} records are still to come"
            assert message.error() is None, message.error()
            left -= 1
            yield json.loads(message.value())
        consumer.close()


QUICKLY = "batch_size: 50, max_batch_latency: 100 ms, retry_interval: 100 ms, max_retry_interval: 500 ms, timeout: 5 seconds"
