"""
Mail for another node of ours: a POST for each message to its API, which answers once it has the message on disk.

Whatever happens in between, the message is sent again until the answer is heard; the other node knows it by its id and takes
it once.
"""

import gzip
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import treq
from msgspec import Struct
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS

from kumotwist.config.queues import XferDelivery
from kumotwist.delivery.hand_over import Taken
from kumotwist.egress.transfer import packed
from kumotwist.mail.disposition import Outcome, Peer, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.reply import INTERNAL, Reply

PROTOCOL = "Xfer"
PATH = "/api/xfer/inject/v1"
_PATIENCE = 300.0  # seconds for a message: the model's data_dot_timeout
_CONNECT = 30.0
_KEPT = 8  # connections to one node
_MOST_OF_ANSWER = 65536  # octets
_SHOWN = 300
_LEVEL = 1  # of gzip: what saves most for least
_LARGE = 1024 * 1024  # octets that are not compressed: everybody would wait for that


class Answer(Struct, frozen=True):
    """id: that the message has there."""

    id: str


class Courier:
    """
    What sessions with other nodes share: their connections, and who we are.

    node: our own id.
    """

    node: str
    _https: Callable[[], IPolicyForHTTPS]

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool: HTTPConnectionPool | None = None

    def introduce(self, node: str, https: Callable[[], IPolicyForHTTPS]) -> None:
        """Once, before the first session.  https: whom we believe, now, that they are the host that they say."""
        self.node, self._https = node, https

    async def bring(self, url: str, body: bytes) -> tuple[int, bytes]:
        """Status and answer.  Raises what goes wrong on the way."""
        if self._pool is None:
            self._pool = HTTPConnectionPool(self._reactor)
            self._pool.maxPersistentPerHost = _KEPT
            self._pool.retryAutomatically = False
        agent = Agent(self._reactor, self._https(), connectTimeout=_CONNECT, pool=self._pool)
        headers = Headers({b"Content-Type": [b"application/gzip"], b"User-Agent": [b"KumoTwist"]})
        coming = Deferred.fromCoroutine(self._post(url, body, headers, agent))
        return await coming.addTimeout(_PATIENCE, self._reactor)

    async def _post(self, url: str, body: bytes, headers: Headers, agent: Any) -> tuple[int, bytes]:
        response = await treq.post(url, data=body, headers=headers, agent=agent, unbuffered=True, allow_redirects=False)
        parts: list[bytes] = []
        await treq.collect(response, lambda part: parts.append(part) if sum(map(len, parts)) < _MOST_OF_ANSWER else None)
        return response.code, b"".join(parts)


class Transfer:
    """A `delivery.hand_over.Taker`: one other node."""

    def __init__(self, given: XferDelivery, courier: Courier) -> None:
        self.protocol = PROTOCOL
        self.name = given.target
        self.peer: Peer | None = Peer(given.target, "")
        self.most, self.least, self.patience = 1, 1, 0.0
        self._courier = courier

    async def open(self, message: Message) -> None:
        """Connections are made where there is none."""

    async def take(self, messages: Sequence[Message]) -> Taken:
        return Taken([(await self._bring(message),) for message in messages])

    async def _bring(self, message: Message) -> Outcome:
        octets = packed(message, self._courier.node, message.log_headers)
        body = gzip.compress(octets, _LEVEL if len(octets) < _LARGE else 0, mtime=0)
        try:
            code, answer = await self._courier.bring(self.name + PATH, body)
            if code == 200:
                theirs = msgspec.json.decode(answer, type=Answer).id
                text = f"xfer to {self.name} id={theirs[:64]}"
                return Outcome(Verdict.TRANSFERRED, message.recipients, Reply(250, None, text))
            why = f"{code} {answer[:_SHOWN].decode('utf-8', 'replace')}"
        except CancelledError:
            raise
        except Exception as fault:  # noqa: BLE001  whatever goes wrong on the way, the message is brought again
            reasons = getattr(fault, "reasons", None) or [fault]
            why = "; ".join(str(getattr(one, "value", one)) or type(one).__name__ for one in reasons)
        text = f"{INTERNAL}failed to transfer to {self.name}: {' '.join(why.split())}"
        return Outcome(Verdict.POSTPONED, message.recipients, Reply(400, None, text))

    def close(self) -> None:
        """Connections stay for the next session."""
