"""
The WebSocket of a live trace (RFC 6455): what is wanted goes out as its first frame, events come in.

It is autobahn's, as the server's is: one package speaks for both ends.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.ssl import Certificate, optionsForClientTLS, platformTrust, trustRootFromCertificates

from kumotwist.cli.api import Api, NotThere, Refused, absence, refusal

_PING = 30  # seconds between two looks whether the server is still there, and for its answer
_BEGIN = b"-----BEGIN CERTIFICATE-----"
_REFUSED = re.compile(r"upgrade failed \[(\d{3})\]:? ?(.*)")  # autobahn's words for an answer that is no WebSocket

End = Callable[[click.ClickException | None], None]


class TraceWire(WebSocketClientProtocol):
    """One WebSocket.  factory: TraceFactory, which knows what to do with what comes."""

    def onOpen(self) -> None:
        self.sendMessage(msgspec.json.encode(self.factory.asked))  # type: ignore[no-untyped-call]  # autobahn is not annotated

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N803  autobahn's names
        try:
            if self.factory.take(payload):
                self.factory.end(None)
        except click.ClickException as fault:
            self.factory.end(fault)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: N803  autobahn's names
        self.factory.end(closing(self.factory.api, self.factory.path, reason or ""))


class TraceFactory(WebSocketClientFactory):
    """
    Makes the WebSocket.

    asked: the first frame.  take: gets each event, and says whether that was the last that is wanted.  end: is told why it is
    over, which may be more than once.
    """

    protocol = TraceWire

    def __init__(
        self, reactor: Any, api: Api, path: str, asked: Mapping[str, Any], take: Callable[[bytes], bool], end: End
    ) -> None:
        headers = {"Authorization": api.credentials.field} if api.credentials is not None else {}
        super().__init__(websocket_url(api, path), headers=headers, reactor=reactor)  # type: ignore[no-untyped-call]  # autobahn is not annotated
        self.setProtocolOptions(  # type: ignore[no-untyped-call]  # autobahn is not annotated
            openHandshakeTimeout=_PING, autoPingInterval=_PING, autoPingTimeout=_PING
        )
        self.api = api
        self.path = path
        self.asked = asked
        self.take = take
        self.end = end


def connect(reactor: Any, api: Api, path: str, asked: Mapping[str, Any], take: Callable[[bytes], bool], end: End) -> None:
    """Open the WebSocket; see TraceFactory.  Raises click.UsageError."""
    opening = _way(reactor, api).connect(TraceFactory(reactor, api, path, asked, take, end))
    opening.addErrback(lambda failure: end(NotThere(absence(api.endpoint, _as_told(failure.value)))))


def websocket_url(api: Api, path: str) -> str:
    address = api.address
    scheme = "wss" if address.scheme == "https" else "ws"
    host = f"[{address.hostname}]" if ":" in (address.hostname or "") else address.hostname
    return f"{scheme}://{host}:{_port(api)}{address.path.rstrip('/')}{path}"


def _port(api: Api) -> int:
    return api.address.port or (443 if api.address.scheme == "https" else 80)


def _way(reactor: Any, api: Api) -> Any:
    """The endpoint to connect to."""
    host = api.address.hostname or ""
    way = HostnameEndpoint(reactor, host, _port(api))
    if api.address.scheme == "http":
        return way
    return wrapClientTLS(optionsForClientTLS(host, trustRoot=_trusted(api)), way)


def _trusted(api: Api) -> Any:
    """Raises click.UsageError."""
    if api.ca_file is None:
        return platformTrust()
    try:
        _, *pieces = Path(api.ca_file).read_bytes().split(_BEGIN)
        return trustRootFromCertificates([Certificate.loadPEM(_BEGIN + piece) for piece in pieces])
    except Exception as fault:  # noqa: BLE001  what the TLS library says of a bad file has many types
        raise click.UsageError(f"--ca-file {api.ca_file}: {fault}") from None


def _as_told(fault: BaseException) -> Exception:
    """Twisted's failures to connect, as the standard library would have told them."""
    number = getattr(fault, "osError", None)
    if isinstance(number, int):
        return OSError(number, os.strerror(number))
    return fault if isinstance(fault, OSError) else OSError(str(fault))


def closing(api: Api, path: str, reason: str) -> click.ClickException:
    """Why a WebSocket ended, which it does not by itself."""
    refused = _REFUSED.search(reason)
    if refused is not None:
        code = int(refused[1])
        said = f"there is nothing at {path}" if code == 404 else refused[2]
        return Refused(code, refusal(code, said.encode(), path, api.credentials))
    return NotThere(
        f"the trace has ended: {reason or 'the connection was closed'}.\nIs the server being restarted?  Try again in a moment."
    )
