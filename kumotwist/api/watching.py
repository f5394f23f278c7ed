"""The WebSocket under a trace: autobahn's protocol, told what the first frame asks for.  Loaded when somebody watches."""

from collections.abc import Callable
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol

from kumotwist.api.traces import BAD_REQUEST

_UNACCEPTABLE = 4422  # RFC 6455 section 7.4.2: the private range; the rest is what HTTP would say
_LONGEST_WHY = 120  # octets: RFC 6455 section 5.5


class TraceProtocol(WebSocketServerProtocol):
    """One who watches."""

    _end: Callable[[], None] | None = None

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N803  autobahn's names
        """The first frame says what is wanted; others say nothing."""
        if self._end is not None:
            return
        try:
            self._end = self.factory.begin(self, payload)
        except BAD_REQUEST as fault:
            self.sendClose(_UNACCEPTABLE, f"the first frame: {fault}".encode()[:_LONGEST_WHY].decode("utf-8", "ignore"))

    def onClose(self, wasClean: bool, code: Any, reason: Any) -> None:  # noqa: N803  autobahn's names
        end, self._end = self._end, None
        if end is not None:
            end()


class TraceFactory(WebSocketServerFactory):
    """For one connection.  begin: starts the stream; returns what ends it."""

    protocol = TraceProtocol
    begin: Callable[[Any, bytes], Callable[[], None]]

    def __init__(self, reactor: Any, longest: int, ping: int) -> None:
        super().__init__(reactor=reactor)  # type: ignore[no-untyped-call]  # autobahn is not annotated
        self.setProtocolOptions(  # type: ignore[no-untyped-call]
            maxMessagePayloadSize=longest, maxFramePayloadSize=longest, autoPingInterval=ping, autoPingTimeout=ping
        )
