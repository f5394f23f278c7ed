"""`kind: amqp`: one persistent message a record on an AMQP 0-9-1 broker, each confirmed before the hook goes on."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import pika
from OpenSSL import SSL
from pika.exceptions import AMQPError, NackError, UnroutableError
from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.web.iweb import IPolicyForHTTPS

from kumotwist.config.log_hooks import AmqpHook
from kumotwist.delivery.keys import AskPolicy, KeyUnavailable, read_key
from kumotwist.publishing.source import Record
from kumotwist.publishing.target import NotTaken
from kumotwist.publishing.webhook import within

_PORTS = {"amqp": 5672, "amqps": 5671}
_PERSISTENT = 2
_GUEST = "guest"  # user and password where none is configured, as brokers have them


class Amqp:
    """A Target.  A broker that goes away is connected to again with the next attempt."""

    def __init__(self, hook: AmqpHook, reactor: Any, policy_for_https: IPolicyForHTTPS, ask_policy: AskPolicy | None) -> None:
        """policy_for_https: whom we trust, where the URL says amqps."""
        self._hook = hook
        self._reactor = reactor
        self._trusted = policy_for_https
        self._ask_policy = ask_policy
        self._connection: Any = None
        self._channel: Any = None

    async def send(self, records: Sequence[Record]) -> None:
        try:
            work = Deferred.fromCoroutine(self._publish(records))
            await within(self._hook.timeout, self._reactor, work)
        except CancelledError:
            raise
        except UnroutableError:
            # A queue that is bound tomorrow gets them; giving records up is nothing a broker's set-up should decide.
            await self._drop()
            raise NotTaken(f"no queue is bound to {self._hook.routing_key}") from None
        except NackError:
            raise NotTaken("the broker refused a record") from None
        except (AMQPError, ConnectError, KeyUnavailable, TimeoutError, SSL.Error, OSError) as fault:
            await self._drop()
            raise NotTaken(f"{type(fault).__name__}: {fault}".rstrip(": ")) from None
        except Exception as fault:  # noqa: BLE001  whatever the library raises for a connection that breaks
            await self._drop()
            raise NotTaken(f"{type(fault).__name__}: {fault}".rstrip(": ")) from None

    async def close(self) -> None:
        await self._drop()

    async def _publish(self, records: Sequence[Record]) -> None:
        channel = await self._open_channel()
        hook = self._hook
        sent = [
            channel.basic_publish(
                exchange=hook.exchange,
                routing_key=hook.routing_key,
                body=record.marked,
                properties=pika.BasicProperties(
                    content_type="application/json",
                    delivery_mode=_PERSISTENT,
                    message_id=record.id,
                    type=record.kind,
                    headers=dict(hook.headers),
                ),
                mandatory=True,
            )
            for record in records
        ]
        try:
            await gatherResults(sent, consumeErrors=True)
        except FirstError as first:
            first.subFailure.raiseException()

    async def _open_channel(self) -> Any:
        if self._channel is not None and self._channel.is_open:
            return self._channel
        # This module of the library takes the reactor as soon as it is imported, so that must not be before there is one.
        from pika.adapters.twisted_connection import TwistedProtocolConnection

        await self._drop()
        parameters = await self._parameters()
        parts = urlsplit(self._hook.url)
        port = parts.port or _PORTS[parts.scheme]
        host = parts.hostname or ""
        endpoint: Any = HostnameEndpoint(self._reactor, host, port)
        if parts.scheme == "amqps":
            creator: IOpenSSLClientConnectionCreator = self._trusted.creatorForNetloc(host.encode(), port)
            endpoint = wrapClientTLS(creator, endpoint)
        protocol = TwistedProtocolConnection(parameters, custom_reactor=self._reactor)
        self._connection = protocol
        protocol.ready.addErrback(lambda failure: failure)
        await endpoint.connect(_Once(protocol))
        await protocol.ready
        channel = await protocol.channel()
        await channel.confirm_delivery()
        self._channel = channel
        return channel

    async def _parameters(self) -> Any:
        parts = urlsplit(self._hook.url)
        user = parts.username or _GUEST
        secret = _GUEST
        if self._hook.password is not None:
            secret = (await read_key(self._hook.password, self._ask_policy)).decode()
        # The library wants both in the URL or neither.
        place = parts.netloc.rpartition("@")[2]
        return pika.URLParameters(urlunsplit(parts._replace(netloc=f"{user}:{quote(secret, safe='')}@{place}")))

    async def _drop(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None and getattr(connection, "transport", None) is not None:
            connection.transport.abortConnection()


class _Once:
    """A factory for the one protocol that is there already."""

    noisy = False

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def doStart(self) -> None:
        pass

    def doStop(self) -> None:
        pass

    def buildProtocol(self, addr: Any) -> Any:
        return self._protocol
