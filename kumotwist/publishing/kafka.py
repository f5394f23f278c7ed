"""`kind: kafka`: one message a record, by librdkafka in a thread; acknowledged by all replicas that are in sync."""

from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaException, Producer
from twisted.internet.defer import Deferred

from kumotwist.config.log_hooks import KafkaHook
from kumotwist.delivery.keys import AskPolicy, KeyUnavailable, read_key
from kumotwist.publishing.source import Record
from kumotwist.publishing.target import NeverTaken, NotTaken

_TOO_LARGE = "MSG_SIZE_TOO_LARGE"


class Kafka:
    """A Target.  The producer is idempotent: what it sends again by itself is stored once, in order."""

    def __init__(self, hook: KafkaHook, in_thread: "Callable[..., Deferred[Any]]", ask_policy: AskPolicy | None) -> None:
        self._hook = hook
        self._in_thread = in_thread
        self._ask_policy = ask_policy
        self._producer: Any = None

    async def send(self, records: Sequence[Record]) -> None:
        try:
            if self._producer is None:
                properties = await self._properties()
                self._producer = await self._in_thread(Producer, properties)
            fault = await self._in_thread(self._produce, list(records))
        except KeyUnavailable as unavailable:
            raise NotTaken(f"a secret cannot be had: {unavailable}") from None
        except (KafkaException, BufferError, ValueError) as broken:
            self._producer = None
            raise NotTaken(f"{type(broken).__name__}: {broken}") from None
        if fault is not None:
            self._producer = None  # what it still holds must not be stored behind what is sent again
            raise (NeverTaken if _TOO_LARGE in fault else NotTaken)(fault)

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await self._in_thread(producer.purge)

    def _produce(self, records: list[Record]) -> str | None:
        """Blocks until each record is acknowledged or given up; returns what went wrong first."""
        faults: list[str] = []

        def told(fault: Any, _: Any) -> None:
            if fault is not None:
                faults.append(f"{fault.name()}: {fault.str()}")

        for record in records:
            self._producer.produce(
                self._hook.topic, record.marked, key=_key(record), headers={"record_id": record.id}, on_delivery=told
            )
            self._producer.poll(0)
        left = self._producer.flush(self._hook.timeout)
        if left:
            self._producer.purge()
            self._producer.flush(1.0)
            faults.append(f"{left} records were not acknowledged within {self._hook.timeout} s")
        return faults[0] if faults else None

    async def _properties(self) -> dict[str, Any]:
        hook = self._hook
        properties: dict[str, Any] = {
            "client.id": f"kumotwist-{hook.name}",
            "message.timeout.ms": int(hook.timeout * 1000),
            "linger.ms": 5,
            **hook.properties,
            # What follows is what the hook promises, so properties cannot change it.
            "bootstrap.servers": ",".join(hook.brokers),
            "acks": "all",
            "enable.idempotence": True,
        }
        if hook.password is not None:
            properties["sasl.password"] = (await read_key(hook.password, self._ask_policy)).decode()
        return properties


def _key(record: Record) -> bytes:
    """Records of one message go to one partition, so their order holds."""
    start = record.line.find(b'"id":"')
    return record.line[start + 6 : start + 38] if start >= 0 else b""
