"""One listener on all addresses; what it is called depends on the address that a client connects to."""

from typing import Any

from kumotwist import kumo


@kumo.on("init")
def init() -> None:
    kumo.start_esmtp_listener(listen="0.0.0.0:25")


@kumo.memoize(name="listener-params", ttl="1 minute", capacity=1)
def listener_params() -> dict[str, Any]:
    return kumo.serde.toml_load("listener_params.toml")


@kumo.on("smtp_server_get_dynamic_parameters")
def dynamic_parameters(listener: str, conn_meta: kumo.ConnMeta) -> dict[str, Any]:
    return listener_params()
