"""
`kind: nats`: one message a record, acknowledged by a JetStream.

The client library lives on asyncio, so it gets a thread with a loop of its own.  Nats-Msg-Id is the record's id: what is
sent again within the stream's window is stored once.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from threading import Thread
from typing import Any

import nats
from nats.errors import Error as NatsError
from twisted.internet.defer import Deferred

from kumotwist.config.log_hooks import NatsHook
from kumotwist.delivery.keys import AskPolicy, KeyUnavailable, read_key
from kumotwist.publishing.source import Record
from kumotwist.publishing.target import NotTaken


class Nats:
    """A Target."""

    def __init__(self, hook: NatsHook, call_from_thread: Callable[..., Any], ask_policy: AskPolicy | None) -> None:
        """call_from_thread: runs a function on the reactor's thread."""
        self._hook = hook
        self._call_from_thread = call_from_thread
        self._ask_policy = ask_policy
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None

    async def send(self, records: Sequence[Record]) -> None:
        try:
            secrets = await self._secrets()
            await self._on_loop(self._publish([(record.marked, record.id) for record in records], secrets))
        except KeyUnavailable as fault:
            raise NotTaken(f"a secret cannot be had: {fault}") from None
        except (NatsError, OSError, TimeoutError) as fault:
            raise NotTaken(f"{type(fault).__name__}: {fault}".rstrip(": ")) from None

    async def close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            await self._on(loop, self._disconnect())
            loop.call_soon_threadsafe(loop.stop)

    # On the reactor's thread

    def _on_loop(self, work: Coroutine[Any, Any, None]) -> "Deferred[None]":
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            Thread(target=self._loop.run_forever, name=f"nats {self._hook.name}", daemon=True).start()
        return self._on(self._loop, work)

    def _on(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> "Deferred[None]":
        running = asyncio.run_coroutine_threadsafe(work, loop)

        def cancel(_: object) -> None:
            running.cancel()

        done: Deferred[None] = Deferred(cancel)

        def told(future: Any) -> None:
            fault = None if future.cancelled() else future.exception()
            self._call_from_thread(_tell, done, future.cancelled(), fault)

        running.add_done_callback(told)
        return done

    async def _secrets(self) -> dict[str, str]:
        hook = self._hook
        secrets = {"user": hook.username} if hook.username is not None else {}
        for key, source in (("password", hook.password), ("token", hook.token)):
            if source is not None:
                secrets[key] = (await read_key(source, self._ask_policy)).decode()
        return secrets

    # On the loop's thread

    async def _publish(self, messages: list[tuple[bytes, str]], secrets: dict[str, str]) -> None:
        if self._client is None or not self._client.is_connected:
            await self._disconnect()
            self._client = await nats.connect(
                servers=list(self._hook.servers),
                name=f"kumotwist {self._hook.name}",
                connect_timeout=self._hook.timeout,
                allow_reconnect=False,
                error_cb=_raised_anyway,
                **secrets,
            )
        stream = self._client.jetstream(timeout=self._hook.timeout)
        # One after the other, so that they are stored in order also where one of them fails.
        for payload, record_id in messages:
            await stream.publish(self._hook.subject, payload, timeout=self._hook.timeout, headers={"Nats-Msg-Id": record_id})

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None and not client.is_closed:
            await client.close()


def _tell(done: "Deferred[None]", cancelled: bool, fault: BaseException | None) -> None:
    if done.called or cancelled:
        return
    if fault is not None:
        done.errback(fault)
    else:
        done.callback(None)


async def _raised_anyway(fault: Exception) -> None:
    """What goes wrong is raised where we wait for it; the library's own way would print a traceback for each attempt."""
