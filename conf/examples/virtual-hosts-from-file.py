"""As virtual-hosts.py, with the customers in a file of their own, which another program may write."""

from typing import Any

from kumotwist import kumo


@kumo.on("init")
def init() -> None:
    kumo.start_esmtp_listener(listen="0.0.0.0:25")


# Reading a file takes longer than remembering what was in it.  When the file changes, all is forgotten and read anew.
@kumo.memoize(name="listener parameters", ttl="5 minutes", capacity=1)
def customers() -> dict[str, Any]:
    return kumo.serde.toml_load("listener_params.toml")


@kumo.on("smtp_server_get_dynamic_parameters")
def parameters(listener: str, conn_meta: kumo.ConnMeta) -> dict[str, Any]:
    return customers()
