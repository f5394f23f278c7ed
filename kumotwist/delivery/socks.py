"""
SOCKS5 as its client, in bytes: from the first word to a connection that leaves from an address of our choice.  Pure.

RFC 1928, RFC 1929 (username and password).  What is asked of the proxy is what the model's own proxy does: BIND with the
address that mail is to leave from, answered at once, and then CONNECT on the same connection.  The RFC means BIND for
connections that come in, so other servers take it otherwise or not at all; for these the address 0.0.0.0 or :: leaves the
choice to the server, and only CONNECT is asked.
"""

from enum import Enum
from ipaddress import ip_address

from kumotwist.config.fields import join_port

_VERSION = b"\x05"
_NO_LOGIN, _LOGIN, _NO_METHOD = 0, 2, 0xFF
_CONNECT, _BIND = b"\x01", b"\x02"
_LONGEST_CREDENTIAL = 255  # octets: RFC 1929 section 2
_REFUSALS = {  # RFC 1928 section 6
    1: "general failure",
    2: "not allowed",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "timed out",
    7: "command not supported",
    8: "kind of address not supported",
}


class SocksFailed(Exception):
    """The proxy will not do it; the argument says why.  cannot_bind: since it cannot send from the address."""

    def __init__(self, text: str, *, cannot_bind: bool = False) -> None:
        super().__init__(text)
        self.cannot_bind = cannot_bind


class _Awaited(Enum):
    """What the proxy says next."""

    METHOD = "the choice of a method"
    LOGIN = "the answer to the login"
    BOUND = "the answer to BIND"
    CONNECTED = "the answer to CONNECT"
    NOTHING = "nothing: the connection is there"


class SocksDialogue:
    """
    One dialogue with one proxy.

    done: the connection is there.  bound: the address that it leaves from, as the proxy names it.  rest: octets that came
    after the proxy's last word; they are the destination's.
    """

    __slots__ = ("_awaited", "_login", "_source", "_target", "bound", "rest")

    def __init__(self, target: tuple[str, int], source_address: str, login: tuple[str, str] | None = None) -> None:
        """target: IP address and port.  source_address: to send from; 0.0.0.0 or ::: the proxy's choice.  Raises SocksFailed."""
        self._target = _encode(*target)
        self._source = b"" if ip_address(source_address).is_unspecified else _encode(source_address, 0)
        self._login = None if login is None else _encode_login(*login)
        self._awaited = _Awaited.METHOD
        self.bound = ""
        self.rest = b""

    @property
    def done(self) -> bool:
        return self._awaited is _Awaited.NOTHING

    def begin(self) -> bytes:
        """The first word: which logins we could do."""
        return _VERSION + (b"\x01\x00" if self._login is None else b"\x02\x00\x02")

    def receive(self, came: bytes) -> bytes:
        """Take what the proxy said; returns what to say to that, or nothing.  Raises SocksFailed."""
        self.rest += came
        said = b""
        while not self.done and (answer := self._take()) is not None:
            said += self._step(answer)
        return said

    def _take(self) -> bytes | None:
        """The next answer, once it is whole."""
        length = 2
        if self._awaited in (_Awaited.BOUND, _Awaited.CONNECTED):
            if len(self.rest) < 5:
                return None
            length = 6 + {1: 4, 4: 16, 3: 1 + self.rest[4]}.get(self.rest[3], 0)
        if len(self.rest) < length:
            return None
        answer, self.rest = self.rest[:length], self.rest[length:]
        return answer

    def _step(self, answer: bytes) -> bytes:
        if self._awaited is _Awaited.LOGIN:
            if answer[1] != 0:
                raise SocksFailed("it does not accept the login")
            return self._ask()
        if answer[:1] != _VERSION:
            raise SocksFailed(f"it does not speak SOCKS5, but said {answer[:20]!r}")
        if self._awaited is _Awaited.METHOD:
            return self._log_in(answer[1])
        if answer[1] != 0:
            what = "BIND" if self._awaited is _Awaited.BOUND else "CONNECT"
            why = _REFUSALS.get(answer[1], f"failure {answer[1]}")
            raise SocksFailed(f"{what} was answered: {why}", cannot_bind=self._awaited is _Awaited.BOUND)
        if self._awaited is _Awaited.BOUND:
            self._awaited = _Awaited.CONNECTED
            return _request(_CONNECT, self._target)
        self.bound = _decode(answer[3:])
        self._awaited = _Awaited.NOTHING
        return b""

    def _log_in(self, method: int) -> bytes:
        if method == _NO_LOGIN:
            return self._ask()
        if method == _LOGIN and self._login is not None:
            self._awaited = _Awaited.LOGIN
            return self._login
        raise SocksFailed("it wants a login" if method == _NO_METHOD else f"it wants to log in by method {method}")

    def _ask(self) -> bytes:
        if self._source:
            self._awaited = _Awaited.BOUND
            return _request(_BIND, self._source)
        self._awaited = _Awaited.CONNECTED
        return _request(_CONNECT, self._target)


def _request(command: bytes, address: bytes) -> bytes:
    return _VERSION + command + b"\x00" + address


def _encode(ip: str, port: int) -> bytes:
    packed = ip_address(ip).packed
    return (b"\x01" if len(packed) == 4 else b"\x04") + packed + port.to_bytes(2, "big")


def _encode_login(username: str, password: str) -> bytes:
    name, secret = username.encode(), password.encode()
    if not (0 < len(name) <= _LONGEST_CREDENTIAL and 0 < len(secret) <= _LONGEST_CREDENTIAL):
        raise SocksFailed("name or password for it is empty or too long")
    return b"\x01" + bytes((len(name),)) + name + bytes((len(secret),)) + secret


def _decode(address: bytes) -> str:
    """`ip:port` of an address in an answer; a name as it stands there."""
    port = int.from_bytes(address[-2:], "big")
    if address[0] == 3:
        return f"{address[2:-2].decode('ascii', 'replace')}:{port}"
    try:
        return join_port(str(ip_address(address[1:-2])), port)
    except ValueError:
        return f"?:{port}"
