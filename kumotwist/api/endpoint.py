"""
What can be asked: one table of endpoints, each with the types that its requests are read by and its answers are made of.

A stage that has something to say over HTTP adds its endpoints to the table (`service.Server` joins them); parsing, checking,
errors, access and the description at `/openapi.json` follow from the types.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from kumotwist.config.http import HttpListenerSettings
from kumotwist.hooks.connection import AuthInfo


class Problem(Exception):
    """What the client is told instead of an answer.  code: an HTTP status; headers: beside the usual ones."""

    def __init__(self, code: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.headers = dict(headers or {})


class Plain(Struct, frozen=True):
    """An answer that is no JSON.  octets: as they are."""

    octets: bytes
    content_type: str = "text/plain; charset=utf-8"
    code: int = 200


def text(words: str, code: int = 200) -> Plain:
    """A line for people."""
    return Plain(words.encode("utf-8", "replace"), code=code)


TAKEN_OVER = Plain(b"")  # the endpoint has the connection now and answers itself, as a WebSocket does


class Call(Struct, kw_only=True):
    """
    One request.  auth: who asks.  peer, local: IP addresses without ports.  body: unpacked.  query: name → its last value.

    request: Twisted's, for endpoints that take the connection over or answer in pieces.
    """

    auth: AuthInfo
    peer: str
    local: str
    hostname: str
    settings: HttpListenerSettings
    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes
    request: Any = None


class Endpoint(Struct, frozen=True, kw_only=True):
    """
    One method of one path.

    asks: the JSON of the request, None where there is none.  query: the parameters in the address.  answers: the JSON of the
    answer; None: text, or nothing.  run: gets the Call, then what was asked (`asks` or `query`, in that order, where there
    are any); answers a value of `answers`, a Plain, or a coroutine or Deferred of one; raises Problem.
    read: reads the body instead of the usual way, for requests too large to be read at once.
    refusals: status → when, for the description; what any endpoint may say stands there anyway.
    """

    method: str
    path: str
    summary: str
    run: Callable[..., Any]
    tag: str = "server"
    asks: Any = None
    query: Any = None
    answers: Any = None
    read: Callable[[bytes], Any] | None = None
    refusals: Mapping[int, str] = {}
    headers: Mapping[str, str] = {}  # request headers that mean something to it, for the description
    content_type: str = "text/plain"  # of an answer that is no JSON
    accepts: str | None = None  # the type of a body that is no JSON, for the description
    body_limit: int = 0  # octets that a body from a trusted address may have, where the listener's limit is less


class Endpoints:
    """The table, looked up by path and method."""

    def __init__(self, *groups: "tuple[Endpoint, ...]") -> None:
        self._by_path: dict[str, dict[str, Endpoint]] = {}
        for group in groups:
            self.add(*group)

    def add(self, *endpoints: Endpoint) -> None:
        """Raises ValueError for two of one method and path."""
        for one in endpoints:
            methods = self._by_path.setdefault(one.path, {})
            if one.method in methods:
                raise ValueError(f"{one.method} {one.path} stands in the table twice")
            methods[one.method] = one

    def find(self, method: str, path: str) -> Endpoint:
        """Raises Problem: 404, 405."""
        methods = self._by_path.get(path)
        if methods is None:
            raise Problem(404, f"there is nothing at {path[:200]}")
        found = methods.get("GET" if method == "HEAD" else method)
        if found is None:
            allowed = ", ".join(sorted(methods))
            raise Problem(405, f"{method[:20]} is not for {path}, expected {allowed}", {"Allow": allowed})
        return found

    def body_limit(self, path: str) -> int:
        """Octets that bodies to this path may have from trusted addresses, where that is more than from others."""
        return max((one.body_limit for one in self._by_path.get(path, {}).values()), default=0)

    def __iter__(self) -> Any:
        return (endpoint for methods in self._by_path.values() for endpoint in methods.values())
