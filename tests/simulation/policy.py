"""The policy file of the simulation: each of its handlers asks `whims` what to do."""

from typing import Any

from kumotwist import kumo
from tests.simulation import whims


@kumo.on("smtp_server_message_received")
def received(message: Any) -> Any:
    return whims.now.act(may_refuse=True)


@kumo.on("get_queue_config")
async def queue_config(domain: str, tenant: str | None) -> Any:
    await _wait()


@kumo.on("get_egress_path_config")
def path_config(domain: str) -> Any:
    return whims.now.act(may_refuse=False)


@kumo.on("throttle_insert_ready_queue")
async def throttle(message: Any) -> None:
    await _wait()


@kumo.on("requeue_message")
def requeue(message: Any) -> Any:
    return whims.now.act(may_refuse=False)


@kumo.on("smtp_client_rewrite_delivery_status")
def rewrite(response: str) -> Any:
    return whims.now.act(may_refuse=False)


async def _wait() -> None:
    waiting = whims.now.act(may_refuse=False)
    if waiting is not None:
        await waiting
