"""Section `log_hooks`: who is sent the log records as they are written, one Struct for each kind of target."""

from collections.abc import Mapping
from enum import Enum
from typing import Annotated

from msgspec import Meta, Struct

from kumotwist.config.fields import FilePath, HeaderName, Positive
from kumotwist.config.keys import KeySource
from kumotwist.config.record_names import RecordName

HttpUrl = Annotated[str, Meta(description="URL", extra={"kind": "http_url"})]
AmqpUrl = Annotated[str, Meta(description="URL", extra={"kind": "amqp_url"})]
NatsUrl = Annotated[str, Meta(description="URL", extra={"kind": "nats_url"})]
HookName = Annotated[str, Meta(description="name", extra={"kind": "hook_name"})]
Latency = Annotated[float, Meta(ge=0.0, extra={"kind": "duration"})]
Patience = Annotated[float, Meta(ge=0.1, extra={"kind": "duration"})]


class WebhookFormat(Enum):
    """What the body of a request is."""

    JSON = "json"  # an array of records; with a batch_size of 1 the record itself
    JSON_LINES = "json_lines"  # a record a line


class LogHook(Struct, frozen=True, kw_only=True):
    """
    What every kind has.

    record_types: those that are sent; empty: all.  batch_size: records sent at once, at most.  max_batch_latency: how long
    one waits for others.  retry_interval, max_retry_interval: between attempts while the target does not take them.
    """

    name: HookName
    record_types: tuple[RecordName, ...] = ()
    batch_size: Positive = 100
    max_batch_latency: Latency = 1.0
    retry_interval: Patience = 1.0
    max_retry_interval: Patience = 60.0
    timeout: Patience = 60.0


class WebhookHook(LogHook, frozen=True, kw_only=True):
    """`kind: webhook`: a POST for each batch."""

    url: HttpUrl
    format: WebhookFormat = WebhookFormat.JSON
    gzip: bool = False
    headers: Mapping[HeaderName, str] = {}
    username: str | None = None  # basic authentication, with password
    password: KeySource | None = None
    bearer_token: KeySource | None = None
    signing_key: KeySource | None = None  # HMAC-SHA256 over id, time and body


class AmqpHook(LogHook, frozen=True, kw_only=True):
    """`kind: amqp`: one persistent message a record, confirmed by the broker."""

    url: AmqpUrl
    password: KeySource | None = None
    exchange: str = ""
    routing_key: str
    headers: Mapping[str, str] = {}


class KafkaHook(LogHook, frozen=True, kw_only=True):
    """`kind: kafka`: one message a record, acknowledged by all replicas in sync.  properties: librdkafka's."""

    brokers: tuple[str, ...]
    topic: str
    password: KeySource | None = None  # sasl.password
    properties: Mapping[str, str] = {}


class NatsHook(LogHook, frozen=True, kw_only=True):
    """`kind: nats`: one message a record, stored by a JetStream."""

    servers: tuple[NatsUrl, ...]
    subject: str
    username: str | None = None
    password: KeySource | None = None
    token: KeySource | None = None


class FileHook(LogHook, frozen=True, kw_only=True):
    """`kind: file`: a record a line, appended and synced.  A file that was moved away is made anew."""

    path: FilePath


class PolicyHook(LogHook, frozen=True, kw_only=True):
    """`configure_log_hook`: the policy is asked about each record whether it becomes a message."""


HOOKS: Mapping[str, type[LogHook]] = {
    "webhook": WebhookHook,
    "amqp": AmqpHook,
    "kafka": KafkaHook,
    "nats": NatsHook,
    "file": FileHook,
}
