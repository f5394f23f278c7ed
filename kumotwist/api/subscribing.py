"""The WebSocket of those who follow automation: autobahn's protocol.  Loaded when the first one comes."""

from collections.abc import Callable
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol


class SubscriberProtocol(WebSocketServerProtocol):
    """One who follows."""

    _end: Callable[[], None] | None = None

    def onOpen(self) -> None:
        self._end = self.factory.begin(self)

    def say(self, text: bytes) -> None:
        self.sendMessage(text, False)  # type: ignore[no-untyped-call]  # autobahn is not annotated

    def onClose(self, wasClean: bool, code: Any, reason: Any) -> None:  # noqa: N803  autobahn's names
        end, self._end = self._end, None
        if end is not None:
            end()


class SubscriberFactory(WebSocketServerFactory):
    """begin: told of each that has come; returns what ends it."""

    protocol = SubscriberProtocol
    begin: Callable[[Any], Callable[[], None]]

    def __init__(self, reactor: Any, ping: int) -> None:
        super().__init__(reactor=reactor)  # type: ignore[no-untyped-call]  # autobahn is not annotated
        self.setProtocolOptions(autoPingInterval=ping, autoPingTimeout=ping)  # type: ignore[no-untyped-call]
