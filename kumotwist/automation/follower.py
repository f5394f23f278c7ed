"""The WebSocket to a shared automation daemon: autobahn's protocol.  Loaded where one is followed."""

from collections.abc import Callable
from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol

_PING = 30  # seconds of silence after which we ask whether the daemon is still there


class FollowerProtocol(WebSocketClientProtocol):
    """One connection."""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N803  autobahn's names
        self.factory.hear(payload)

    def onClose(self, wasClean: bool, code: Any, reason: Any) -> None:  # noqa: N803  autobahn's names
        self.factory.lost(str(reason or "closed"))


class FollowerFactory(WebSocketClientFactory):
    """hear: told of each event.  lost: told once that the connection is over, or was refused."""

    protocol = FollowerProtocol

    def __init__(self, url: str, hear: Callable[[bytes], None], lost: Callable[[str], None]) -> None:
        super().__init__(url)  # type: ignore[no-untyped-call]  # autobahn is not annotated
        self.hear = hear
        self.lost = lost
        self.setProtocolOptions(autoPingInterval=_PING, autoPingTimeout=_PING)  # type: ignore[no-untyped-call]
