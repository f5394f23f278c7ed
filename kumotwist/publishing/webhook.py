"""
`kind: webhook`: a POST for each batch, over connections that are kept.

Signed as Standard Webhooks 1.0 has it: HMAC-SHA256 over `ID.TIMESTAMP.BODY`, in base64, in the fields webhook-id,
webhook-timestamp and webhook-signature.  The id is made of the records, so a batch that is sent again has the same.
"""

import gzip
import hmac
from base64 import b64encode
from collections.abc import Sequence
from hashlib import blake2b, sha256
from typing import Any

import treq
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS

from kumotwist.config.log_hooks import WebhookFormat, WebhookHook
from kumotwist.delivery.keys import AskPolicy, KeyUnavailable, read_key
from kumotwist.publishing.source import Record
from kumotwist.publishing.target import NeverTaken, NotTaken

_MOST_OF_ANSWER = 4096  # octets of an answer that are read: for the log
_SHOWN = 200
_KEPT = 4  # connections
_CONTENT_TYPES = {WebhookFormat.JSON: b"application/json", WebhookFormat.JSON_LINES: b"application/jsonl"}

# What another attempt may change: time-outs, too much at once, and what an administrator can mend meanwhile.
_TRY_AGAIN = frozenset({401, 403, 404, 407, 408, 409, 410, 421, 423, 425, 429})


class Webhook:
    """A Target."""

    def __init__(
        self, hook: WebhookHook, reactor: Any, policy_for_https: IPolicyForHTTPS, ask_policy: AskPolicy | None, user_agent: str
    ) -> None:
        self._hook = hook
        self._clock: IReactorTime = reactor
        self._ask_policy = ask_policy
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = _KEPT
        self._agent = Agent(reactor, policy_for_https, connectTimeout=hook.timeout, pool=self._pool)
        self._user_agent = user_agent

    async def send(self, records: Sequence[Record]) -> None:
        body = encoded(records, self._hook)
        try:
            headers = await self._headers(records, body)
        except KeyUnavailable as fault:
            raise NotTaken(f"a secret cannot be had: {fault}") from None
        try:
            code, text = await within(self._hook.timeout, self._clock, Deferred.fromCoroutine(self._post(body, headers)))
        except CancelledError:
            raise
        except Exception as fault:  # noqa: BLE001  whatever goes wrong on the way, the records are sent again
            raise NotTaken(f"{type(fault).__name__}: {_said(fault)}") from None
        if 200 <= code < 300:
            return
        answer = f"{self._hook.url} answered {code} {text}".rstrip()
        if code >= 500 or code in _TRY_AGAIN or code < 400:
            raise NotTaken(answer)
        raise NeverTaken(answer)

    async def close(self) -> None:
        await self._pool.closeCachedConnections()

    async def _post(self, body: bytes, headers: Headers) -> tuple[int, str]:
        url, agent = self._hook.url, self._agent
        response = await treq.post(url, data=body, headers=headers, agent=agent, unbuffered=True, allow_redirects=False)
        parts: list[bytes] = []
        await treq.collect(response, lambda part: parts.append(part[:_MOST_OF_ANSWER]) if len(parts) < 4 else None)
        text = b"".join(parts)[:_SHOWN].decode("utf-8", "replace")
        return response.code, " ".join("".join(one if one.isprintable() else " " for one in text).split())

    async def _headers(self, records: Sequence[Record], body: bytes) -> Headers:
        hook = self._hook
        headers = Headers({b"User-Agent": [self._user_agent.encode()], b"Content-Type": [_CONTENT_TYPES[hook.format]]})
        if hook.gzip:
            headers.setRawHeaders(b"Content-Encoding", [b"gzip"])
        for name, value in hook.headers.items():
            headers.setRawHeaders(name.encode(), [value.encode()])
        if hook.username is not None and hook.password is not None:
            pair = hook.username.encode() + b":" + await read_key(hook.password, self._ask_policy)
            headers.setRawHeaders(b"Authorization", [b"Basic " + b64encode(pair)])
        elif hook.bearer_token is not None:
            headers.setRawHeaders(b"Authorization", [b"Bearer " + await read_key(hook.bearer_token, self._ask_policy)])
        if hook.signing_key is not None:
            key = await read_key(hook.signing_key, self._ask_policy)
            for name, value in signed(key, batch_id(records), int(self._clock.seconds()), body).items():
                headers.setRawHeaders(name.encode(), [value.encode()])
        return headers


def encoded(records: Sequence[Record], hook: WebhookHook) -> bytes:
    """The body of a request."""
    lines = [record.marked for record in records]
    if hook.format is WebhookFormat.JSON_LINES:
        body = b"\n".join(lines) + b"\n"
    else:
        body = lines[0] if hook.batch_size == 1 else b"[" + b",".join(lines) + b"]"
    return gzip.compress(body, mtime=0) if hook.gzip else body


def batch_id(records: Sequence[Record]) -> str:
    """The same for the same records."""
    return blake2b(b"".join(record.line for record in records), digest_size=16).hexdigest()


def signed(key: bytes, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The fields that prove who sent the body, and when.  timestamp: epoch seconds."""
    mac = hmac.new(key, b"%b.%d.%b" % (message_id.encode(), timestamp, body), sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": "v1," + b64encode(mac).decode(),
    }


def within(seconds: float, clock: IReactorTime, work: "Deferred[Any]") -> "Deferred[Any]":
    """The same Deferred, cancelled (and so failing with TimeoutError) if it takes longer."""
    return work.addTimeout(seconds, clock)


def _said(fault: Exception) -> str:
    """What an exception says; Twisted's often say it in what they hold."""
    reasons = getattr(fault, "reasons", None)
    if reasons:
        return "; ".join(str(one.value) for one in reasons)
    return str(fault) or "no answer in time"
