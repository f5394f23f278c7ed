"""A policy's view of the client's connection: its metadata, and who the client has proved to be."""

from typing import Any

from msgspec import Struct

from kumotwist.hooks.meta import copied, write_meta


class Identity(Struct, frozen=True):
    """A name that somebody proved to have.  context: how, as the model calls it (`SmtpAuthPlainAuthentication`)."""

    identity: str
    context: str


class AuthInfo(Struct, frozen=True, kw_only=True):
    """
    Who a client is.  A handler of `smtp_server_auth_plain` may answer one instead of True.

    peer_address: its IP address, if known.  groups: what else is known of it, for the policy's own use.
    """

    peer_address: str | None = None
    identities: tuple[Identity, ...] = ()
    groups: tuple[str, ...] = ()


NOBODY = AuthInfo()


class ConnMeta:
    """
    The metadata of one connection: what the server knows of it and what the policy notes; each message starts with a copy.

    Keys of your own begin with `x_`: those that the server sets never do.
    """

    __slots__ = ("_auth", "_meta")

    def __init__(self, meta: dict[str, Any], auth: AuthInfo = NOBODY) -> None:
        """meta: the connection's own; what the policy sets goes there."""
        self._meta = meta
        self._auth = auth

    def get_meta(self, key: str) -> Any:
        """The value of a key; None if it is not set.  A list or a mapping is a copy."""
        return copied(self._meta.get(key))

    def set_meta(self, key: str, value: Any) -> None:
        """Note a value that JSON has too; None removes the key.  Raises ValueError."""
        write_meta(self._meta, key, value)

    def auth_info(self) -> AuthInfo:
        """Who the client is, as far as it has proved it."""
        return self._auth
